"""One line a request, and nothing of the visitor in it (matrix P4)."""

import asyncio
import io
import json
import logging
from types import SimpleNamespace

import gradio as gr
import pytest

from lora.adapter import Adapter, AdapterUse
from lora.errors import PaintingFailed
from pipeline.engine import DenoiseStep, Generation
from pipeline.profiles import EMBEDDED_PROFILE
from pipeline.request.request import GenerationRequest
from serving.history import History
from serving.request_log import RequestLog, log, write_to
from serving.workers.zerogpu import gpu_generator
from tests.unit.test_generation import GOOD, run, service
from ui.api.history import add_history_endpoints
from ui.errors import in_words

NASTY = "a\0b\nc\x1b[31m d\u202e \ud800 {}"


@pytest.fixture
def lines():
    stream, before = io.StringIO(), (log.handlers, log.propagate)
    write_to(stream)
    log.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    log.handlers, log.propagate = before


def paint(request):
    yield DenoiseStep(0, 1, 1, 1, b"jpeg")
    yield Generation((b"png",), {"seed": request.seed, "seeds": [request.seed]})


def test_a_request_is_one_line_of_numbers(lines):
    run(service(paint), GOOD | {"steps": 3, "prompt": "a secret"})
    (line,) = lines()
    assert line["request"] == "generate" and line["from"] == "api" and line["outcome"] == "done"
    assert (line["width"], line["height"], line["steps"], line["images"], line["adapters"]) == (256, 256, 3, 1, [])
    assert line["waited"] >= 0 and line["painted"] >= 0 and len(line["id"]) == 8 and line["time"].endswith("+00:00")
    assert "secret" not in str(line) and "someone" not in str(line) and len(line["session"]) == 8


def test_how_it_ended_is_told(lines):
    def burnt(request):
        yield DenoiseStep(0, 1, 1, 1, None)
        raise RuntimeError(NASTY)

    house = service(burnt)
    for values in (GOOD, GOOD | {"steps": 0}):
        with pytest.raises(Exception):  # noqa: B017
            run(house, values)
    assert [(line["outcome"], line["error"]) for line in lines()] == [
        ("failed", "RuntimeError"), ("failed", "InvalidRequest"),
    ]  # fmt: skip
    assert house.request_log.outcomes == {"failed": 2}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (PaintingFailed("Out of memory."), "PaintingFailed"),
        (ValueError(NASTY), "ValueError"),
        (gr.Error("Quota."), "Error"),
    ],
)
def test_a_failed_painting_is_logged_by_the_error_that_it_was(lines, error, name):
    class Engine:
        def generate(self, request):
            yield DenoiseStep(0, 1, 1, 1, None)
            raise error

    with pytest.raises(gr.Error) as told:
        run(service(gpu_generator(Engine())), GOOD)
    (line,) = lines()
    assert (line["outcome"], line["error"]) == ("failed", name) and NASTY not in told.value.message


def test_a_comparison_that_fails_names_the_error_too(lines):
    async def compare(house):
        return [update async for update in house.compare(GOOD, {"x_axis": "steps", "x_values": [1, 2]}, "me")]

    def burnt(request):
        raise PaintingFailed("Out of memory.")
        yield

    with pytest.raises(gr.Error), in_words():
        asyncio.run(compare(service(burnt)))
    assert [line["error"] for line in lines()] == ["PaintingFailed"]


def test_what_reads_and_searches_is_a_line_too(lines, tmp_path, monkeypatch):
    house = service(paint)
    monkeypatch.setattr(house.library, "search", lambda words, family: [])
    monkeypatch.setattr("ui.api.history.being_built", lambda: SimpleNamespace(uploads=()))
    offered = {}
    monkeypatch.setattr("ui.api.history.offer", lambda each, *_: offered.update({each.__name__: each}))
    add_history_endpoints(house, History(tmp_path / "data"))

    async def ask():
        assert await house.search("ink") == []
        for failing in (
            house.inspect(None, "", "me", ()),
            house.read_picture(None, "me", (), page=True),
            offered["history"]("no secret"),
            offered["forget_picture"]("a" * 43, "x"),
        ):
            with pytest.raises(gr.Error), in_words():
                await failing
        assert await offered["history"]("a" * 43) == []

    asyncio.run(ask())
    assert [(line["request"], line["from"], line.get("error")) for line in lines()] == [
        ("search_adapters", "api", None), ("inspect_adapter", "api", "InvalidRequest"),
        ("read_picture", "page", "InvalidRequest"), ("history", "api", "InvalidOwner"),
        ("forget_picture", "api", "UnknownPicture"), ("history", "api", None),
    ]  # fmt: skip
    assert all(line["seconds"] >= 0 for line in lines()) and "aaaa" not in str(lines())


def test_one_who_leaves_has_cancelled_unless_the_picture_was_there(lines):
    request_log = RequestLog()

    def left(done):
        with request_log.entry("generate", None) as entry:
            if done:
                entry.done()
            yield

    for done in (False, True):
        visit = left(done)
        next(visit)
        visit.close()
    assert [line["outcome"] for line in lines()] == ["cancelled", "done"]


def test_p4_prompts_are_written_only_where_wanted_and_never_break_the_line(lines):
    def find(name):
        return Adapter(name, name, None, "0" * 64, 4, 10, 40, "folder")

    values = {"prompt": "x " + NASTY, "adapters": [{"id": "ink"}, {"id": "mine-secret"}]}
    request = GenerationRequest.create(values, EMBEDDED_PROFILE.limits, find)
    assert isinstance(request.adapters[0], AdapterUse)
    for prompts in (False, True):
        request_log = RequestLog(prompts)
        with request_log.entry(NASTY, NASTY) as entry:
            request_log.asked(entry, request, {"ink"}, 4)
            entry.facts["raw"] = NASTY
    quiet, loud = lines()
    assert "prompt" not in quiet and loud["prompt"].startswith("x a") and loud["cells"] == 4
    assert quiet["adapters"] == ["ink", "own"]

"""Bad input by plain HTTP: a 4xx or one sentence, never a traceback, a path or a call of the model (Q1, Q2, Q3, P1)."""

import math
import time
from contextlib import contextmanager

import httpx
import pytest
from gradio_client import Client

from tests.serving import LONG

GOOD = ["a red apple", "", [], 64, 64, 4, 5.0, "Euler", 1, 1, False]
FIELDS = (
    "prompt negative_prompt adapters width height steps guidance_scale scheduler seed num_images normalize_adapters"
).split()
WRONG = [None, True, math.nan, "1e", [1], {"a": 1}, -(10**30)]
OUTSIDE = {
    "width": [33, 0, -8, 1e6], "height": [33, 0, -8, 1e6], "steps": [-1, 0, 1001], "seed": [2**64, -2],
    "guidance_scale": [math.nan, 1e30, math.inf], "num_images": [0, 99], "scheduler": ["Nosuch", ""],
    "adapters": [[{"id": "nosuch"}], [{"id": "ink", "weight": 9}], [{"id": "ink", "colour": 1}], [{}] * 99, "ink"],
}  # fmt: skip


def complaint(server, data) -> str:
    """The sentence that a call is answered with."""
    event, answer = server.call("generate", data)[-1]
    assert event == "error", answer
    sentence = answer["error"]
    assert sentence.endswith(".") and "\n" not in sentence
    assert "Traceback" not in sentence and ".py" not in sentence and "/tmp" not in sentence
    return sentence


@contextmanager
def busy(server):
    """While this lasts the model is taken: whatever is answered is answered without it."""
    job = Client(server.url, verbose=False).submit(prompt="a cat", api_name="/generate", **LONG)
    server.wait_until(running=1)
    yield
    assert server.queue()["running"] == 1, "the long job ended before its time"
    job.cancel()
    server.wait_until(running=0)


def test_q1_wrong_kinds_are_named_in_a_sentence_without_the_model(server):
    with busy(server):
        for i, field in enumerate(FIELDS):
            for value in WRONG:
                if (isinstance(value, str) and "prompt" in field) or (value is True and field == "normalize_adapters"):
                    continue
                assert complaint(server, [*GOOD[:i], value, *GOOD[i + 1 :]]).startswith(field), (field, value)


def test_q2_values_out_of_range_are_named_with_the_range(server):
    with busy(server):
        for field, values in OUTSIDE.items():
            for value in values:
                i = FIELDS.index(field)
                sentence = complaint(server, [*GOOD[:i], value, *GOOD[i + 1 :]])
                assert "must be" in sentence or "known adapters" in sentence, (field, value)


def test_no_prompt_at_all(server):
    assert complaint(server, []) == "prompt is empty, but must be text."


def test_p1_a_prompt_of_a_megabyte_is_refused_before_the_queue(server):
    with busy(server):
        before = time.monotonic()
        assert complaint(server, ["x" * 2**20, *GOOD[1:]]).startswith("prompt is")
        assert time.monotonic() - before < 5


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": 3}', b'{"data": {}}', b'{"nodata": []}', b"\xff\xfe"])
def test_q1_a_body_that_is_no_call_is_a_4xx(server, body):
    json_type = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/gradio_api/call/generate", content=body, headers=json_type)
    assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text


def test_q3_unknown_names_and_function_numbers_are_a_404(server):
    for name in ("nosuch", "_generate", ".."):
        assert httpx.post(f"{server.url}/gradio_api/call/{name}", json={"data": []}).status_code == 404
        assert httpx.post(f"{server.url}/gradio_api/call/v2/{name}", json={}).status_code == 404
    for number in (999, -1):
        body = {"data": [], "fn_index": number, "session_hash": "guess"}
        assert httpx.post(f"{server.url}/gradio_api/queue/join", json=body).status_code == 404


def test_q3_the_functions_of_the_page_check_what_a_foreigner_sends(server):
    """Every function by its number with nonsense: nobody gets an unhandled error, and the app works afterwards."""
    functions = httpx.get(f"{server.url}/config").json()["dependencies"]
    for function in functions:
        body = {"data": ["\u0000"] * 40, "fn_index": function["id"], "session_hash": f"guess{function['id']}"}
        assert httpx.post(f"{server.url}/gradio_api/queue/join", json=body).status_code in (200, 400, 404, 422)
    server.wait_until(running=0, waiting=0)
    assert server.call("generate", [*GOOD[:5], 1])[-1][0] == "complete"


@pytest.mark.parametrize("uses", ["/etc/passwd", ["/etc/passwd"], [{"weight": 1}], 7, {"id": "ink"}])
def test_what_is_no_mix_is_refused_by_name_where_the_page_counts_too(server, uses):
    config = httpx.get(f"{server.url}/config", timeout=30).json()
    (count,) = (each["id"] for each in config["dependencies"] if each["api_name"] == "count")
    data = {"fn_index": count, "data": ["a red apple", uses], "session_hash": "nobody"}
    httpx.post(f"{server.url}/gradio_api/queue/join", json=data, timeout=30).raise_for_status()
    told = httpx.get(f"{server.url}/gradio_api/queue/data?session_hash=nobody", timeout=30).text
    assert ("adapters is" in told or "There is no adapter" in told) and "logged" not in told

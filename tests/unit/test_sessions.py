"""Two visitors on one engine: neither sees the other's adapters, in the pictures or by name (matrix I1, I3)."""

import asyncio
import threading
from pathlib import Path

import gradio as gr
import pytest

from lora.library import Library
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from serving.executor import BoundedExecutor
from serving.generation import GenerationService
from serving.queue import FairQueue
from serving.workers.zerogpu import ZeroGpuWorker
from tests.adapters import save_adapter
from ui.errors import in_words
from ui.web.files import check_files, served

SMALL = {"prompt": "red apple", "steps": 1, "seed": 3, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def engine(tiny_sdxl):
    return Engine(load_profile(base_model=str(tiny_sdxl)))


@pytest.fixture
def service(engine, tmp_path):
    components, composer, _ = engine.load()
    folder = tmp_path / "shared"
    folder.mkdir()
    save_adapter(components, folder / "ink.safetensors", 1)
    library = Library([(folder, "folder")], composer.shapes, "sdxl")
    return GenerationService(ZeroGpuWorker(engine), library, FairQueue(8, 4))


@pytest.fixture
def mine(service, engine, tmp_path):
    """The id of an adapter of session A."""
    return service.library.upload(save_adapter(engine.load()[0], tmp_path / "x", 5), "x.safetensors", "A").id


async def painted(service, session, **values) -> tuple[bytes, ...]:
    with in_words():
        return [update async for update in service.generate(SMALL | values, session)][-1].images


def test_i1_a_hundred_pairs_interleaved(service, mine):
    """A paints with its own adapter, B without: B's picture is the base's and A's is A's, every time."""

    async def pairs():
        base, styled = await painted(service, "B"), await painted(service, "A", adapters=[{"id": mine, "weight": 1}])
        assert base != styled
        for i in range(100):
            jobs = [painted(service, "A", adapters=[{"id": mine, "weight": 1}]), painted(service, "B")]
            # Now one of them is first, now the other.
            order = (0, 1) if i % 2 else (1, 0)
            got = dict(zip(order, await asyncio.gather(*(jobs[k] for k in order))))
            assert got == {0: styled, 1: base}

    asyncio.run(pairs())


def test_i3_another_session_cannot_use_or_export_it(service, mine):
    async def export(session):
        with in_words():
            return [pair async for pair in service.export([{"id": mine}], 0, session)]

    for session in ("B", "", None):
        with pytest.raises(gr.Error, match="There is no adapter"):
            asyncio.run(painted(service, session, adapters=[{"id": mine}]))
        with pytest.raises(gr.Error, match="There is no adapter"):
            asyncio.run(painted(service, session, prompt=f"red apple <lora:{mine}:1>"))
        with pytest.raises(gr.Error, match="There is no adapter"):
            asyncio.run(export(session))
        service.forget(session)
    assert asyncio.run(painted(service, "A", prompt=f"red apple <lora:{mine}:1>"))
    service.forget("A")
    with pytest.raises(gr.Error, match="There is no adapter"):
        asyncio.run(painted(service, "A", adapters=[{"id": mine}]))


def test_an_export_waits_for_its_turn_and_gives_it_back(service, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))

    async def both():
        ticket = service.queue.enter("B", 1.0)
        updates = service.export([{"id": "ink", "weight": 0.5}], 0, "A")
        first = await anext(updates)
        service.queue.leave(ticket)
        return first, [(path and served(path), details) async for path, details in updates][-1]

    (nothing, waiting), (file, details) = asyncio.run(both())
    assert nothing is None and waiting["status"] == "waiting" and waiting["place"] == 1
    assert details["status"] == "done" and details["rank"] == 4 and file["orig_name"] == "atelier-mix.safetensors"
    assert Path(file["path"]).is_relative_to(tmp_path / "cache") and file["size"] > 1000
    assert service.queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_errands_are_bounded_and_a_caller_that_leaves_frees_no_thread():
    async def errands():
        release, pool = threading.Event(), BoundedExecutor("test", 1, 1)
        jobs = [asyncio.create_task(pool.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(gr.Error, match="Too many files"), in_words():
            await pool.run(int)
        jobs[0].cancel()
        await asyncio.sleep(0.05)
        with pytest.raises(gr.Error, match="Too many files"), in_words():
            await pool.run(int)
        release.set()
        await jobs[1]
        assert await pool.run(int, "3") == 3
        with pytest.raises(ValueError):
            await pool.run(int, "x")

    asyncio.run(errands())


@pytest.mark.parametrize("path", ["/etc/passwd", "http://127.0.0.1/x", "HTTPS://x", "a\0", "../x", ""])
def test_w1_files_of_a_call_must_have_been_uploaded(path, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    # An address to gradio, which for the system is a way into its folder.
    way = f"http://127.0.0.1{'/..' * 40}{tmp_path}/x"
    assert Path(way).resolve() == tmp_path / "x"
    with pytest.raises(gr.Error, match="was not uploaded here"):
        check_files([{"path": way, "meta": {"_type": "gradio.FileData"}}])
    for value in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path, "meta": None}):
        with pytest.raises(gr.Error, match="was not uploaded here"):
            check_files([1, [{"a": value}]])
    good = {"path": str(tmp_path / "x"), "meta": {"_type": "gradio.FileData"}}
    check_files([good, [good, good], {"path": path}, "x", None, 3.0])
    # Gradio would copy one that is inside of a value, and tell under which hash.
    for inside in ([good, 1], [{"path": way, "meta": {}}, good], {"a": good}, [[{"b": [good]}]], good | {"more": good}):
        with pytest.raises(gr.Error, match="was not uploaded here"):
            check_files([inside])
    deep = []
    for _ in range(100_000):
        deep = [deep]
    check_files([deep])

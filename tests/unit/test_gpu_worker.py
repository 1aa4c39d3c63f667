"""The GPU generator as ZeroGPU runs it: in a forked worker that is used again, everything pickled (matrix I4)."""

import multiprocessing
import pickle
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora.errors import InvalidRequest, UnreadableAdapter
from lora.library import Library
from pipeline.engine import DenoiseStep, Engine, Generation
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from serving.workers.local import trained
from serving.workers.zerogpu import gpu_generator, gpu_training
from tests.adapters import library_with, save_adapter
from training import Example, TrainingConfig, TrainingSlice

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("lora", "pipeline", "training", "serving", "ui")


def serve(paint, pipe) -> None:
    """The worker: takes (pickled request, number of yields after which to close), sends pickled yields."""
    torch.set_num_threads(1)
    while (job := pipe.recv_bytes()) != b"stop":
        request, most = pickle.loads(job)
        source = paint(request)
        try:
            for count, item in enumerate(source, 1):
                pipe.send_bytes(pickle.dumps(item))
                if count == most:
                    source.close()
                    break
        except Exception as error:
            pipe.send_bytes(pickle.dumps(error))
        pipe.send_bytes(pickle.dumps(None))


class Worker:
    """One forked process that serves any number of calls, as ZeroGPU keeps them."""

    def __init__(self, paint):
        context = multiprocessing.get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(paint, other), daemon=True)
        self._process.start()

    def call(self, request: GenerationRequest, most: int = -1) -> list:
        """All yields of one call, after a trip through pickle; an error among them is raised here."""
        self._pipe.send_bytes(pickle.dumps((request, most)))
        items = []
        while (item := pickle.loads(self._pipe.recv_bytes())) is not None:
            items.append(item)
        for error in (item for item in items if isinstance(item, Exception)):
            raise error
        return items

    def stop(self) -> None:
        self._pipe.send_bytes(b"stop")
        self._process.join(10)


@pytest.fixture(scope="module")
def setting(tiny_sdxl, tmp_path_factory):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    components = engine.load()[0]
    library = library_with(components, tmp_path_factory.mktemp("adapters"), "ink")
    worker = Worker(gpu_generator(engine))
    yield engine, library, worker
    worker.stop()


def request(engine, find=None, **values) -> GenerationRequest:
    defaults = {"prompt": "red apple", "steps": 3, "seed": 1, "width": 64, "height": 64, "metadata": False}
    return GenerationRequest.create(defaults | values, engine.limits, find)


INK = [{"id": "ink", "weight": 1}]


def test_i4_nothing_leaks_from_one_call_to_the_next(setting):
    engine, library, worker = setting
    before = {k: v.clone() for k, v in engine.load()[0].denoiser.state_dict().items()}
    base = list(engine.generate(request(engine)))[-1].images
    *steps, generation = worker.call(request(engine))
    assert len(steps) == 3 and all(isinstance(s, DenoiseStep) and isinstance(s.preview, bytes) for s in steps)
    assert isinstance(generation, Generation) and generation.images == base
    styled = worker.call(request(engine, library.find, adapters=INK))[-1].images
    assert styled != base
    assert worker.call(request(engine))[-1].images == base
    # The parent saw nothing of it.
    assert all(torch.equal(v, before[k]) for k, v in engine.load()[0].denoiser.state_dict().items())
    assert list(engine.generate(request(engine)))[-1].images == base


def test_i4_a_call_that_was_cancelled_or_failed_leaves_nothing(setting):
    engine, library, worker = setting
    base = worker.call(request(engine))[-1].images
    assert len(worker.call(request(engine, library.find, adapters=INK), most=2)) == 2
    assert worker.call(request(engine))[-1].images == base
    other = [{"id": "ink", "weight": 0.5}]
    gone = request(engine, lambda name: save_and_remove(engine, library, name), adapters=other)
    # It crosses as what it is, for the log.
    with pytest.raises(UnreadableAdapter, match="missing, damaged"):
        worker.call(gone)
    assert worker.call(request(engine))[-1].images == base


def save_and_remove(engine, library, name):
    """An adapter whose file is gone by the time that it is wanted."""
    path = library.find(name).path.with_name("other.safetensors")
    save_adapter(engine.load()[0], path, 77)
    adapter = Library([(path.parent, "folder")]).find("other")
    path.unlink()
    return adapter


def test_i4_an_adapter_that_came_after_the_fork_is_found(setting, tmp_path):
    engine, _, worker = setting
    save_adapter(engine.load()[0], tmp_path / "late.safetensors", 99)
    late = Library([(tmp_path, "folder")])
    generation = worker.call(request(engine, late.find, adapters=[{"id": "late"}]))[-1]
    assert generation.details["adapters"][0]["matched"] > 10


def test_i4_an_upload_is_found_by_its_path(setting, tmp_path):
    engine, _, worker = setting
    components, composer, _ = engine.load()
    library = Library([], composer.shapes, "sdxl")
    mine = library.upload(save_adapter(components, tmp_path / "x", 98), "x.safetensors", "me")
    values = {"adapters": [{"id": mine.id}]}
    generation = worker.call(request(engine, lambda name: library.find(name, "me"), **values))[-1]
    assert generation.details["adapters"][0]["sha256"] == mine.sha256


def test_i4_a_slice_of_a_training_crosses_as_bytes_and_comes_to_the_same(setting):
    engine, _, _ = setting
    examples = tuple(Example(Image.new("RGB", (64, 64), colour), (colour,)) for colour in ("red", "navy", "gold"))
    config, state = TrainingConfig(trigger="red", steps=4, batch_size=2, rank=4, learning_rate=1e-2), None
    train = gpu_training(engine)
    forked = Worker(lambda work: train(work, lambda seconds: False))
    for until in (1, 3, 4):
        *steps, last = forked.call(TrainingSlice(examples, config, state, 60.0, until))
        assert [step.step for step in steps] == [*range(last.step - len(steps) + 1, until + 1)]
        state = last.data
    with pytest.raises(InvalidRequest, match=r"^images is 'another'"):
        forked.call(TrainingSlice(examples[:2], config, state, 60.0, 4))
    forked.stop()
    *_, whole = trained(engine, TrainingSlice(examples, config, None, 60.0, 4))
    assert last.adapter.data() == whole.adapter.data()


def test_one_file_alone_asks_for_a_gpu():
    sources = [ROOT / "app.py", *(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))]
    found = [p.name for p in sources for _ in re.findall(r"^\s*@spaces\.GPU", p.read_text(), re.M)]
    assert found == ["zerogpu.py"] * 3, "one that paints, one that exports, one that trains"

"""Training in slices: the same file however it is cut, and nothing of it in the base between them."""

import dataclasses
import io
import itertools

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from lora.errors import InvalidRequest
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests.unit.test_training import EXAMPLES, FAST, bits, result, same
from training import (
    Components,
    TrainedAdapter,
    TrainingConfig,
    TrainingState,
    TrainingStep,
    objective,
    slices,
    train,
    train_slice,
)
from training.loop import Run


@pytest.fixture(scope="module")
def sdxl(tiny_sdxl):
    return DiffusionPipeline.from_pretrained(tiny_sdxl)


def cut(pipe, seconds=0.0, between=lambda: None, **changes) -> tuple[TrainedAdapter, list[int]]:
    """The adapter of a sliced run and the steps of each slice. In no seconds one step is done."""
    components, config, state, lengths = Components.of(pipe), TrainingConfig(**FAST | changes), None, []
    while True:
        *steps, last = train_slice(components, EXAMPLES, config, state, seconds)
        assert all(isinstance(step, TrainingStep) for step in steps)
        lengths.append(len(steps))
        if isinstance(last, TrainedAdapter):
            return last, lengths
        assert isinstance(last, TrainingState) and last.step == sum(lengths) == steps[-1].step
        assert last.losses[-len(steps) :] == tuple(step.loss for step in steps)
        state = last.data
        between()


class Clock:
    """One by which each step takes a second, and nothing else takes any time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, real):
        def advance(run):
            self.now += 1
            return real(run)

        return advance


@pytest.mark.parametrize(
    "options",
    [{}, dict(accumulation=2, dora=True), dict(text_encoders=True), dict(precision="bfloat16", timestep_rank=True)],
    ids=str,
)
def test_sliced_is_unsliced(sdxl, options, monkeypatch):
    whole, before = result(sdxl, **options), bits(sdxl)
    single, lengths = cut(sdxl, **options)
    assert lengths == [1] * 6
    clock = Clock()
    monkeypatch.setattr(slices, "monotonic", clock)
    monkeypatch.setattr("training.loop.Run.advance", clock.advance(Run.advance))
    timed, lengths = cut(sdxl, seconds=4.5, **options)
    assert lengths == [4, 2]
    triple, lengths = cut(sdxl, seconds=3.0, **options)
    assert lengths == [3, 3]
    for sliced in (single, timed, triple):
        assert sliced.losses == whole.losses
        assert same(sliced.tensors, whole.tensors)
        assert (sliced.metadata, sliced.parameters, sliced.share) == (whole.metadata, whole.parameters, whole.share)
    assert same(bits(sdxl), before)
    assert single.data() == whole.data()


def test_between_slices_the_base_is_the_base(sdxl):
    before, modules = bits(sdxl), [list(map(id, sdxl.unet.modules())), list(map(id, sdxl.text_encoder.modules()))]
    flags, processors = [p.requires_grad for p in sdxl.unet.parameters()], sdxl.unet.attn_processors

    def unchanged():
        assert same(bits(sdxl), before)
        assert [list(map(id, sdxl.unet.modules())), list(map(id, sdxl.text_encoder.modules()))] == modules
        assert [p.requires_grad for p in sdxl.unet.parameters()] == flags
        assert all(p.grad is None for p in sdxl.unet.parameters())
        assert sdxl.unet.attn_processors == processors
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in sdxl.unet.modules())

    cut(sdxl, between=unchanged, text_encoders=True, precision="bfloat16")
    unchanged()


def test_twenty_slices_between_twenty_pictures(tiny_sdxl):
    """One engine paints and trains in turns: each is as if the other were not there."""
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    components, config = engine.load()[0], TrainingConfig(**FAST | dict(steps=20))

    def paint(seed: int) -> list:
        values = {"prompt": "red apple", "steps": 2, "seed": seed, "width": 64, "height": 64, "metadata": False}
        *_, generation = engine.generate(GenerationRequest.create(values, engine.limits, None), previews=False)
        return generation.images

    pictures, state = [paint(seed) for seed in range(20)], None
    for seed in range(20):
        *_, last = train_slice(components, EXAMPLES, config, state, 0.0)
        state = getattr(last, "data", None)
        assert paint(seed) == pictures[seed]
    *_, whole = train(components, EXAMPLES, config)
    assert last.losses == whole.losses and same(last.tensors, whole.tensors)


def test_a_slice_that_is_closed_loses_only_itself(sdxl):
    components, config, before = Components.of(sdxl), TrainingConfig(**FAST), bits(sdxl)
    *_, first = train_slice(components, EXAMPLES, config, None, 0.0)
    closed = train_slice(components, EXAMPLES, config, first.data, 60.0)
    assert [step.step for step in itertools.islice(closed, 3)] == [2, 3, 4]
    closed.close()
    assert same(bits(sdxl), before)
    torch.rand(5)
    *_, last = train_slice(components, EXAMPLES, config, first.data, 60.0)
    assert last.losses == result(sdxl).losses


def test_what_takes_time_to_prepare_is_prepared_once(sdxl, monkeypatch):
    components, config, calls = Components.of(sdxl), TrainingConfig(**FAST), []
    for name in ("encode_pictures", "encode_captions"):
        real = getattr(objective, name)
        spy = lambda *args, name=name, real=real: calls.append(name) or real(*args)  # noqa: E731
        monkeypatch.setattr(f"training.objective.{name}", spy)
    *_, first = train_slice(components, EXAMPLES, config, None, 0.0)
    assert calls == ["encode_pictures", "encode_captions"]
    *_, second = train_slice(components, EXAMPLES, config, first.data, 0.0)
    assert len(calls) == 2 and second.step == 2


def test_sample_pictures_are_painted_in_the_slice_that_they_are_due_in(sdxl):
    components, config, state, due = Components.of(sdxl), TrainingConfig(**FAST, sample_every=2), None, []
    last = None
    while not isinstance(last, TrainedAdapter):
        *steps, last = train_slice(components, EXAMPLES, config, state, 0.0, lambda: Image.new("RGB", (8, 8)))
        due += [step.step for step in steps if step.sample]
        state = getattr(last, "data", None)
    assert due == [2, 4, 6]
    assert same(last.tensors, result(sdxl).tensors)


def test_time_counts_over_all_slices(sdxl):
    components, config, state, seconds = Components.of(sdxl), TrainingConfig(**FAST), None, []
    last = None
    while not isinstance(last, TrainedAdapter):
        step, last = train_slice(components, EXAMPLES, config, state, 0.0)
        seconds.append(step.seconds)
        state = getattr(last, "data", None)
    assert seconds == sorted(seconds) and 0 < seconds[0] < seconds[-1] < last.seconds


def foreign(state: bytes) -> bytes:
    file = io.BytesIO()
    torch.save({"weights": {}}, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: b"no state",
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + b"\xff" * 64 + data[len(data) // 2 + 64 :],
        foreign,
    ],
    ids=["empty", "not one", "cut off", "damaged", "of others"],
)
def test_a_state_that_is_none_is_one_sentence(sdxl, harm):
    components, config, before = Components.of(sdxl), TrainingConfig(**FAST), bits(sdxl)
    *_, first = train_slice(components, EXAMPLES, config, None, 0.0)
    with pytest.raises(InvalidRequest, match=r"^checkpoint is damaged or of another version, but must be [\w ]+\.$"):
        list(train_slice(components, EXAMPLES, config, harm(first.data), 0.0))
    assert same(bits(sdxl), before)


def test_a_state_of_another_run_is_refused(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    *_, first = train_slice(components, EXAMPLES, config, None, 0.0)
    with pytest.raises(InvalidRequest, match="rank is 8, but must be 4"):
        list(train_slice(components, EXAMPLES, dataclasses.replace(config, rank=8), first.data, 0.0))
    with pytest.raises(InvalidRequest, match="images is 'another'"):
        list(train_slice(components, EXAMPLES[:2], config, first.data, 0.0))


def test_prepared_is_what_would_be_made(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    made = objective.Objective(components, EXAMPLES, config)
    kept = objective.Objective(components, EXAMPLES, config, made.prepared())
    losses = [each.loss(torch.Generator().manual_seed(1)) for each in (made, kept)]
    assert torch.equal(*losses)

"""Training in slices: the same file however it is cut, and nothing of it in the base between them."""

import dataclasses
import io
import itertools

import pytest
import torch

from lora.errors import InvalidRequest
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests.unit.test_training import EXAMPLES, FAST, bits, result, same
from training import (
    Components,
    TrainedAdapter,
    TrainingConfig,
    TrainingSlice,
    TrainingState,
    TrainingStep,
    denoising,
    objective,
    prolonged,
    slices,
    train,
    train_slice,
)
from training.loop import Run


def sliced(components, config, state=None, seconds=0.0, examples=EXAMPLES, until=10**6):
    """A slice; in no seconds one step is done."""
    return train_slice(components, TrainingSlice(tuple(examples), config, state, seconds, until))


def cut(pipe, seconds=0.0, between=lambda: None, state=None, **changes) -> tuple[TrainedAdapter, list[int]]:
    """The adapter of a sliced run and the steps of each slice."""
    components, config, lengths = Components.of(pipe), TrainingConfig(**FAST | changes), []
    before = 0 if state is None else state.step
    while True:
        *steps, last = sliced(components, config, state and state.data, seconds)
        assert all(isinstance(step, TrainingStep) for step in steps)
        lengths.append(len(steps))
        assert isinstance(last, TrainingState) and last.step == before + sum(lengths) == steps[-1].step
        assert last.losses[-len(steps) :] == tuple(step.loss for step in steps)
        if last.step == config.steps:
            return last.adapter, lengths
        state = last
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
    [
        {},
        dict(accumulation=2, dora=True),
        dict(text_encoders=True),
        dict(precision="bfloat16", timestep_rank=True),
        dict(gradient_checkpointing=True),
    ],
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
        with engine.lent() as lent:
            *_, last = sliced(lent, config, state)
        state = last.data
        assert paint(seed) == pictures[seed]
    *_, whole = train(components, EXAMPLES, config)
    assert last.losses == whole.losses and same(last.adapter.tensors, whole.tensors)


def test_a_slice_that_is_closed_loses_only_itself(sdxl):
    components, config, before = Components.of(sdxl), TrainingConfig(**FAST), bits(sdxl)
    *_, first = sliced(components, config)
    closed = sliced(components, config, first.data, 60.0)
    assert [step.step for step in itertools.islice(closed, 3)] == [2, 3, 4]
    closed.close()
    assert same(bits(sdxl), before)
    torch.rand(5)
    *_, last = sliced(components, config, first.data, 60.0)
    assert last.losses == result(sdxl).losses


def test_what_takes_time_to_prepare_is_prepared_once(sdxl, monkeypatch):
    components, config, calls = Components.of(sdxl), TrainingConfig(**FAST), []
    for where, name in ((denoising, "encode_captions"), (objective, "encode_pictures")):
        real = getattr(where, name)
        spy = lambda *args, name=name, real=real: calls.append(name) or real(*args)  # noqa: E731
        monkeypatch.setattr(where, name, spy)
    *_, first = sliced(components, config)
    assert calls == ["encode_captions", "encode_pictures"]
    *_, second = sliced(components, config, first.data)
    assert len(calls) == 2 and second.step == 2


def test_a_slice_ends_at_a_step_and_when_it_is_enough(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    *steps, last = sliced(components, config, seconds=60.0, until=4)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    *none, again = sliced(components, config, last.data, 60.0, until=4)
    assert not none and again.losses == last.losses and same(again.adapter.tensors, last.adapter.tensors)
    asked = []
    work = TrainingSlice(tuple(EXAMPLES), config, None, 60.0, 10**6)
    *steps, _ = train_slice(components, work, lambda seconds: asked.append(seconds) or len(asked) == 3)
    assert len(steps) == 3 and asked == sorted(asked)


def test_what_is_learnt_on_the_way_is_what_shorter_training_would_have(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST, schedule="constant")
    *_, half = sliced(components, config, seconds=60.0, until=3)
    shorter = result(sdxl, schedule="constant", steps=3)
    assert half.adapter.data() == shorter.data() and half.adapter.metadata["ss_steps"] == "3"


def test_it_goes_on_for_more_steps_however_it_is_cut(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    *_, done = sliced(components, config, seconds=60.0)
    state, longer = prolonged(done.data, 4), dataclasses.replace(config, steps=10)
    *steps, whole = sliced(components, longer, state, 60.0)
    assert [step.step for step in steps] == [7, 8, 9, 10] and whole.losses[:6] == done.losses
    rates = [step.learning_rate for step in steps]
    # As in a run of its own: up, and down again.
    assert rates[0] < max(rates) and rates[-1] < max(rates)
    single, lengths = cut(sdxl, state=dataclasses.replace(done, data=state), steps=10)
    assert lengths == [1] * 4 and single.data() == whole.adapter.data()
    assert not same(whole.adapter.tensors, done.adapter.tensors)


def test_time_counts_over_all_slices(sdxl):
    components, config, state, seconds = Components.of(sdxl), TrainingConfig(**FAST), None, []
    for _ in range(config.steps):
        step, last = sliced(components, config, state)
        seconds.append(step.seconds)
        state = last.data
    assert seconds == sorted(seconds) and 0 < seconds[0] < seconds[-1] < last.adapter.seconds


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
    *_, first = sliced(components, config)
    with pytest.raises(InvalidRequest, match=r"^checkpoint is damaged or of another version, but must be [\w ]+\.$"):
        list(sliced(components, config, harm(first.data)))
    assert same(bits(sdxl), before)


def test_a_state_of_another_run_is_refused(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    *_, first = sliced(components, config)
    with pytest.raises(InvalidRequest, match="rank is 8, but must be 4"):
        list(sliced(components, dataclasses.replace(config, rank=8), first.data))
    with pytest.raises(InvalidRequest, match="images is 'another'"):
        list(sliced(components, config, first.data, examples=EXAMPLES[:2]))


def test_prepared_is_what_would_be_made(sdxl):
    components, config = Components.of(sdxl), TrainingConfig(**FAST)
    made = objective.Objective(components, EXAMPLES, config)
    kept = objective.Objective(components, EXAMPLES, config, made.prepared())
    losses = [each.loss(torch.Generator().manual_seed(1)) for each in (made, kept)]
    assert torch.equal(*losses)

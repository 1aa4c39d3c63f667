"""Weights of text, blocks and steps, normalising, memory; a thousand random sequences that leave no trace (I1, I2)."""

import random as chance
from dataclasses import replace

import pytest
import torch
from torch import nn

from lora.adapter import AdapterUse, FewSteps, combined, normalized, warnings
from lora.composition import Composer, KnownAdapter
from lora.deltas import FullDelta, LoraDelta, merge_into, merged
from lora.errors import InvalidRequest, UnfitAdapter, UnreadableAdapter
from lora.formats import read_adapter
from lora.inspection import fit
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.mix import adapter_mix
from pipeline.request.request import GenerationRequest
from tests.adapters import known, library_with
from tests.weights import same, snapshot


@pytest.fixture
def put_on(model):
    """Puts a mix on and gives the change of each layer; takes it off at the end."""
    _, components, library = model
    composer = Composer(components.adaptable())
    base = {place: layer.weight.detach().clone() for place, layer in composer._modules.items()}

    def changes(progress=0.0, **values):
        composer.apply((AdapterUse(library.find("ink"), **values),), progress)
        return {place: layer.weight.detach() - base[place] for place, layer in composer._modules.items()}

    yield changes
    composer.restore()
    assert all(torch.equal(layer.weight, base[place]) for place, layer in composer._modules.items())


def close(changes, whole, factor) -> bool:
    """Whether each layer changed by factor(component, path) of what the adapter changes at weight 1."""
    return all(torch.allclose(got, factor(*place) * whole[place], atol=1e-6) for place, got in changes.items())


def test_text_and_unet_have_weights_of_their_own(put_on):
    whole = put_on()
    assert close(put_on(weight=0.5, text_weight=-1.0), whole, lambda component, _: 0.5 if component == "unet" else -1)
    assert close(put_on(weight=0.0, text_weight=1.0), whole, lambda component, _: component != "unet")
    assert close(put_on(weight=0.3), whole, lambda *_: 0.3)


def test_blocks_have_factors_and_the_longest_name_counts(put_on):
    whole = put_on()
    blocks = ("down", 0.5), ("mid", 0.0), ("up", 1.0), ("up_blocks.0.attentions.1", -1.0)

    def factor(component, path):
        if component != "unet":
            return 2.0
        if path.startswith("up_blocks.0.attentions.1."):
            return -2.0
        return {"down_blocks": 1.0, "mid_block": 0.0}.get(path.split(".")[0], 2.0)

    assert close(put_on(weight=2.0, blocks=blocks), whole, factor)
    with pytest.raises(UnfitAdapter, match=r"no block 'up_blocks.7'"):
        put_on(blocks=(("up_blocks.7", 1.0),))


def test_an_adapter_over_part_of_the_steps_leaves_the_text_alone(put_on):
    whole = put_on()
    for progress, on in ((0.0, False), (0.24, False), (0.25, True), (0.49, True), (0.5, False), (0.99, False)):
        got = put_on(progress, start=0.25, end=0.5)
        assert close(got, whole, lambda component, _, on=on: on or component != "unet")


def test_equal_mixes_have_one_form_and_normalising_ends_at_one(model):
    _, _, library = model
    ink, gloss = library.find("ink"), library.find("gloss")
    a = combined((AdapterUse(ink, 0.1), AdapterUse(gloss, 1.0), AdapterUse(ink, 0.2), AdapterUse(gloss, 0.0)))
    assert a == combined((AdapterUse(gloss, 1.0), AdapterUse(ink, 0.3)))
    assert combined((AdapterUse(ink, 0.5), AdapterUse(ink, -0.5))) == ()
    mix, factor = normalized((AdapterUse(ink, -1.5), AdapterUse(gloss, 0.5, 2.5)))
    assert factor == 0.25 and [use.weights for use in mix] == [(-0.375, -0.375), (0.125, 0.625)]
    assert normalized(mix) == (mix, 1.0)


def test_one_of_few_steps_is_no_style_and_does_not_burn(model):
    ink, turbo = model[2].find("ink"), replace(model[2].find("gloss"), few_steps=FewSteps(4, ("TCD",)))
    assert warnings((AdapterUse(turbo), AdapterUse(ink))) == [] and warnings((AdapterUse(turbo), AdapterUse(ink, 1.6)))
    halved = AdapterUse(turbo), AdapterUse(ink, 1.0, 1.0)
    assert normalized((AdapterUse(turbo), AdapterUse(ink, 2.0))) == (halved, 0.5)


def test_a_mix_that_tends_to_burn_is_said(model):
    ink, gloss = (model[2].find(name) for name in ("ink", "gloss"))
    for fine in ((), (AdapterUse(ink, 1.5),), (AdapterUse(ink, 1.0), AdapterUse(gloss, -0.5))):
        assert warnings(fine) == []
    heavy = AdapterUse(ink, 1.0), AdapterUse(gloss, -0.2, 0.9)
    assert "add up to 1.9; above 1.5" in warnings(heavy)[0] and warnings(normalized(heavy)[0]) == []
    assert warnings((AdapterUse(ink, 1.0), AdapterUse(ink, 1.0))) and not warnings(
        (AdapterUse(ink), AdapterUse(ink, -1.0))
    )
    # One after the other they are never on together.
    assert not warnings((AdapterUse(ink, 1.0, end=0.5), AdapterUse(gloss, 1.0, start=0.5)))
    assert warnings((AdapterUse(ink, 1.0, end=0.6), AdapterUse(gloss, 1.0, start=0.5)))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"text_weight": 3}, "text_weight"), ({"text_weight": "1"}, "text_weight"), ({"start": -0.1}, "start"),
        ({"end": 1.1}, "end"), ({"start": 0.5, "end": 0.5}, "start"), ({"end": 0}, "start"), ({"start": None}, "start"),
        ({"blocks": [1]}, "blocks"), ({"blocks": {"left": 1}}, "blocks key"), ({"blocks": {"up": 9}}, "blocks.up"),
        ({"blocks": {"up": True}}, "blocks.up"), ({"blocks": {3: 1}}, "blocks key"),
        ({"blocks": {f"up_blocks.{i}": 1 for i in range(99)}}, "blocks"), ({"strength": 1}, "key"),
    ],
)  # fmt: skip
def test_q2_the_ways_to_use_an_adapter_are_checked(values, field):
    with pytest.raises(InvalidRequest) as caught:
        adapter_mix([{"id": "ink", **values}], known)
    assert f"adapters[0].{field}" in str(caught.value) or f"adapters[0] {field}" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_all_ways_to_use_an_adapter_arrive():
    values = {"id": "ink", "weight": -1, "text_weight": 0, "blocks": {"up": 0, "down": 0.5}, "start": 0.25, "end": 0.75}
    (use,) = adapter_mix([values], known)
    assert use == AdapterUse(known("ink"), -1.0, 0.0, (("down", 0.5), ("up", 0.0)), 0.25, 0.75)


def test_i2_the_engine_merges_at_the_boundary_steps_only(tiny_sdxl, tmp_path, monkeypatch):
    engine = Engine(load_profile(base_model=str(tiny_sdxl)))
    components, composer, _ = engine.load()
    library = library_with(components, tmp_path, "ink", "gloss")
    before, merges = snapshot(components), []
    real = composer._put_on
    monkeypatch.setattr(composer, "_put_on", lambda uses, progress: merges.append(progress) or real(uses, progress))

    def paint(**use):
        adapters = [{"id": "ink", **use}, {"id": "gloss", "weight": 1.2}]
        values = {"prompt": "red apple", "steps": 8, "seed": 3, "width": 64, "height": 64, "normalize_adapters": True,
                  "metadata": False}  # fmt: skip
        request = GenerationRequest.create(values | {"adapters": adapters}, engine.limits, library.find)
        *_, generation = engine.generate(request, previews=False)
        return generation

    whole, part = paint(), paint(start=0.25, end=0.75)
    assert merges == [0.0, 0.0, 0.25, 0.75]
    assert whole.images != part.images and paint(start=0.25, end=0.75).images == part.images
    assert part.details["adapters_scale"] == pytest.approx(1 / 2.2)
    assert {adapter["start"] for adapter in part.details["adapters"]} == {0.0, 0.25}
    composer.restore()
    assert same(components, before)


class Two(nn.Module):
    """The smallest model with a UNet's names."""

    def __init__(self):
        super().__init__()
        self.mid_block, self.down_blocks = nn.Linear(5, 3), nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Linear(4, 4)])


class Cancelled(BaseException):
    """As GeneratorExit or a worker's end would be."""


def test_i1_i2_a_thousand_random_sequences_leave_every_bit(model, monkeypatch):
    """Compose, fail in reading, run out of memory or be cancelled in the middle of a merge, restore: in any order."""
    ink = model[2].find("ink")
    modules = {"unet": Two(), "text_encoder": nn.Sequential(nn.Linear(3, 3))}
    composer, rng = Composer(modules), chance.Random(4)
    styles = [replace(ink, id=f"a{i}", sha256=f"{i}") for i in range(4)]
    for i, style in enumerate(styles[:3]):
        torch.manual_seed(i)
        places = rng.sample(sorted(composer.shapes), 3)
        shapes = [(place, composer.shapes[place]) for place in places]
        deltas = {place: LoraDelta(torch.randn(2, *s[1:]), torch.randn(s[0], 2, *[1] * (len(s) - 2)), 0.5)
                  if len(s) > 1 else FullDelta(torch.randn(s)) for place, s in shapes}  # fmt: skip
        composer._cache[style.sha256] = KnownAdapter(deltas, fit(deltas, composer.shapes), 0)
    before = {name: {k: v.clone() for k, v in module.state_dict().items()} for name, module in modules.items()}

    def unread(path, shapes):
        raise UnreadableAdapter("gone")

    monkeypatch.setattr("lora.composition.read_adapter", unread)
    left = [10**9]

    def failing(out, original, terms):
        left[0] -= 1
        if left[0] < 0:
            out.fill_(float("nan"))
            raise rng.choice([torch.OutOfMemoryError, Cancelled, KeyboardInterrupt])
        merge_into(out, original, terms)

    monkeypatch.setattr("lora.composition.merge_into", failing)

    def untouched() -> bool:
        return all(torch.equal(v, before[n][k]) for n, m in modules.items() for k, v in m.state_dict().items())

    clean, failures = {}, 0
    for _ in range(1000):
        for _ in range(rng.randint(1, 5)):
            uses = tuple(
                AdapterUse(rng.choice(styles[: 3 + (rng.random() < 0.1)]), rng.choice([-2, -0.3, 0, 0.1, 1]),
                           rng.choice([None, 0.7]), rng.choice([(), (("mid", 0.5),)]), rng.choice([0.0, 0.5]))
                for _ in range(rng.randint(0, 3))
            )  # fmt: skip
            left[0] = rng.choice([0, 1, 2, 10**9, 10**9])
            try:
                composer.apply(uses, rng.choice([0.0, 0.6]))
                # The same mix is the same bits, whatever was on before.
                bits = [v.clone() for m in modules.values() for v in m.state_dict().values()]
                known = clean.setdefault(composer._key, bits)
                assert all(torch.equal(a, b) for a, b in zip(bits, known))
            except (UnreadableAdapter, torch.OutOfMemoryError, Cancelled, KeyboardInterrupt):
                failures += 1
                assert untouched()
        composer.restore()
        assert untouched() and composer.memory()["originals"] == 0
    assert failures > 300


def test_memory_is_counted_and_bounded(model, monkeypatch):
    _, components, library = model
    composer = Composer(components.adaptable())
    shapes = composer.shapes
    one = sum(t.nbytes for d in read_adapter(library.find("ink").path, shapes).deltas.values() for t in d.tensors)
    monkeypatch.setattr("lora.composition.CACHE_BYTES", one * 3)
    for i in range(8):
        composer.apply((AdapterUse(replace(library.find("ink"), sha256=f"{i}")),))
        memory = composer.memory()
        assert memory["adapters"] <= memory["adapters_limit"] == 3 * one
        assert 0 < memory["originals"] <= memory["originals_limit"]
    composer.apply(tuple(AdapterUse(replace(library.find("ink"), sha256=f"{i}")) for i in range(5)))
    assert composer.memory()["adapters"] == 5 * one
    composer.restore()


def test_room_for_mixes_is_kept_and_bounded(model, monkeypatch):
    _, components, library = model
    composer, mix = Composer(components.adaptable()), (AdapterUse(library.find("ink")),)
    layer = composer._modules["unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]
    places = []
    for _ in range(2):
        composer.apply(mix)
        places.append(layer.weight.data_ptr())
        composer.restore()
    assert places[0] == places[1] != layer.weight.data_ptr(), "the second mix is merged into the room of the first"
    monkeypatch.setattr("lora.composition.SPARE_BYTES", 1000)
    bounded = Composer(components.adaptable())
    bounded.apply(mix)
    bounded.restore()
    assert composer.memory()["spare"] > 0 and bounded.memory()["spare"] <= 1000


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_merged_as_closely_as_it_can_be_written(kind):
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(70, 90, generator=rng).to(kind)
    deltas = [LoraDelta(torch.randn(4, 90, generator=rng), torch.randn(70, 4, generator=rng), 0.1) for _ in range(2)]
    terms, out = [(deltas[0], 0.7), (deltas[1], -0.2)], torch.empty_like(base)
    merge_into(out, base, terms)
    whole, change = merged(base, terms), merged(torch.zeros_like(base), terms).abs()
    allowed = torch.finfo(kind).eps * (whole.abs() + 2 * change.amax())
    assert out.dtype == kind and ((out.float() - whole).abs() <= allowed).all()


def test_the_same_mix_again_is_not_merged_again(model, monkeypatch):
    """Taken off and put on again, as when visitors with and without a style take turns; another mix is merged."""
    _, components, library = model
    composer = Composer(components.adaptable())
    ink, gloss = ((AdapterUse(library.find(name), 0.7),) for name in ("ink", "gloss"))
    merges = []
    monkeypatch.setattr("lora.composition.merge_into", lambda *given: merges.append(1) or merge_into(*given))
    composer.apply(ink)
    first, weights = len(merges), snapshot(components)
    composer.restore()
    composer.apply(ink)
    assert len(merges) == first
    assert same(components, weights)
    composer.restore()
    composer.apply(gloss)
    assert len(merges) == 2 * first
    composer.restore()
    composer.apply(ink)
    assert len(merges) == 3 * first
    assert same(components, weights)

"""Every tier is a request that its model takes; few-step adapters say so themselves or are known by name, and nothing
else is; what is offered is painted with as its card says."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import diffusers
import pytest
import torch

from lora.adapter import MAX_FEW_STEPS, MAX_GUIDANCE, Adapter, FewSteps
from lora.hub import Reference, parse
from lora.inspection import FEW_STEPS, few_steps
from lora.offers import OFFERS
from pipeline.profiles import EMBEDDED_PROFILE, SDXL_PROFILE
from pipeline.request.limits import MAX_GUIDANCE as MOST_GUIDANCE
from pipeline.request.request import GenerationRequest
from pipeline.request.tiers import fastest, few_step, tiers
from pipeline.sampling.schedulers import PRESETS, prepare
from tests.tiny import NOISE
from training.distill import SCHEDULERS
from ui.pages.compare.page import comparable

LIMITS = {profile.name: profile.limits for profile in (EMBEDDED_PROFILE, SDXL_PROFILE)}
KNOWN = {
    "lcm-lora-sdxl": ("LCM", 6, 1), "sdxl_lightning_4step_lora": ("Euler SGM uniform", 4, 1),
    "Hyper-SDXL-8steps-lora": ("DDIM SGM uniform", 8, 1), "Hyper-SDXL-12steps-CFG-lora": ("DDIM SGM uniform", 12, 5),
    "tcd-sdxl-lora": ("TCD", 6, 1), "dmd2_sdxl_4step_lora_fp16": ("LCM SGM uniform", 4, 1),
}  # fmt: skip


SAID = FewSteps(4, ("TCD", "DDIM SGM uniform"))
# The schedulers that the cards of what is offered name, on SDXL's own config; of what is known by name, its makers'.
SDXL_NOISE = dict(NOISE, timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False, clip_sample=False)
TRAILING = {"timestep_spacing": "trailing"}
CARDS = {
    "LCM, 4 steps": (diffusers.LCMScheduler, {}, 4),
    "Lightning, 4 steps": (diffusers.EulerDiscreteScheduler, TRAILING, 4),
    "Lightning, 8 steps": (diffusers.EulerDiscreteScheduler, TRAILING, 8),
    "Hyper-SDXL-8steps-lora": (diffusers.DDIMScheduler, TRAILING, 8),
    "tcd-sdxl-lora": (diffusers.TCDScheduler, {}, 6),
}


def adapter(name: str, description: str = "", **more) -> Adapter:
    return Adapter(name, name, Path(), **dict(
        sha256="0" * 64, rank=4, parameters=1, size=1, source="folder", description=description
    ) | more)  # fmt: skip


@pytest.mark.parametrize("profile", LIMITS)
def test_every_tier_is_a_request_that_the_model_takes(profile):
    limits, styles = LIMITS[profile], {name: adapter(name) for name in KNOWN}
    found = tiers(limits, styles.values())
    assert [tier["name"] for tier in found[:3]] == ["Quality", "Balanced", "Fast"] and len(found) == 3 + len(KNOWN)
    for tier in json.loads(json.dumps(found)):
        values = {"prompt": "x", "adapters": [tier["adapter"]] if tier["adapter"] else [], **tier["values"]}
        request = GenerationRequest.create(values, limits, styles.__getitem__)
        assert {name: getattr(request, name) for name in tier["values"]} == tier["values"]
    quality, balanced, fast = (tier["values"]["steps"] for tier in found[:3])
    assert quality > balanced > fast and found[1]["values"]["scheduler"] == limits.scheduler


@pytest.mark.parametrize("name", KNOWN)
def test_few_step_adapters_are_known_by_name(name):
    tier = tiers(LIMITS["sdxl"], [adapter(name)])[-1]
    assert tuple(tier["values"][key] for key in ("scheduler", "steps", "guidance_scale")) == KNOWN[name]
    assert tier["adapter"] == {"id": name, "weight": 1.0} and name in tier["name"]
    assert few_step(adapter("fast", description=f"made from {name}"))


@pytest.mark.parametrize("name", ["ink", "hyper-realistic", "lightning storm", "calcmeister", "steps-of-rome", "turbo"])
def test_what_only_sounds_like_it_is_no_few_step_adapter(name):
    assert few_step(adapter(name)) is None and len(tiers(LIMITS["sdxl"], [adapter(name)])) == 3


@pytest.mark.parametrize("profile", LIMITS)
def test_one_that_says_so_itself_is_painted_with_as_it_says(profile):
    said = adapter("lcm", few_steps=replace(SAID, schedulers=("No such", *SAID.schedulers)))
    tier = tiers(LIMITS[profile], [said])[-1]
    assert tier["values"] == {"steps": 4, "scheduler": "TCD", "guidance_scale": 1}, "not as one of that name"
    assert (tier["name"], tier["about"]) == ("Few-step: lcm", "4 steps without guidance, by lcm")
    guided = adapter("slow", few_steps=FewSteps(1, ("TCD",), 2.5))
    assert tiers(LIMITS[profile], [guided])[-1]["about"] == "1 step at guidance 2.5, by slow"
    assert len(tiers(LIMITS[profile], [adapter("new", few_steps=FewSteps(4, ("No such",)))])) == 3


def test_one_that_belongs_to_the_model_is_its_way_to_paint_fast():
    turbo, slow = (adapter(name, source="built-in", few_steps=replace(SAID, steps=steps))
                   for name, steps in (("turbo", 4), ("slow", 8)))  # fmt: skip
    found = tiers(LIMITS["embedded"], [adapter("ink"), slow, turbo])
    assert [tier["name"] for tier in found] == ["Quality", "Balanced", "Fast", "Few-step: slow"]
    assert found[2] == {
        "name": "Fast", "about": "4 steps without guidance, by turbo",
        "values": {"steps": 4, "scheduler": "TCD", "guidance_scale": 1.0},
        "adapter": {"id": "turbo", "weight": 1.0}, "offer": None,
    }  # fmt: skip
    unknown = replace(turbo, few_steps=FewSteps(4, ("No such",)))
    assert tiers(LIMITS["embedded"], [unknown])[2]["values"]["steps"] == 10


def test_the_fastest_has_its_adapter_and_no_guidance():
    limits, built_in = LIMITS["sdxl"], adapter("turbo", source="built-in", few_steps=SAID)
    brought, guided = adapter("mine", few_steps=SAID), adapter("one", few_steps=FewSteps(1, ("TCD",), 2.0))
    assert fastest(tiers(limits, [])) is fastest(tiers(limits, [adapter("ink"), guided])) is None
    assert fastest(tiers(limits, [guided, brought, built_in]))["name"] == "Fast"
    quicker = adapter("two", few_steps=replace(SAID, steps=2))
    assert fastest(tiers(limits, [built_in, quicker]))["adapter"]["id"] == "two"
    lightning = adapter("x", sha256=OFFERS[1].sha256)
    assert fastest(tiers(limits, [lightning])) in tiers(limits, [lightning], SDXL_PROFILE.base)


def test_what_distillation_writes_is_read():
    assert set(SCHEDULERS) <= set(PRESETS) and MAX_GUIDANCE == MOST_GUIDANCE
    for said in (FewSteps(4, SCHEDULERS), FewSteps(MAX_FEW_STEPS, ("Euler",), MAX_GUIDANCE), FewSteps(1, ("LCM",), 0)):
        assert few_steps({FEW_STEPS: json.dumps(asdict(said))}) == said
        values = tiers(LIMITS["sdxl"], [adapter("x", few_steps=said)])[-1]["values"]
        assert GenerationRequest.create({"prompt": "x", **values}, LIMITS["sdxl"], {}.get).steps == said.steps
    assert few_steps({}) is None


GOOD = {"steps": 4, "schedulers": ["TCD"], "guidance_scale": 1}


@pytest.mark.parametrize("said", [
    "", "{", "null", "4", "[]", "[" * 100_000, '"' * 9, "1" * 5000, json.dumps(GOOD)[:-1], *map(json.dumps, (
        {"steps": 4}, GOOD | {"steps": 0}, GOOD | {"steps": 17}, GOOD | {"steps": -1}, GOOD | {"steps": 10**400},
        GOOD | {"steps": True}, GOOD | {"steps": 4.0}, GOOD | {"steps": "4"}, GOOD | {"steps": None},
        GOOD | {"guidance_scale": -1}, GOOD | {"guidance_scale": 31}, GOOD | {"guidance_scale": 10**400},
        GOOD | {"guidance_scale": float("nan")}, GOOD | {"guidance_scale": float("inf")},
        GOOD | {"guidance_scale": True}, GOOD | {"guidance_scale": "1"}, GOOD | {"guidance_scale": None},
        GOOD | {"schedulers": []}, GOOD | {"schedulers": "TCD"}, GOOD | {"schedulers": {"TCD": 1}},
        GOOD | {"schedulers": [None, 4, ["TCD"], "", "\x1b[2J", "x" * 41]}, GOOD | {"schedulers": [4] * 8 + ["TCD"]},
    )),
], ids=lambda said: said[:40])  # fmt: skip
def test_what_a_stranger_says_of_few_steps_is_ignored_where_it_cannot_be(said):
    assert few_steps({FEW_STEPS: said}) is None


def test_of_many_names_the_good_ones_among_the_first_count():
    said = GOOD | {"schedulers": [7, "\n", "Euler", "TCD", *["x"] * 10_000], "more": [1]}
    assert few_steps({FEW_STEPS: json.dumps(said)}).schedulers == ("Euler", "TCD", "x", "x", "x", "x")


def test_sdxl_is_offered_what_can_be_fetched():
    limits, base = LIMITS["sdxl"], SDXL_PROFILE.base
    found = json.loads(json.dumps(tiers(limits, [], base)[3:]))
    assert [tier["name"] for tier in found] == [offer.name for offer in OFFERS]
    for tier, offer in zip(found, OFFERS):
        assert parse(tier["offer"]["repo_id"]) == Reference(offer.repo, offer.commit, offer.file)
        assert tier["adapter"] is None and tier["offer"]["licence"] == "openrail++"
        assert tier["offer"]["url"].endswith(offer.repo) and tier["offer"]["bytes"] == offer.size
        GenerationRequest.create({"prompt": "x", **tier["values"]}, limits, {}.get)
    assert len(tiers(limits, [], base, OFFERS[1].size)) == 5, "a file that would be refused"
    assert len(tiers(limits, [], "another/model")) == len(tiers(LIMITS["embedded"], [], EMBEDDED_PROFILE.base)) == 3


@pytest.mark.parametrize("source", ["latent-consistency/lcm-lora-sdxl@a18548dd4956", "folder", "kept"])
@pytest.mark.parametrize("base", ["", SDXL_PROFILE.base])
def test_what_was_offered_and_is_there_is_known_by_its_content(base, source):
    there = adapter("lcm-lora-sdxl", source=source, sha256=OFFERS[0].sha256)
    found = tiers(LIMITS["sdxl"], [there], base)
    assert found[3]["name"] == "LCM, 4 steps" and found[3]["values"]["steps"] == 4 and found[3]["offer"] is None
    assert found[3]["adapter"] == {"id": "lcm-lora-sdxl", "weight": 1.0}
    assert len(found) == (6 if base else 4)
    assert few_steps({}, OFFERS[0].sha256) == OFFERS[0].few_steps, "so that it does not count among styles"


@pytest.mark.parametrize("name", CARDS)
def test_its_steps_are_those_of_the_scheduler_that_its_card_names(name):
    kind, settings, steps = CARDS[name]
    card = kind.from_config(SDXL_NOISE | settings)
    card.set_timesteps(steps)
    known = {tier["name"]: tier["values"] for tier in tiers(LIMITS["sdxl"], [], SDXL_PROFILE.base)}
    values = known.get(name) or few_step(adapter(name)).values(LIMITS["sdxl"])
    assert values["steps"] == steps and values["guidance_scale"] == 1
    ours, times = prepare(values["scheduler"], SDXL_NOISE, steps)
    assert type(ours) is kind and times.tolist() == card.timesteps.tolist()
    assert ours.init_noise_sigma == card.init_noise_sigma
    levels = [each.sigmas if kind is diffusers.EulerDiscreteScheduler else each.alphas_cumprod for each in (ours, card)]
    assert torch.equal(*levels) and getattr(ours, "final_alpha_cumprod", 0) == getattr(card, "final_alpha_cumprod", 0)


def test_dmd2_paints_at_the_steps_that_it_was_trained_on():
    values = few_step(adapter("dmd2_sdxl_4step_lora")).values(LIMITS["sdxl"])
    _, times = prepare(values["scheduler"], SDXL_NOISE, values["steps"])
    assert times.tolist() == pytest.approx([999, 749, 499, 249], abs=1)


@pytest.mark.parametrize(("source", "few", "embedding", "style"), [
    ("built-in", None, False, True), ("built-in", FewSteps(4, ("TCD",)), False, False), ("built-in", None, True, False),
    ("upload", FewSteps(4, ("TCD",)), False, True),
])  # fmt: skip
def test_what_the_model_is_fast_with_is_no_style_and_what_a_visitor_brings_is(source, few, embedding, style):
    made = replace(adapter("x"), source=source, few_steps=few, embedding=embedding)
    assert made.is_style is style
    assert comparable([made]) == ([{"id": "x", "name": "x"}] if style else [])

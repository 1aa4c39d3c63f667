"""Every tier is a request that its model takes; few-step adapters are known by name, and nothing else is."""

import json
from pathlib import Path

import pytest

from lora.adapter import Adapter
from pipeline.profiles import EMBEDDED_PROFILE, SDXL_PROFILE
from pipeline.request.request import GenerationRequest
from pipeline.request.tiers import few_step, tiers

LIMITS = {profile.name: profile.limits for profile in (EMBEDDED_PROFILE, SDXL_PROFILE)}
KNOWN = {
    "lcm-lora-sdxl": ("LCM", 6, 1), "sdxl_lightning_4step_lora": ("Euler SGM uniform", 4, 1),
    "Hyper-SDXL-8steps-lora": ("DDIM SGM uniform", 8, 1), "Hyper-SDXL-12steps-CFG-lora": ("DDIM SGM uniform", 12, 5),
    "tcd-sdxl-lora": ("TCD", 6, 1), "dmd2_sdxl_4step_lora_fp16": ("LCM", 4, 1),
}  # fmt: skip


def adapter(name: str, description: str = "") -> Adapter:
    return Adapter(name, name, Path(), "0" * 64, 4, 1, 1, "folder", description=description)


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

"""A front holds no model: it tokenizes, estimates, judges adapters and draws schedules from configs alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.engine import Engine
from pipeline.facts import ModelFacts
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests.made_up import made_up

ROOT = Path(__file__).resolve().parents[2]
FRONT = """
import gc, json, sys, torch
from lora.inspection import inspect
from pathlib import Path
from pipeline.facts import ModelFacts
from pipeline.families import known_marks
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest

facts = ModelFacts.of(load_profile("embedded"))
request = GenerationRequest.create({"prompt": "a red apple", "seed": 1}, facts.limits, None)
adapter = Path("assets/adapters/ink.safetensors")
verdict = inspect(adapter, facts.shapes, facts.profile.family.name, families=known_marks()).public()
held = [p for p in gc.get_objects() if isinstance(p, torch.nn.Parameter) and not p.is_meta]
print(json.dumps({
    "tokens": facts.tokenize("a red apple")["tokens"], "seconds": facts.expected_seconds(request),
    "fits": verdict["fits"], "matched": verdict["matched"], "sigmas": facts.sigmas("Euler", 5), "held": len(held),
    "gradio": "gradio" in sys.modules,
}))
"""


def test_a_process_without_a_model_knows_what_one_with_it_does():
    run = subprocess.run([sys.executable, "-c", FRONT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    told, facts = json.loads(run.stdout), Engine(load_profile("embedded")).facts
    request = GenerationRequest.create({"prompt": "a red apple", "seed": 1}, facts.limits, None)
    assert told["held"] == 0 and not told["gradio"]
    assert told["tokens"] == facts.tokenize("a red apple")["tokens"] and told["sigmas"] == facts.sigmas("Euler", 5)
    assert told["seconds"] == facts.expected_seconds(request)
    assert told["fits"] and told["matched"] > 50


@pytest.mark.parametrize("family", ["tiny_sdxl", "tiny_sd15", "made-up"])
def test_the_shapes_are_those_of_the_loaded_model(family, request, tmp_path):
    folder = made_up(tmp_path) if family == "made-up" else request.getfixturevalue(family)
    profile = load_profile(base_model=str(folder))
    seen, loaded = ModelFacts.of(profile), Engine(profile).facts
    assert seen.shapes == loaded.shapes and seen.limits == loaded.limits
    assert seen.tokenize("a (red:1.2) apple [soft:hard:0.5]") == loaded.tokenize("a (red:1.2) apple [soft:hard:0.5]")


def test_a_speed_is_learnt_from_what_another_process_tells(tiny_sdxl):
    facts = ModelFacts.of(load_profile(base_model=str(tiny_sdxl)))
    request = GenerationRequest.create({"prompt": "x", "seed": 1}, facts.limits, None)
    guessed = facts.expected_seconds(request)
    facts.observe(request, {"timings": {"total": 2 * guessed}})
    assert facts.expected_seconds(request) == pytest.approx(2 * guessed)
    facts.observe(request, {"timings": {"total": guessed}})
    assert guessed < facts.expected_seconds(request) < 2 * guessed

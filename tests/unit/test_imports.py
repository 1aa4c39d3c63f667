"""Imports run one way only: lora, pipeline.request <- pipeline <- ui <- app. Each rule in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("lora.adapter", ("torch", "gradio", "pipeline")),
        ("lora.errors", ("torch", "gradio", "pipeline")),
        ("pipeline.request", ("torch", "gradio", "diffusers")),
        ("lora.composition", ("gradio", "pipeline", "ui")),
        ("lora.library", ("gradio", "pipeline", "ui")),
        ("lora.training", ("gradio", "pipeline", "ui")),
        ("pipeline.engine", ("gradio", "ui")),
    ],
)
def test_a_module_pulls_in_nothing_from_above(module, forbidden):
    code = f"import {module}, sys; print([m for m in {forbidden!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_only_settings_read_the_environment():
    readers = []
    for path in [ROOT / "app.py", *(p for room in ("lora", "pipeline", "ui") for p in (ROOT / room).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                readers.append(path.relative_to(ROOT).as_posix())
    assert set(readers) <= {"app.py"}

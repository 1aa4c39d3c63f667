"""Imports run one way only: lora, pipeline.request.request <- pipeline <- ui <- app."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("lora", "pipeline", "training", "serving", "ui")


# Imported in this order in one process; after each group the modules named with it must not have been pulled in.
ORDER = [
    (("lora.errors", "lora.adapter", "pipeline.request.request"), ("torch", "gradio", "diffusers", "pydantic")),
    (("lora.formats", "lora.composition", "lora.library", "training"), ("gradio", "pipeline.engine", "serving", "ui")),
    (("pipeline.engine",), ("gradio", "serving", "ui")),
]


def test_a_module_pulls_in_nothing_from_above():
    code = "import importlib, sys\n"
    for modules, forbidden in ORDER:
        code += f"for m in {modules!r}: importlib.import_module(m)\n"
        code += f"assert not (bad := [m for m in {forbidden!r} if m in sys.modules]), ({modules!r}, bad)\n"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def test_adapters_know_nothing_of_the_pipeline():
    for path in (ROOT / "lora").rglob("*.py"):
        names = [n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
        assert not [n for n in names if n.split(".")[0] in (*ROOMS[1:], "app", "gradio")], path.name


def test_only_settings_and_those_who_start_read_the_environment():
    readers = []
    for path in [ROOT / "app.py", *(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                readers.append(path.relative_to(ROOT).as_posix())
    # Both put the parts together; what a part needs to know it is told.
    assert set(readers) <= {"app.py", "pipeline/__main__.py"}

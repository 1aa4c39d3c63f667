"""What each room may know: imports go down only, and gradio is met in the uppermost room alone."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each room, and the rooms that it may import from besides itself.
ROOMS = {
    "lora": set(),
    "pipeline": {"lora"},
    "training": {"lora", "pipeline"},
    "serving": {"lora", "pipeline", "training"},
    "ui": {"lora", "pipeline", "training", "serving"},
}
# Imported in this order in one process; after each group the modules named with it must not have been pulled in.
ORDER = [
    (("lora.errors", "lora.adapter", "pipeline.request.request"), ("torch", "gradio", "diffusers", "pydantic")),
    (("lora.formats", "lora.composition", "lora.library"), ("gradio", "pipeline.engine", "serving", "ui")),
    (("training", "pipeline.engine"), ("gradio", "serving", "ui")),
    (
        ("serving.generation", "serving.jobs", "serving.history", "serving.shutdown", "serving.workers.local"),
        ("gradio", "ui"),
    ),
]


def imported(path: Path) -> set[str]:
    """The top levels of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[0] for name in names}


def test_a_module_pulls_in_nothing_from_above():
    code = "import importlib, sys\n"
    for modules, forbidden in ORDER:
        code += f"for m in {modules!r}: importlib.import_module(m)\n"
        code += f"assert not (bad := [m for m in {forbidden!r} if m in sys.modules]), ({modules!r}, bad)\n"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_below_only(room):
    forbidden = (set(ROOMS) | {"app", "tests"}) - ROOMS[room] - {room}
    if room != "ui":
        forbidden.add("gradio")
    for path in (ROOT / room).rglob("*.py"):
        assert not imported(path) & forbidden, path.relative_to(ROOT)


def test_a_family_is_asked_for_nowhere_but_in_its_file():
    """Whoever wants to know something of a model asks its family, not which one it is."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        if "families" not in path.parts and path.name != "profiles.py":
            text = path.read_text("utf-8")
            assert "families.sd" not in text and "family.name ==" not in text, path.name


def test_only_settings_and_those_who_start_read_the_environment():
    readers = []
    for path in [ROOT / "app.py", *(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                readers.append(path.relative_to(ROOT).as_posix())
    # Both put the parts together; what a part needs to know it is told.
    assert set(readers) <= {"app.py", "pipeline/__main__.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "benchmarks").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_benchmarks_that_no_test_runs_know_what_they_measure(path):
    importlib.import_module(f"tests.benchmarks.{path.stem}")

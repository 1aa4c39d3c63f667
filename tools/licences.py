"""The licence of everything that the app installs and ships, and whether each is one that may be passed on.

    .venv/bin/python -m tools.licences

Walks requirements.txt down through what is installed, then the weights in assets/. Prints a table; exits with 1 and
names what is unknown or not in ALLOWED.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
# SPDX identifiers, and the words that packages without one use for the same.
ALLOWED = {
    "0BSD", "Apache", "Apache 2.0 License", "Apache Software License", "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CC-BY-4.0", "CNRI-Python", "HPND", "ISC", "ISC License", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0",
    "MIT-CMU", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "Python Software Foundation License",
    "Unlicense", "Zlib",
}  # fmt: skip
# CUDA, which PyTorch installs on Linux: proprietary, and free to use and to pass on with a program.
NVIDIA = ("nvidia-", "cuda-")
OSI = "License :: OSI Approved :: "


def allowed(said: str) -> bool:
    """Whether an SPDX expression, or a name in ALLOWED, may be passed on. Doubtful nesting counts against it."""
    parts = [part.split(" OR ") for part in said.split(" AND ")]
    return all(any({one, one.strip("() ")} & ALLOWED for one in part) for part in parts)


def stated(metadata) -> str:
    """What a package's metadata say its licence is: the expression, or all its classifiers, or the old field."""
    classifiers = [c.removeprefix(OSI) for c in metadata.get_all("Classifier") or [] if c.startswith(OSI)]
    old = (metadata.get("License") or "").strip()
    return metadata.get("License-Expression") or " AND ".join(classifiers) or old.partition("\n")[0][:80]


def installed(requirements: list[str]) -> Iterator[tuple[str, str, str]]:
    """(name, version, licence) of what these need, each once; "" where it is not installed."""
    waiting = [Requirement(line) for line in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), {"", *wanted.extras}
        if (name, frozenset(extras)) in seen:
            continue
        fresh = not any(name == known for known, _ in seen)
        seen.add((name, frozenset(extras)))
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:
            yield name, "not installed", ""
            continue
        if fresh:
            yield name, found.version, stated(found.metadata)
        for further in map(Requirement, found.requires or ()):
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)


def shipped(assets: Path) -> Iterator[tuple[str, str, str]]:
    """(name, version, licence) of the weights, and of the drawings that they were trained on."""
    card = (assets / "model" / "README.md").read_text("utf-8")
    licence = re.search(r"^license: (\S+)$", card, re.M)
    yield "assets/model", "", licence[1].upper() if licence else ""
    for name, version, said in re.findall(r"^\| ([\w-]+) \| (\d+\.\d+\.\d+) \| ([^|]+) \|", card, re.M):
        yield f"{name} (drawings)", version, said.strip()
    for path in sorted((assets / "adapters").glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            yield f"assets/adapters/{path.name}", "", (file.metadata() or {}).get("modelspec.license", "")


def refused(table: list[tuple[str, str, str]]) -> list[str]:
    """The names in a table whose licence is unknown or not allowed."""
    return [name for name, _, said in table if not (allowed(said) or name.startswith(NVIDIA))]


def main() -> int:
    """Print the table; 1 where something in it is refused."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines())
    table = [*sorted(installed([*filter(None, lines)])), *shipped(ROOT / "assets")]
    width = max(len(name) for name, _, _ in table)
    for name, version, said in table:
        print(f"{name:{width}}  {version:14}  {said or 'unknown'}")
    if bad := refused(table):
        print(f"not in the list of licences: {', '.join(bad)}", file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

"""Every number that a test cites is a row of the matrix, and every row is tried."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_matrix_and_tests_name_the_same_rows():
    rows = set(re.findall(r"^\| ([A-Z]\d+) \|", (ROOT / "docs" / "test-matrix.md").read_text("utf-8"), re.M))
    cited = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text("utf-8")
        cited |= {name.upper() for name in re.findall(r"def test_([a-z]\d{1,2})_", text)}
        for said in re.findall(r"\((?:matrix )?((?:[A-Z]\d{1,2}(?:-[A-Z]\d{1,2})?,? ?)+)\)", text):
            for first, last in re.findall(r"([A-Z]\d+)(?:-[A-Z](\d+))?", said):
                cited |= {f"{first[0]}{i}" for i in range(int(first[1:]), int(last or first[1:]) + 1)}
    assert rows and cited == rows, sorted(cited ^ rows)

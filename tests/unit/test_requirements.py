"""What is installed is said exactly, and the lock and the workflow keep to it."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def pinned(path: str) -> dict[str, str]:
    """name -> version of a requirements file."""
    lines = [line.split("#")[0].strip() for line in (ROOT / path).read_text("utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith("-r")]
    assert all(re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line) for line in wanted), wanted
    return {re.sub(r"[_.]", "-", re.sub(r"\[.*\]", "", name)): version for name, _, version in
            (line.partition("==") for line in wanted)}  # fmt: skip


def test_every_requirement_is_exact():
    assert len(pinned("requirements.txt")) >= 12 and len(pinned("tests/requirements.txt")) >= 8


def test_the_lock_has_them_all_with_hashes_and_names_no_place():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.split(r"^(?=[a-z0-9])", re.sub(r"^#.*\n", "", lock, flags=re.M), flags=re.M)[1:]
    locked = dict(re.match(r"([\w.-]+)==([\w.]+)", entry).groups() for entry in entries)
    assert pinned("requirements.txt").items() <= locked.items() and len(entries) == len(locked) > 80
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"://|file:|--(extra-)?index|--find-links|^#.* /", lock, re.M)


def test_the_workflow_only_reads_and_runs_what_a_person_runs():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    # YAML 1.1 takes "on" for true.
    flow = yaml.safe_load(text)
    assert set(flow) == {"name", True, "permissions", "concurrency", "jobs"} and flow["permissions"] == {
        "contents": "read"
    }
    assert set(flow[True]) == {"push", "pull_request", "schedule"}
    (job,) = flow["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    assert all(
        re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"]) for step in job["steps"] if "uses" in step
    )
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert ".ci/run" in runs and any("--require-hashes -r requirements.lock" in run for run in runs)
    # What a stranger's pull request may be named is in no command.
    assert not any("${{" in run for run in runs)

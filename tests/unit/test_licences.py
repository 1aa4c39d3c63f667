"""What is installed and shipped may be passed on, and what may not is noticed."""

import sys

import pytest

from tools.licences import ROOT, allowed, installed, main, refused, shipped


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of that name and these metadata, installed as far as its metadata go."""

    def make(name: str, *lines: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]))

    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return make


def test_a_gpl_package_is_caught_however_deep_it_is(package):
    package("madeup-a", "License-Expression: MIT", 'Requires-Dist: madeup-b; extra == "more"')
    package("madeup-b", "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)")
    assert refused([*installed(["madeup-a"])]) == []
    table = [*installed(["madeup-a[more]", "madeup-a"])]
    assert sorted(name for name, _, _ in table) == ["madeup-a", "madeup-b"]
    assert refused(table) == ["madeup-b"]


def test_what_says_nothing_or_is_not_there_is_caught(package):
    package("madeup-c")
    table = [*installed(["madeup-c", "madeup-missing"])]
    assert sorted(refused(table)) == ["madeup-c", "madeup-missing"] and ("madeup-c", "1.0", "") in table


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("MIT", True), ("MPL-2.0 AND (Apache-2.0 OR MIT)", True), ("GPL-2.0-only OR MIT", True),
        ("Apache-2.0 WITH LLVM-exception", True), ("MIT AND GPL-3.0-only", False), ("", False), ("custom", False),
    ],
)  # fmt: skip
def test_expressions(said, good):
    assert allowed(said) is good


def test_all_that_is_shipped_is_told():
    table = [*shipped(ROOT / "assets")]
    names = [name for name, _, _ in table]
    assert "assets/model" in names and "twemoji (drawings)" in names
    assert len([name for name in names if name.startswith("assets/adapters/")]) == 6 and refused(table) == []


def test_everything_installed_may_be_passed_on(capsys):
    assert main() == 0, capsys.readouterr().err
    assert "gradio" in capsys.readouterr().out

"""Uploads: nobody else's, bounded, gone with the session (matrix A5-A10, I3, R2)."""

import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora.composition import Composer
from lora.errors import AdapterError, OutOfSpace, UnfitAdapter, UnknownAdapter, UnreadableAdapter
from lora.library import Library, describe
from lora.private import Bounds, PrivateAdapters
from pipeline.profiles import load, load_profile
from tests.adapters import library_with, save_adapter
from tests.unit.test_hardening import Canary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def components(tiny_sdxl):
    return load(load_profile(base_model=str(tiny_sdxl)))


@pytest.fixture
def ink(components, tmp_path) -> Path:
    return save_adapter(components, tmp_path / "ink.safetensors", 1)


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def library_of(components, tmp_path, clock):
    def make(**bounds) -> Library:
        (tmp_path / "private").mkdir()
        private = PrivateAdapters(Bounds(**bounds), tmp_path / "private", lambda: clock[0])
        return Library([], Composer(components.adaptable()).shapes, "sdxl", private)

    return make


@pytest.fixture
def library(library_of):
    return library_of()


def kept(library) -> list[Path]:
    return [path for path in library._private._root.rglob("*") if path.is_file()]


def other(path: Path, seed: int) -> Path:
    """The same adapter with other numbers."""
    target = path.with_name(f"other{seed}.safetensors")
    save_file({key: tensor + seed for key, tensor in load_file(path).items()}, target)
    return target


def test_an_upload_is_a_copy_that_its_session_uses(library, ink, components):
    adapter = library.upload(ink, "My ink (v2).safetensors", "me")
    assert adapter.id.startswith("My_ink__v2_-") and adapter.source == "upload" and adapter.name == "My ink (v2)"
    assert adapter.path.read_bytes() == ink.read_bytes() and not adapter.path.is_symlink()
    assert "ink" not in str(adapter.path.relative_to(library._private._root))
    assert library.all("me") == (adapter,) and library.find(adapter.id, "me") == adapter
    # Deleted where it came from, as gradio will.
    ink.unlink()
    assert adapter.path.is_file()


def test_i3_no_other_session_finds_or_lists_or_deletes_it(library, ink):
    adapter = library.upload(ink, "ink.safetensors", "me")
    for session in ("you", "", None, "me "):
        assert adapter not in library.all(session)
        with pytest.raises(UnknownAdapter) as caught:
            library.find(adapter.id, session)
        assert "none is installed." in str(caught.value)
        library.forget(session)
    assert library.find(adapter.id, "me") == adapter
    # Whoever learns the session's name alone learns no id: that is what keeps it.
    with pytest.raises(UnknownAdapter) as caught:
        library.find("guess", "me")
    secret = adapter.id.removeprefix("ink-")
    assert "your own: ink." in str(caught.value) and secret not in str(caught.value) and len(secret) >= 20
    # The other's own copy of the same file is another adapter.
    assert library.upload(ink, "ink.safetensors", "you").id != adapter.id


def test_the_same_file_twice_is_the_same_adapter(library, ink):
    first = library.upload(ink, "ink.safetensors", "me")
    assert library.upload(ink, "another-name.safetensors", "me") == first
    assert len(kept(library)) == 1


def test_the_end_of_a_session_deletes_its_files(library, ink):
    library.upload(ink, "ink.safetensors", "me")
    yours = library.upload(ink, "ink.safetensors", "you")
    library.forget("me")
    assert library.all("me") == () and kept(library) == [yours.path]


def test_what_nobody_uses_for_long_goes_by_itself(library, ink, clock):
    mine = library.upload(ink, "ink.safetensors", "me")
    yours = library.upload(ink, "ink.safetensors", "you")
    clock[0] = 7000
    assert library.find(mine.id, "me")
    clock[0] = 7201
    library.all("somebody")
    assert kept(library) == [mine.path] and not yours.path.parent.exists()


def test_a_file_too_large_or_one_too_many_is_refused(library_of, ink):
    size = ink.stat().st_size
    library = library_of(file_bytes=size, per_session=2)
    (big := ink.with_name("big.safetensors")).write_bytes(ink.read_bytes() + b"0")
    with pytest.raises(OutOfSpace, match="KB are taken"):
        library.upload(big, "big.safetensors", "me")
    library.upload(ink, "ink.safetensors", "me")
    library.upload(other(ink, 1), "ink.safetensors", "me")
    with pytest.raises(OutOfSpace, match="You have brought 2 adapters"):
        library.upload(other(ink, 2), "ink.safetensors", "me")
    assert len(kept(library)) == len(library.all("me")) == 2


def test_when_all_room_is_taken_the_longest_unused_session_gives_way(library_of, ink, clock):
    size = ink.stat().st_size
    library = library_of(total_bytes=2 * size, spare_seconds=60)
    library.upload(ink, "ink.safetensors", "a")
    clock[0] = 50
    library.upload(ink, "ink.safetensors", "b")
    # Nobody has been away for a minute yet.
    with pytest.raises(OutOfSpace, match="are taken; try again later"):
        library.upload(ink, "ink.safetensors", "c")
    clock[0] = 61
    library.upload(ink, "ink.safetensors", "c")
    assert not library.all("a") and library.all("b") and library.all("c") and len(kept(library)) == 2


def test_when_all_room_is_taken_whoever_has_most_gives_way_to_whoever_has_less(library_of, ink):
    size = ink.stat().st_size
    library = library_of(total_bytes=4 * size + 100)
    for i in range(3):
        copy = ink.with_name(f"{i}.safetensors")
        save_file(load_file(ink), copy, metadata={"n": str(i)})
        library.upload(copy, copy.name, "greedy")
    library.upload(ink, "ink.safetensors", "other")
    assert library.upload(ink, "ink.safetensors", "late") and not library.all("greedy") and library.all("other")


def test_room_is_counted_while_files_are_still_coming(library_of, ink):
    size = ink.stat().st_size
    library = library_of(total_bytes=size)
    with library._private.reserve("me", size), pytest.raises(OutOfSpace):
        library.upload(ink, "ink.safetensors", "you")
    library.upload(ink, "ink.safetensors", "you")


def test_a_session_that_ends_while_its_file_comes_leaves_nothing(library, ink):
    with pytest.raises(OutOfSpace, match="session has ended"), library._private.reserve("me", 1) as folder:
        library.forget("me")
        (folder / "x").write_bytes(b"x")
        library._private.keep(library_adapter(ink, folder), "me")
    assert not kept(library) and library.all("me") == () and not library._private._shelves
    # Nor where the session has begun anew by then.
    with pytest.raises(OutOfSpace, match="session has ended"), library._private.reserve("me", 1) as folder:
        library.forget("me")
        again = library.upload(ink, "ink.safetensors", "me")
        (folder / "x").write_bytes(b"x")
        library._private.keep(replace(library_adapter(ink, folder), sha256="other"), "me")
    assert kept(library) == [again.path] and library.all("me") == (again,)


def library_adapter(ink, folder):
    return replace(describe(ink, "upload"), path=folder / "x")


def refused(library, path, name, kind=UnreadableAdapter) -> str:
    with pytest.raises(kind) as caught:
        library.upload(path, name, "me")
    words = str(caught.value)
    assert not kept(library) and not list(library._private._root.iterdir()) and library.all("me") == ()
    assert words.endswith(".") and "\n" not in words and str(path.parent) not in words
    return words


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "a\0.safetensors", ".safetensors", "a\n", ""],
)
def test_a10_names_are_refused_and_no_file_is_written_outside(library, ink, name):
    before = sorted(ink.parent.rglob("*"))
    refused(library, ink, name)
    assert sorted(ink.parent.rglob("*")) == before


def test_a10_links_pipes_and_folders_are_not_read(library, ink, tmp_path):
    secret = tmp_path / "link.safetensors"
    secret.symlink_to(ink)
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (secret, tmp_path / "pipe.safetensors", tmp_path, tmp_path / "nothing", tmp_path / "a\0b"):
        assert "upload it again" in refused(library, path, "x.safetensors")


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.ckpt", "x.SAFETENSORS", "x.zip", "x.7z", "x", "x.safetensors"])
def test_a9_pickles_are_refused_unread(library, tmp_path, name):
    torch.save(Canary(tmp_path / "canary"), tmp_path / "upload")
    words = refused(library, tmp_path / "upload", name)
    assert not (tmp_path / "canary").exists()
    assert ("announces a header" if name == "x.safetensors" else "can run code") in words and name in words


def test_a5_a6_good_unet_and_bad_text_encoder_are_refused_as_a_whole(library, ink):
    for bad in (torch.nan, torch.inf):
        tensors = load_file(ink)
        key = next(k for k in tensors if k.startswith("text_encoder."))
        tensors[key][0, 0] = bad
        save_file(tensors, ink)
        assert "not finite" in refused(library, ink, "mine.safetensors")
    del tensors[key]
    save_file(tensors, ink)
    assert refused(library, ink, "mine.safetensors").startswith("'mine.safetensors' lacks")


def test_a8_what_does_not_fit_is_refused_and_what_fits_in_part_is_taken(library, ink):
    tensors = load_file(ink)
    save_file({f"unet.nowhere.{i}.lora_{p}.weight": torch.zeros(4, 4) for i in (1, 2) for p in "AB"}, ink)
    assert "'x' was made for another model: none of its 2 layers" in refused(
        library, ink, "x.safetensors", UnfitAdapter
    )
    received = library.receive(ink, "x.safetensors", "me").public()
    assert received["fits"] is False and received["id"] is None and received["matched"] == 0
    save_file(tensors | {f"unet.nowhere.lora_{p}.weight": torch.zeros(4, 4) for p in "AB"}, ink)
    received = library.receive(ink, "x.safetensors", "me").public()
    assert received["fits"] and received["unmatched"] == 1 and "fits in part" in received["reason"]
    assert library.find(received["id"], "me").name == received["name"] == "x"


def test_the_shared_ones_come_first_and_are_everybodys(components, tmp_path, ink):
    (tmp_path / "shared").mkdir()
    shared = library_with(components, tmp_path / "shared", "gloss")
    library = Library([(tmp_path / "shared", "folder")], Composer(components.adaptable()).shapes, "sdxl")
    mine = library.upload(ink, "ink.safetensors", "me")
    assert library.all("me") == (*shared.all(), mine) and library.all() == library.all("you") == shared.all()
    with pytest.raises(UnknownAdapter, match="known adapters: gloss; your own: ink"):
        library.find("nosuch", "me")
    folder = mine.path.parents[1]
    assert folder.stat().st_mode & 0o777 == mine.path.parent.stat().st_mode & 0o777 == 0o700


def test_r2_a_full_disk_is_said_and_recovered_from(library, ink, monkeypatch):
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, _):
            raise OSError(28, "No space left on device", "/secret")

    def full(path, mode="r", *rest):
        return Full(real(path, mode)) if mode == "wb" else real(path, mode, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        assert (
            refused(library, ink, "x.safetensors", OutOfSpace)
            == "There is no room left for the file here; try again later."
        )
    library.upload(ink, "x.safetensors", "me")


HOLDER = """
import sys, time
from lora.private import PrivateAdapters
private = PrivateAdapters()
with private.reserve("me", 1) as folder:
    (folder / "adapter.safetensors").write_bytes(b"x")
    print(folder.parent, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A temporary folder of this test's own."""
    (reserve := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(reserve))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield reserve
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no flock")
def test_what_a_killed_app_has_left_is_swept_at_the_next_start_and_a_living_ones_is_not(scratch):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        folder = Path(holder.stdout.readline().strip())
        assert folder.parent == scratch and [*folder.rglob("*.safetensors")]
        (scratch / "atelier-adapters-link").symlink_to(tmp := scratch / "elsewhere")
        (tmp / "precious").mkdir(parents=True)
        PrivateAdapters()
        assert [*folder.rglob("*.safetensors")], "it lives"
    finally:
        holder.kill()
        holder.wait()
    assert [*folder.rglob("*.safetensors")]
    here = PrivateAdapters()
    assert not folder.exists() and here._root.exists() and (tmp / "precious").exists()


def test_only_this_users_folders_are_swept(scratch, monkeypatch):
    (theirs := scratch / "atelier-adapters-theirs").mkdir()
    uid = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: uid + 1)
    PrivateAdapters()
    assert theirs.exists()
    monkeypatch.setattr("os.getuid", lambda: uid)
    PrivateAdapters()
    assert not theirs.exists()


def test_a_temporary_folder_that_was_cleaned_away_is_made_anew(components, scratch, ink):
    library = Library([], Composer(components.adaptable()).shapes, "sdxl")
    lost = library.upload(ink, "ink.safetensors", "me")
    shutil.rmtree(lost.path.parents[1])
    with pytest.raises(UnknownAdapter):
        library.find(lost.id, "me")
    again = library.upload(ink, "ink.safetensors", "me")
    assert again.path.is_file() and library.all("me") == (again,) and library.count()["own"] == 1
    assert again.path.parents[1].stat().st_mode & 0o777 == 0o700
    # All temporary files of the machine.
    shutil.rmtree(scratch)
    again = library.upload(ink, "ink.safetensors", "me")
    assert library.all("me") == (again,) and again.path.is_file()
    # One file only.
    again.path.unlink()
    assert library.all("me") == ()
    assert library.upload(ink, "ink.safetensors", "me").path.is_file()
    assert library.count()["own_bytes"] == ink.stat().st_size


def test_many_at_once_are_all_kept_and_bounded(library_of, ink):
    library, errors = library_of(per_session=3), []
    files = [other(ink, i) for i in range(6)]

    def bring(path, session):
        try:
            library.upload(path, path.name, session)
        except AdapterError as error:
            errors.append(error)

    threads = [threading.Thread(target=bring, args=(p, s)) for p in files for s in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(library.all(session)) for session in "ab"] == [3, 3] and len(kept(library)) == 6
    assert len(errors) == 6 and all(isinstance(error, OutOfSpace) for error in errors)

"""Styles that visitors keep: whose they are, how many, and what a kill, a full disk, damage leave (F5, I3, R2)."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lora.adapter import Adapter, FewSteps
from lora.errors import StyleNotKept, StylesError, UnknownAdapter, UnknownStyle
from lora.files import CONFIG
from lora.library import Library, describe
from lora.private import PrivateAdapters
from serving import style_store
from serving.history import owner_hash
from serving.style_store import DAMAGED
from serving.styles import StyleLimits, Styles
from tests.unit.test_history import ROOT, noise, png

A, B = owner_hash("a" * 43), owner_hash("b" * 43)
SAID = {"modelspec.title": "Ink", "modelspec.trigger_phrase": "ink style", "modelspec.license": "CC0-1.0",
        "ss_steps": "500", "ss_learning_rate": "0.001",
        "atelier.few_steps": '{"steps": 4, "schedulers": ["TCD"], "guidance_scale": 1}'}  # fmt: skip


def style(folder: Path, seed: int = 1, width: int = 8) -> Adapter:
    """An adapter as a session has it, whose files are in a folder of their own."""
    place = folder / f"brought{seed}"
    # The package shuffles the metadata: written again it would be another file.
    if place.exists():
        return describe(place / "adapter.safetensors", "upload")
    place.mkdir()
    parts = {f"unet.mid_block.a.to_q.lora_{part}.weight": torch.full(shape, float(seed))
             for part, shape in (("A", (2, width)), ("B", (width, 2)))}  # fmt: skip
    save_file(parts, place / "adapter.safetensors", metadata=SAID | {"modelspec.title": f"Ink {seed}"})
    return describe(place / "adapter.safetensors", "upload")


def word(folder: Path, width: int = 8) -> Adapter:
    """An embedding as a session has it."""
    save_file({"emb_params": torch.ones(2, width)}, folder / "my-cat.safetensors")
    return describe(folder / "my-cat.safetensors", "upload")


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "styles").iterdir()}


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def opened(data):
    """Opens the styles on one folder, as one start of the app after the other; all are closed at the end."""
    every = []

    def make(folder=data, **limits) -> Styles:
        every.append(Styles(folder, StyleLimits(**limits)))
        return every[-1]

    yield make
    for each in every:
        each.close()


def test_what_was_kept_is_there_after_a_restart_bit_for_bit(opened, tmp_path, data):
    brought = style(tmp_path)
    content = brought.path.read_bytes()
    kept = opened().keep(A, brought)
    shutil.rmtree(brought.path.parent)
    again = opened()
    assert again.all(A) == [kept] and again.find(A, kept.adapter.id) == kept
    mine, told = kept.adapter, again.public(kept)
    assert mine.path.read_bytes() == content and mine.sha256 == brought.sha256 and mine.source == "kept"
    assert (mine.name, mine.rank, mine.triggers, mine.licence) == ("Ink 1", 2, ("ink style",), "CC0-1.0")
    assert mine.few_steps == brought.few_steps == FewSteps(4, ("TCD",))
    assert (mine.tensor_hashes, mine.size, mine.words) == (brought.tensor_hashes, brought.size, ())
    assert told["training"]["ss_steps"] == "500" and told["origin"] == "upload" and told["preview"] is None
    assert len(mine.id) == 22 and mine.id != brought.id
    assert mine.path.stat().st_mode & 0o777 == 0o600 and (data / "styles").stat().st_mode & 0o777 == 0o700
    assert names(data) == {mine.path.name}


def test_the_same_content_is_kept_once_for_each_owner(opened, tmp_path, data):
    here = opened()
    first = here.keep(A, style(tmp_path))
    assert here.keep(A, style(tmp_path)) == first == here.keep(A, first.adapter)
    assert here.keep(B, style(tmp_path)).adapter.id != first.adapter.id and len(names(data)) == 2


def test_a_config_beside_belongs_to_the_style(opened, tmp_path):
    save_file({f"base_model.model.mid_block.a.to_q.lora_{part}.weight": torch.ones(shape)
               for part, shape in (("A", (2, 8)), ("B", (8, 2)))}, tmp_path / "adapter_model.safetensors")  # fmt: skip
    (tmp_path / CONFIG).write_text('{"lora_alpha": 16, "r": 2}')
    here = opened()
    brought = describe(tmp_path / "adapter_model.safetensors", "owner/repo@abc")
    kept = here.keep(A, brought)
    again = describe(kept.adapter.path, "kept")
    assert again.sha256 == brought.sha256 == kept.adapter.sha256
    _, _, key = here.public(kept)["config"].partition("?key=")
    assert here.path(kept.file(CONFIG), key)[0].read_text() == (tmp_path / CONFIG).read_text()


def test_renamed_pictured_and_deleted(opened, tmp_path, data):
    here = opened()
    other, kept = here.keep(A, style(tmp_path, 2)), here.keep(A, style(tmp_path))
    identity = kept.adapter.id
    assert here.rename(A, identity, "Tusche, naß").adapter.name == "Tusche, naß"
    addresses = [here.public(here.picture(A, identity, noise(side)))["preview"] for side in (64, 400)]
    assert addresses[0] != addresses[1] and len(names(data)) == 3
    name, _, key = addresses[1].removeprefix("/mine/").partition("?key=")
    small, title = opened().path(name, key)
    assert small.read_bytes()[8:12] == b"WEBP" and title == "Tusche, naß" and small.stat().st_size < 320 * 320
    assert [each.adapter.id for each in here.all(A)] == [identity, other.adapter.id]
    here.forget(A, identity)
    assert here.all(A) == [other] and names(data) == {other.adapter.path.name}
    for ask in (here.find, here.forget, lambda *which: here.rename(*which, "x"), lambda *w: here.picture(*w, png())):
        with pytest.raises(UnknownStyle):
            ask(A, identity)


def test_i3_nothing_of_another_owner_can_be_listed_renamed_downloaded_or_deleted(opened, tmp_path):
    here = opened()
    kept, theirs = here.keep(A, style(tmp_path)), here.keep(B, style(tmp_path, 2))
    identity, name = kept.adapter.id, kept.adapter.path.name
    assert here.all(B) == [theirs]
    for ask in (here.find, here.forget, lambda *which: here.rename(*which, "x"), lambda *w: here.picture(*w, png())):
        with pytest.raises(UnknownStyle):
            ask(B, identity)
    key = here.public(kept)["file"].partition("?key=")[2]
    another = here.public(theirs)["file"].partition("?key=")[2]
    for wrong in ("", "x", another, key[:-1], key.upper(), "ä"):
        with pytest.raises(UnknownStyle):
            here.path(name, wrong)
    for elsewhere in ("../styles.sqlite3", "..", "", "/etc/passwd", f"{identity}-1.webp", "a\0"):
        with pytest.raises(UnknownStyle):
            here.path(elsewhere, key)
    assert here.path(name, key) == (kept.adapter.path, "Ink 1") and here.all(A) == [kept]


def test_i3_only_sessions_that_were_lent_it_find_it(opened, tmp_path):
    here, private = opened(), PrivateAdapters(folder=tmp_path)
    library = Library([], private=private)
    kept = here.keep(A, style(tmp_path)).adapter
    library.lend("mine", [kept])
    assert library.find(kept.id, "mine") == kept and library.all("mine") == (kept,)
    for session in ("other", None):
        with pytest.raises(UnknownAdapter):
            library.find(kept.id, session)
    library.forget("mine")
    assert kept.path.is_file() and library.all("mine") == ()
    library.lend("mine", [kept])
    here.forget(A, kept.id)
    assert library.all("mine") == (), "deleted by another session of its owner"
    library.lend("mine", [])
    for session in range(1100):
        library.lend(str(session), [kept])
    assert len(private._shelves) <= 1001


def test_embeddings_are_words_where_the_model_reads_them(opened, tmp_path):
    here = opened()
    kept = [each.adapter for each in (here.keep(A, word(tmp_path)), here.keep(A, style(tmp_path)))]
    place = "text_encoder", "encoder.layers.0.self_attn.q_proj"
    for width, words in ((8, [(("my-cat", 2),)]), (16, [])):
        library = Library([], {place: (width, width)}, private=PrivateAdapters(folder=tmp_path))
        library.lend("mine", kept)
        assert [each.words for each in library.embeddings("mine")] == words
        assert len(library.all("mine")) == 1 + len(words)


def test_above_a_quota_it_is_refused_in_a_sentence_and_nothing_gives_way(opened, tmp_path, data):
    here = opened(per_owner=2)
    kept = [here.keep(A, style(tmp_path, seed)) for seed in (1, 2)]
    with pytest.raises(StyleNotKept) as error:
        here.keep(A, style(tmp_path, 3))
    assert str(error.value) == (
        "The style was not kept: you have kept 2 styles, as many as are kept of one visitor; delete one that you do "
        "not need, such as 'Ink 1', your largest."
    )
    assert here.keep(A, style(tmp_path)) == kept[0] and here.keep(B, style(tmp_path, 3))
    size = kept[0].adapter.size
    full = opened(total_bytes=3 * size + 10)
    with pytest.raises(StyleNotKept, match=r"it has .* KB, and of the .* KB for all visitors' styles .* KB are taken; "
                                           r"delete some of yours, which have .* KB\."):  # fmt: skip
        full.keep(A, style(tmp_path, 4))
    with pytest.raises(StyleNotKept, match=r"are taken; download it and bring it again another time\."):
        full.keep(owner_hash("c" * 43), style(tmp_path, 4))
    assert [each.adapter.id for each in full.all(A)] == [each.adapter.id for each in kept[::-1]]
    assert len(names(data)) == 3
    full.forget(A, kept[0].adapter.id)
    assert full.keep(A, style(tmp_path, 4))


def test_what_changed_or_went_while_it_was_copied_is_not_kept(opened, tmp_path, data):
    here, brought = opened(), style(tmp_path)
    brought.path.write_bytes(style(tmp_path, 2).path.read_bytes())
    with pytest.raises(StyleNotKept, match="Try again later"):
        here.keep(A, brought)
    assert names(data) == set() and here.all(A) == []


def test_a_copy_that_another_start_has_swept_is_made_again(opened, tmp_path, data, monkeypatch):
    here, real = opened(), style_store._copy

    def swept(source, target, digest):
        size = real(source, target, digest)
        monkeypatch.setattr(style_store, "_copy", real)
        opened()
        return size

    monkeypatch.setattr(style_store, "_copy", swept)
    kept = here.keep(A, style(tmp_path))
    assert opened().all(A) == [kept] and names(data) == {kept.adapter.path.name}


def test_r2_a_full_disk_is_said_and_nothing_is_lost(opened, tmp_path, data, monkeypatch):
    here = opened()
    kept = here.keep(A, style(tmp_path))
    real = style_store._copy

    def full(source, target, digest):
        real(source, target, digest)
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(style_store, "_copy", full)
    with pytest.raises(StyleNotKept) as error:
        here.keep(A, style(tmp_path, 2))
    said = str(error.value)
    assert said.startswith("The style was not kept. There is no room left for it here; delete") and "/" not in said
    assert here.all(A) == [kept] and names(data) == {kept.adapter.path.name}
    monkeypatch.setattr(style_store, "_copy", real)
    assert here.keep(A, style(tmp_path, 2))


def test_r2_on_a_full_disk_one_can_still_delete(opened, tmp_path, data, monkeypatch):
    here, real = opened(), style_store.StyleStore._deleted
    kept = here.keep(A, style(tmp_path))

    def deleted(store, *which):
        if (data / "ballast").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(store, *which)

    monkeypatch.setattr(style_store.StyleStore, "_deleted", deleted)
    here.forget(A, kept.adapter.id)
    assert here.all(A) == [] and names(data) == set() and (data / "ballast").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StylesError, match=r"DATA_DIR is '.*', but no styles can be kept there: Not a directory\."):
        Styles(tmp_path / "file" / "data")


def test_f5_a_damaged_database_is_set_aside_with_its_files(opened, tmp_path, data):
    first = opened()
    kept = first.keep(A, style(tmp_path))
    first.close()
    (data / "styles.sqlite3").write_bytes(b"x" * 5000)
    again = opened()
    assert again.notice == DAMAGED and again.all(A) == []
    (aside,) = data.glob("damaged-*")
    assert (aside / "styles.sqlite3").read_bytes() == b"x" * 5000 and names(aside) == {kept.adapter.path.name}
    assert again.keep(A, style(tmp_path)) and opened().notice == ""


def test_f5_a_damaged_style_is_set_aside_and_one_without_its_preview_stays(opened, tmp_path, data):
    first = opened()
    cut, bare = (first.keep(A, style(tmp_path, seed)).adapter for seed in (1, 2))
    first.picture(A, bare.id, png())
    cut.path.write_bytes(b"x")
    (data / "styles" / f"{bare.id}-1.webp").unlink()
    # As a kill leaves them, and what somebody else has put there.
    for name in (f"{'o' * 22}.safetensors", f"{'o' * 22}.safetensors.part", f"{'o' * 22}.{CONFIG}", "holiday.webp"):
        (data / "styles" / name).write_bytes(b"x")
    again = opened()
    assert again.notice == DAMAGED and [each.adapter for each in again.all(A)] == [bare]
    assert again.public(again.find(A, bare.id))["preview"] is None
    (aside,) = data.glob("damaged-*")
    assert [path.name for path in aside.iterdir()] == [cut.path.name]
    assert names(data) == {bare.path.name, "holiday.webp"}


def test_only_the_hash_of_the_secret_is_stored(opened, tmp_path, data):
    opened().keep(A, style(tmp_path))
    stored = b"".join(path.read_bytes() for path in data.iterdir() if path.is_file())
    assert b"a" * 43 not in stored and A.encode() in stored


# Forks from a process that has everything imported.
KILLS = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from lora.files import hashes
from lora.library import describe
from serving.styles import StyleLimits, Styles
folder, brought = Path(sys.argv[1]), describe(Path(sys.argv[2]), "upload")
limits, known, killed, data = StyleLimits(per_owner=10_000), set(), 0, brought.path.read_bytes()
for turn in range(20):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        styles, mine = Styles(folder, limits), brought.path.with_name(f"{turn}.safetensors")
        os.write(writer, b" ")
        for number in range(10_000):
            # Another file each time: its last number is another one.
            mine.write_bytes(data[:-4] + (turn * 10_000 + number).to_bytes(4, "little"))
            kept = styles.keep("owner", replace(brought, path=mine, sha256=hashes(mine)[0]))
            os.write(writer, kept.adapter.id.encode() + b" ")
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as told:
        told.read(1)
        # Every other one is killed after its first commit, however slow the disk.
        first = told.read(23).decode() if turn % 2 else ""
        time.sleep(random.Random(turn).uniform(0, .06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        known |= set((first + told.read().decode()).split(" ")[:-1])
    there = {path.name for path in (folder / "styles").iterdir()}
    styles = Styles(folder, limits)
    rows = {kept.adapter.id: kept.adapter for kept in styles.all("owner")}
    assert styles.notice == "" and known <= set(rows), "a committed row is lost"
    needed = {adapter.path.name for adapter in rows.values()}
    assert needed == {path.name for path in (folder / "styles").iterdir()} and needed <= there, "a row without its file"
    killed += there != needed
    styles.close()
assert all(hashes(adapter.path)[0] == adapter.sha256 for adapter in rows.values())
print(len(known), killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_f5_kills_in_the_middle_of_keeping_lose_nothing_and_leave_nothing(tmp_path):
    brought = style(tmp_path, width=60_000).path
    command = [sys.executable, "-c", KILLS, str(tmp_path / "data"), str(brought)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    kept, orphans = map(int, run.stdout.split())
    assert kept >= 10 and orphans > 2, "they came in the middle of writes"


def test_two_processes_wait_for_each_other(opened, tmp_path, data):
    here = opened()
    other = sqlite3.connect(data / "styles.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    here.store.db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(StyleNotKept, match="Try again later"):
        here.keep(A, style(tmp_path))
    assert names(data) == set()
    other.execute("ROLLBACK")
    other.close()
    assert here.keep(A, style(tmp_path))

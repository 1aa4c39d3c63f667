"""What is kept: whose it is, how long, and what is left of it after a kill, a full disk, damage (F5, I3, R2)."""

import errno
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lora.errors import HistoryError, InvalidOwner, NotKept, UnknownPicture
from serving import disk, picture_store
from serving.history import DAMAGED, History, HistoryLimits, owner_hash

ROOT = Path(__file__).resolve().parents[2]
A, B = owner_hash("a" * 43), owner_hash("b" * 43)


def png(colour="red", size=(8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def noise(side: int) -> bytes:
    """A PNG of about 3 * side**2 bytes."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG")
    return file.getvalue()


def details(prompt="a red apple", **more) -> dict:
    return {"prompt": prompt, "prompts": [prompt], "seeds": [7]} | more


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "pictures").iterdir()}


def rows(history: History, owner=A) -> list[str]:
    return [kept.details["prompt"] for kept in history.all(owner, limit=1000)]


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def opened(tmp_path):
    """Opens histories on one folder, as one start of the app after the other; all are closed at the end."""
    every = []

    def make(folder=tmp_path / "data", **options) -> History:
        every.append(History(folder, **options))
        return every[-1]

    yield make
    for each in every:
        each.close()


def test_what_was_kept_is_there_after_a_restart(opened, tmp_path):
    data = [png("red"), png("blue")]
    kept = opened().keep(A, "job", data, details(seeds=[7, 8]))
    again = opened()
    assert again.all(A) == [kept] and again.of_job(A, "job") == kept and again.count(A) == 2
    assert kept.details["seeds"] == [7, 8] and [number for number, _ in kept.files] == [0, 1]
    assert [each.path.read_bytes() for each in again.pictures(A)] == data
    small = Image.open(tmp_path / "data" / "pictures" / kept.files[0][1].replace(".png", ".webp"))
    assert small.format == "WEBP" and max(small.size) <= 320


def test_i3_nothing_of_another_owner_can_be_listed_read_or_deleted(opened):
    here = opened()
    kept = here.keep(A, "job", [png()], details())
    name = kept.files[0][1]
    assert here.all(B) == [] and here.count(B) == 0 and list(here.pictures(B)) == []
    for ask in (here.find, here.of_job, here.forget):
        with pytest.raises(UnknownPicture):
            ask(B, {here.of_job: "job"}.get(ask, kept.id))
    assert here.all(B, before=kept.id) == []
    key = here.signed(kept, name).partition("?key=")[2]
    others = here.keep(B, "job", [png()], details())
    theirs = here.signed(others, others.files[0][1]).partition("?key=")[2]
    for wrong in ("", "x", theirs, key[:-1], key.upper(), "ä"):
        with pytest.raises(UnknownPicture):
            here.path(name, wrong)
    assert here.path(name, key).read_bytes() == png()
    here.forget(A, kept.id)
    with pytest.raises(UnknownPicture):
        here.path(name, key)


def test_addresses_outlast_a_restart_and_lead_nowhere_else(opened):
    here = opened()
    kept = here.keep(A, "job", [png()], details())
    name = kept.files[0][1]
    address, _, key = here.signed(kept, name).partition("?key=")
    assert address == f"/kept/{name}"
    assert opened().path(name, key).exists()
    for other in ("../history.sqlite3", "..", "", "/etc/passwd", f"{kept.id}-1.png", "a\0"):
        with pytest.raises(UnknownPicture):
            here.path(other, key)


@pytest.mark.parametrize("secret", [None, "", "a" * 31, "a" * 129, "a" * 40 + "/", "ä" * 40, 7, ["a" * 40]])
def test_an_owner_is_a_secret_and_the_message_does_not_repeat_it(secret):
    with pytest.raises(InvalidOwner) as error:
        owner_hash(secret)
    assert str(error.value) == "owner is no secret, but must be 32 to 128 random letters, digits, - and _."


def test_only_the_hash_of_the_secret_is_stored(opened, tmp_path):
    opened().keep(A, "job", [png()], details())
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir() if path.is_file())
    assert b"a" * 43 not in stored and A.encode() in stored


def test_search_and_pages(opened):
    here = opened()
    for i in range(30):
        here.keep(A, f"j{i}", [png()], details(f"a {'Red' if i % 2 else 'green'} apple, 100% {i}"))
    assert len(here.all(A, "RED apple")) == 15 and here.all(A, "red pear") == []
    assert len(here.all(A, "100%", limit=50)) == 30 and here.all(A, "100_") == []
    page = here.all(A, "red", limit=10)
    assert [k.details["prompt"][-2:] for k in page] == [f"{i}".rjust(2) for i in range(29, 9, -2)]
    assert len(here.all(A, "red", limit=10, before=page[-1].id)) == 5


def test_a_job_that_goes_on_extends_its_set(opened, tmp_path):
    here, data = opened(), [png("red"), png("blue"), png("green")]
    first = here.keep(A, "job", data[:1], details(prompts=["an apple"], seeds=[7]))
    here.keep(A, "other", data[:1], details("another"))
    here.keep(B, "job", data[:1], details("of somebody else"))
    again = here.keep(A, "job", data, details("a pear", seeds=[7, 8, 9]))
    assert again.id == first.id and again.created == first.created and again == here.of_job(A, "job")
    assert [number for number, _ in again.files] == [0, 1, 2] and again.details["seeds"] == [7, 8, 9]
    assert rows(here) == ["another", "a pear"] and rows(here, B) == ["of somebody else"] and here.count(A) == 4
    assert [(tmp_path / "data" / "pictures" / name).read_bytes() for _, name in again.files] == data
    assert here.all(A, "pear") == [again] and opened().all(A, "pear") == [again] and len(names(tmp_path / "data")) == 10


def test_what_was_deleted_of_a_job_that_goes_on_does_not_come_back(opened):
    here, data = opened(), [png("red"), png("blue"), png("green")]
    kept = here.keep(A, "job", data[:2], details())
    here.forget(A, kept.id, 1)
    assert [number for number, _ in here.keep(A, "job", data, details()).files] == [0, 2]


def test_what_a_job_had_stays_where_the_rest_cannot_be_written(opened, tmp_path, monkeypatch):
    here = opened()
    first = here.keep(A, "job", [png()], details())

    def put(path, data):
        disk.put(path, data)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(picture_store, "put", put)
    with pytest.raises(NotKept):
        here.keep(A, "job", [png(), png("blue")], details("a pear"))
    assert here.all(A) == [first] and len(names(tmp_path / "data")) == 2


def test_words_of_every_wording_are_found(opened):
    here = opened()
    here.keep(A, "job", [png(), png()], details("{Ä|b} apple", prompts=["Ä apple", "b apple"]))
    assert len(here.all(A, "ä apple")) == 1


MIX = {"adapters": [{"id": "ink", "name": "Tusche", "weight": 0.8}], "steps": 25, "scheduler": "Euler a",
       "width": 512, "height": 768, "guidance_scale": 3.5, "eta": 0.0, "clip_skip": 2, "negative_prompt": "blurry",
       "seeds": [125, 126], "hires": {"width": 1024, "height": 1536}}  # fmt: skip


@pytest.mark.parametrize(
    "words", ["tusche euler 25 steps", "INK a red apple", "126", "seed 125", "512x768", "512 × 768", "1024X1536",
              "guidance 3.5", "clip skip 2", "euler a"]
)  # fmt: skip
def test_styles_sampler_seed_size_and_settings_are_found(opened, words):
    here = opened()
    kept = here.keep(A, "job", [png()], details(**MIX))
    here.keep(A, "other", [png()], details("a pear", seeds=[1]))
    assert here.all(A, words) == [kept]


@pytest.mark.parametrize("words", ["12", "25 0", "blurry", "eta", "tusche 126 pear", "1251", "[0-9]5", "* a"])
def test_what_was_not_said_is_not_found(opened, words):
    here = opened()
    here.keep(A, "job", [png()], details(**MIX))
    assert here.all(A, words) == []


def test_a_comparison_is_found_by_its_axes(opened):
    here = opened()
    axes = {"comparison": {"x": {"title": "Scheduler", "labels": ["DDIM", "LCM"]}, "y": None}}
    kept = here.keep(A, "job", [png()], details(**axes))
    assert here.all(A, "comparison lcm") == [kept]


def test_what_was_painted_from_one_time_to_another(opened):
    clock = Clock()
    here = opened(clock=clock)
    for i in range(4):
        here.keep(A, f"j{i}", [png()], details(str(i)))
        clock.now += 100
    start = Clock.now
    found = lambda **times: [kept.details["prompt"] for kept in here.all(A, **times)]  # noqa: E731
    assert found(since=start + 100) == ["3", "2", "1"] and found(until=start + 200) == ["1", "0"]
    assert found(since=start + 1, until=start + 250) == ["2", "1"] and found(search="3", until=start + 250) == []


def test_favourites_are_listed_outlast_a_restart_and_go_with_their_picture(opened):
    here = opened()
    here.keep(A, "other", [png()], details("other"))
    kept = here.keep(A, "job", [png(), png("blue"), png("green")], details())
    for number in (0, 2, 2):
        here.favour(A, kept.id, number, True)
    again = opened()
    (found,) = again.all(A, favourites=True)
    assert [number for number, _ in found.files] == [0, 2] and found.id == kept.id
    assert [picture["favourite"] for picture in again.public(again.find(A, kept.id))["pictures"]] == [True, False, True]
    assert [each.path.read_bytes() for each in again.pictures(A, favourites=True)] == [png(), png("green")]
    assert again.keep(A, "job", [png()] * 4, details()).favourites == {0, 2}, "while its job goes on"
    again.forget(A, kept.id, 0)
    again.favour(A, kept.id, 2, False)
    assert again.all(A, favourites=True) == [] and again.find(A, kept.id).favourites == set()
    for owner, number in ((A, 0), (A, 7), (B, 2)):
        with pytest.raises(UnknownPicture):
            again.favour(owner, kept.id, number, True)


def test_favourites_give_way_last_and_are_bounded_all_the_same(opened):
    here = opened(limits=HistoryLimits(per_owner=3))
    for i in range(6):
        kept = here.keep(A, f"j{i}", [png()], details(str(i)))
        if i in (1, 2, 4):
            here.favour(A, kept.id, 0, True)
    assert rows(here) == ["5", "4", "2"], "the newest is there, favourite or not"
    here.keep(A, "j6", [png(), png()], details("6"))
    assert rows(here) == ["6", "4"]


def test_i3_nobody_holds_all_the_room_by_calling_all_favourites(opened):
    size = len(noise(64)) + 4_000
    here = opened(limits=HistoryLimits(total_bytes=8 * size))
    for i in range(12):
        here.favour(A, here.keep(A, f"j{i}", [noise(64)], details(str(i))).id, 0, True)
    for i in range(6):
        here.keep(B, f"k{i}", [noise(64)], details(str(i)))
    assert len(rows(here, B)) >= 4 and 3 <= len(rows(here)) <= 4


def test_a_full_disk_takes_favourites_last(opened, monkeypatch):
    here = opened()
    first = here.keep(A, "j0", [png()], details("0"))
    here.favour(A, first.id, 0, True)
    for i in range(1, 4):
        here.keep(A, f"j{i}", [png()], details(str(i)))
    failures = [OSError(errno.ENOSPC, "No space left on device")]

    def put(path, data):
        if failures:
            raise failures.pop()
        disk.put(path, data)

    monkeypatch.setattr(picture_store, "put", put)
    here.keep(A, "j4", [png()], details("4"))
    assert rows(here)[0] == "4" and rows(here)[-1] == "0" and len(rows(here)) < 5


def version_1(path: Path) -> None:
    """Make a database what the first version of the app would have made of it."""
    with sqlite3.connect(path) as db:
        db.execute("UPDATE sets SET words = 'a red apple'")
        for column in ("favourites", "painted"):
            db.execute(f"ALTER TABLE sets DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 0")
    db.close()


def test_a_history_of_the_first_version_is_opened_without_loss(opened, tmp_path):
    first = opened()
    kept = [first.keep(A, f"j{i}", [png(), png("blue")], details(**MIX)) for i in range(3)]
    addresses = [first.signed(each, name) for each in kept for _, name in each.files]
    first.close()
    version_1(tmp_path / "data" / "history.sqlite3")
    again = opened()
    assert again.notice == "" and again.all(A) == kept[::-1] == again.all(A, "tusche euler 25 steps")
    assert [again.signed(each, name) for each in kept for _, name in each.files] == addresses
    again.favour(A, kept[0].id, 1, True)
    assert [each.id for each in opened().all(A, favourites=True)] == [kept[0].id]
    # Once only: what was written since stays as it was written.
    again.store.db.execute("UPDATE sets SET words = 'x'")
    assert opened().all(A, "tusche") == []


def test_a_real_history_of_the_first_version_is_searched_by_all_its_words(opened, tmp_path):
    shutil.copytree(ROOT / "tests" / "fixtures" / "history-1", tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "history.sqlite3") as db:
        (owner,) = db.execute("SELECT DISTINCT owner FROM sets").fetchone()
    db.close()
    here = opened(limits=HistoryLimits(days=1e6))
    assert here.notice == "" and len(here.all(owner)) == 5
    found = lambda words: [len(kept.files) for kept in here.all(owner, words)]  # noqa: E731
    assert (
        found("ink") == [2] == found("seed 8")
        and found("ddim 96x96 clip skip 1") == [1]
        # The comparison has them on an axis.
        and found("4 steps") == [1, 1, 1, 2, 1]
    )


def test_the_pictures_that_are_asked_for(opened):
    here = opened()
    kept = here.keep(A, "job", [png(), png("blue")], details("{a|b}", prompts=["a", "b"], seeds=[7, 8]))
    here.keep(A, "other", [png()], details())
    (one,) = here.pictures(A, {(kept.id, 1), (kept.id, 5), ("gone", 0)})
    assert (one.prompt, one.seed, one.created) == ("b", 8, kept.created) and one == here.picture(A, kept.id, 1)
    assert [*here.pictures(B, {(kept.id, 1)})] == [] and [*here.pictures(A, set())] == []
    for owner, number in ((A, 2), (B, 0)):
        with pytest.raises(UnknownPicture):
            here.picture(owner, kept.id, number)


def test_one_picture_of_several_can_go(opened, tmp_path):
    here = opened()
    kept = here.keep(A, "job", [png("red"), png("blue")], details())
    here.forget(A, kept.id, 0)
    assert [number for number, _ in here.find(A, kept.id).files] == [1] and here.count(A) == 1
    with pytest.raises(UnknownPicture):
        here.forget(A, kept.id, 0)
    here.forget(A, kept.id, 1)
    assert here.all(A) == [] and names(tmp_path / "data") == set()


def test_the_oldest_give_way_to_each_bound(opened, tmp_path):
    clock = Clock()
    here = opened(limits=HistoryLimits(per_owner=3, days=1), clock=clock)
    for i in range(5):
        here.keep(A, f"j{i}", [png()], details(str(i)))
    here.keep(B, "j", [png()], details("b"))
    assert rows(here) == ["4", "3", "2"] and rows(here, B) == ["b"]
    here.keep(A, "j5", [png(), png()], details("5"))
    assert rows(here) == ["5", "4"] and len(names(tmp_path / "data")) == 2 * 4
    clock.now += 86_401
    assert rows(opened(limits=HistoryLimits(days=1), clock=clock)) == []
    size = len(noise(64)) + 4_000
    small = opened(limits=HistoryLimits(total_bytes=3 * size), clock=clock)
    for i in range(6):
        small.keep(A, f"k{i}", [noise(64)], details(str(i)))
    assert rows(small)[0] == "5" and len(rows(small)) < 5
    stored = sum(path.stat().st_size for path in (tmp_path / "data" / "pictures").iterdir())
    assert stored <= 3 * size
    with pytest.raises(NotKept, match="no room"):
        small.keep(A, "huge", [noise(256)], details())
    assert rows(small)[0] == "5"


def test_r2_a_full_disk_is_said_the_oldest_go_and_it_recovers(opened, tmp_path, monkeypatch):
    here = opened()
    for i in range(4):
        here.keep(A, f"j{i}", [png()], details(str(i)))
    limits = [0]

    def put(path, data):
        if limits[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        limits[0] -= 1
        disk.put(path, data)

    monkeypatch.setattr(picture_store, "put", put)
    with pytest.raises(NotKept) as error:
        here.keep(A, "j4", [png()], details("4"))
    assert "no room left" in str(error.value) and str(tmp_path) not in str(error.value)
    left = rows(here)
    assert left and left == ["3", "2", "1", "0"][: len(left)] and len(left) < 4, "some of the oldest gave way"
    assert len(names(tmp_path / "data")) == 2 * len(left)
    limits[0] = 100
    here.keep(A, "j5", [png()], details("5"))
    assert rows(here) == ["5", *left]


@pytest.fixture
def small_disk(tmp_path):
    """A folder of 2 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    except (AttributeError, FileNotFoundError):
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_r2_on_a_disk_that_is_really_full(opened, small_disk):
    here = opened(small_disk / "data")
    for i in range(40):
        here.keep(A, f"j{i}", [noise(160)], details(str(i)))
    kept = rows(here)
    assert kept[0] == "39" and 5 < len(kept) < 40, "as many as there is room for"
    free = os.statvfs(small_disk)
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(free.f_bsize))
    here.keep(A, "full", [noise(100)], details("full"))
    assert rows(here)[0] == "full" and 1 < len(rows(here)) < len(kept) + 1
    filler.unlink()
    here.keep(A, "free", [noise(160)], details("free"))
    again = opened(small_disk / "data")
    assert rows(again)[:2] == ["free", "full"] and again.notice == ""
    assert len(names(small_disk / "data")) == 2 * len(rows(again))


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"DATA_DIR is '.*', but nothing can be kept there: Not a directory\."):
        History(tmp_path / "file" / "data")


def test_f5_a_damaged_database_is_set_aside_at_the_start(opened, tmp_path):
    first = opened()
    first.keep(A, "job", [png()], details())
    first.close()
    (tmp_path / "data" / "history.sqlite3").write_bytes(b"x" * 5000)
    again = opened()
    assert again.notice == DAMAGED and again.all(A) == []
    again.keep(A, "job", [png()], details("new"))
    assert rows(again) == ["new"]
    (aside,) = (tmp_path / "data").glob("damaged-*")
    assert (aside / "history.sqlite3").read_bytes() == b"x" * 5000 and len(names(aside)) == 2
    assert opened().notice == ""


def foreign(path: Path, *statements: str) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        for statement in statements or ("CREATE TABLE notes (id INTEGER)", "INSERT INTO notes VALUES (7)"):
            db.execute(statement)
    db.close()


OTHER_COLUMNS = "CREATE TABLE sets (number INTEGER, id TEXT)", "CREATE TABLE secret (key BLOB)"
DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "text": lambda path: path.write_text("not a database\n"),
    "foreign": foreign,
    "other columns": lambda path: foreign(path, *OTHER_COLUMNS),
    "no rows yet": lambda path: foreign(path, "PRAGMA journal_mode = WAL"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_f5_pictures_beside_a_database_that_is_not_theirs_are_set_aside(opened, tmp_path, damage):
    first, data = opened(), tmp_path / "data"
    first.keep(A, "job", [png(), png()], details())
    first.close()
    pictures = {path.name: path.read_bytes() for path in (data / "pictures").iterdir()}
    damage(data / "history.sqlite3")
    before = data / "history.sqlite3"
    # An empty one gets a header when it is opened.
    before = before.read_bytes() if before.exists() else b""
    again = opened()
    assert again.notice == DAMAGED and again.all(A) == [] and names(data) == set()
    (aside,) = data.glob("damaged-*")
    assert {path.name: path.read_bytes() for path in (aside / "pictures").iterdir()} == pictures
    assert not before or (aside / "history.sqlite3").read_bytes() == before
    again.keep(A, "job", [png()], details("new"))
    assert rows(again) == ["new"] and opened().notice == "" and rows(opened()) == ["new"]


def test_f5_a_foreign_database_alone_is_not_written_to(opened, tmp_path):
    (tmp_path / "data").mkdir()
    (path := tmp_path / "data" / "history.sqlite3").write_bytes(b"")
    foreign(path)
    before = path.read_bytes()
    assert opened().notice == DAMAGED
    (aside,) = (tmp_path / "data").glob("damaged-*")
    assert (aside / "history.sqlite3").read_bytes() == before


def test_a_start_that_was_killed_before_its_first_table_is_no_damage(opened, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "history.sqlite3").write_bytes(b"")
    assert opened().notice == "" and not list((tmp_path / "data").glob("damaged-*"))


def test_f5_two_damages_in_one_second_are_both_kept(opened, tmp_path):
    clock, data = Clock(), tmp_path / "data"
    for content in (b"one", b"two"):
        opened(clock=clock).close()
        (data / "history.sqlite3").write_bytes(content * 100)
        opened(clock=clock).close()
    kept = sorted(path.read_bytes()[:3] for path in data.glob("damaged-*/history.sqlite3"))
    assert kept == [b"one", b"two"]


def test_f5_a_database_damaged_while_it_is_open_is_set_aside(opened, tmp_path):
    here = opened()
    for i in range(50):
        here.keep(A, f"j{i}", [png()], details(str(i) * 200))
    here.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "data" / "history.sqlite3"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    # Another process' reading may be in the cache of neither; this one forgets what it has read.
    here.store.db.execute("PRAGMA shrink_memory")
    with pytest.raises(HistoryError, match="set aside"):
        for _ in range(3):
            here.all(A)
    assert here.notice == DAMAGED
    here.keep(A, "job", [png()], details("new"))
    assert rows(here) == ["new"]


def test_f5_a_damaged_picture_is_set_aside_and_a_lost_one_forgotten(opened, tmp_path):
    first = opened()
    cut, lost, fine = (first.keep(A, f"j{i}", [png(), png()], details(str(i))) for i in range(3))
    folder = tmp_path / "data" / "pictures"
    (folder / cut.files[0][1]).write_bytes(png()[:20])
    for _, name in lost.files:
        (folder / name).unlink()
    # As a kill leaves them, and what somebody else has put there.
    (folder / f"{'o' * 22}-0.png").write_bytes(png())
    (folder / f"{'o' * 22}-1.png.part").write_bytes(b"")
    (folder / "holiday-1.png").write_bytes(png())
    again = opened()
    assert again.notice == DAMAGED and rows(again) == ["2", "0"]
    assert again.find(A, fine.id).files == fine.files and again.find(A, cut.id).files == cut.files[1:]
    (aside,) = (tmp_path / "data").glob("damaged-*")
    assert [path.name for path in aside.iterdir()] == [cut.files[0][1]]
    assert len(names(tmp_path / "data") - {"holiday-1.png"}) == 2 * 3 and "holiday-1.png" in names(tmp_path / "data")


# Forks from a process that has everything imported, so that a hundred kills take seconds.
KILLS = """
import io, os, random, signal, sys, time
from pathlib import Path
from PIL import Image
from serving.history import History, HistoryLimits
folder, png = Path(sys.argv[1]), io.BytesIO()
Image.new("RGB", (16, 16)).save(png, "PNG")
known, killed = set(), 0
for turn in range(100):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        history = History(folder, HistoryLimits(per_owner=100_000))
        os.write(writer, b" ")
        while True:
            job = os.urandom(8).hex()
            kept = history.keep("owner", job, [png.getvalue()], {"prompt": "x"})
            os.write(writer, kept.id.encode() + b" ")
            history.keep("owner", job, [png.getvalue()] * 2, {"prompt": "x"})
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as told:
        told.read(1)
        # Every other one is killed after its first commit, however slow the disk.
        first = told.read(23).decode() if turn % 2 else ""
        time.sleep(random.Random(turn).uniform(0, .06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        known |= set((first + told.read().decode()).split(" ")[:-1])
    there = {path.name for path in (folder / "pictures").iterdir()}
    history = History(folder, HistoryLimits(per_owner=100_000))
    rows = {kept.id: kept for kept in history.all("owner", limit=100_000)}
    assert history.notice == "" and known <= set(rows), "a committed row is lost"
    needed = {name for kept in rows.values() for _, png_name in kept.files
              for name in (png_name, png_name.replace(".png", ".webp"))}
    there_now = {path.name for path in (folder / "pictures").iterdir()}
    assert needed == there_now and needed <= there, "a row without its file"
    killed += there != needed
    history.close()
print(len(known), killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_f5_a_hundred_kills_in_the_middle_of_a_write_lose_no_row(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    kept, orphans = map(int, run.stdout.split())
    assert kept >= 50 and orphans > 5, "they came in the middle of writes"


def test_two_processes_on_one_folder_do_not_sweep_each_others_files(opened, tmp_path):
    first = opened()
    other = sqlite3.connect(tmp_path / "data" / "history.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    first.store.db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(NotKept):
        first.keep(A, "job", [png()], details())
    other.execute("ROLLBACK")
    other.close()
    assert first.keep(A, "job", [png()], details())

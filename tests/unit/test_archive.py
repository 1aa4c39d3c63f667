"""The zip file of a history: names, dates, what is asked for."""

import io
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from serving.history import History, KeptPicture, owner_hash
from tests.unit.test_history import details, png
from ui.web.app import history_routes
from ui.web.archive import file_name, zipped

OWNER = "a" * 43
NOON = datetime(2026, 11, 29, 12, 30, 44, tzinfo=UTC).timestamp()


def named(prompt: str, seed: int | None = 7) -> str:
    return file_name(KeptPicture(Path("x.png"), NOON, prompt, seed), datetime(2026, 11, 29))


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("a red apple", "2026-11-29 a red apple, 7.png"), ("", "2026-11-29 without words, 7.png"),
     ("../../etc/passwd", "2026-11-29 etc passwd, 7.png"), ("C:\\x|y?*<z>:\"q\"", "2026-11-29 C x y z q, 7.png"),
     ("a\nb\t\0\x1b\u202ec", "2026-11-29 a b c, 7.png"), ("…  ...", "2026-11-29 …, 7.png"),
     ("Äpfel 🍎", "2026-11-29 Äpfel 🍎, 7.png"),
     ("con", "2026-11-29 con, 7.png"), ("x" * 500, f"2026-11-29 {'x' * 50}, 7.png")],
)  # fmt: skip
def test_a_name_is_safe_on_every_system(prompt, name):
    assert named(prompt) == name and len(named("😀" * 500).encode()) < 255


def test_without_a_seed():
    assert named("a cat", None) == "2026-11-29 a cat.png"


def archive(pictures, zone=UTC) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(zipped(pictures, zone))))


def test_entries_have_the_time_of_the_picture_and_names_of_their_own(tmp_path):
    (tmp_path / "x.png").write_bytes(b"abc")
    made = [KeptPicture(tmp_path / "x.png", NOON, prompt, 7) for prompt in ("a cat", "A CAT", "a cat", "x")]
    gone = KeptPicture(tmp_path / "gone.png", NOON, "gone", 7)
    tokyo = timezone(timedelta(hours=12))
    found = archive([*made, gone], tokyo)
    names = [f"2026-11-30 {name}.png" for name in ("a cat, 7", "A CAT, 7 (2)", "a cat, 7 (3)", "x, 7")]
    assert found.testzip() is None and found.namelist() == names
    assert all(each.date_time == (2026, 11, 30, 0, 30, 44) for each in found.infolist())


def test_it_comes_in_pieces(tmp_path):
    (tmp_path / "x.png").write_bytes(bytes(10**6))
    pieces = [*zipped([KeptPicture(tmp_path / "x.png", NOON, "x", 7)], UTC)]
    assert len(pieces) > 3 and max(map(len, pieces)) < 2**19


@pytest.mark.parametrize("created", [0.0, -1e9, 5e9])
def test_times_that_a_zip_file_cannot_say_are_the_nearest(tmp_path, created):
    (tmp_path / "x.png").write_bytes(b"")
    (entry,) = archive([KeptPicture(tmp_path / "x.png", created, "x", 7)]).infolist()
    assert entry.date_time[0] in (1980, 2107)


@pytest.fixture
def kept(tmp_path):
    """A client of the route, and what it is asked of."""
    history = History(tmp_path / "data", clock=lambda: NOON)
    first = history.keep(owner_hash(OWNER), "job", [png(), png("blue")], details("{a|b}", prompts=["a", "b"]))
    other = history.keep(owner_hash(OWNER), "other", [png("green")], details("c"))
    history.favour(owner_hash(OWNER), first.id, 1, True)
    app = Starlette(routes=history_routes(history))
    yield lambda **form: TestClient(app).post("/history.zip", data={"owner": OWNER} | form), first.id, other.id
    history.close()


def words(answer) -> list[str]:
    assert answer.status_code == 200
    return sorted(name[11] for name in zipfile.ZipFile(io.BytesIO(answer.content)).namelist())


def test_all_favourites_or_those_that_are_chosen(kept):
    ask, first, other = kept
    assert words(ask()) == ["a", "b", "c"] == words(ask(favourites="", zone="-60"))
    assert words(ask(favourites="on")) == ["b"]
    assert words(ask(pictures=f"{first}/0 {other}/0 {first}/9 gone/0")) == ["a", "c"]
    assert words(ask(pictures="")) == [] == words(ask(pictures=f"{first}/0", favourites="on"))
    assert words(ask(pictures=f"{first}/0", owner="b" * 43)) == []


@pytest.mark.parametrize(
    ("form", "said"),
    [({"pictures": "x"}, "pictures is 'x', but must be ids"), ({"pictures": "../../x/0"}, "pictures is"),
     ({"pictures": "a/٣"}, "pictures is"), ({"zone": "x"}, "zone is 'x', but must be minutes"),
     ({"zone": "-900"}, "zone is"), ({"zone": "1e3"}, "zone is")],
)  # fmt: skip
def test_what_it_does_not_understand_is_a_sentence(kept, form, said):
    answer = kept[0](**form)
    assert answer.status_code == 400 and answer.text.startswith(said)


def test_nobody_without_a_secret(kept):
    assert kept[0](owner="x").status_code == 403 == kept[0](owner="x", zone="y").status_code

"""The history by an owner's secret: dates, and what is marked."""

import asyncio

import pytest

from lora.errors import InvalidOwner, InvalidRequest, UnknownPicture
from serving.history import History, owner_hash
from tests.unit.test_history import details, png
from ui.api.history import Album, moment

OWNER, OTHER = "a" * 43, "b" * 43
DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [("1970-01-02", DAY, 2 * DAY), ("1970-01-02T06:00", DAY * 1.25, DAY * 1.25), ("1970-01-02T01:00+01:00", DAY, DAY),
     ("1970-01-02T00:00:00.000Z", DAY, DAY), ("", None, None)],
)  # fmt: skip
def test_dates_and_times(text, first, after):
    assert moment("since", text) == first and moment("until", text, after=True) == after


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01", "9999-12-31", None, 7, [], "2026-11-29" * 9, "٢٠٢٦-11-29"]
)
def test_what_is_no_date_is_a_sentence(value):
    with pytest.raises(InvalidRequest, match=r"until is .*, but must be a date such as 2026-11-29, or empty"):
        moment("until", value, after=True)


@pytest.fixture
def album(tmp_path):
    history = History(tmp_path / "data")
    history.keep(owner_hash(OWNER), "job", [png(), png("blue"), png("green")], details())
    yield Album(history), history.of_job(owner_hash(OWNER), "job").id
    history.close()


def test_several_are_marked_at_once(album):
    pages, kept = album

    async def run():
        assert await pages.mark(OWNER, "favourite", [[kept, 0], [kept, 2], [kept, 3]]) == 3
        (found,) = await pages.page(OWNER, favourites=True)
        assert [each["picture"] for each in found["pictures"]] == [0, 2]
        assert await pages.mark(OWNER, "favourite", [[kept, 0]], False) == 3
        assert await pages.mark(OWNER, "delete", [[kept, 1], [kept, 2], ["gone", 0]]) == 1
        for owner, pictures in ((OWNER, [[kept, 1]]), (OTHER, [[kept, 0]]), (OWNER, [])):
            with pytest.raises(UnknownPicture):
                await pages.mark(owner, "delete", pictures)
        assert len(await pages.page(OWNER)) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("values", "said"),
    [(("burn", []), "what is 'burn'"), (("delete", None), "pictures is"), (("delete", [["x"]]), "pictures is"),
     (("delete", [["x", 0]] * 1001), "pictures is"), (("delete", [["x", -1]]), "picture is -1"),
     (("delete", [[7, 0]]), "id is 7"), (("favourite", [["x", 0]], "yes"), "on is 'yes'")],
)  # fmt: skip
def test_what_cannot_be_marked_is_a_sentence(album, values, said):
    with pytest.raises(InvalidRequest) as error:
        asyncio.run(album[0].mark(OWNER, *values))
    assert str(error.value).startswith(said)


def test_nothing_is_said_without_a_secret(album):
    pages, kept = album
    for ask in (
        pages.page(None), pages.mark("x", "delete", [[kept, 0]]), pages.favour("x", kept, 0),
        pages.picture("x", kept, 0), pages.said("x", kept, 0),
    ):  # fmt: skip
        with pytest.raises(InvalidOwner):
            asyncio.run(ask)

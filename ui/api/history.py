"""The history by its owner's secret, and the endpoints to it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import gradio as gr
from gradio import FileData

from lora.errors import Described, InvalidRequest, UnknownPicture
from pipeline.metadata import infotext
from pipeline.request.checks import choice, switch, text, whole
from pipeline.request.limits import MAX_IMAGES
from serving.generation import GenerationService
from serving.history import History, KeptPicture, owner_hash
from ui.api.endpoints import offer
from ui.atelier import being_built

MOST_LISTED, MOST_MARKED, PAGE = 200, 1000, 24


class Album:
    """The history by an owner's secret. Every value is checked; raises AtelierError."""

    def __init__(self, history: History):
        self._history = history

    async def page(
        self,
        secret: object,
        search: object = "",
        limit: object = PAGE,
        before: object = "",
        favourites: object = False,
        since: object = "",
        until: object = "",
    ) -> list[dict]:
        """An owner's sets, the newest first. `since` and `until` are dates, which belong to what is meant, or times."""
        values = (
            text("search", search), whole("limit", limit, 1, MOST_LISTED), text("before", before),
            switch("favourites", favourites), moment("since", since), moment("until", until, after=True),
        )  # fmt: skip
        owner = owner_hash(secret)
        return await asyncio.to_thread(lambda: [*map(self._history.public, self._history.all(owner, *values))])

    async def forget(self, secret: object, identity: object, picture: object = -1) -> int:
        """Delete a picture of a set, or with -1 all of it; how many pictures the owner has left."""
        number = whole("picture", picture, -1, MAX_IMAGES - 1, note=" (-1: all of the set)")
        values = owner_hash(secret), text("id", identity), None if number == -1 else number
        await asyncio.to_thread(self._history.forget, *values)
        return await self.count(secret)

    async def favour(self, secret: object, identity: object, picture: object, on: object = True) -> None:
        """Make a picture a favourite, or none any more."""
        values = owner_hash(secret), text("id", identity), whole("picture", picture, 0, MAX_IMAGES - 1)
        await asyncio.to_thread(self._history.favour, *values, switch("on", on))

    async def mark(self, secret: object, what: object, pictures: object, on: object = True) -> int:
        """Do `what`, "favourite" (or, not `on`, none any more) or "delete", with pictures, each [id, number].

        Those that are not there are passed over; how many pictures the owner has left. Raises UnknownPicture where none
        is there.
        """
        owner, what, on = owner_hash(secret), choice("what", what, ("favourite", "delete")), switch("on", on)
        pairs = _pairs(pictures)

        def each() -> None:
            there = 0
            for identity, number in pairs:
                with suppress(UnknownPicture):
                    if what == "delete":
                        self._history.forget(owner, identity, number)
                    else:
                        self._history.favour(owner, identity, number, on)
                    there += 1
            if not there:
                raise UnknownPicture("There is no such picture in your history.")

        await asyncio.to_thread(each)
        return await self.count(secret)

    async def picture(self, secret: object, identity: object, picture: object) -> KeptPicture:
        """One picture of a set."""
        values = owner_hash(secret), text("id", identity), whole("picture", picture, 0, MAX_IMAGES - 1)
        return await asyncio.to_thread(self._history.picture, *values)

    async def count(self, secret: object) -> int:
        """How many pictures an owner has."""
        return await asyncio.to_thread(self._history.count, owner_hash(secret))

    async def said(self, secret: object, identity: object, picture: object) -> str:
        """The text of how a picture was made."""
        kept = await asyncio.to_thread(self._history.find, owner_hash(secret), text("id", identity))
        number = whole("picture", picture, 0, MAX_IMAGES - 1)
        if number not in dict(kept.files):
            raise UnknownPicture("There is no such picture in your history.")
        return infotext.write(kept.details, number)

    @property
    def notice(self) -> str:
        """What happened to the history, if something did."""
        return self._history.notice


def _pairs(pictures: object) -> list[tuple[str, int]]:
    if not isinstance(pictures, list) or len(pictures) > MOST_MARKED:
        raise Described("pictures", "something else", f"a list of up to {MOST_MARKED} pictures, each [id, number]")
    pairs = []
    for each in pictures:
        if not isinstance(each, list) or len(each) != 2:
            raise InvalidRequest("pictures", each, "a list of pictures, each [id, number]")
        pairs.append((text("id", each[0]), whole("picture", each[1], 0, MAX_IMAGES - 1)))
    return pairs


def moment(field: str, value: object, after: bool = False) -> float | None:
    """A date or a time of ISO 8601, of UTC where it does not say of which zone, in seconds since 1970; "" is None.

    Of a date its first moment, or the one `after` it. Raises InvalidRequest.
    """
    if value == "":
        return None
    try:
        said = datetime.fromisoformat(value if isinstance(value, str) else "")
        # No time of day is as short as this.
        if after and len(str(value)) <= len("2026-11-29"):
            said += timedelta(days=1)
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(field, value, "a date such as 2026-11-29, or empty") from None


def add_history_endpoints(service: GenerationService, kept: History) -> None:
    """Add the endpoints to the Blocks that is being built."""
    album, uploads = Album(kept), being_built().uploads

    async def history(
        owner: str,
        search: str = "",
        limit: int = PAGE,
        before: str = "",
        favourites: bool = False,
        since: str = "",
        until: str = "",
    ) -> list[dict]:
        """List what an owner's page and calls of /generate painted, the newest first: id, created, details, pictures.

        A picture's url and thumbnail are paths here, good for whoever has them.

        Args:
            owner: the secret that was given to /generate
            search: words that must be in what was asked for: prompt, styles, scheduler, seed, 512x768, 25 steps
            limit: sets, 1 to 200
            before: the id of the last set of the page before
            favourites: only favourites
            since: a date such as 2026-11-29, or a time such as 2026-11-29T18:00+01:00; UTC where it does not say
            until: as since; the date itself is meant too
        """
        with service.request_log.entry("history", None):
            return await album.page(owner, search, limit, before, favourites, since, until)

    async def forget_picture(owner: str, id: str, picture: int = -1) -> dict:
        """Delete a picture of a set in an owner's history; tells how many pictures are left.

        Args:
            owner: the secret that was given to /generate
            id: of the set
            picture: its number in the set, or -1 for all of it
        """
        with service.request_log.entry("forget_picture", None):
            return {"pictures": await album.forget(owner, id, picture)}

    async def favourite_picture(owner: str, id: str, picture: int, on: bool = True) -> dict:
        """Make a picture of a set in an owner's history a favourite, or none any more; the last to give way to others.

        Args:
            owner: the secret that was given to /generate
            id: of the set
            picture: its number in the set
            on: whether it is one from now on
        """
        with service.request_log.entry("favourite_picture", None):
            await album.favour(owner, id, picture, on)
            return {"favourite": on}

    async def read_picture(request: gr.Request, file: FileData) -> dict:
        """Read from a PNG, JPEG or WebP file how it was made, as this app, AUTOMATIC1111 or Fooocus write it.

        `values` are those of /generate; `notes` say in words what could not be restored here, `marks` who says what
        about the picture: whether AI made it, whose it is, and what its Content Credentials are worth.

        Args:
            file: the picture
        """
        return await service.read_picture(file, request.session_hash, uploads)

    offer(history, {"limit": {"minimum": 1, "maximum": MOST_LISTED}})
    offer(forget_picture, {"picture": {"minimum": -1, "maximum": MAX_IMAGES - 1}})
    offer(favourite_picture, {"picture": {"minimum": 0, "maximum": MAX_IMAGES - 1}})
    offer(read_picture)

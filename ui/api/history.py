"""The history by its owner's secret, and the endpoints to it."""

import asyncio
from typing import Any

import gradio as gr
from gradio import FileData

from lora.errors import UnknownPicture
from pipeline.metadata import infotext
from pipeline.request.checks import text, whole
from pipeline.request.limits import MAX_IMAGES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from ui.api.endpoints import offer
from ui.atelier import being_built

MOST_LISTED, PAGE = 200, 24


class Album:
    """The history by an owner's secret. Every value is checked; raises AtelierError."""

    def __init__(self, history: History):
        self._history = history

    async def page(self, secret: object, search: object = "", limit: object = PAGE, before: object = "") -> list[dict]:
        """An owner's sets, the newest first."""
        values = text("search", search), whole("limit", limit, 1, MOST_LISTED), text("before", before)
        return await asyncio.to_thread(lambda: [*map(self._history.public, self._all(secret, *values))])

    async def forget(self, secret: object, identity: object, picture: object = -1) -> int:
        """Delete a picture of a set, or with -1 all of it; how many pictures the owner has left."""
        number = whole("picture", picture, -1, MAX_IMAGES - 1, note=" (-1: all of the set)")
        values = owner_hash(secret), text("id", identity), None if number == -1 else number
        await asyncio.to_thread(self._history.forget, *values)
        return await self.count(secret)

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

    def _all(self, secret: object, *values: Any) -> list:
        return self._history.all(owner_hash(secret), *values)


def add_history_endpoints(service: GenerationService, kept: History) -> None:
    """Add the endpoints to the Blocks that is being built."""
    album, uploads = Album(kept), being_built().uploads

    async def history(owner: str, search: str = "", limit: int = PAGE, before: str = "") -> list[dict]:
        """List what an owner's page and calls of /generate painted, the newest first: id, created, details, pictures.

        A picture's url and thumbnail are paths here, good for whoever has them.

        Args:
            owner: the secret that was given to /generate
            search: words that the prompt must have
            limit: sets, 1 to 200
            before: the id of the last set of the page before
        """
        with service.request_log.entry("history", None):
            return await album.page(owner, search, limit, before)

    async def forget_picture(owner: str, id: str, picture: int = -1) -> dict:
        """Delete a picture of a set in an owner's history; tells how many pictures are left.

        Args:
            owner: the secret that was given to /generate
            id: of the set
            picture: its number in the set, or -1 for all of it
        """
        with service.request_log.entry("forget_picture", None):
            return {"pictures": await album.forget(owner, id, picture)}

    async def read_picture(request: gr.Request, file: FileData) -> dict:
        """Read from a PNG, JPEG or WebP file how it was made, as this app, AUTOMATIC1111 or Fooocus write it.

        `values` are those of /generate; `notes` say in words what could not be restored here.

        Args:
            file: the picture
        """
        return await service.read_picture(file, request.session_hash, uploads)

    offer(history, {"limit": {"minimum": 1, "maximum": MOST_LISTED}})
    offer(forget_picture, {"picture": {"minimum": -1, "maximum": MAX_IMAGES - 1}})
    offer(read_picture)

"""The history as visitors and programs meet it: a tab of pictures, what is restored from them, the endpoints."""

import asyncio
from collections.abc import Awaitable, Callable

import gradio as gr
from gradio import FileData

from lora.errors import UnknownPicture
from pipeline.metadata import infotext
from pipeline.request.checks import text, whole
from pipeline.request.request import MAX_IMAGES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from ui.api.endpoints import offer
from ui.errors import in_words
from ui.pages.common.widgets import picture_history
from ui.pages.paint.page import Widgets
from ui.web.files import upload_route

MOST_LISTED, PAGE = 200, 24
# What to set of a picture's values, all where none are named, and what is said then.
REUSES = {"all": ("Restored", ()), "seed": ("The seed is set", ("seed",)), "prompt": ("The prompt is set", ("prompt",))}
HIDDEN = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


class Album:
    """The history by an owner's secret. Every value is checked; raises gradio errors only."""

    def __init__(self, history: History):
        self._history = history

    async def page(self, secret: object, search: object = "", limit: object = PAGE, before: object = "") -> list[dict]:
        """An owner's sets, the newest first."""
        with in_words():
            values = text("search", search), whole("limit", limit, 1, MOST_LISTED), text("before", before)
            return await asyncio.to_thread(lambda: [*map(self._history.public, self._all(secret, *values))])

    async def forget(self, secret: object, identity: object, picture: object = -1) -> int:
        """Delete a picture of a set, or with -1 all of it; how many pictures the owner has left."""
        with in_words():
            number = whole("picture", picture, -1, MAX_IMAGES - 1, note=" (-1: all of the set)")
            values = owner_hash(secret), text("id", identity), None if number == -1 else number
            await asyncio.to_thread(self._history.forget, *values)
            return await self.count(secret)

    async def count(self, secret: object) -> int:
        """How many pictures an owner has."""
        with in_words():
            return await asyncio.to_thread(self._history.count, owner_hash(secret))

    async def said(self, secret: object, identity: object, picture: object) -> str:
        """The text of how a picture was made."""
        with in_words():
            kept = await asyncio.to_thread(self._history.find, owner_hash(secret), text("id", identity))
            number = whole("picture", picture, 0, MAX_IMAGES - 1)
            if number not in dict(kept.files):
                raise UnknownPicture("There is no such picture in your history.")
            return infotext.write(kept.details, number)

    @property
    def notice(self) -> str:
        """What happened to the history, if something did."""
        return self._history.notice

    def _all(self, secret: object, *values: object) -> list:
        return self._history.all(owner_hash(secret), *values)


def add_history_page(history: History) -> gr.HTML:
    """Place the tab's widget and wire what it asks the server, but for what it restores."""
    album, widget = Album(history), picture_history()

    async def page(data: dict) -> dict:
        asked = data.get("owner"), data.get("search", ""), PAGE, data.get("before", "")
        return {"sets": await album.page(*asked), "count": await album.count(data.get("owner")), "notice": album.notice}

    async def forget(data: dict) -> dict:
        return {"count": await album.forget(data.get("owner"), data.get("id"), data.get("picture"))}

    widget.list(_answered(page), outputs=widget, api_name="history_list", **HIDDEN)
    widget.forget(_answered(forget), outputs=widget, api_name="history_forget", **HIDDEN)
    return widget


def _answered(ask: Callable[[dict], Awaitable[dict]]) -> Callable:
    async def listen(event: gr.EventData) -> gr.HTML:
        number = event._data.get("number")
        try:
            answer = await ask(event._data)
        except gr.Error as error:
            answer = {"error": error.message}
        return gr.HTML(answer={"number": number, **answer})

    return listen


def add_restoring(service: GenerationService, history: History, page: Widgets, gallery: gr.HTML, tabs: gr.Tabs) -> None:
    """Set the widgets of a request as a picture of the history or a file says that it was made."""
    album, uploads, fields, reader = Album(history), upload_route(), page.fields, page.reader
    outputs = [*fields.values(), reader, tabs]

    def set_widgets(restored: dict, number: object, what: str) -> dict:
        done, names = REUSES[what]
        # A picture to start from is in no file.
        values = restored["values"] | {"image": None}
        answer = {"number": number, "done": done, "notes": [] if names else restored["notes"]}
        changed = {fields[name]: values[name] for name in names or values if name in fields}
        return changed | {reader: gr.HTML(answer=answer), tabs: gr.Tabs(selected="paint")}

    async def read(event: gr.EventData, request: gr.Request) -> dict:
        number = event._data.get("number")
        try:
            restored = await service.read_picture(event._data.get("file"), request.session_hash, uploads, page=True)
        except gr.Error as error:
            return {
                reader: gr.HTML(answer={"number": number, "error": error.message}),
                tabs: gr.Tabs(selected="paint"),
            }
        return set_widgets(restored, number, "all")

    async def reuse(event: gr.EventData, request: gr.Request) -> dict:
        data = event._data
        try:
            said = await album.said(data.get("owner"), data.get("id"), data.get("picture"))
            with in_words():
                what = data.get("what")
                return set_widgets(
                    service.restored(said, request.session_hash), None, what if what in REUSES else "all"
                )
        except gr.Error as error:
            return {reader: gr.HTML(answer={"error": error.message})}

    reader.read(read, outputs=outputs, api_name="restore_file", **HIDDEN)
    gallery.reuse(reuse, outputs=outputs, api_name="restore_kept", **HIDDEN)


def add_history_endpoints(service: GenerationService, history: History) -> None:
    """Add the endpoints to the Blocks that is being built."""
    album, uploads = Album(history), upload_route()

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

"""The page of what was painted, and what is restored from a picture."""

from collections.abc import Awaitable, Callable

import gradio as gr

from serving.generation import GenerationService
from serving.history import History
from ui.api.history import PAGE, Album
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.history.widgets import picture_history
from ui.pages.paint.layout import Widgets

# What to set of a picture's values, all where none are named, and what is said then.
REUSES = {"all": ("Restored", ()), "seed": ("The seed is set", ("seed",)), "prompt": ("The prompt is set", ("prompt",))}
HIDDEN = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}


def add_history_page(history: History) -> gr.HTML:
    """Place the tab's widget and wire what it asks the server, but for what it restores."""
    album, widget = Album(history), picture_history(PAGE)

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
        except Exception as error:
            answer = {"error": sentence(error)}
        return gr.HTML(answer={"number": number, **answer})

    return listen


def add_restoring(service: GenerationService, history: History, page: Widgets, gallery: gr.HTML, tabs: gr.Tabs) -> None:
    """Set the widgets of a request as a picture of the history or a file says that it was made."""
    album, uploads, fields, reader = Album(history), being_built().uploads, page.fields, page.reader
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
        except Exception as error:
            return {
                reader: gr.HTML(answer={"number": number, "error": sentence(error)}),
                tabs: gr.Tabs(selected="paint"),
            }
        return set_widgets(restored, number, "all")

    async def reuse(event: gr.EventData, request: gr.Request) -> dict:
        data = event._data
        try:
            said = await album.said(data.get("owner"), data.get("id"), data.get("picture"))
            restored, what = service.restored(said, request.session_hash), data.get("what")
            return set_widgets(restored, None, what if what in REUSES else "all")
        except Exception as error:
            return {reader: gr.HTML(answer={"error": sentence(error)})}

    reader.read(read, outputs=outputs, api_name="restore_file", **HIDDEN)
    gallery.reuse(reuse, outputs=outputs, api_name="restore_kept", **HIDDEN)

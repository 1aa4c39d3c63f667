"""The viewer of pictures, and what can be done with one wherever it is shown: on the stage, in the history, in a
comparison. Also what is restored from a picture that is dropped on the page."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import gradio as gr
from gradio.components import Component
from gradio.data_classes import FileData

from lora.errors import Untold
from pipeline.request.fields import Choice, Number, Switch
from pipeline.request.picture import MAX_BYTES
from pipeline.request.request import FIELDS
from serving.generation import GenerationService
from serving.history import History
from serving.queue import client_address
from serving.received import uploaded
from ui.api.history import Album
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.acts import Change, restoring, starting
from ui.pages.common.asking import ASKING, answered
from ui.pages.common.widget import label, widget

# What the viewer tells of a picture in words of its own.
OTHERWISE = ("width", "height", "steps", "seed")
# Once the values are there; nobody can press a button sooner.
PAINT = "(viewer) => { if (viewer?.paint) document.querySelector('#paint')?.click(); }"


def picture_viewer(fields: Mapping[str, Component]) -> gr.HTML:
    """The dialog that shows pictures large, and `atelier.view` and `atelier.act` for all scripts of the page.

    Events: `act` {what, owner, and id and picture or a file} changes what is set on the page; `mark` {what: favourite
    or delete, owner, pictures: [[id, number], ...], on}. Each has a `number`; the property `answer` with the same one
    takes an `error` or nothing, of `mark` the `count` of pictures that are left. Value: `{"paint": whether to}`.
    """
    told = [
        {"name": row.name, "label": label(fields.get(row.name)) or row.name.replace("_", " ").capitalize(),
         "neutral": row.neutral}
        for row in FIELDS if isinstance(row, Number | Switch | Choice) and row.name not in OTHERWISE
    ]  # fmt: skip
    helpers = ["files", "acts", "zoom", "acting"]
    return widget("common", "viewer", None, helpers, live={"answer": None}, most_bytes=MAX_BYTES, told=told)


def add_actions(
    service: GenerationService, history: History, fields: Mapping[str, Component], reader: gr.HTML, tabs: gr.Tabs
) -> None:
    """Place the viewer and wire it, and the `reader` of dropped pictures, to the widgets of a request."""
    viewer, album, uploads = picture_viewer(fields), Album(history), being_built().uploads
    change = changer(service, album, fields)

    def shown(made: Change, number: object, marks: Sequence[str] = ()) -> dict:
        told = {"number": number, "done": made.done, "notes": [*made.notes], "marks": [*marks]}
        changed = {fields[name]: value for name, value in made.values.items() if name in fields}
        return changed | {reader: gr.HTML(answer=told), tabs: gr.Tabs(selected=made.page)}

    async def act(event: gr.EventData, request: gr.Request) -> dict:
        number = event._data.get("number")
        try:
            made = await change(event._data, request)
        except Exception as error:
            return {viewer: gr.HTML({"paint": False}, answer={"number": number, "error": sentence(error)})}
        return shown(made, None) | {viewer: gr.HTML({"paint": made.paint}, answer={"number": number})}

    async def read(event: gr.EventData, request: gr.Request) -> dict:
        number = event._data.get("number")
        try:
            said = await service.read_picture(event._data.get("file"), request.session_hash, uploads, page=True)
            made = restoring("restore", said["values"], said["notes"], service.facts.limits)
            return shown(made, number, said["marks"])
        except Exception as error:
            plain = isinstance(error, Untold)
            failed = gr.HTML(answer={"number": number, "error": sentence(error), "plain": plain})
            return {reader: failed, tabs: gr.Tabs(selected="paint")}

    async def mark(data: dict) -> dict:
        which = data.get("owner"), data.get("what"), data.get("pictures"), data.get("on", True)
        return {"count": await album.mark(*which)}

    acted = viewer.act(act, outputs=[*fields.values(), reader, tabs, viewer], api_name="act", **ASKING)
    acted.then(None, viewer, None, js=PAINT, api_visibility="private")
    viewer.mark(answered(mark), outputs=viewer, api_name="mark", **ASKING)
    reader.read(read, outputs=[*fields.values(), reader, tabs], api_name="restore_file", **ASKING)


def changer(
    service: GenerationService, album: Album, fields: Mapping[str, Component]
) -> Callable[[dict, gr.Request], Awaitable[Change]]:
    """What the event `act` comes to. Raises AtelierError."""
    uploads, limits = being_built().uploads, service.facts.limits

    async def start(data: dict, request: gr.Request) -> Change:
        if "file" in data:
            path = str(uploaded("file", data["file"], uploads)[0])
        else:
            kept = await album.picture(data.get("owner"), data.get("id"), data.get("picture"))
            # A copy: this one may be deleted any time.
            with kept.path.open("rb") as file:
                path = await uploads.add(client_address.get(), f"start{kept.path.suffix}", file)
        values = starting(data.get("width"), data.get("height"), fields, limits)
        image = FileData(path=path, orig_name="picture.png").model_dump()
        return Change(values | {"image": image}, "The next picture starts from this one")

    async def change(data: dict, request: gr.Request) -> Change:
        if (what := data.get("what")) == "start":
            return await start(data, request)
        if "file" in data:
            said = await service.read_picture(data["file"], request.session_hash, uploads, page=True)
            uploads.forget(uploaded("file", data["file"], uploads)[0])
        else:
            written = await album.said(data.get("owner"), data.get("id"), data.get("picture"))
            said = await asyncio.to_thread(service.restored, written, request.session_hash)
        return restoring(what, said["values"], said["notes"], limits)

    return change

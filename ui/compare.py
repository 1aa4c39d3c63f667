"""Comparing: the endpoint, and the room of the page. Each cell is a request like any other; see pipeline.compare."""

import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import gradio as gr
from gradio import FileData

from pipeline.compare import AXES, MAX_CELLS, Grid, listed
from pipeline.picture import MAX_BYTES
from ui.errors import in_words
from ui.files import picture_file, upload_route, uploaded_bytes
from ui.studio import FIELDS, Studio
from ui.widgets import compare_axes, compare_board

SIDES = ("x_axis", "x_values", "y_axis", "y_values")
LOST = "The connection was lost or the queue is full; please try again."


def endpoint(studio: Studio, generate: Callable) -> Callable:
    """/compare, with the parameters of /generate, whatever they are, after its own."""
    uploads = upload_route()

    def own(request: gr.Request, prompt: str, x_axis: str, x_values: list, y_axis: str = "", y_values: list = [],  # noqa: B006
            dry_run: bool = False) -> tuple[FileData, dict]: ...  # fmt: skip

    async def compare(request: gr.Request, *given: object) -> AsyncIterator[tuple[dict | None, dict]]:
        """Paint a prompt in all combinations of the values of one axis or two, and put them on one labelled sheet.

        axes: adapter, adapter_weight, prompt, scheduler, steps, guidance_scale, seed; up to 64 cells. On adapter each
        id is on alone, "" is none. On prompt the first value is words of the prompt, each of the values replaces them.
        A seed of -1 is drawn once. dry_run: only tell {"cells", "expected_seconds", ...}. The other fields are those
        of /generate; each cell is the same as that request alone.

        Streams {"status": "waiting" | "painting" | "cell", "cell": 0-based, "cells": how many, ...}, "cell" with its
        `image`; at last the sheet, and `cells` with the image and details of each.
        """
        values = dict(zip(names, given))
        with in_words():
            values["image"] = await uploaded_bytes("image", values["image"], uploads, MAX_BYTES)
        axes = {name: values[name] for name in SIDES}
        wanted = await studio.plan({name: values[name] for name in FIELDS}, axes, request.session_hash)
        if values["dry_run"]:
            yield None, {"status": "planned", **planned(studio, wanted)}
            return
        async with aclosing(_with_files(studio, wanted, request.session_hash)) as events:
            async for event in events:
                yield event.pop("sheet", None), event

    first, second = inspect.signature(own), inspect.signature(generate)
    # dry_run stands last: fields of /generate keep their order, also for those who call by position.
    shared = [p for p in second.parameters.values() if p.name not in first.parameters]
    *leading, last = first.parameters.values()
    compare.__signature__ = first.replace(parameters=[*leading, *shared, last])
    compare.__annotations__ = own.__annotations__ | {p.name: p.annotation for p in shared}
    names = [name for name in compare.__signature__.parameters if name != "request"]
    return compare


def planned(studio: Studio, wanted: Grid) -> dict:
    """What a comparison comes to before it is painted."""
    request = wanted.cells[0].request
    return {**wanted.public, "cells": len(wanted.cells), "expected_seconds": studio.grid_seconds(wanted),
            "width": request.passes[-1].width, "height": request.passes[-1].height}  # fmt: skip


async def _with_files(studio: Studio, wanted: Grid, session: str) -> AsyncIterator[dict]:
    """What happens, with the pictures as files: `image` of a cell, at last `sheet` and the images of all cells."""
    images = []
    async with aclosing(studio.compare(wanted, session)) as updates:
        async for update in updates:
            event = dict(update.details)
            if event["status"] == "cell":
                images.append(await picture_file(update.images[0], f"atelier-{event['seed']}.png"))
                event["image"] = images[-1]
            elif event["status"] == "done":
                event["sheet"] = await picture_file(update.images[0], "atelier-comparison.png")
                event["cells"] = [cell | {"image": image} for cell, image in zip(event["cells"], images)]
            yield event


def add_compare_page(studio: Studio, fields: dict[str, gr.components.Component], room: gr.Tab) -> None:
    """Add the room to the tab that is being built. All but the axes is as set in the room where one paints."""
    styles = [{"id": adapter.id, "name": adapter.name} for adapter in studio.library.all()]
    with gr.Column(elem_id="comparison"):
        with gr.Column(elem_id="compare-ask"):
            axes = compare_axes(AXES, styles, list(studio.engine.limits.schedulers), MAX_CELLS)
            with gr.Row(elem_id="compare-act"):
                start = gr.Button("Compare", variant="primary", elem_id="compare")
                cancel = gr.Button("Cancel", variant="stop", elem_id="compare-cancel")
        board = compare_board()
    _wire(studio, fields, room, axes, board, (start, cancel))


def _wire(studio: Studio, fields: dict, room: gr.Tab, axes: gr.HTML, board: gr.HTML, buttons: tuple) -> None:
    """Say what the widgets do: tell the cost while the axes are edited, and paint."""
    (start, cancel), uploads, inputs = buttons, upload_route(), {*fields.values(), axes}
    here = {"fn": None, "api_visibility": "private"}

    async def wanted(values: dict, session: str) -> Grid:
        raw = {name: values[widget] for name, widget in fields.items()}
        with in_words():
            raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
        return await studio.plan(raw | {"num_images": 1}, _axes(values[axes]), session)

    async def cost(values: dict, request: gr.Request) -> gr.HTML:
        try:
            plan = planned(studio, await wanted(values, request.session_hash))
        except gr.Error as error:
            plan = {"error": error.message}
        known = studio.library.all(request.session_hash)
        return gr.HTML(plan=plan, styles=[{"id": adapter.id, "name": adapter.name} for adapter in known])

    async def fill(values: dict, request: gr.Request) -> AsyncIterator[dict]:
        try:
            grid = await wanted(values, request.session_hash)
            shown, painted = planned(studio, grid), []
            async with aclosing(_with_files(studio, grid, request.session_hash)) as events:
                async for event in events:
                    if event["status"] == "cell":
                        painted.append(event["image"])
                    # Told anew each time: the browser shows the newest and may have missed those before.
                    yield shown | event | {"cells": shown["cells"], "painted": painted}
        except gr.Error as error:
            yield {"status": "failed", "message": error.message if error.title == "Error" else f"{error.title}."}

    gr.on(
        [axes.change, room.select], cost, inputs, axes, preprocess=False, postprocess=False, show_progress="hidden",
        trigger_mode="always_last", queue=False, api_visibility="private",
    )  # fmt: skip
    start.click(**here, outputs=board, js="() => ({status: 'sent'})")
    painting = start.click(
        fill, inputs, board, preprocess=False, postprocess=False, show_progress="hidden", concurrency_limit=None,
        api_visibility="private",
    )  # fmt: skip
    painting.then(
        **here, inputs=board, outputs=board, js=f"""(value) => ["done", "failed", "cancelled"].includes(value?.status)
            ? value : {{status: "failed", message: {json.dumps(LOST)}}}""",
    )  # fmt: skip
    cancel.click(**here, cancels=painting)
    cancel.click(**here, inputs=board, outputs=board, js="(value) => ({...value, status: 'cancelled'})")


def _axes(value: object) -> dict:
    """The axes as the widget has them, what was written in words read as values."""
    given, axes = value if isinstance(value, dict) else {}, {}
    for side in ("x", "y"):
        name, values = given.get(f"{side}_axis", ""), given.get(f"{side}_values", [])
        axes[f"{side}_axis"] = name
        axes[f"{side}_values"] = listed(name, values[:20_000]) if isinstance(values, str) else values
    # A second axis without a name has no values either, whatever is left in its field.
    return axes if axes["y_axis"] else axes | {"y_values": []}

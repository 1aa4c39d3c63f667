"""Comparing: the endpoint, and the page. Each cell is a request like any other; see pipeline.request.compare."""

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from pipeline.request.checks import switch
from pipeline.request.compare import AXES, MAX_CELLS, listed
from pipeline.request.picture import MAX_BYTES
from pipeline.request.request import usual
from serving.generation import GenerationService, Update
from serving.history import History, owner_hash
from serving.jobs import Jobs
from ui.errors import in_words
from ui.pages.common.watching import wire_job
from ui.pages.common.widgets import WHILE_EDITING, compare_axes, compare_board
from ui.web.files import picture_file, upload_route, uploaded_bytes

SIDES = ("x_axis", "x_values", "y_axis", "y_values")


def endpoint(service: GenerationService, generate: Callable, history: History) -> Callable:
    """/compare, with the parameters of /generate, whatever they are, after its own."""
    uploads, fields = upload_route(), usual(service.engine.limits)

    def own(request: gr.Request, prompt: str, x_axis: str, x_values: list, y_axis: str = "", y_values: list = [],  # noqa: B006
            dry_run: bool = False, owner: str = "") -> tuple[FileData, dict]: ...  # fmt: skip

    async def compare(request: gr.Request, *given: object) -> AsyncIterator[tuple[dict | None, dict]]:
        """Paint a prompt in all combinations of the values of one axis or two, and put them on one labelled sheet.

        Each cell is the same as that request alone. Streams {"status": "planned" | "waiting" | "painting" | "cell",
        "cell": 0-based, "cells": how many, ...}, where "cell" has its `image`; at last the sheet, and `cells` with the
        image and details of each.

        Args:
            x_axis: adapter, adapter_weight, prompt, scheduler, steps, guidance_scale or seed
            x_values: ids for adapter ("" is none); for prompt, words of it and what replaces them; at most 64 cells
            y_axis: another of them, or empty
            y_values: as x_values
            dry_run: only tell {"cells", "expected_seconds", "place", "starts_in", ...}
            owner: as in /generate; the sheet is kept
        """
        values = dict(zip(names, given))
        with in_words():
            values["image"] = await uploaded_bytes("image", values["image"], uploads, MAX_BYTES)
            dry = switch("dry_run", values["dry_run"])
            keeper = (owner_hash(values["owner"]), token_urlsafe(16)) if values["owner"] != "" else None
        asked = {name: values[name] for name in fields}, {name: values[name] for name in SIDES}, request.session_hash
        if dry:
            yield None, await service.plan(*asked)
            return
        async with aclosing(_with_files(service.compare(*asked), history, keeper)) as events:
            async for event in events:
                yield event.pop("sheet", None), event

    first, second = inspect.signature(own), inspect.signature(generate)
    # These two stand last: fields of /generate keep their order, also for those who call by position.
    shared = [p for p in second.parameters.values() if p.name in fields and p.name not in first.parameters]
    *leading, dry_run, owner = first.parameters.values()
    compare.__signature__ = first.replace(parameters=[*leading, *shared, dry_run, owner])
    compare.__doc__ = inspect.getdoc(compare) + generate.__doc__.partition("Args:")[2]
    compare.__annotations__ = own.__annotations__ | {p.name: p.annotation for p in shared}
    names = [name for name in compare.__signature__.parameters if name != "request"]
    return compare


async def _with_files(
    comparison: AsyncIterator[Update], history: History, keeper: tuple[str, str] | None
) -> AsyncIterator[dict]:
    """What happens, with the pictures as files: `image` of a cell, at last `sheet` and the images of all cells.

    The history keeps the sheet, as a picture of its first cell's request, for `keeper`: an owner's hash and a job's id.
    """
    images = []
    async with aclosing(comparison) as updates:
        async for update in updates:
            event = dict(update.details)
            if event["status"] == "cell":
                images.append(await picture_file(update.images[0], f"atelier-{event['seed']}.png"))
                event["image"] = images[-1]
            elif event["status"] == "done":
                if keeper:
                    axes = {"comparison": {side: event[side] for side in ("x", "y")}}
                    event |= await history.kept(*keeper, update.images, event["cells"][0] | axes)
                event["sheet"] = await picture_file(update.images[0], "atelier-comparison.png")
                event["cells"] = [cell | {"image": image} for cell, image in zip(event["cells"], images)]
            yield event


def add_compare_page(
    service: GenerationService, jobs: Jobs, history: History, fields: dict[str, gr.components.Component], tab: gr.Tab
) -> None:
    """Add the room to the tab that is being built. All but the axes is as set in the room where one paints."""
    styles = [{"id": adapter.id, "name": adapter.name} for adapter in service.library.all()]
    with gr.Column(elem_id="comparison"):
        with gr.Column(elem_id="compare-ask"):
            axes = compare_axes(AXES, styles, list(service.engine.limits.schedulers), MAX_CELLS)
            with gr.Row(elem_id="compare-act"):
                start = gr.Button("Compare", variant="primary", elem_id="compare")
                cancel = gr.Button("Cancel", variant="stop", elem_id="compare-cancel")
        board = compare_board()
    asked = _reader(service, fields, axes)
    inputs = [axes, *fields.values()]
    wire_job(jobs, "comparison", board, inputs, (start, cancel), _work(service, history, asked))

    async def cost(request: gr.Request, *values: object) -> gr.HTML:
        try:
            plan = await service.plan(*await asked(values, request.session_hash))
        except gr.Error as error:
            plan = {"error": error.message}
        known = service.library.all(request.session_hash)
        return gr.HTML(plan=plan, styles=[{"id": adapter.id, "name": adapter.name} for adapter in known])

    gr.on([axes.change, tab.select], cost, inputs, axes, **WHILE_EDITING)


def _reader(service: GenerationService, fields: dict[str, gr.components.Component], axes: gr.HTML) -> Callable:
    uploads = upload_route()

    async def asked(values: Sequence[object], session: str) -> tuple[dict, dict, str]:
        """The values of the widgets, the axes' first, as the service wants them."""
        raw = dict(zip(fields, values[1:]))
        with in_words():
            raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
        return raw | {"num_images": 1}, _axes(values[0]), session

    return asked


def _work(service: GenerationService, history: History, asked: Callable) -> Callable:
    async def work(secret: str, job: str, values: Sequence[object], session: str) -> AsyncIterator[dict]:
        shown, cells = {}, []
        comparison = service.compare(*await asked(values, session), page=True)
        async with aclosing(_with_files(comparison, history, (owner_hash(secret), job))) as events:
            async for event in events:
                if event["status"] == "planned":
                    shown = event
                elif event["status"] == "cell":
                    cells.append(event["image"])
                # Told anew each time: the browser shows the newest and may have missed those before.
                yield shown | event | {"cells": shown["cells"], "painted": [*cells]}

    return work


def _axes(value: object) -> dict:
    """The axes as the widget has them, what was written in words read as values."""
    given, axes = value if isinstance(value, dict) else {}, {}
    for side in ("x", "y"):
        name, values = given.get(f"{side}_axis", ""), given.get(f"{side}_values", [])
        axes[f"{side}_axis"] = name
        axes[f"{side}_values"] = listed(name, values[:20_000]) if isinstance(values, str) else values
    # A second axis without a name has no values either, whatever is left in its field.
    return axes if axes["y_axis"] else axes | {"y_values": []}

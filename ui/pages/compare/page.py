"""The page where settings are compared. Each cell is a request like any other; see pipeline.request.compare."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import gradio as gr

from pipeline.request.compare import AXES, MAX_CELLS, listed
from pipeline.request.picture import MAX_BYTES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from serving.received import uploaded_bytes
from ui.api.compare import with_files
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.watching import wire_job
from ui.pages.common.widget import WHILE_EDITING
from ui.pages.compare.widgets import MAX_CHARACTERS, compare_axes, compare_board


def add_compare_page(
    service: GenerationService, jobs: Jobs, history: History, fields: dict[str, gr.components.Component], tab: gr.Tab
) -> None:
    """Add the room to the tab that is being built. All but the axes is as set in the room where one paints."""
    styles = [{"id": adapter.id, "name": adapter.name} for adapter in service.library.all()]
    with gr.Column(elem_id="comparison"):
        with gr.Column(elem_id="compare-ask"):
            axes = compare_axes(AXES, styles, list(service.facts.limits.schedulers), MAX_CELLS)
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
        except Exception as error:
            plan = {"error": sentence(error)}
        known = service.library.all(request.session_hash)
        return gr.HTML(plan=plan, styles=[{"id": adapter.id, "name": adapter.name} for adapter in known])

    gr.on([axes.change, tab.select], cost, inputs, axes, **WHILE_EDITING)


def _reader(service: GenerationService, fields: dict[str, gr.components.Component], axes: gr.HTML) -> Callable:
    uploads = being_built().uploads

    async def asked(values: Sequence[object], session: str | None) -> tuple[dict, dict, str | None]:
        """The values of the widgets, the axes' first, as the service wants them."""
        raw = dict(zip(fields, values[1:]))
        raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
        return raw | {"num_images": 1}, _axes(values[0]), session

    return asked


def _work(service: GenerationService, history: History, asked: Callable) -> Callable:
    async def work(secret: str, job: str, values: Sequence[object], session: str | None) -> AsyncGenerator[dict]:
        shown: dict = {}
        cells: list[dict] = []
        raw, axes, _ = await asked(values, session)
        comparison = service.compare(raw, axes, session, page=True)
        async with aclosing(with_files(comparison, history, (owner_hash(secret), job))) as events:
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
        axes[f"{side}_values"] = listed(name, values[:MAX_CHARACTERS]) if isinstance(values, str) else values
    # A second axis without a name has no values either, whatever is left in its field.
    return axes if axes["y_axis"] else axes | {"y_values": []}

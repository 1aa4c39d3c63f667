"""The page where settings are compared. Each cell is a request like any other; see pipeline.request.compare."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from lora.adapter import Adapter
from pipeline.request.compare import AXES, MAX_CELLS, listed
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from serving.received import uploaded_pictures
from ui.api.compare import with_files
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.watching import wire_job
from ui.pages.common.widget import WHILE_EDITING
from ui.pages.compare.widgets import MAX_CHARACTERS, compare_axes, compare_board
from ui.pages.paint.start import as_asked
from ui.pages.paint.styles import usable

PLACEHOLDER = "The same prompt as under Paint"
FIRST = "Write above what is to be painted, to see what it takes."


def comparable(styles: Sequence[Adapter]) -> list[dict]:
    """Those that can stand on an axis."""
    return [{"id": style.id, "name": style.name} for style in styles if style.is_style]


def add_compare_page(
    service: GenerationService,
    jobs: Jobs,
    history: History,
    fields: dict[str, Any],
    where: tuple[gr.Tabs, gr.Tab],
) -> None:
    """Add the page to the tab that is being built. All but the axes is as set on the page where one paints."""
    tabs, tab = where
    styles = comparable(service.library.all())
    with gr.Column(elem_id="comparison"):
        with gr.Column(elem_id="compare-ask"):
            words = gr.Textbox(label="What is compared?", placeholder=PLACEHOLDER, lines=2, elem_id="compare-prompt")
            axes = compare_axes(AXES, styles, list(service.facts.limits.schedulers), MAX_CELLS)
            with gr.Row(elem_id="compare-act"):
                start = gr.Button("Compare", variant="primary", elem_id="compare")
                cancel = gr.Button("Cancel", variant="stop", elem_id="compare-cancel")
        board = compare_board()
    asked = _reader(service, fields)
    # The prompt of this page, which may be a moment newer than that of the other.
    inputs = [axes, *(fields | {"prompt": words}).values()]
    work = _work(service, history, asked)
    wire_job(jobs, "comparison", board, inputs, (start, cancel), work, lambda values: "Comparison", (tabs, "compare"))

    async def cost(request: gr.Request, *values: object) -> gr.HTML:
        try:
            given = await asked(values, request.session_hash)
            # Nobody has done anything wrong yet.
            plan = await service.plan(*given) if str(given[0]["prompt"]).strip() else {"hint": FIRST}
        except Exception as error:
            plan = {"error": sentence(error)}
        return gr.HTML(plan=plan, styles=comparable(usable(service.library, request.session_hash)))

    # One prompt, on both pages; axes.js writes into that one what is written here.
    gr.on(
        [tab.select, fields["prompt"].change], None, fields["prompt"], words, js="(words) => words",
        api_visibility="private",
    )  # fmt: skip
    gr.on([axes.change, tab.select, words.blur, words.submit], cost, inputs, axes, **WHILE_EDITING)


def _reader(service: GenerationService, fields: dict[str, Any]) -> Callable:
    uploads = being_built().uploads

    async def asked(values: Sequence[object], session: str | None) -> tuple[dict, dict, str | None]:
        """The values of the widgets, the axes' first, as the service wants them."""
        raw = await uploaded_pictures(as_asked(dict(zip(fields, values[1:]))), uploads)
        return raw | {"num_images": 1}, _axes(values[0]), session

    return asked


def _work(service: GenerationService, history: History, asked: Callable) -> Callable:
    async def work(secret: str, job: str, values: Sequence[object], session: str | None) -> AsyncGenerator[dict]:
        shown: dict = {}
        cells: list[dict] = []
        told: list[dict] = []
        owner = owner_hash(secret)
        # After a restart the session has nothing any more of what this browser keeps.
        await service.lend(owner, session)
        raw, axes, _ = await asked(values, session)
        comparison = service.compare(raw, axes, session, page=True)
        async with aclosing(with_files(comparison, history, (owner, job))) as events:
            async for event in events:
                if event["status"] == "planned":
                    shown = event
                elif event["status"] == "cell":
                    cells.append(event["image"])
                    told.append({"prompt": event["prompts"][0], "seed": event["seed"]})
                # Told anew each time: the browser shows the newest and may have missed those before.
                details = event["cells"] if event["status"] == "done" else [*told]
                yield shown | event | {"cells": shown["cells"], "painted": [*cells], "told": details}

    return work


def _axes(value: object) -> dict:
    """The axes as the widget has them, what was written in words read as values."""
    given, axes = value if isinstance(value, dict) else {}, {}
    for side in "xyz":
        name, values = given.get(f"{side}_axis", ""), given.get(f"{side}_values", [])
        axes[f"{side}_axis"] = name
        axes[f"{side}_values"] = listed(name, values[:MAX_CHARACTERS]) if isinstance(values, str) else values
        if not name and side != "x":
            # One without a name has no values either, whatever is left in its field.
            axes[f"{side}_values"] = []
    return axes

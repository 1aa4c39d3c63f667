"""What happens on the page where one paints. Only painting asks for a turn; most of the rest happens in the browser."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import gradio as gr

from lora.errors import UnknownJob, UnknownPicture
from pipeline.request.picture import MAX_BYTES, UNREAD
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from serving.received import uploaded_bytes
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.watching import wire_job
from ui.pages.common.widget import WHILE_EDITING
from ui.pages.paint.layout import Widgets, layout
from ui.web.files import shown_files

# The counter hears it.
EDITED = "() => { window.dispatchEvent(new Event('atelier:edited')); }"
# What a prompt template adds to what is left out, or takes away again.
LEAVE_OUT = """(template, negative) => {
    const listed = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);
    const own = listed(template.negative), needed = listed(template.others);
    const left = listed(negative || "").filter((word) => !own.includes(word) || needed.includes(word));
    return [...left, ...(template.on ? own.filter((word) => !left.includes(word)) : [])].join(", ");
}"""


def add_paint_page(service: GenerationService, jobs: Jobs, history: History) -> Widgets:
    """Add the page to the Blocks that is being built."""
    widgets = layout(service)
    add_counter(service, widgets)
    add_forecast(service, widgets)
    wire(widgets, service, jobs, history)
    return widgets


def add_counter(service: GenerationService, widgets: Widgets) -> None:
    """Keep the line under the prompt true while its visitor types or puts styles on."""
    prompt, styles, counter = widgets.fields["prompt"], widgets.fields["adapters"], widgets.counter

    def count(text: str, uses: list[dict], request: gr.Request) -> dict:
        try:
            return service.tokenize(text, [use["id"] for use in uses or ()], request.session_hash)
        except Exception as error:
            return {"error": sentence(error)}

    # The widget asks once nothing has changed for a moment: not at each key.
    gr.on([prompt.change, styles.change], None, js=EDITED, api_visibility="private")
    counter.ask(count, [prompt, styles], counter, **WHILE_EDITING)


def add_forecast(service: GenerationService, widgets: Widgets) -> None:
    """Keep the line under the button true: what a picture of these settings costs, and how long the queue is."""
    # What neither words nor styles change; before anything is written too.
    asked = {name: widget for name, widget in widgets.fields.items() if name not in ("prompt", "adapters")}

    # Coroutines, so that they run on the event loop, where the queue lives.
    async def estimate(request: gr.Request, *values: object) -> dict:
        raw = dict(zip(asked, values)) | {"prompt": "x"}
        try:
            # What picture it is changes nothing either, only that there is one.
            return service.estimate(raw | {"image": UNREAD if raw["image"] else None}, request.session_hash)
        except Exception as error:
            return {"error": sentence(error)}

    async def again(value: dict, request: gr.Request) -> dict:
        try:
            return {**value, **service.turn(request.session_hash), "error": ""}
        except Exception as error:
            return {**value, "error": sentence(error)}

    page, cost = being_built(), widgets.cost
    gr.on(
        [page.load, *(widget.change for widget in asked.values())], estimate, [*asked.values()], cost, **WHILE_EDITING
    )
    cost.ask(again, cost, cost, **WHILE_EDITING)


def wire(widgets: Widgets, service: GenerationService, jobs: Jobs, history: History) -> None:
    """Say what buttons, examples and templates do."""
    fields, stage, uploads = widgets.fields, widgets.stage, being_built().uploads
    here: dict[str, Any] = {"fn": None, "api_visibility": "private"}

    async def work(secret: str, job: str, values: Sequence[object], session: str | None) -> AsyncGenerator[dict]:
        raw = dict(zip(fields, values))
        raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
        async with aclosing(painted(service, history, (owner_hash(secret), job), raw, session)) as news:
            async for shown in news:
                yield shown

    wire_job(
        jobs, "paint", stage, [*fields.values()], (widgets.paint, widgets.cancel), work,
        partial(painted_before, history), (fields["width"], fields["height"]),
    )  # fmt: skip
    negative = fields["negative_prompt"]
    widgets.templates.pick(None, [widgets.templates, negative], negative, js=LEAVE_OUT, api_visibility="private")
    widgets.draw_seed.click(**here, outputs=fields["seed"], js="() => -1")
    stage.reuse(**here, inputs=stage, outputs=fields["seed"], js="(value) => value.seed")
    for text, button in widgets.examples.items():
        button.click(**here, outputs=fields["prompt"], js=f"() => {json.dumps(text)}")


async def painted(
    service: GenerationService,
    history: History,
    key: tuple[str, str],
    values: Mapping[str, object],
    session: str | None,
) -> AsyncGenerator[dict]:
    """Paint a request for the page: what it is to show, at last the pictures, which the history keeps.

    `key` is the hash of the owner's secret and the job's id.
    """
    size = {name: values.get(name) for name in ("width", "height")}
    async with aclosing(service.generate(values, session, page=True)) as updates:
        async for update in updates:
            if not update.images:
                yield size | update.details
                continue
            kept = await history.kept(*key, update.images, update.details)
            files = await shown_files(update.images, update.details.get("seeds", []))
            yield update.details | kept | {"images": files}


async def painted_before(history: History, secret: str, job: str) -> dict:
    """What a job that is not known any more has painted, as the history has it. Raises UnknownJob."""
    try:
        kept = await asyncio.to_thread(history.of_job, owner_hash(secret), str(job))
    except UnknownPicture:
        raise UnknownJob("There is no such job of yours.") from None
    public = history.public(kept)
    seeds = [picture["seed"] for picture in public["pictures"]]
    images = [{"url": picture["url"].removeprefix("/")} for picture in public["pictures"]]
    return kept.details | {"kept": kept.id, "images": images, "seeds": seeds}

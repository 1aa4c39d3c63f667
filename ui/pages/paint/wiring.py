"""What happens on the page where one paints. Only painting asks for a turn; most of the rest happens in the browser."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import gradio as gr

from lora.errors import UnknownJob, UnknownPicture
from pipeline.request.checks import whole
from pipeline.request.limits import SEEDS
from pipeline.request.picture import UNREAD
from pipeline.request.request import PICTURES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from serving.received import uploaded_pictures
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.watching import wire_job, wire_strip
from ui.pages.common.widget import WHILE_EDITING
from ui.pages.paint.form import add_form
from ui.pages.paint.layout import Widgets, layout
from ui.pages.paint.live import add_live
from ui.pages.paint.start import as_asked
from ui.web.files import shown_files

# Of "until I stop".
MOST_RUNS = 1000
# The counter hears it.
EDITED = "() => { window.dispatchEvent(new Event('atelier:edited')); }"
# What a prompt template adds to what is left out, or takes away again.
LEAVE_OUT = """(template, negative) => {
    const listed = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);
    const own = listed(template.negative), needed = listed(template.others);
    const left = listed(negative || "").filter((word) => !own.includes(word) || needed.includes(word));
    return [...left, ...(template.on ? own.filter((word) => !left.includes(word)) : [])].join(", ");
}"""


def add_paint_page(service: GenerationService, jobs: Jobs, history: History, tabs: gr.Tabs) -> Widgets:
    """Add the page to the Blocks that is being built."""
    widgets = layout(service, history)
    add_form(service, widgets.fields, widgets.reader, widgets.bar)
    add_counter(service, widgets)
    add_forecast(service, widgets)
    wire(widgets, service, jobs, history, tabs)
    if not service.worker.no_live:
        add_live(service, history, widgets.fields, widgets.live, widgets.stage)
    return widgets


def add_counter(service: GenerationService, widgets: Widgets) -> None:
    """Keep the line under the prompt true while its visitor types or puts styles on."""
    prompt, styles, counter = widgets.fields["prompt"], widgets.fields["adapters"], widgets.counter

    def count(text: object, uses: object, request: gr.Request) -> dict:
        # Any program may call it; what is no mix is refused by name.
        ids = [use.get("id") if isinstance(use, dict) else use for use in uses] if isinstance(uses, list) else uses
        try:
            return service.tokenize(text, ids or [], request.session_hash)
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
            unread = {row.name: UNREAD if raw.get(row.name) else None for row in PICTURES}
            return service.estimate(raw | unread, request.session_hash)
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


def wire(widgets: Widgets, service: GenerationService, jobs: Jobs, history: History, tabs: gr.Tabs) -> None:
    """Say what buttons, examples and templates do."""
    fields, stage, uploads = widgets.fields, widgets.stage, being_built().uploads
    here: dict[str, Any] = {"fn": None, "api_visibility": "private"}
    prompts = [*fields].index("prompt")

    async def work(secret: str, job: str, values: Sequence[Any], session: str | None) -> AsyncGenerator[dict]:
        *given, runs = values
        owner = owner_hash(secret)
        # What this browser keeps was lent to its session when the page came; after a restart it is there no more.
        await service.lend(owner, session)
        raw = await uploaded_pictures(as_asked(dict(zip(fields, given))), uploads)
        async with aclosing(repeated(service, history, (owner, job), raw, session, runs)) as news:
            async for shown in news:
                yield shown

    wire_job(
        jobs, "paint", stage, [*fields.values(), widgets.runs], (widgets.paint, widgets.cancel), work,
        lambda values: str(values[prompts]), (tabs, "paint"), partial(painted_before, history),
        (fields["width"], fields["height"]),
    )  # fmt: skip
    wire_strip(jobs, "paint", stage)
    negative = fields["negative_prompt"]
    for templates in widgets.templates:
        templates.pick(**here, inputs=[templates, negative], outputs=negative, js=LEAVE_OUT)
    stage.reuse(**here, inputs=stage, outputs=fields["seed"], js="(value) => value.seed")
    for text, button in widgets.examples.items():
        button.click(**here, outputs=fields["prompt"], js=f"() => {json.dumps(text)}")


async def repeated(
    service: GenerationService,
    history: History,
    key: tuple[str, str],
    values: Mapping[str, Any],
    session: str | None,
    runs: object,
) -> AsyncGenerator[dict]:
    """Paint a request `runs` times, 0 until it is stopped, each time with the next seeds: what the page is to show.

    Each run has a turn of its own, behind all others who wait. Raises AtelierError.
    """
    wanted = whole("runs", runs, 0, MOST_RUNS) or MOST_RUNS
    owner, job = key
    for run in range(wanted):
        place = {"run": run + 1, "runs": runs}
        own = (owner, job if run == 0 else f"{job}-{run}")
        async with aclosing(painted(service, history, own, later(values, run), session, again=run > 0)) as news:
            async for shown in news:
                if shown["status"] == "done" and run + 1 < wanted:
                    shown = {"status": "sent", "last": shown}
                yield shown | (place if wanted > 1 else {})


def later(values: Mapping[str, Any], run: int) -> Mapping[str, Any]:
    """The values of a run: a seed that is locked is followed by those after it."""
    seed, count = values.get("seed"), values.get("num_images")
    if not run or not isinstance(seed, int) or not isinstance(count, int) or seed < 0:
        return values
    return {**values, "seed": (seed + run * count) % SEEDS}


async def painted(
    service: GenerationService,
    history: History,
    key: tuple[str, str],
    values: Mapping[str, object],
    session: str | None,
    again: bool = False,
) -> AsyncGenerator[dict]:
    """Paint a request for the page: what it is to show, at last the pictures, which the history keeps.

    Pictures of a batch are kept and shown as they are finished: `last` is what there would be if it ended then. `key`
    is the hash of the owner's secret and the job's id.
    """
    size = {name: values.get(name) for name in ("width", "height")}
    images: list[bytes] = []
    files: list[dict] = []

    async def kept(pictures: Sequence[bytes], details: Mapping) -> dict:
        fresh = tuple(pictures[len(files) :])
        files.extend(await shown_files(fresh, details["seeds"][len(files) :]))
        return {**details, **await history.kept(*key, pictures, dict(details)), "images": [*files]}

    async with aclosing(service.generate(values, session, page=True, again=again)) as updates:
        async for update in updates:
            shown = size | update.details
            if update.images:
                shown = await kept(update.images, update.details)
            elif update.finished:
                images.append(update.finished.png)
                shown["last"] = await kept(images, update.finished.details) | {"status": "done"}
            yield shown if update.images else shown | ({"finished": [*files]} if files else {})


async def painted_before(history: History, secret: str, job: str) -> dict:
    """What a job that is not known any more has painted, as the history has it. Raises UnknownJob."""
    try:
        kept = await asyncio.to_thread(history.of_job, owner_hash(secret), str(job))
    except UnknownPicture:
        raise UnknownJob("There is no such job of yours.") from None
    public = history.public(kept)
    seeds = [picture["seed"] for picture in public["pictures"]]
    images = [picture | {"url": picture["url"].removeprefix("/")} for picture in public["pictures"]]
    return kept.details | {"kept": kept.id, "images": images, "seeds": seeds}

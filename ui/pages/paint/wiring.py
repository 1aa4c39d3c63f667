"""The page where one paints: first what stands on it, then what happens."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial

import gradio as gr

from lora.errors import UnknownJob, UnknownPicture
from pipeline.request.picture import MAX_BYTES, UNREAD
from pipeline.text.prompt_templates import PROMPT_TEMPLATES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.jobs import Jobs
from ui.errors import in_words
from ui.pages.common.watching import wire_job
from ui.pages.common.widgets import (
    WHILE_EDITING,
    forecast,
    picture_reader,
    picture_stage,
    prompt_templates,
    token_counter,
)
from ui.pages.paint.settings import add_panel
from ui.pages.paint.styles import add_styles
from ui.web.files import shown_files, upload_route, uploaded_bytes

TEMPLATE_HINTS = (
    "A click writes them around your prompt and into what to leave out, where you can change them.",
    "A click writes them around your prompt. The embedded model passes over such words; larger ones follow them.",
)
# What a prompt template adds to what is left out, or takes away again.
LEAVE_OUT = """(template, negative) => {
    const listed = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);
    const own = listed(template.negative), others = listed(negative || "").filter((word) => !own.includes(word));
    return [...others, ...(template.on ? own : [])].join(", ");
}"""
PLACEHOLDER = "A red apple on a wooden table …"


@dataclass(frozen=True)
class Widgets:
    """What the wiring needs of the layout. `fields` are the widgets of a request by the names of its fields."""

    fields: dict[str, gr.components.Component]
    stage: gr.HTML
    paint: gr.Button
    cancel: gr.Button
    draw_seed: gr.Button
    examples: dict[str, gr.Button]
    reader: gr.HTML


def add_generate_page(service: GenerationService, jobs: Jobs, history: History) -> Widgets:
    """Add the page to the Blocks that is being built."""
    widgets = layout(service)
    wire(widgets, service, jobs, history)
    return widgets


def layout(service: GenerationService) -> Widgets:
    """Place the widgets, in the order of a phone; style.css sets the picture beside them where there is room."""
    with gr.Column(elem_id="workbench"):
        with gr.Column(elem_id="ask"):
            prompt = gr.Textbox(
                label="What shall I paint?", placeholder=PLACEHOLDER, lines=3, max_lines=8, elem_id="prompt"
            )
            counter = token_counter()
            gr.HTML('<p id="notice" role="alert" hidden></p>', apply_default_css=False)
            with gr.Row(elem_id="examples"):
                texts = service.profile.examples
                examples = {text: gr.Button(text, size="sm", elem_classes="example") for text in texts}
            reader = picture_reader(MAX_BYTES)
        with gr.Column(elem_id="act"):
            with gr.Row():
                paint = gr.Button("Paint", variant="primary", elem_id="paint")
                cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
            cost = forecast()
        with gr.Column(elem_id="styles"):
            styles = add_styles(service)
            with gr.Accordion("Prompt templates", open=False, elem_id="templates"):
                hint = TEMPLATE_HINTS[service.profile.name == "embedded"]
                templates = prompt_templates([asdict(style) for style in PROMPT_TEMPLATES], hint)
        with gr.Column(elem_id="picture"):
            stage = picture_stage()
        with gr.Column(elem_id="settings"):
            panel = add_panel(service, styles)
    fields = {"prompt": prompt, "adapters": styles, **panel.fields}
    add_counter(service, counter, prompt, styles)
    add_forecast(service, cost, fields)
    negative = panel.fields["negative_prompt"]
    templates.pick(None, [templates, negative], negative, js=LEAVE_OUT, api_visibility="private")
    return Widgets(fields, stage, paint, cancel, panel.draw_seed, examples, reader)


def add_counter(service: GenerationService, counter: gr.HTML, prompt: gr.Textbox, styles: gr.HTML) -> None:
    """Keep the line under the prompt true while its visitor types or puts styles on."""

    def count(text: str, uses: list[dict], request: gr.Request) -> dict:
        try:
            return service.tokenize(text, [use["id"] for use in uses or ()], request.session_hash)
        except gr.Error as error:
            return {"error": error.message}

    gr.on([prompt.change, styles.change], count, [prompt, styles], counter, **WHILE_EDITING)


def add_forecast(service: GenerationService, cost: gr.HTML, fields: dict[str, gr.components.Component]) -> None:
    """Keep the line under the button true: what a picture of these settings costs, and how long the queue is."""
    # What neither words nor styles change; before anything is written too.
    asked = {name: widget for name, widget in fields.items() if name not in ("prompt", "adapters")}

    # Coroutines, so that they run on the event loop, where the queue lives.
    async def estimate(request: gr.Request, *values: object) -> dict:
        raw = dict(zip(asked, values)) | {"prompt": "x"}
        try:
            # What picture it is changes nothing either, only that there is one.
            return service.estimate(raw | {"image": UNREAD if raw["image"] else None}, request.session_hash)
        except gr.Error as error:
            return {"error": error.message}

    async def again(value: dict, request: gr.Request) -> dict:
        try:
            return {**value, **service.turn(request.session_hash), "error": ""}
        except gr.Error as error:
            return {**value, "error": error.message}

    page = gr.context.Context.root_block
    gr.on(
        [page.load, *(widget.change for widget in asked.values())], estimate, [*asked.values()], cost, **WHILE_EDITING
    )
    cost.ask(again, cost, cost, **WHILE_EDITING)


def wire(widgets: Widgets, service: GenerationService, jobs: Jobs, history: History) -> None:
    """Say what the widgets do. Only painting asks the server; the rest happens in the browser."""
    fields, stage, uploads = widgets.fields, widgets.stage, upload_route()
    here = {"fn": None, "api_visibility": "private"}

    async def work(secret: str, job: str, values: Sequence[object], session: str) -> AsyncIterator[dict]:
        raw = dict(zip(fields, values))
        with in_words():
            raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
        async with aclosing(painted(service, history, (owner_hash(secret), job), raw, session)) as news:
            async for shown in news:
                yield shown

    wire_job(
        jobs, "paint", stage, [*fields.values()], (widgets.paint, widgets.cancel), work,
        partial(painted_before, history), (fields["width"], fields["height"]),
    )  # fmt: skip
    widgets.draw_seed.click(**here, outputs=fields["seed"], js="() => -1")
    stage.reuse(**here, inputs=stage, outputs=fields["seed"], js="(value) => value.seed")
    for text, button in widgets.examples.items():
        button.click(**here, outputs=fields["prompt"], js=f"() => {json.dumps(text)}")


async def painted(
    service: GenerationService, history: History, key: tuple[str, str], values: Mapping[str, object], session: str
) -> AsyncIterator[dict]:
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

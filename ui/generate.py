"""The page where one paints: first what stands on it, then what happens."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass

import gradio as gr

from lora.errors import InvalidOwner, UnknownJob
from pipeline.picture import MAX_BYTES
from pipeline.prompt_styles import PROMPT_STYLES
from ui.errors import LOST, in_words
from ui.files import upload_route, uploaded_bytes
from ui.jobs import Jobs
from ui.panel import add_panel
from ui.studio import Studio
from ui.styles import add_styles
from ui.widgets import picture_reader, picture_stage, prompt_looks, token_counter

LOOKS = (
    "A click writes them around your prompt and into what to leave out, where you can change them.",
    "A click writes them around your prompt. The embedded model passes over such words; larger ones follow them.",
)
# What a prompt style adds to what is left out, or takes away again.
LEAVE_OUT = """(look, negative) => {
    const listed = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);
    const own = listed(look.negative), others = listed(negative || "").filter((word) => !own.includes(word));
    return [...others, ...(look.on ? own : [])].join(", ");
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


def add_generate_page(studio: Studio, jobs: Jobs) -> Widgets:
    """Add the page to the Blocks that is being built."""
    widgets = layout(studio)
    wire(widgets, jobs)
    return widgets


def layout(studio: Studio) -> Widgets:
    """Place the widgets, in the order of a phone; style.css sets the picture beside them where there is room."""
    with gr.Column(elem_id="workbench"):
        with gr.Column(elem_id="ask"):
            prompt = gr.Textbox(
                label="What shall I paint?", placeholder=PLACEHOLDER, lines=3, max_lines=8, elem_id="prompt"
            )
            counter = token_counter()
            gr.HTML('<p id="notice" role="alert" hidden></p>', apply_default_css=False)
            with gr.Row(elem_id="examples"):
                texts = studio.profile.examples
                examples = {text: gr.Button(text, size="sm", elem_classes="example") for text in texts}
            reader = picture_reader(MAX_BYTES)
        with gr.Row(elem_id="act"):
            paint = gr.Button("Paint", variant="primary", elem_id="paint")
            cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
        with gr.Column(elem_id="styles"):
            styles = add_styles(studio)
            with gr.Accordion("Ways of painting, in words", open=False, elem_id="looks"):
                hint = LOOKS[studio.profile.name == "embedded"]
                looks = prompt_looks([asdict(style) for style in PROMPT_STYLES], hint)
        with gr.Column(elem_id="picture"):
            stage = picture_stage()
        with gr.Column(elem_id="settings"):
            panel = add_panel(studio, styles)
    fields = {"prompt": prompt, "adapters": styles, **panel.fields}
    add_counter(studio, counter, prompt, styles)
    negative = panel.fields["negative_prompt"]
    looks.pick(None, [looks, negative], negative, js=LEAVE_OUT, api_visibility="private")
    return Widgets(fields, stage, paint, cancel, panel.draw_seed, examples, reader)


def add_counter(studio: Studio, counter: gr.HTML, prompt: gr.Textbox, styles: gr.HTML) -> None:
    """Keep the line under the prompt true while its visitor types or puts styles on."""

    def count(text: str, uses: list[dict], request: gr.Request) -> dict:
        try:
            return studio.tokenize(text, [use["id"] for use in uses or ()], request.session_hash)
        except gr.Error as error:
            return {"error": error.message}

    gr.on(
        [prompt.change, styles.change], count, [prompt, styles], counter, preprocess=False, postprocess=False,
        show_progress="hidden", trigger_mode="always_last", queue=False, api_visibility="private",
    )  # fmt: skip


def wire(widgets: Widgets, jobs: Jobs) -> None:
    """Say what the widgets do. Only painting asks the server; the rest happens in the browser."""
    fields, stage = widgets.fields, widgets.stage
    here = {"fn": None, "api_visibility": "private"}
    widgets.paint.click(
        **here, inputs=[fields["width"], fields["height"]], outputs=stage,
        js="(width, height) => ({status: 'sent', width, height})",
    )  # fmt: skip
    watching = add_job(widgets, jobs)
    lost = f"""(value) => ["sent", "waiting", "painting"].includes(value?.status)
        ? {{status: "failed", message: {json.dumps(LOST)}}} : value"""
    for event in watching:
        event.then(**here, inputs=stage, outputs=stage, js=lost)
    widgets.cancel.click(**here, cancels=watching)
    widgets.cancel.click(**here, outputs=stage, js="() => ({status: 'cancelled'})")
    widgets.draw_seed.click(**here, outputs=fields["seed"], js="() => -1")
    stage.reuse(**here, inputs=stage, outputs=fields["seed"], js="(value) => value.seed")
    for text, button in widgets.examples.items():
        button.click(**here, outputs=fields["prompt"], js=f"() => {json.dumps(text)}")


def add_job(widgets: Widgets, jobs: Jobs) -> list:
    """Wire painting, coming back to it after a reload, and cancelling; the events that watch a job.

    The browser says in place of the stage's value who it is and which job it means, see visitor.js.
    """
    fields, stage, uploads = widgets.fields, widgets.stage, upload_route()
    # Without gradio's own conversions: the raw values meet the same checks as those of the endpoint.
    options = {"outputs": stage, "preprocess": False, "postprocess": False, "show_progress": "hidden",
               "concurrency_limit": None, "api_visibility": "private"}  # fmt: skip

    async def paint(request: gr.Request, keys: dict, *values: object) -> AsyncIterator[dict]:
        raw = dict(zip(fields, values))
        try:
            with in_words():
                raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
                jobs.start(*named(keys), raw, request.session_hash)
        except gr.Error as error:
            yield {"status": "failed", "message": error.message}
            return
        async with aclosing(jobs.watch(*named(keys))) as news:
            async for shown in news:
                yield shown

    async def resume(keys: dict) -> AsyncIterator[dict]:
        try:
            async with aclosing(jobs.watch(*named(keys))) as news:
                async for shown in news:
                    yield shown
        except (UnknownJob, InvalidOwner):
            yield gr.skip()

    async def cancel(keys: dict) -> None:
        # It may have ended by itself, or not have begun; there is nobody to tell, for the page shows it as stopped.
        with suppress(UnknownJob, InvalidOwner):
            jobs.cancel(*named(keys))

    page = gr.context.Context.root_block
    painting = widgets.paint.click(
        paint, [stage, *fields.values()], js="(stage, ...values) => [atelier.begin(), ...values]", api_name="paint_job",
        **options,
    )  # fmt: skip
    resuming = page.load(resume, stage, js="() => atelier.keys()", api_name="resume_job", **options)
    widgets.cancel.click(
        cancel, stage, js="() => atelier.keys()", api_name="cancel_job", **options | {"outputs": None, "queue": False}
    )
    return [painting, resuming]


def named(keys: object) -> tuple[object, object]:
    """Owner and job of what a page says it is; None where it says nothing."""
    return (keys.get("owner"), keys.get("job")) if isinstance(keys, dict) else (None, None)

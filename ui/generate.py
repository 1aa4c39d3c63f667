"""The page where one paints: first what stands on it, then what happens."""

import json
from contextlib import aclosing
from dataclasses import asdict, dataclass

import gradio as gr

from pipeline.picture import MAX_BYTES
from pipeline.prompt_styles import PROMPT_STYLES
from ui.errors import in_words
from ui.files import picture_files, upload_route, uploaded_bytes
from ui.panel import add_panel
from ui.studio import Studio
from ui.styles import add_styles
from ui.widgets import picture_stage, prompt_looks, token_counter

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
LOST = "The connection was lost or the queue is full; please try again."


@dataclass(frozen=True)
class Widgets:
    """What the wiring needs of the layout. `fields` are the widgets of a request by the names of its fields."""

    fields: dict[str, gr.components.Component]
    stage: gr.HTML
    paint: gr.Button
    cancel: gr.Button
    draw_seed: gr.Button
    examples: dict[str, gr.Button]


def add_generate_page(studio: Studio) -> dict[str, gr.components.Component]:
    """Add the page to the Blocks that is being built; the widgets of a request by the names of its fields."""
    widgets = layout(studio)
    wire(widgets, studio)
    return widgets.fields


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
    return Widgets(fields, stage, paint, cancel, panel.draw_seed, examples)


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


def wire(widgets: Widgets, studio: Studio) -> None:
    """Say what the widgets do. Only painting asks the server; the rest happens in the browser."""
    fields, stage, uploads = widgets.fields, widgets.stage, upload_route()
    here = {"fn": None, "api_visibility": "private"}

    async def paint(values: dict, request: gr.Request) -> dict:
        try:
            raw = {name: values[widget] for name, widget in fields.items()}
            with in_words():
                raw["image"] = await uploaded_bytes("image", raw["image"], uploads, MAX_BYTES)
            async with aclosing(studio.generate(raw, request.session_hash, page=True)) as updates:
                async for update in updates:
                    files = await picture_files(update.images, update.details.get("seeds", []))
                    # While painting `images` is how many there will be, at last it is the files.
                    yield update.details | ({"images": files} if files else {})
        except gr.Error as error:
            ours = error.title == "Error"
            yield {"status": "failed", "message": error.message if ours else f"{error.title}."}
            if not ours:
                # Those of `spaces`, about a visitor's GPU quota, hold links: gradio shows them as such.
                raise

    widgets.paint.click(
        **here, inputs=[fields["width"], fields["height"]], outputs=stage,
        js="(width, height) => ({status: 'sent', width, height})",
    )  # fmt: skip
    # Without gradio's own conversions: the raw values meet the same checks as those of the endpoint.
    painting = widgets.paint.click(
        paint, set(fields.values()), stage, preprocess=False, postprocess=False, show_progress="hidden",
        concurrency_limit=None, api_visibility="private",
    )  # fmt: skip
    painting.then(
        **here, inputs=stage, outputs=stage, js=f"""(value) => ["sent", "waiting", "painting"].includes(value?.status)
            ? {{status: "failed", message: {json.dumps(LOST)}}} : value""",
    )  # fmt: skip
    widgets.cancel.click(**here, cancels=painting)
    widgets.cancel.click(**here, outputs=stage, js="() => ({status: 'cancelled'})")
    widgets.draw_seed.click(**here, outputs=fields["seed"], js="() => -1")
    stage.reuse(**here, inputs=stage, outputs=fields["seed"], js="(value) => value.seed")
    for text, button in widgets.examples.items():
        button.click(**here, outputs=fields["prompt"], js=f"() => {json.dumps(text)}")

"""What stands on the page where one paints."""

from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from pipeline.request.picture import MAX_BYTES
from pipeline.text.prompt_templates import PROMPT_TEMPLATES
from serving.generation import GenerationService
from serving.history import History
from ui.pages.paint.form import form_of
from ui.pages.paint.settings import add_panel
from ui.pages.paint.start import add_start
from ui.pages.paint.styles import add_styles
from ui.pages.paint.widgets import (
    completion,
    forecast,
    live_switch,
    picture_reader,
    picture_stage,
    prompt_templates,
    run_chooser,
    seed_lock,
    token_counter,
)

TEMPLATE_HINTS = (
    "A click writes them around your prompt and into what to leave out, where you can change them.",
    "A click writes them around your prompt. The embedded model passes over such words; larger ones follow them.",
)
PLACEHOLDER = "A red apple on a wooden table …"


@dataclass(frozen=True)
class Widgets:
    """What the wiring needs of the layout. `fields` are the widgets of a request by the names of its fields."""

    fields: dict[str, Any]
    counter: gr.HTML
    cost: gr.HTML
    templates: tuple[gr.HTML, gr.HTML]
    stage: gr.HTML
    paint: gr.Button
    cancel: gr.Button
    runs: gr.HTML
    live: gr.HTML
    bar: gr.HTML
    examples: dict[str, gr.Button]
    reader: gr.HTML


def layout(service: GenerationService, history: History) -> Widgets:
    """Place the widgets, in the order of a phone; paint.css sets the picture beside them where there is room."""
    with gr.Column(elem_id="workbench"):
        with gr.Column(elem_id="ask"):
            prompt = gr.Textbox(
                label="What shall I paint?", placeholder=PLACEHOLDER, lines=3, max_lines=8, elem_id="prompt"
            )
            known = {name: ", ".join(lines[:4]) for name, lines in service.wildcards.items()}
            words = [asdict(template) for template in PROMPT_TEMPLATES]
            suggestions = completion(known, words)
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
            with gr.Row(elem_id="how"):
                seed = seed_lock()
                live = live_switch(service.worker.no_live)
                runs = run_chooser()
            cost = forecast()
        with gr.Column(elem_id="styles"):
            styles = add_styles(service, history)
            with gr.Accordion("Prompt templates", open=False, elem_id="templates"):
                hint = TEMPLATE_HINTS[service.profile.name == "embedded"]
                templates = prompt_templates(words, hint)
        with gr.Column(elem_id="picture"):
            stage = picture_stage()
        with gr.Column(elem_id="settings"):
            with gr.Column(elem_id="from"):
                start = add_start(service)
            place = gr.Column(elem_id="bar")
            settings = add_panel(service)
        fields = {"prompt": prompt, "adapters": styles, **settings, **start, "seed": seed}
        with place:
            bar = form_of(service, fields)
    return Widgets(
        fields, counter, cost, (templates, suggestions), stage, paint, cancel, runs, live, bar, examples, reader
    )

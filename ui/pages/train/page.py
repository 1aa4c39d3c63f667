"""What stands on the page where one trains a style."""

from typing import Any, cast

import gradio as gr
from gradio.components import Component

from serving.generation import GenerationService
from serving.trainings import Trainings
from training.dataset import MAX_CAPTION
from training.presets import OPTIONS, PRESET, PRESETS, SHAPES, TrainingScope
from ui.pages.train.widgets import picture_sheet, training_run
from ui.pages.train.wiring import wire_cost, wire_run, wire_sheet

# What is written already, so that nobody has to write anything.
NAME, TRIGGER = "My style", "mystyle"
# More steps after the last one.
MORE = 100
LABELS = {"rslora": "Rank-stabilised scale", "dora": "DoRA", "timestep_rank": "T-LoRA: fewer ranks in strong noise"}


def add_train_page(service: GenerationService, trainings: Trainings, where: tuple[gr.Tabs, gr.Tab]) -> None:
    """Add the page to the tab that is being built."""
    tabs, tab = where
    scope = TrainingScope(service.facts.small, service.facts.side, trainings.limits.steps)
    with gr.Column(elem_id="training"):
        with gr.Column(elem_id="train-ask"):
            sheet = picture_sheet(1024 * 2**20, MAX_CAPTION)
            with gr.Row():
                name = gr.Textbox(NAME, label="Name of the style", max_lines=1, max_length=120)
                trigger = gr.Textbox(TRIGGER, label="Trigger word", max_lines=1, max_length=60)
            preset = gr.Radio([*PRESETS], value=PRESET, label="How long", elem_id="train-preset")
            with gr.Accordion("More", open=False):
                prompt = gr.Textbox("", label="What the samples show", placeholder=service.profile.examples[0])
                licence = gr.Textbox("", label="Licence, for the file", max_lines=1, max_length=120)
                with gr.Column(elem_id="train-options"):
                    options = _options(scope)
            with gr.Row(elem_id="train-act"):
                start = gr.Button("Train", variant="primary", elem_id="train")
            cost = gr.HTML("", elem_id="train-cost", apply_default_css=False)
        run = training_run(MORE)
    values = {"name": name, "trigger": trigger, "preset": preset, "sample_prompt": prompt, "license": licence} | options
    wire_sheet(service, sheet)
    wire_cost(trainings, service, values, cost, tab)
    wire_run(trainings, sheet, values, start, run, tabs)


def _options(scope: TrainingScope) -> dict[str, Component]:
    """A widget for each option, as it is by itself; empty where a preset or the model says how that is."""
    made: dict[str, Component] = {}
    for field in OPTIONS:
        rules, preset = field.metadata, scope.preset(PRESET)
        usual = cast(Any, preset.get(field.name, field.default))
        told: dict[str, Any] = {"label": LABELS.get(field.name, field.name.replace("_", " ").capitalize()),
                                "info": rules["help"]}  # fmt: skip
        if "choices" in rules:
            made[field.name] = gr.Dropdown([*rules["choices"]], value=usual, **told)
        elif "low" in rules:
            low, high = scope.bounds(field)
            hint = (
                "as the preset says"
                if field.name in {*preset, *SHAPES}
                else "by itself"
                if usual is None
                else f"{usual:g}"
            )
            # As text: gradio's field for numbers makes 0 of an empty one.
            told |= {"info": f"{rules['help']} ({low:,} to {high:,})", "elem_id": f"train-{field.name}"}
            made[field.name] = gr.Textbox("", max_lines=1, placeholder=hint, **told)
        elif field.type is bool:
            made[field.name] = gr.Checkbox(usual, **told)
        else:
            made[field.name] = gr.Textbox("", max_lines=2, **told)
    return made

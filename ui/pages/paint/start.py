"""Where one starts from a picture: which one, what of it is painted anew, how far beyond its edges."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline.request.fields import defaults
from pipeline.request.limits import MAX_MASK_BLUR
from pipeline.request.picture import MAX_BYTES
from pipeline.request.request import FIELDS, PICTURES
from serving.generation import GenerationService
from ui.pages.paint.widgets import picture_canvas, picture_mask

# What a widget has for a file where there is none.
NO_FILE = ("", None)
SIDES = ("left", "right", "top", "bottom")


def add_start(service: GenerationService) -> dict[str, Component]:
    """Place the widgets; by the fields of a request that they set."""
    limits = service.facts.limits
    usual = defaults(limits, FIELDS)
    made: dict[str, Component] = {"image": picture_canvas(MAX_BYTES), "mask": picture_mask()}
    # There once a picture is: until then nobody's browser has to draw it.
    with gr.Column(elem_id="start-more", visible=False) as more:
        label = "Strength: how much of it is painted anew"
        made["strength"] = gr.Slider(0, 1, usual["strength"], step=0.05, label=label, elem_id="strength")
        made["mask_blur"] = gr.Slider(
            0, MAX_MASK_BLUR, usual["mask_blur"], step=1, label="Soft edge of a part, in pixels", elem_id="mask-blur"
        )
        gr.HTML('<p class="hint">Beyond its edges: so many of the picture\'s pixels are new at each side.</p>')
        for pair in (SIDES[:2], SIDES[2:]):
            with gr.Row():
                for side in pair:
                    made[f"outpaint_{side}"] = gr.Slider(
                        0, limits.size_max // 2 // limits.size_step * limits.size_step, 0, step=limits.size_step,
                        label=f"Extend {side}",
                    )  # fmt: skip
    image: Any = made["image"]
    image.change(
        None, image, more, api_visibility="private",
        js="(image) => ({__type__: 'update', visible: Boolean(image)})",
    )  # fmt: skip
    return made


def as_asked(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the widgets of a request have, as a request wants it: None for a picture that is not there."""
    files = {row.name for row in PICTURES}
    return {name: None if name in files and value in NO_FILE else value for name, value in values.items()}

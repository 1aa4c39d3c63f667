"""The widgets that gradio does not have: cards of styles, the stage where the picture comes to be, a drawing of noise.

Their templates are fixed and their scripts write all text as text, so nothing that a visitor or an adapter file says
is ever read as HTML.
"""

from pathlib import Path

import gradio as gr

PAGES = Path(__file__).parents[1]
# Of events that tell something while settings are edited: JSON as it is, past the queue, of many the last one.
WHILE_EDITING = {"preprocess": False, "postprocess": False, "show_progress": "hidden", "queue": False,
                 "trigger_mode": "always_last", "api_visibility": "private"}  # fmt: skip


def style_cards(value: list[dict], styles: list[dict], most_bytes: int, burns_above: float) -> gr.HTML:
    """Cards with pictures that switch `styles` on and off, a row for each one that is on, and a way to add more.

    Value: `[{"id": "ink", "weight": 0.8}, ...]`, as a request names adapters. Events `inspect` (a file that was
    uploaded or a repository), `search` (words) and `export` carry a `number`; their answer goes into the property
    `answer` with the same one. Files above `most_bytes` are not sent; mixes above `burns_above` are warned of.
    """
    return _widget("paint/styles", value, styles=styles, answer=None, most_bytes=most_bytes, burns_above=burns_above)


def picture_stage() -> gr.HTML:
    """The picture, from the empty frame over its previews to the result, and the label under it.

    Value: the details of an Update, with the picture files as `images` when it is done. Has an event
    `reuse`: the visitor wants the seed once more.
    """
    return _widget("paint/stage", {"status": "empty"})


def noise_levels(value: dict) -> gr.HTML:
    """A drawing of a noise schedule. Value: `{"sigmas": [...]}`, from the first step to the clean picture."""
    return _widget("paint/levels", value)


def token_counter() -> gr.HTML:
    """How the prompt is read, in a line under it. Value: what /tokenize gives, or `{"error": words}`."""
    return _widget("paint/counter", {})


def forecast() -> gr.HTML:
    """What painting would come to, in a line. Value: what `GenerationService.estimate` gives, or `{"error": words}`.

    Has an event `ask`, from time to time, for a queue moves.
    """
    return _widget("paint/forecast", {})


def prompt_templates(templates: list[dict], hint: str) -> gr.HTML:
    """Pictures of prompt templates (`name`, `prompt` with {prompt}, `negative`) that write their words into the prompt.

    Has an event `pick`: the value's `negative` is to be added to what is left out where it is `on`, or taken away.
    """
    return _widget("paint/templates", None, templates=templates, hint=hint)


def picture_reader(most_bytes: int) -> gr.HTML:
    """Takes pictures that are dropped, pasted or chosen anywhere on the page, to paint as they were painted.

    Has an event `read` with the uploaded `file` and a `number`; the property `answer` with the same number takes the
    `notes` on what could not be restored, and what is `done`, or an `error`.
    """
    return _widget("paint/restore", None, answer=None, most_bytes=most_bytes)


def picture_history() -> gr.HTML:
    """The pictures of this browser: to look at, search, compare two of them, paint again, save and delete.

    Events `list`, `forget` and `reuse` carry the owner's secret and a `number`; their answer goes into the property
    `answer` with the same one.
    """
    return _widget("history/history", None, answer=None)


def compare_axes(names: dict[str, str], styles: list[dict], schedulers: list[str], most: int) -> gr.HTML:
    """Two axes of a comparison, by their `names`; values are picked (styles, schedulers) or written.

    Value: `{"x_axis", "x_values", "y_axis", "y_values"}`, values being a list, or text to be read. The property `plan`
    is what it comes to (`cells`, `columns`, `rows`, `expected_seconds`), or `{"error": words}`; `most` cells.
    """
    chosen = ["", *(style["id"] for style in styles[:8])] if styles else ""
    value = {"x_axis": "adapter" if styles else "steps", "x_values": chosen, "y_axis": "", "y_values": ""}
    return _widget("compare/axes", value, names=names, styles=styles, schedulers=schedulers, most=most, plan=None)


def compare_board() -> gr.HTML:
    """The cells of a comparison as they come to be. Value: what happens, with `painted` files, the `sheet` at last."""
    return _widget("compare/board", {"status": "empty"})


def keyboard() -> gr.HTML:
    """What the keys do, and the sheet that lists them."""
    return _widget("common/keys", None)


def _widget(name: str, value: object, **props: object) -> gr.HTML:
    template, helpers, script = (
        (PAGES / file).read_text("utf-8") for file in (f"{name}.html", "common/dom.js", f"{name}.js")
    )
    return gr.HTML(value, html_template=template, js_on_load=helpers + script, apply_default_css=False, **props)

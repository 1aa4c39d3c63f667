"""The widgets of the page where one paints: cards of styles, the stage where the picture comes to be, and more."""

import gradio as gr

from pipeline.request.mix import MAX_WEIGHT
from pipeline.text.prompt import CHUNK
from ui.pages.common.widget import widget

# Pictures in a row of templates.webp, as assets/recipe/prompt_templates.py draws it.
TEMPLATE_COLUMNS = 8


def style_cards(
    value: list[dict], styles: list[dict], families: dict[str, str], most_bytes: int, burns_above: float
) -> gr.HTML:
    """Cards with pictures that switch `styles` on and off, a row for each one that is on, and a way to add more.

    Value: `[{"id": "ink", "weight": 0.8}, ...]`, as a request names adapters. Events `inspect` (a file that was
    uploaded or a repository), `search` (words) and `export` carry a `number`; their answer goes into the property
    `answer` with the same one. `families` are names of models by what an answer calls them. Files above `most_bytes`
    are not sent; mixes above `burns_above` are warned of.
    """
    return widget(
        "paint", "styles", value, ["files"], styles=styles, families=families, answer=None, most_bytes=most_bytes,
        burns_above=burns_above, max_weight=MAX_WEIGHT,
    )  # fmt: skip


def picture_stage() -> gr.HTML:
    """The picture, from the empty frame over its previews to the result, and the label under it.

    Value: the details of an Update, with the picture files as `images` when it is done. Has an event
    `reuse`: the visitor wants the seed once more.
    """
    return widget("paint", "stage", {"status": "empty"}, ["job"])


def noise_levels(value: dict) -> gr.HTML:
    """A drawing of a noise schedule. Value: `{"sigmas": [...]}`, from the first step to the clean picture."""
    return widget("paint", "levels", value)


def token_counter() -> gr.HTML:
    """How the prompt is read, in a line under it. Value: what /tokenize gives, or `{"error": words}`.

    Has an event `ask`, when prompt or styles have changed and nothing more has for a moment.
    """
    return widget("paint", "counter", {}, chunk=CHUNK)


def forecast() -> gr.HTML:
    """What painting would come to, in a line. Value: what `GenerationService.estimate` gives, or `{"error": words}`.

    Has an event `ask`, from time to time, for a queue moves.
    """
    return widget("paint", "forecast", {})


def prompt_templates(templates: list[dict], hint: str) -> gr.HTML:
    """Pictures of prompt templates (`name`, `prompt` with {prompt}, `negative`) that write their words into the prompt.

    Has an event `pick`: the value's `negative` is to be added to what is left out where it is `on`, or taken away
    but for what `others` need.
    """
    return widget("paint", "templates", None, templates=templates, hint=hint, columns=TEMPLATE_COLUMNS)


def picture_reader(most_bytes: int) -> gr.HTML:
    """Takes pictures that are dropped, pasted or chosen anywhere on the page, to paint as they were painted.

    Has an event `read` with the uploaded `file` and a `number`; the property `answer` with the same number takes the
    `notes` on what could not be restored, and what is `done`, or an `error`.
    """
    return widget("paint", "restore", None, ["files"], answer=None, most_bytes=most_bytes)

"""The widgets of the page where one paints: cards of styles, the stage where the picture comes to be, and more."""

import gradio as gr

from pipeline.request.limits import SEEDS
from pipeline.request.mix import MAX_WEIGHT
from pipeline.text.prompt import CHUNK
from ui.pages.common.widget import widget

# Pictures in a row of templates.webp, as assets/recipe/prompt_templates.py draws it.
TEMPLATE_COLUMNS = 8


def style_cards(
    value: list[dict],
    styles: list[dict],
    families: dict[str, str],
    most_bytes: int,
    burns_above: float,
    keeps: bool = False,
) -> gr.HTML:
    """Cards with pictures that switch `styles` on and off, a row for each one that is on, and a way to add more.

    Value: `[{"id": "ink", "weight": 0.8}, ...]`, as a request names adapters. Events `inspect` (a file that was
    uploaded or a repository), `search` (words) and `export` carry a `number`; their answer goes into the property
    `answer` with the same one. `families` are names of models by what an answer calls them. Files above `most_bytes`
    are not sent; mixes above `burns_above` are warned of. Where it `keeps` styles there is an event `mine` as well, by
    which a visitor's own are listed, kept and changed, with the `owner`'s secret.
    """
    return widget(
        "paint", "styles", value, ["files", "named", "acts"], ["mix", "verdict", "mine", "shelf"], styles=styles,
        families=families, live={"answer": None}, most_bytes=most_bytes, burns_above=burns_above,
        max_weight=MAX_WEIGHT, keeps=keeps,
    )  # fmt: skip


def picture_stage() -> gr.HTML:
    """The picture, from the empty frame over its previews to the result, the label under it, the jobs that wait.

    Value: what `serving.jobs.Desk.view` gives; a job in front has the details of an Update, with the picture files as
    `images` when it is done, and those of a batch that are done before as `finished`. Has events `reuse`: the visitor
    wants the seed `seed` for the next pictures, `cancel` and `sooner` for the job `asked`, and `keep` for a picture
    that was painted live, with the `key` of its wish.
    """
    return widget("paint", "stage", {"status": "empty"}, ["job", "strip", "acts"])


def picture_canvas(most_bytes: int) -> gr.HTML:
    """The picture to start from, up to `most_bytes` large, and a brush for what of it is to change.

    Value: the uploaded file or None. What is brushed is told to `picture_mask` in the browser.
    """
    return widget("paint", "canvas", None, ["files"], ["brush"], most_bytes=most_bytes, elem_id="start")


def picture_mask() -> gr.HTML:
    """The mask of the picture. Value: the uploaded file, white where it is to change, or None."""
    return widget("paint", "mask", None, elem_id="mask")


def seed_lock() -> gr.HTML:
    """The seed beside the button: drawn for each picture, or locked. Value: -1, or the seed."""
    return widget("paint", "seed", -1, most=SEEDS)


def live_switch(why_not: str = "") -> gr.HTML:
    """The switch by which pictures follow what is set, off for good where it says `why_not`.

    Its event `ask` has a `number`, the `key` by which the newest wish ends the older ones, and a `seed`; the property
    `answer` with the same number takes what came of it.
    """
    return widget("paint", "live", None, live={"answer": None}, most=SEEDS, why_not=why_not)


def run_chooser() -> gr.HTML:
    """How often the button paints. Value: how many times, 0 is until stopped."""
    choices = [(1, "once"), *((runs, f"{runs} times") for runs in (2, 4, 8, 16)), (0, "until I stop")]
    return widget("paint", "runs", 1, choices=choices)


def size_chooser(sizes: list[dict], width: int, height: int) -> gr.HTML:
    """Shapes that the model paints well, and what width and height come to. Value: `{"width", "height"}`.

    Has an event `pick`, when its visitor has chosen.
    """
    return widget("paint", "sizes", {"width": width, "height": height}, sizes=sizes)


def form_bar(fields: dict[str, dict], tiers: list[dict]) -> gr.HTML:
    """Speed tiers, a chip for each value that is not as usual, and presets of one's own.

    `fields` are `label` and `usual` of each value by its name. Value: `{"values": {name: value}}`. Has an event `set`:
    the values in `set` are to be taken.
    """
    return widget("paint", "form", {}, ["named"], fields=fields, tiers=tiers)


def preset_chooser(samplers: dict[str, list[str]], value: str) -> gr.HTML:
    """A sampler and one of its schedules, of `samplers` with those of each, "" for the model's own spacing.

    Value: the name of the preset that they make up.
    """
    chooser = widget("paint", "preset", value, samplers=samplers)
    chooser.label = "Scheduler"
    return chooser


def noise_levels(value: dict) -> gr.HTML:
    """A drawing of a noise schedule. Value: `{"sigmas": [...]}`, from the first step to the clean picture."""
    return widget("paint", "levels", value)


def token_counter() -> gr.HTML:
    """How the prompt is read, in a line under it. Value: what /tokenize gives, or `{"error": words}`.

    Has an event `ask`, when prompt or styles have changed and nothing more has for a moment.
    """
    return widget("paint", "counter", {}, chunk=CHUNK)


def completion(wildcards: dict[str, str], templates: list[dict]) -> gr.HTML:
    """Suggestions under the prompt while it is written, of the styles that the page has, of `wildcards` with examples
    of each, of prompt templates, with the event `pick` of those; and weights by Ctrl or ⌘ with the arrows.
    """
    return widget("paint", "completion", None, parts=["wrapping"], wildcards=wildcards, templates=templates)


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
    return widget(
        "paint", "templates", None, parts=["wrapping"], templates=templates, hint=hint, columns=TEMPLATE_COLUMNS
    )


def picture_reader(most_bytes: int) -> gr.HTML:
    """Takes pictures that are dropped, pasted or chosen anywhere on the page, to paint as they were painted.

    Has an event `read` with the uploaded `file` and a `number`; the property `answer` with the same number takes the
    `notes` on what could not be restored, and what is `done`, or an `error`.
    """
    return widget("paint", "restore", None, ["files"], live={"answer": None}, most_bytes=most_bytes)

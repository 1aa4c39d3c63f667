"""The page where a visitor trains a style. What happens to it is the same as by /train_style."""

import base64
import html
import io
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast

import gradio as gr
from gradio.components import Component

from lora.errors import AtelierError
from serving.generation import GenerationService
from serving.history import owner_hash
from serving.picture_decoder import PictureDecoder
from serving.received import uploaded
from serving.trainings import Trainings
from training import HandedIn, handed_in
from training.dataset import MAX_CAPTION
from training.presets import OPTIONS, PRESET, PRESETS, TrainingScope
from ui.api.training import received_files
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.asking import ASKING, answered
from ui.pages.common.widget import WHILE_EDITING
from ui.pages.train.widgets import picture_sheet, training_run

# Of a picture on the sheet, in pixels.
THUMB = 176
# What is written already, so that nobody has to write anything.
NAME, TRIGGER = "My style", "mystyle"
# More steps after the last one.
MORE = 100
ASIDE = ("checkpoint_every",)
LABELS = {
    "rslora": "Rank-stabilised scale",
    "dora": "DoRA",
    "timestep_rank": "T-LoRA: fewer ranks where noise is strong",
}


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
    _wire_sheet(service, sheet)
    _wire_cost(trainings, service, values, cost, tab)
    _wire_run(trainings, sheet, values, start, run, tabs)


def _options(scope: TrainingScope) -> dict[str, Component]:
    """A widget for each option, as it is by itself; empty where a preset or the model says how that is."""
    made: dict[str, Component] = {}
    for field in OPTIONS:
        rules, usual = field.metadata, cast(Any, field.default)
        told: dict[str, Any] = {"label": LABELS.get(field.name, field.name.replace("_", " ").capitalize()),
                                "info": rules["help"]}  # fmt: skip
        if "choices" in rules:
            made[field.name] = gr.Dropdown([*rules["choices"]], value=usual, **told)
        elif "low" in rules:
            low, high = scope.bounds(field)
            preset = field.name in scope.preset(PRESET)
            hint = "as the preset says" if preset else "by itself" if usual is None else f"{usual:g}"
            # As text: gradio's field for numbers makes 0 of an empty one.
            told |= {"info": f"{rules['help']} ({low:g} to {high:g})", "elem_id": f"train-{field.name}"}
            made[field.name] = gr.Textbox("", max_lines=1, placeholder=hint, **told)
        elif field.type is bool:
            made[field.name] = gr.Checkbox(usual, **told)
        else:
            made[field.name] = gr.Textbox("", max_lines=2, **told)
    return made


def _asked(names: Sequence[str], given: Sequence[Any]) -> dict:
    """The values of the widgets as `Trainings.begin` wants them."""
    values = dict(zip(names, given))
    usual = {field.name: "" if isinstance(field.default, str) and "choices" not in field.metadata else field.default
             for field in OPTIONS}  # fmt: skip
    options = {name: number(values.pop(name)) for name in usual}
    chosen = {name: value for name, value in options.items() if value not in (None, "") and value != usual[name]}
    return values | {"options": chosen}


def number(value: object) -> object:
    """What was written as a number; anything else as it is, to be refused by the name of its field."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return int(value)
    with suppress(ValueError):
        return float(value)
    return value.strip()


def _wire_sheet(service: GenerationService, sheet: gr.HTML) -> None:
    uploads = being_built().uploads

    async def look(data: dict) -> dict:
        fresh = data.get("fresh")
        try:
            files = await received_files(data.get("files"), uploads)
            # How many there are, and what they are called, is judged when training is to begin.
            pictures = handed_in(files, "any", least=1)
            return {"pictures": [await shown(each, service.decoder) for each in pictures]}
        except AtelierError:
            for file in fresh if isinstance(fresh, list) else []:
                with suppress(AtelierError):
                    uploads.forget(uploaded("files", file, uploads)[0])
            raise

    sheet.look(answered(look), outputs=sheet, api_name="look_at_pictures", **ASKING)


async def shown(picture: HandedIn, decoder: PictureDecoder) -> dict:
    """A picture for the sheet: `box` is what of it is learnt, in shares of its width and height."""
    scale = THUMB / max(picture.width, picture.height, 1)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = (await decoder.picture(picture.data, *size, picture.label)).image()
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    left, top, right, bottom = picture.box
    box = [left / picture.width, top / picture.height, right / picture.width, bottom / picture.height]
    return {"name": picture.name, "caption": picture.caption, "width": picture.width, "height": picture.height,
            "box": box, "thumb": "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()}  # fmt: skip


def _wire_cost(
    trainings: Trainings, service: GenerationService, values: dict[str, Any], cost: gr.HTML, tab: gr.Tab
) -> None:
    """Keep the line under the button true: how long it will take, and when it begins."""
    names = ["preset", *(field.name for field in OPTIONS)]
    widgets = [values[name] for name in names]

    # A coroutine, so that it runs on the event loop, where the queue lives.
    async def estimate(request: gr.Request, *given: object) -> str:
        asked = _asked(names, given)
        try:
            told = trainings.forecast(asked["preset"], asked["options"])
            place = service.turn(request.session_hash)["place"]
        except Exception as error:
            return f'<p class="forecast">{html.escape(sentence(error))}</p>'
        seconds = told["expected_seconds"]
        long = f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"
        known = "as measured here" if told["measured"] else "a guess: nothing was trained here yet"
        begins = "Begins at once" if not place else f"Place {place} in the queue"
        return (
            f'<p class="forecast">{told["steps"]} steps, about {long} ({known}). {begins}; others paint in between.</p>'
        )

    gr.on([tab.select, *(widget.change for widget in widgets)], estimate, widgets, cost, **WHILE_EDITING)


def _wire_run(
    trainings: Trainings, sheet: gr.HTML, values: dict[str, Any], start: gr.Button, run: gr.HTML, tabs: gr.Tabs
) -> None:  # fmt: skip
    uploads, page, names = being_built().uploads, being_built(), [*values]
    streamed: dict[str, Any] = {
        "outputs": run, "preprocess": False, "postprocess": False, "show_progress": "hidden",
        "concurrency_limit": None, "api_visibility": "private",
    }  # fmt: skip

    async def views(secret: object, message: str = "") -> AsyncGenerator[dict]:
        """What the page is to show until the training rests, first with a message."""
        beat = 0
        async with aclosing(trainings.watch(owner_hash(secret))) as news:
            async for view in news:
                beat += 1
                yield view | {"beat": beat} | ({"message": message} if message and not view.get("message") else {})

    async def begin(request: gr.Request, said: dict, files: object, *given: object) -> AsyncGenerator[dict]:
        secret, message = said.get("owner"), ""
        try:
            asked = _asked(names, given) | {"captions": said.get("captions"), "left_out": said.get("left_out")}
            sent = await received_files(files, uploads)
            await trainings.begin(owner_hash(secret), asked, sent, request.session_hash, page=True)
        except Exception as error:
            message = sentence(error)
        async with aclosing(views(secret, message)) as news:
            async for view in news:
                yield view

    async def watch(secret: object) -> AsyncGenerator[dict]:
        with suppress(AtelierError):
            async with aclosing(views(secret)) as news:
                async for view in news:
                    yield view

    async def more(event: gr.EventData) -> AsyncGenerator[dict]:
        secret, message = event._data.get("owner"), ""
        try:
            await trainings.go_on(owner_hash(secret), event._data.get("steps", MORE))
        except Exception as error:
            message = sentence(error)
        async with aclosing(views(secret, message)) as news:
            async for view in news:
                yield view

    async def stop(data: dict) -> dict:
        trainings.stop(owner_hash(data.get("owner")))
        return {}

    async def cancel(data: dict) -> dict:
        await trainings.cancel(owner_hash(data.get("owner")))
        return {"view": {"status": "empty"}}

    async def keep(data: dict) -> dict:
        key = owner_hash(data.get("owner"))
        await trainings.keep(key, data.get("step", 0))
        return {"view": trainings.view(trainings.find(key))}

    # Files travel by themselves: what holds some is refused, see check_files.
    asking = "(run, {files, ...told}, ...values) => [{...told, owner: atelier.owner()}, files, ...values]"
    start.click(begin, [run, sheet, *values.values()], js=asking, api_name="begin_training", **streamed)
    page.load(watch, run, js="() => atelier.owner()", api_name="watch_training", **streamed)
    run.more(more, api_name="more_training", **streamed)
    for name, ask in {"stop": stop, "cancel": cancel, "keep": keep}.items():
        getattr(run, name)(answered(ask), outputs=run, api_name=f"{name}_training", **ASKING)
    run.paint(lambda: gr.Tabs(selected="paint"), outputs=tabs, show_progress="hidden", api_visibility="private")

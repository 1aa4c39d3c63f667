"""What happens on the page where one trains. What happens to a training is the same as by /train_style."""

import base64
import html
import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import gradio as gr

from lora.errors import AtelierError
from serving.generation import GenerationService
from serving.history import owner_hash
from serving.picture_decoder import PictureDecoder
from serving.received import uploaded
from serving.trainings import Trainings
from training import HandedIn, handed_in
from training.presets import OPTIONS
from ui.api.training import received_files
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.asking import ASKING, answered
from ui.pages.common.widget import WHILE_EDITING

# Of a picture on the sheet, in pixels.
THUMB = 176


def wire_sheet(service: GenerationService, sheet: gr.HTML) -> None:
    """Say what is on the pictures that are handed in; those that cannot be used are deleted."""
    uploads = being_built().uploads

    async def look(data: dict) -> dict:
        fresh = data.get("fresh")
        try:
            files = await received_files(data.get("files"), uploads)
            # Whether they are enough, and have captions, is judged when training is to begin.
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
    small, file = (await decoder.picture(picture.data, *size, picture.label)).image(), io.BytesIO()
    small.save(file, "WEBP", quality=80)
    left, top, right, bottom = picture.box
    box = [left / picture.width, top / picture.height, right / picture.width, bottom / picture.height]
    return {"name": picture.name, "caption": picture.caption, "width": picture.width, "height": picture.height,
            "box": box, "thumb": "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()}  # fmt: skip


def wire_cost(
    trainings: Trainings, service: GenerationService, values: dict[str, Any], cost: gr.HTML, tab: gr.Tab
) -> None:
    """Keep the line under the button true: how long it will take, and when it begins."""
    names = ["preset", *(field.name for field in OPTIONS)]
    widgets = [values[name] for name in names]

    # A coroutine, so that it runs on the event loop, where the queue lives.
    async def estimate(request: gr.Request, *given: object) -> str:
        try:
            asked = _asked(names, given)
            told = trainings.forecast(asked["preset"], asked["options"])
            words = _in_words(told, service.turn(request.session_hash)["place"])
        except Exception as error:
            words = sentence(error)
        return f'<p class="forecast">{html.escape(words)}</p>'

    gr.on([tab.select, *(widget.change for widget in widgets)], estimate, widgets, cost, **WHILE_EDITING)


def _in_words(told: dict, place: int) -> str:
    seconds = told["expected_seconds"]
    long = f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"
    known = "as measured here" if told["measured"] else "a guess: nothing was trained here yet"
    begins = f"Place {place} in the queue" if place else "Begins at once"
    return f"{told['steps']} steps, about {long} ({known}). {begins}; others paint in between."


def wire_run(
    trainings: Trainings, sheet: gr.HTML, values: dict[str, Any], start: gr.Button, run: gr.HTML, tabs: gr.Tabs
) -> None:
    """Let the button begin a training, and the widget show it and what is done with it."""
    uploads, page, names = being_built().uploads, being_built(), [*values]
    streamed: dict[str, Any] = {
        "outputs": run, "preprocess": False, "postprocess": False, "show_progress": "hidden",
        "concurrency_limit": None, "api_visibility": "private",
    }  # fmt: skip

    async def begun(request: gr.Request, said: object, files: object, *given: object) -> AsyncGenerator[dict]:
        told = said if isinstance(said, dict) else {}

        async def begin(owner: str) -> None:
            asked = _asked(names, given) | {name: told.get(name) for name in ("captions", "left_out")}
            await trainings.begin(owner, asked, await received_files(files, uploads), request.session_hash, page=True)

        async with aclosing(_views(trainings, told.get("owner"), begin)) as views:
            async for view in views:
                yield view

    async def more(event: gr.EventData) -> AsyncGenerator[dict]:
        go_on = partial(trainings.go_on, steps=event._data.get("steps", 0))
        async with aclosing(_views(trainings, event._data.get("owner"), go_on)) as views:
            async for view in views:
                yield view

    async def watched(secret: object) -> AsyncGenerator[dict]:
        async with aclosing(_views(trainings, secret)) as views:
            async for view in views:
                yield view

    # Files travel by themselves: what holds some is refused, see check_files.
    asking = "(run, {files, ...told}, ...values) => [{...told, owner: atelier.owner()}, files, ...values]"
    start.click(begun, [run, sheet, *values.values()], js=asking, api_name="begin_training", **streamed)
    page.load(watched, run, js="() => atelier.owner()", api_name="watch_training", **streamed)
    run.more(more, api_name="more_training", **streamed)
    for name, do in _acts(trainings).items():
        getattr(run, name)(answered(do), outputs=run, api_name=f"{name}_training", **ASKING)
    run.paint(lambda: gr.Tabs(selected="paint"), outputs=tabs, show_progress="hidden", api_visibility="private")


def _acts(trainings: Trainings) -> dict[str, Callable[[dict], Awaitable[dict]]]:
    """What can be done with a training, by the names of the widget's events."""

    async def stop(data: dict) -> dict:
        trainings.stop(owner_hash(data.get("owner")))
        return {}

    async def cancel(data: dict) -> dict:
        await trainings.cancel(owner_hash(data.get("owner")))
        return {"view": {"status": "empty"}}

    async def keep(data: dict) -> dict:
        owner = owner_hash(data.get("owner"))
        await trainings.keep(owner, data.get("step"))
        return {"view": trainings.view(trainings.find(owner))}

    return {"stop": stop, "cancel": cancel, "keep": keep}


async def _views(
    trainings: Trainings, secret: object, first: Callable[[str], Awaitable[None]] | None = None
) -> AsyncGenerator[dict]:
    """What the page is to show until the training rests, once what is to be done `first` is; with what went wrong."""
    message, owner = "", ""
    try:
        owner = owner_hash(secret)
        if first:
            await first(owner)
    except Exception as error:
        message = sentence(error)
    beat = 0
    async with aclosing(trainings.watch(owner)) as views:
        async for view in views:
            beat += 1
            # A page that hears nothing for some seconds knows that it has lost us.
            yield view | {"beat": beat, "message": view.get("message") or message, "notice": trainings.notice}


def _asked(names: Sequence[str], given: Sequence[Any]) -> dict:
    """The values of the widgets as `Trainings.begin` wants them; what is empty is as the preset or the model says."""
    values = dict(zip(names, given))
    options = {field.name: number(values.pop(field.name)) for field in OPTIONS}
    return values | {"options": {name: value for name, value in options.items() if value not in (None, "")}}


def number(value: object) -> object:
    """What was written as a number; anything else as it is, to be refused by the name of its field."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return int(value)
    with suppress(ValueError):
        return float(value)
    return value.strip()

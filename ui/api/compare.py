"""/compare: a grid of requests, each like any other; see pipeline.request.compare."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from pipeline.request.checks import switch
from pipeline.request.compare import Grid
from pipeline.request.request import FIELDS
from serving.generation import GenerationService, Update, sheet_file
from serving.history import History, owner_hash
from serving.received import uploaded_pictures
from ui.api.endpoint import parameters
from ui.atelier import being_built
from ui.web.files import picture_file

SIDES = ("x_axis", "x_values", "y_axis", "y_values", "z_axis", "z_values")
# Sheets of comparisons that were stopped, on their way into the history.
_keeping: set[asyncio.Task] = set()


def compare_endpoint(service: GenerationService, generate: Callable, history: History) -> Callable:
    """/compare, with the parameters of /generate, whatever they are, after its own."""
    uploads, fields = being_built().uploads, [field.name for field in FIELDS]

    def own(request: gr.Request, prompt: str, x_axis: str, x_values: list, y_axis: str = "", y_values: list = [],  # noqa: B006
            dry_run: bool = False, owner: str = "", *, z_axis: str = "", z_values: list = [],  # noqa: B006
            ) -> tuple[FileData, dict]:  # fmt: skip
        raise NotImplementedError

    async def compare(request: gr.Request, *given: object) -> AsyncGenerator[tuple[dict | None, dict]]:
        """Paint a prompt in all combinations of the values of one to three axes, and put them on one labelled sheet.

        Each cell is the same as that request alone. Streams {"status": "planned" | "waiting" | "painting" | "cell",
        "cell": 0-based, "cells": how many, ...}, where "cell" has its `image`; at last the sheet, and `cells` with the
        image and details of each.

        Args:
            x_axis: adapter, adapter_weight, prompt, scheduler, steps, guidance_scale or seed
            x_values: ids for adapter ("" is none); for prompt, words of it and what replaces them; at most 64 cells
            y_axis: another of them, or empty
            y_values: as x_values
            z_axis: another of them, each value of which is a page of its own, or empty
            z_values: as x_values
            dry_run: only tell {"cells", "expected_seconds", "place", "starts_in", ...}
            owner: as in /generate; of the pictures the sheet is kept
        """
        values = await uploaded_pictures(dict(zip(names, given)), uploads)
        dry = switch("dry_run", values["dry_run"])
        keeper = (owner_hash(values["owner"]), token_urlsafe(16)) if values["owner"] != "" else None
        if keeper:
            await service.lend(keeper[0], request.session_hash)
        asked, axes = ({name: values[name] for name in names} for names in (fields, SIDES))
        if dry:
            yield None, await service.plan(asked, axes, request.session_hash)
            return
        comparison = service.compare(asked, axes, request.session_hash)
        async with aclosing(with_files(comparison, history, keeper)) as events:
            async for event in events:
                yield event.pop("sheet", None), event

    shared = [each for each in inspect.signature(generate).parameters.values() if each.name in fields]
    names = parameters(compare, own, shared)
    compare.__doc__ = (inspect.getdoc(compare) or "") + (generate.__doc__ or "").partition("Args:")[2]
    return compare


async def with_files(
    comparison: AsyncGenerator[Update], history: History, keeper: tuple[str, str] | None
) -> AsyncGenerator[dict]:
    """What happens, with the pictures as files: `image` of a cell, at last `sheet` and the images of all cells.

    The history keeps the sheet, as a picture of its first cell's request, for `keeper`: an owner's hash and a job's id.
    """
    images: list[dict] = []
    painted: list[bytes] = []
    told: list[dict] = []
    wanted: Grid | None = None
    try:
        async with aclosing(comparison) as updates:
            async for update in updates:
                event, wanted = dict(update.details), wanted or update.grid
                if event["status"] == "cell":
                    painted += update.images
                    told.append(event)
                    images.append(await picture_file(update.images[0], f"atelier-{event['seed']}.png"))
                    event = event | {"image": images[-1]}
                elif event["status"] == "done":
                    painted.clear()
                    if keeper:
                        event |= await history.kept(*keeper, update.images, event["cells"][0] | _axes(event))
                    event["sheet"] = await picture_file(update.images[0], "atelier-comparison.png")
                    event["cells"] = [cell | {"image": image} for cell, image in zip(event["cells"], images)]
                yield event
    finally:
        if wanted and painted and keeper:
            # Whoever stops it has what is painted; not here, for nobody waits for a generator that is closed.
            task = asyncio.create_task(_keep(wanted, painted, told, history, keeper))
            _keeping.add(task)
            task.add_done_callback(_keeping.discard)


async def _keep(
    wanted: Grid, painted: list[bytes], told: list[dict], history: History, keeper: tuple[str, str]
) -> None:
    """Keep the sheet of a comparison that was stopped, with empty places."""
    drawn = await asyncio.to_thread(sheet_file, wanted, painted, told)
    await history.kept(*keeper, (drawn,), {**told[0], "status": "done"} | _axes(wanted.public))


def _axes(event: Mapping) -> dict:
    return {"comparison": {side: event[side] for side in "xyz"}}

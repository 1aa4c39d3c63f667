"""Pictures that follow what is set on the page. Nothing of them is kept until their visitor says so."""

import asyncio
import base64
from collections.abc import Mapping
from contextlib import aclosing
from secrets import token_urlsafe
from typing import Any

import gradio as gr
from gradio.components import Component

from lora.errors import UnknownAdapter
from pipeline.request.tiers import fastest
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.picture_store import thumbnail
from serving.received import uploaded_pictures
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.asking import ASKING
from ui.pages.paint.start import as_asked
from ui.web.files import shown_files

# Pixels of the longer side of what is shown.
MOST_SHOWN = 1024
NO_FEW_STEPS = "Live paints in few steps, for which an adapter is needed: choose a tier of few steps first."


def add_live(
    service: GenerationService, history: History, fields: Mapping[str, Component], live: gr.HTML, stage: gr.HTML
) -> None:
    """Wire the switch `live` to the widgets of a request and to the `stage`, whose event `keep` keeps what it shows."""
    uploads = being_built().uploads

    async def painted(asked: Mapping, values: Mapping, session: str | None) -> dict:
        """What came of a wish: resting, superseded, or done with the picture."""
        raw = await uploaded_pictures(as_asked(few_steps(service, values, asked.get("seed"), session)), uploads)
        rested = False
        async with aclosing(service.live(raw, asked.get("key"), session, page=True)) as updates:
            async for update in updates:
                if update.images:
                    return {**update.details, "images": [], "picture": await in_address(update.images[0])}
                if update.details["status"] == "resting":
                    # The page asks again: no call of it is open for as long as others have jobs. Behind another live
                    # picture it is worth a moment.
                    if rested or service.queue.waiting:
                        return update.details
                    rested = True
        return {"status": "superseded"}

    async def follow(event: gr.EventData, request: gr.Request, *values: object) -> gr.HTML:
        asked, number = event._data, event._data.get("number")
        try:
            answer = await painted(asked, dict(zip(fields, values)), request.session_hash)
        except Exception as error:
            answer = {"error": sentence(error)}
        return gr.HTML(answer={"number": number, **answer})

    async def keep(shown: object) -> dict:
        said: Any = shown if isinstance(shown, dict) else {}
        try:
            owner, made = owner_hash(said.get("owner")), service.live_wishes.last(said.get("key"))
        except Exception as error:
            return {"status": "failed", "message": sentence(error)}
        kept = await history.kept(owner, token_urlsafe(16), made.images, dict(made.details))
        return {**made.details, **kept, "images": await shown_files(made.images, made.details["seeds"])}

    at_once: dict[str, Any] = ASKING | {"queue": False, "preprocess": False}
    live.ask(follow, [*fields.values()], live, api_name="follow", **at_once)
    stage.keep(
        keep, stage, stage, js="(shown) => ({owner: atelier.owner(), key: shown.key})", api_name="keep_live",
        postprocess=False, **at_once,
    )  # fmt: skip


def few_steps(service: GenerationService, values: Mapping, seed: object, session: str | None) -> dict:
    """The values of a request for one picture in the fewest steps that there are, without a second pass.

    A seed of their own stays, else it is `seed`. Raises UnknownAdapter where nothing here paints in few steps.
    """
    tiers = service.tiers(session)
    tier = fastest(tiers)
    if tier is None:
        raise UnknownAdapter(NO_FEW_STEPS)
    needed = {each["adapter"]["id"] for each in tiers if each["adapter"]}
    uses = values.get("adapters")
    others = [use for use in uses if isinstance(use, dict) and use.get("id") not in needed] if uses else []
    own = values.get("seed")
    return {**values, **tier["values"], "adapters": [*others, tier["adapter"]], "num_images": 1, "hires_scale": 1,
            "seed": seed if own == -1 else own}  # fmt: skip


async def in_address(png: bytes) -> str:
    """A picture in an address: so many come that none shall lie on the disk."""
    small = await asyncio.to_thread(thumbnail, png, MOST_SHOWN, 90)
    return "data:image/webp;base64," + base64.b64encode(small).decode()

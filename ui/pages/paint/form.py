"""All that is set on the page: kept by the browser over a reload, seen at a glance, set all at once."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gradio as gr
from gradio.components import Component

from lora.errors import AtelierError, InvalidOwner
from pipeline.request.fields import Given, PictureFile, defaults
from pipeline.request.request import FIELDS
from serving.generation import GenerationService
from serving.history import owner_hash
from ui.atelier import being_built
from ui.pages.common.widget import label
from ui.pages.paint.widgets import form_bar

GONE = "A style of your own that was on was kept for your last visit only; add it again."


def add_form(service: GenerationService, fields: Mapping[str, Component], notice: gr.HTML, bar: gr.HTML) -> None:
    """Wire the bar to the widgets of a request; what could not be set again is told by `notice`.

    The bar's value is what all of them have; its event `set` names those that are to change and their new values.
    """
    page, names = being_built(), [*fields]
    widgets: list[Any] = [*fields.values()]
    gr.on(
        [page.load, *(widget.change for widget in widgets)], None, widgets, bar, api_visibility="private",
        js=f"(...values) => ({{values: Object.fromEntries({json.dumps(names)}.map((name, i) => [name, values[i]]))}})",
    )  # fmt: skip
    bar.set(
        None, [bar, *widgets], widgets, api_visibility="private",
        js=f"(bar, ...values) => {json.dumps(names)}.map((name, i) => name in bar.set ? bar.set[name] : values[i])",
    )  # fmt: skip

    async def restore(said: object, request: gr.Request) -> dict:
        kept, owner = (said.get("form"), said.get("owner")) if isinstance(said, dict) else (None, None)
        if not isinstance(kept, dict):
            return {notice: gr.skip()}
        with suppress(InvalidOwner):
            # What this browser keeps may be on.
            await service.lend(owner_hash(owner), request.session_hash)
        values, gone = remembered(service, kept, request.session_hash)
        told = gr.HTML(answer={"done": "Your settings are back", "notes": [GONE]}) if gone else gr.skip()
        return {fields[name]: value for name, value in values.items() if name in fields} | {notice: told}

    page.load(
        restore, bar, [*widgets, notice], api_name="restore_form",
        js="() => ({form: atelier.recall('form') ?? null, owner: atelier.owner()})",
        preprocess=False, show_progress="hidden", concurrency_limit=None, api_visibility="private",
    )  # fmt: skip


def remembered(service: GenerationService, kept: Mapping, session: str | None) -> tuple[dict, bool]:
    """The values that a browser remembers, as far as they are allowed here, and whether a style is there no more."""
    limits = service.facts.limits
    usual = defaults(limits, FIELDS)
    known = {adapter.id for adapter in service.library.all(session)}
    uses = kept.get("adapters") if isinstance(kept.get("adapters"), list) else []
    there = [use for use in uses or [] if isinstance(use, dict) and use.get("id") in known]
    asked = {**kept, "adapters": there}
    values: dict = {}
    for row in FIELDS:
        if row.name not in kept or isinstance(row, PictureFile):
            continue
        given = Given(usual | values | {row.name: asked[row.name]}, limits, lambda i: service.library.find(i, session))
        with suppress(AtelierError):
            row.check(given)
            # As it was: what is checked may be drawn or put in order.
            values[row.name] = asked[row.name]
    return values, len(there) < len(uses or [])


def form_of(service: GenerationService, fields: Mapping[str, Component]) -> gr.HTML:
    """Place the bar: speed tiers, what is not as usual, presets."""
    own = {"negative_prompt": service.profile.negative_prompt, "adapters": service.default_adapters}
    usual = defaults(service.facts.limits, FIELDS) | own
    described = {name: {"label": label(widget), "usual": usual[name]} for name, widget in fields.items()}
    return form_bar(described, service.tiers())

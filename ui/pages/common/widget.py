"""What all widgets that gradio does not have are made of.

Their templates are fixed and their scripts write all text as text, so nothing that a visitor or an adapter file says
is ever read as HTML.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from ui.pages.common.theme import PAGES

# Scripts of common/ that the page has once.
SHARED = ("visitor", "dom")
# Of events that tell something while settings are edited: JSON as it is, past the queue, of many the last one.
WHILE_EDITING: dict[str, Any] = {
    "preprocess": False, "postprocess": False, "show_progress": "hidden", "queue": False,
    "trigger_mode": "always_last", "api_visibility": "private",
}  # fmt: skip


def widget(
    page: str,
    name: str,
    value: object,
    helpers: Sequence[str] = (),
    parts: Sequence[str] = (),
    live: Mapping[str, Any] | None = None,
    elem_id: str | None = None,
    **given: Any,
) -> gr.HTML:
    """The widget of `<page>/<name>.html` and `<page>/<name>.js`, whose script has what is `given`.

    What changes later is `live`, a property beside the value: gradio watches each part of those, which takes time.

    Before it stand common/part.js, the `helpers`, other scripts of common/, and its own `parts`, in one function with
    it. What SHARED declares is there for all.
    """
    shared, own = (PAGES / "common", ("part", *helpers)), (PAGES / page, (*parts, name))
    files = [folder / f"{script}.js" for folder, scripts in (shared, own) for script in scripts]
    script = f"const given = {json.dumps(given)};\n" + "".join(file.read_text("utf-8") for file in files)
    template = (PAGES / page / f"{name}.html").read_text("utf-8")
    return gr.HTML(
        value, html_template=template, js_on_load=script, apply_default_css=False, elem_id=elem_id, **live or {}
    )


def label(widget: Component | None) -> str:
    """A widget's label without what explains it."""
    return str(getattr(widget, "label", None) or "").partition(" (")[0].partition(":")[0]


def shared_script() -> str:
    """The scripts that all widgets use, for the head of the page."""
    files = [PAGES / "common" / f"{name}.js" for name in SHARED]
    return f"<script>{''.join(file.read_text('utf-8') for file in files)}</script>"


def keyboard() -> gr.HTML:
    """What the keys do, and the sheet that lists them."""
    return widget("common", "keys", None)

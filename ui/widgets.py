"""The two widgets that gradio does not have: cards to pick styles from, and the stage where the picture comes to be.

Their templates are fixed and their scripts write all text as text, so nothing that a visitor or an adapter file says
is ever read as HTML.
"""

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent


def style_cards(value: list[dict], styles: list[dict]) -> gr.HTML:
    """Cards with pictures that switch `styles` on and off, and a slider for each one that is on.

    Value: `[{"id": "ink", "weight": 0.8}, ...]`, as a request names adapters.
    """
    return _widget("styles", value, styles=styles)


def picture_stage(names: dict[str, str]) -> gr.HTML:
    """The picture, from the empty frame over its previews to the result, and the label under it.

    Value: the details of an Update, with the picture files as `images` when it is done. `names` are those of the styles
    by id. Has an event `reuse`: the visitor wants the seed once more.
    """
    return _widget("stage", {"status": "empty"}, names=names)


def _widget(name: str, value: object, **props: object) -> gr.HTML:
    template, script = ((HERE / f"{name}{ending}").read_text("utf-8") for ending in (".html", ".js"))
    return gr.HTML(value, html_template=template, js_on_load=script, apply_default_css=False, **props)

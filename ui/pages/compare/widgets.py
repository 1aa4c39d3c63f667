"""The widgets of the page where settings are compared."""

from typing import Any

import gradio as gr

from pipeline.request.limits import MAX_GUIDANCE
from pipeline.request.mix import MAX_WEIGHT
from ui.pages.common.widget import widget

# Of the values of an axis that are written as text.
MAX_CHARACTERS = 20_000


def compare_axes(names: dict[str, str], styles: list[dict], schedulers: list[str], most: int) -> gr.HTML:
    """Three axes of a comparison, by their `names`; values are picked (styles, schedulers) or written.

    Value: `{"x_axis", "x_values"}` and the same of y and z, values being a list, or text to be read. The property
    `plan` is what it comes to (`cells`, `columns`, `rows`, `pages`, `expected_seconds`), or `{"error": words}`, or
    `{"hint": words}` where nobody has asked for anything yet; `most` cells.
    """
    chosen = ["", *(style["id"] for style in styles[:8])] if styles else ""
    value = {"x_axis": "adapter" if styles else "steps", "x_values": chosen, "y_axis": "", "y_values": "",
             "z_axis": "", "z_values": ""}  # fmt: skip
    bounds: dict[str, Any] = {"max_weight": MAX_WEIGHT, "max_guidance": MAX_GUIDANCE, "max_characters": MAX_CHARACTERS}
    return widget(
        "compare",
        "axes",
        value,
        live={"plan": None, "styles": styles},
        names=names,
        schedulers=schedulers,
        most=most,
        **bounds,
    )


def compare_board() -> gr.HTML:
    """The cells of a comparison as they come to be. Value: what happens, with `painted` files, the `sheet` at last."""
    return widget("compare", "board", {"status": "empty"}, ["job", "acts"])

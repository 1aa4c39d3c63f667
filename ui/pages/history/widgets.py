"""The widget of the history."""

import gradio as gr

from ui.pages.common.widget import widget


def picture_history(page_size: int) -> gr.HTML:
    """The pictures of this browser: to look at, search, compare two of them, choose several to save or delete.

    Event `list` carries the owner's secret and a `number`, and is answered with `page_size` sets while there are more;
    the answer goes into the property `answer` with the same number.
    """
    return widget("history", "history", None, ["acts"], live={"answer": None}, page_size=page_size)

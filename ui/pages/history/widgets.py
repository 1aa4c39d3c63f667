"""The widget of the history."""

import gradio as gr

from ui.pages.common.widget import widget


def picture_history(page_size: int) -> gr.HTML:
    """The pictures of this browser: to look at, search, compare two of them, paint again, save and delete.

    Events `list`, which is answered with `page_size` sets while there are more, `forget` and `reuse` carry the owner's
    secret and a `number`; their answer goes into the property `answer` with the same one.
    """
    return widget("history", "history", None, answer=None, page_size=page_size)

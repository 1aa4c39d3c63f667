"""Questions of a widget's script, each with a number, by which the script knows its answer."""

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from ui.errors import sentence

# Several may be on their way at once.
ASKING: dict[str, Any] = {
    "show_progress": "hidden", "concurrency_limit": None, "trigger_mode": "multiple", "api_visibility": "private",
}  # fmt: skip


def answered(ask: Callable[[dict], Awaitable[dict]]) -> Callable:
    """The listener of an event: what `ask` makes of its data goes into the widget's property `answer`, or `error`."""

    async def listen(event: gr.EventData) -> gr.HTML:
        number = event._data.get("number")
        try:
            answer = await ask(event._data)
        except Exception as error:
            answer = {"error": sentence(error)}
        return gr.HTML(answer={"number": number, **answer})

    return listen

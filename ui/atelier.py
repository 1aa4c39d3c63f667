"""Gradio's Blocks as this app has it, and which one is being built."""

from typing import Any, cast

import gradio as gr
from gradio.context import Context

from serving.queue import client_address
from ui.api.agents import Agents
from ui.api.endpoint import Endpoint, in_gradio_words
from ui.web.files import check_files
from ui.web.guard import address
from ui.web.sessions import Mailboxes
from ui.web.uploads import Uploads


class Atelier(gr.Blocks):
    """Gradio's Blocks, but a call may leave out the values at its end, and names no file that was not uploaded.

    What is left out takes its default. Gradio fills them in for its own client only, and others get an error without a
    word. `endpoints` are those that everybody may call, by their names, `uploads` the files that were sent here.
    """

    agents: Agents

    def __init__(self, uploads: Uploads, **arguments: Any):
        self.uploads = uploads
        self.endpoints: dict[str, Endpoint] = {}
        super().__init__(**arguments)

    @property
    def answering(self) -> bool:
        """Whether somebody waits for an answer that has not gone out yet."""
        return cast(Mailboxes, self._queue.pending_messages_per_session).answering()

    def get_api_info(self, *args: Any, **arguments: Any) -> Any:
        """What the API page shows and gradio's client is told."""
        return in_gradio_words(super().get_api_info(*args, **arguments), self.endpoints)

    async def process_api(self, *args: Any, **arguments: Any) -> dict[str, Any]:
        """As gradio does; who works on it knows for which address."""
        asked = getattr(arguments.get("request"), "request", None)
        client_address.set(address(asked.scope) if asked else "")
        return await super().process_api(*args, **arguments)

    def validate_inputs(self, block_fn, inputs: list) -> None:
        """Complete `inputs` in place; what they are worth is seen when a request is made of them."""
        check_files(inputs)
        inputs.extend(block.value for block in block_fn.inputs[len(inputs) :])


def being_built() -> Atelier:
    """The one within whose `with` this is called."""
    return cast(Atelier, Context.root_block)

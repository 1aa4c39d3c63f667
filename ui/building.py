"""The Blocks that is being built."""

from typing import TYPE_CHECKING, cast

from gradio.context import Context

if TYPE_CHECKING:
    from ui.blocks import Atelier


def blocks() -> "Atelier":
    """The one within whose `with` this is called."""
    return cast("Atelier", Context.root_block)

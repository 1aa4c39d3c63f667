"""What gradio does more often than anybody needs: with a hundred who wait, that is time that the engine waits for."""

import importlib.util
import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, cast

import gradio as gr


def economize(blocks: gr.Blocks) -> None:
    """Once the Blocks is complete and has its queue. Gradio has no setting for any of this."""
    _look_less_often(blocks)
    for block in blocks.blocks.values():
        cast(Any, block).get_config = _described_once(block.get_config)
    if not importlib.util.find_spec("matplotlib"):
        # At each event it is to be told which backend to use, and is looked for in all folders anew. This says that
        # it is not there.
        cast(dict, sys.modules)["matplotlib"] = None


def _look_less_often(blocks: gr.Blocks) -> None:
    """The queue looks a thousand times a second for work, and a hundred times for progress: a third of all that Python
    does while a hundred wait. These are nearer to what it does on Windows.
    """
    blocks._queue.sleep_when_free, blocks._queue.progress_update_sleep_when_free = 0.02, 0.2
    # After each call it sums up the last ten thousand, for a page that is closed here.
    blocks._queue.ANALYTICS_MAX_EVENTS, blocks._queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize


def _described_once(get_config: Callable[[], dict]) -> Callable[[], dict]:
    """Each session begins with a description of every component, from its constructor's signature to its values. They
    are the same for all; a component that changes in a session is another object there, which describes itself.
    """
    known = cache(get_config)
    # The session keeps its present value in its description.
    return wraps(get_config)(lambda: dict(known()))

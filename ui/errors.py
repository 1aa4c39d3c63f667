"""Exceptions as the caller sees them: one sentence. They are put into words here, and nowhere else."""

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from typing import Any

import gradio as gr

from lora.errors import AtelierError, Unforeseen

log = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """What the caller is told. What nobody foresaw is logged.

    Gradio's own errors say it themselves: they are written for the caller, among them those about a visitor's quota.
    """
    if isinstance(error, AtelierError):
        return str(error)
    if isinstance(error, gr.Error):
        return str(error.message)
    log.error("an unforeseen error", exc_info=error)
    return str(Unforeseen(error))


def ending(error: Exception) -> tuple[str, Exception | None]:
    """How a job's error is shown, and what of it gradio is to show: an error with a title of its own is a dialogue."""
    if isinstance(error, gr.Error) and error.title != "Error":
        return f"{error.title}.", error
    return sentence(error), None


@contextmanager
def in_words() -> Iterator[None]:
    """Let every error out as one of gradio's, with its sentence."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(sentence(error), print_exception=False) from None


def told(function: Callable) -> Callable:
    """The function as gradio is to call it: its errors are in words. Of what kind it is and what it takes stays."""

    @wraps(function)
    async def stream(*values: Any):
        with in_words():
            async with aclosing(function(*values)) as results:
                async for result in results:
                    yield result

    @wraps(function)
    async def waiting(*values: Any):
        with in_words():
            return await function(*values)

    @wraps(function)
    def plain(*values: Any):
        with in_words():
            return function(*values)

    if inspect.isasyncgenfunction(function):
        return stream
    return waiting if inspect.iscoroutinefunction(function) else plain

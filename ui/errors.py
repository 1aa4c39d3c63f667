"""Exceptions as the caller sees them: one sentence, and nothing else."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from lora.errors import AtelierError

# What a page says that hears no more of what it asked for.
LOST = "The connection was lost or the queue is full; please try again."
log = logging.getLogger(__name__)


@contextmanager
def in_words() -> Iterator[None]:
    """Let an AtelierError out as a gradio error with its sentence, anything unforeseen as a note that it was logged.

    Gradio's own errors pass: they are written for the caller, among them those about a visitor's GPU quota.
    """
    try:
        yield
    except AtelierError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except gr.Error:
        raise
    except Exception:
        log.exception("an unforeseen error")
        raise gr.Error("Something went wrong here; it has been logged.", print_exception=False) from None

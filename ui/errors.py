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
        raise _told(str(error), error) from None
    except gr.Error:
        raise
    except Exception as error:
        log.exception("an unforeseen error")
        raise _told("Something went wrong here; it has been logged.", error) from None


def kind(error: BaseException) -> str:
    """The name of an error's class, of the one that it was where it has been put in words since."""
    return getattr(error, "kind", type(error).__name__)


def _told(sentence: str, error: Exception) -> gr.Error:
    told = gr.Error(sentence, print_exception=False)
    # An attribute: pickle takes it along out of ZeroGPU's worker, where the error itself stays.
    told.kind = type(error).__name__
    return told

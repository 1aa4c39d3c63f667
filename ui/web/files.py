"""Files to and from gradio: those that it serves lie in its cache, where old ones are deleted."""

import asyncio
import base64
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.processing_utils import save_bytes_to_cache, save_file_to_cache
from gradio.utils import get_upload_folder, is_in_or_equal

from lora.errors import PaintingFailed

log = logging.getLogger(__name__)
NOT_UPLOADED = "A file of this call was not uploaded here; send it with the client's handle_file, from a path of yours."


async def picture_files(images: tuple[bytes, ...], seeds: list[int]) -> list[dict]:
    """Write PNG files and describe them as gradio's file data. Written in a thread: disks can be slow.

    Raises PaintingFailed where they cannot be written.
    """
    try:
        return await asyncio.gather(*(picture_file(image, f"atelier-{seed}.png") for image, seed in zip(images, seeds)))
    except OSError as error:
        log.warning("a picture could not be written: %s", error)
        raise PaintingFailed("There is no room left here for the picture; try again later.") from error


async def shown_files(images: tuple[bytes, ...], seeds: list[int]) -> list[dict]:
    """As `picture_files`, for a page: pictures that cannot be written are in the address itself."""
    try:
        return await picture_files(images, seeds)
    except PaintingFailed:
        return [{"url": f"data:image/png;base64,{base64.b64encode(image).decode()}"} for image in images]


async def picture_file(image: bytes, name: str) -> dict:
    """One of them, under that name."""
    return await asyncio.to_thread(_write, image, name)


def _write(image: bytes, name: str) -> dict:
    path = save_bytes_to_cache(image, name, cache_dir=get_upload_folder())
    return FileData(path=path, orig_name=name, mime_type="image/png", size=len(image)).model_dump()


def check_files(values: Sequence[Any]) -> None:
    """Raise gradio's error where a value of a call is a file that is not in gradio's cache, a path of the server or an
    address, or where it holds a file and is no list of them.

    Gradio itself would fetch the address, copy what is inside to where everybody can have it, and answer the path
    without a word.
    """
    waiting: list[Any] = [value for value in values if not (_is_file(value) or _is_list_of_files(value))]
    for value in [each for given in values for each in (given if _is_list_of_files(given) else [given])]:
        if _is_file(value):
            path = value["path"]
            # A NUL ends a path for the system, not for Python.
            inside = "://" not in path and "\0" not in path and is_in_or_equal(path, get_upload_folder())
            if not (inside and isinstance(value["meta"], dict)):
                raise gr.Error(NOT_UPLOADED, print_exception=False)
            waiting += [each for name, each in value.items() if name != "meta"]
    # Not by calling itself: a stranger says how deep it goes.
    while waiting:
        if _is_file(value := waiting.pop()):
            raise gr.Error(NOT_UPLOADED, print_exception=False)
        if isinstance(value, (dict, list, tuple)):
            waiting += value.values() if isinstance(value, dict) else value


def _is_list_of_files(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_file, value))


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("path"), str) and "meta" in value


def served(source: Path, name: str = "") -> dict:
    """A file in gradio's cache, as its file data, under its own `name` or another."""
    path = save_file_to_cache(source, cache_dir=get_upload_folder())
    return FileData(path=path, orig_name=name or source.name, size=Path(path).stat().st_size).model_dump()

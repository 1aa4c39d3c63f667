"""Files that callers sent, as a call names them. Nothing on the disk is looked at but what was sent here."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lora.errors import InvalidRequest, TooLong
from pipeline.request.picture import MAX_BYTES
from pipeline.request.request import PICTURES


class Uploads(Protocol):
    """The files that are there."""

    def __contains__(self, path: object, /) -> bool:
        """Whether it is the path of one."""

    def forget(self, path: str | Path) -> None:
        """Delete one that is not needed any more."""


def uploaded(field: str, value: object, uploads: Uploads) -> tuple[Path, str]:
    """Where an uploaded file is, and its name at the caller's. Raises InvalidRequest for what was not sent here."""
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(path, str) or path not in uploads:
        raise InvalidRequest(field, None if value is None else "something else", "a file that was uploaded here")
    name = value.get("orig_name")
    return Path(path), name if isinstance(name, str) and name else Path(path).name


async def uploaded_pictures(values: Mapping[str, Any], uploads: Uploads) -> dict[str, Any]:
    """The raw values of a request, what its picture files hold in their place. Raises InvalidRequest."""
    files = {field.name: await uploaded_bytes(field.name, values.get(field.name), uploads, MAX_BYTES)
             for field in PICTURES}  # fmt: skip
    return {**values, **files}


async def uploaded_bytes(field: str, value: object, uploads: Uploads, most: int) -> bytes | None:
    """What an uploaded file holds, None where there is none. Raises TooLong above `most` bytes, unread."""
    if value is None:
        return None
    path, _ = uploaded(field, value, uploads)
    check_size(field, path, most)
    return await asyncio.to_thread(path.read_bytes)


def check_size(field: str, path: Path, most: int) -> None:
    """Raise TooLong for a file above `most` bytes."""
    if (size := path.stat().st_size) > most:
        raise TooLong(field, f"{size >> 20} MB large", f"at most {most >> 20} MB")

"""All of an owner's pictures, or some, as one zip file that is sent while it is made."""

import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from lora.errors import InvalidOwner, InvalidRequest
from serving.history import History, KeptPicture, owner_hash

# Of a prompt in a name; a name may have 255 bytes, which a letter takes up to four of.
MOST_LETTERS = 50
MOST_MINUTES = 14 * 60
# What a zip file can say of a time.
FIRST, LAST = datetime(1980, 1, 1), datetime(2107, 12, 31)


async def history_zip(history: History, request: Request) -> Response:
    """The answer to a form: `owner`, the secret; `pictures`, of each "id/number", all where it is not there; whether
    only `favourites`; `zone`, the minutes that the visitor's clock is ahead of UTC."""
    # Of a form, since that keeps the secret out of addresses, which are logged and remembered.
    async with request.form(max_files=0, max_fields=4) as form:
        try:
            owner = owner_hash(form.get("owner"))
            chosen, zone = _chosen(form), _zone(form)
        except InvalidRequest as error:
            return PlainTextResponse(str(error), 403 if isinstance(error, InvalidOwner) else 400)
        pictures = history.pictures(owner, chosen, favourites=form.get("favourites", "") == "on")
    headers = {"Content-Disposition": 'attachment; filename="lora-atelier.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(zipped(pictures, zone), media_type="application/zip", headers=headers)


def _chosen(form: FormData) -> set[tuple[str, int]] | None:
    if "pictures" not in form:
        return None
    names = str(form["pictures"]).split()
    for name in names:
        if not re.fullmatch(r"[\w-]{1,64}/[0-9]{1,3}", name, re.ASCII):
            raise InvalidRequest("pictures", name, "ids of sets, each with / and the number of a picture in it")
    return {(identity, int(number)) for identity, _, number in (name.partition("/") for name in names)}


def _zone(form: FormData) -> timezone:
    said = str(form.get("zone", "0"))
    if not re.fullmatch("[+-]?[0-9]{1,3}", said) or abs(int(said)) > MOST_MINUTES:
        raise InvalidRequest("zone", said, f"minutes ahead of UTC, -{MOST_MINUTES} to {MOST_MINUTES}")
    return timezone(timedelta(minutes=int(said)))


def zipped(pictures: Iterable[KeptPicture], zone: timezone) -> Iterator[bytes]:
    """A zip archive of pictures, in pieces: no more than a piece of it is in memory. Those that are gone are left out.

    Times are those of a clock in that zone.
    """
    out, names = Outflow(), set[str]()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for picture in pictures:
            painted = datetime.fromtimestamp(picture.created, UTC).astimezone(zone).replace(tzinfo=None)
            entry = zipfile.ZipInfo(_unused(file_name(picture, painted), names), _told(painted))
            with (
                suppress(FileNotFoundError),
                picture.path.open("rb") as source,
                archive.open(entry, "w") as target,
            ):
                while piece := source.read(2**18):
                    target.write(piece)
                    yield out.taken()
    yield out.taken()


def file_name(picture: KeptPicture, painted: datetime) -> str:
    """What a picture is called on anybody's disk: the day, the prompt, the seed."""
    kept = (" " if unicodedata.category(c)[0] in "CZ" or c in '<>:"/\\|?*' else c for c in picture.prompt)
    words = " ".join("".join(kept).split())[:MOST_LETTERS].strip(" .")
    seed = "" if picture.seed is None else f", {picture.seed}"
    return f"{painted:%Y-%m-%d} {words or 'without words'}{seed}{picture.path.suffix}"


def _unused(name: str, names: set[str]) -> str:
    """The name, or with a number where one of `names`, which it joins, is the same to some system."""
    stem, _, ending = name.rpartition(".")
    number = 1
    while unicodedata.normalize("NFC", name).casefold() in names:
        number += 1
        name = f"{stem} ({number}).{ending}"
    names.add(unicodedata.normalize("NFC", name).casefold())
    return name


def _told(painted: datetime) -> tuple[int, int, int, int, int, int]:
    time = min(max(painted, FIRST), LAST)
    return time.year, time.month, time.day, time.hour, time.minute, time.second


class Outflow(io.RawIOBase):
    """What is written to it waits until it is taken."""

    def __init__(self):
        self._waiting = bytearray()

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, data: Any) -> int:
        """Take data in."""
        self._waiting += data
        return len(data)

    def taken(self) -> bytes:
        """What has been written since the last time."""
        data, self._waiting = bytes(self._waiting), bytearray()
        return data

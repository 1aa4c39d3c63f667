"""Strangers' pictures, opened in processes of their own: what one of them does there ends there."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from lora.errors import AtelierError, Described, InvalidRequest, Untold
from pipeline import decoder
from pipeline.decoder import MAX_SECONDS, receive, send
from pipeline.metadata.marks import Marks
from pipeline.metadata.parts import ALLOWED
from pipeline.request.picture import Mode, Picture
from serving.executor import BoundedExecutor

ROOT = Path(decoder.__file__).resolve().parents[1]
# One: two of the largest at once would take more memory than a small machine has to spare.
AT_ONCE, WAITING = 1, 12


class Refused(InvalidRequest):
    """A picture that the other process refused, in its words."""

    def __init__(self, field: str, sentence: str):
        AtelierError.__init__(self, sentence)
        self.field = field


class Child(NamedTuple):
    """A process, where it is asked, and where it answers."""

    process: subprocess.Popen
    asked: BinaryIO
    answers: BinaryIO


class PictureDecoder:
    """Processes that start when they are needed, are used again, and end with this one, however that ends."""

    def __init__(self, judging: bool = False) -> None:
        """`judging`: whether Content Credentials are judged, for which c2pa-python must be there."""
        self._judging = judging
        # Each thread waits for one process.
        self._waiters = BoundedExecutor("decoder", AT_ONCE, WAITING)
        self._idle: list[Child] = []

    @asynccontextmanager
    async def ready(self, app: object = None) -> AsyncIterator[None]:
        """A part of the app's lifespan, at the start of which one is started, so that nobody waits for it later."""
        self._idle.append(await asyncio.to_thread(self._child))
        yield

    async def picture(self, data: bytes, width: int, height: int, name: str = "image", mode: Mode = "RGB") -> Picture:
        """As `Picture.read`. Raises Described where it takes too long or too much as well, Busy."""
        how = {"width": width, "height": height, "name": name, "mode": mode}
        said, pixels = await self._waiters.run(self._asked, name, ["picture", how], data)
        return Picture(width, height, pixels, mode, Marks(**said))

    async def metadata(self, data: bytes) -> str:
        """As `pipeline.metadata.image_metadata`, of a file's bytes. Raises as `picture` does."""
        said, _ = await self._waiters.run(self._asked, "file", ["metadata", {}], data)
        return said or ""

    async def marks(self, data: bytes) -> list[str]:
        """In sentences who says what about a file's picture. Raises as `picture` does."""
        return (await self._waiters.run(self._asked, "file", ["marks", {"judging": self._judging}], data))[0]

    def _asked(self, field: str, words: list, data: bytes) -> tuple[Any, bytes]:
        child = self._child()
        try:
            send(child.asked, words, data)
            (outcome, said), answer = receive(child.answers)
        # Whatever went wrong with it, it is not asked again.
        except Exception:
            child.process.kill()
            # What it did not read is lost; left to the garbage collector, that would be complained of.
            with suppress(OSError):
                child.asked.close()
            child.answers.close()
            if child.process.wait() == -getattr(signal, "SIGALRM", 0):
                allowed = f"one that opens within {MAX_SECONDS} s"
                raise Described(field, "a picture that takes too long to decode", allowed) from None
            raise Described(field, "a picture that cannot be decoded", ALLOWED) from None
        self._idle.append(child)
        if outcome == "untold":
            raise Untold(field)
        if outcome == "refused":
            raise Refused(field, said)
        return said, answer

    def _child(self) -> Child:
        while self._idle:
            if (child := self._idle.pop()).process.poll() is None:
                return child
        # Its input ends with this process; a terminal's Ctrl-C is not for it.
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.decoder"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        return Child(process, cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout))

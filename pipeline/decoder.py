"""The process in which strangers' pictures are opened: `python -m pipeline.decoder`, bounded in memory and time.

It answers one message after another and ends with its standard input. A message is a line of JSON and any bytes:

    ["picture", {"width": 64, "height": 64, "name": "image", "mode": "RGB"}] and a file
                                    ->  ["done", marks] and the pixels, or ["refused", sentence]
    ["metadata", {}] and a file     ->  ["done", text], ["untold", null], or ["refused", sentence]
    ["marks", {"judging": false}] and a file
                                    ->  ["done", sentences], or ["refused", sentence]

JSON, never pickle: the side that opens files may be taken over by one.
"""

import io
import json
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from lora.errors import Described, InvalidRequest, Untold
from pipeline.metadata.image_metadata import image_metadata
from pipeline.metadata.marks import read_marks
from pipeline.request.picture import Picture

resource: Any
try:
    import resource
except ImportError:  # Windows, where nothing is bounded.
    resource = None

# The largest WebP that is taken takes 280 MB, and any picture two seconds on a slow machine.
MAX_MEMORY, MAX_SECONDS = 512 * 2**20, 8
_HEAD = struct.Struct(">II")


def send(pipe: BinaryIO, words: list, data: bytes = b"") -> None:
    """Write a message. Raises OSError where nobody reads any more."""
    text = json.dumps(words).encode()
    pipe.write(_HEAD.pack(len(text), len(data)) + text)
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[list, bytes]:
    """Read a message. Raises EOFError where the other side has ended."""
    text, data = _HEAD.unpack(_exactly(pipe, _HEAD.size))
    return json.loads(_exactly(pipe, text)), _exactly(pipe, data)


def _exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def main() -> None:
    """Answer until standard input ends. A picture that takes too long ends the process: SIGALRM is not caught."""
    alarm = getattr(signal, "alarm", int)
    # Not everywhere can a process bound itself.
    with suppress(OSError, ValueError, AttributeError):
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
    with suppress(EOFError):
        while True:
            (task, values), data = receive(sys.stdin.buffer)
            alarm(MAX_SECONDS)
            answer = _answer(task, values, data)
            alarm(0)
            send(sys.stdout.buffer, *answer)


def _marks(data: bytes, judging: bool) -> list[str]:
    marks = read_marks(data)
    if not marks.credentials:
        return marks.sentences()
    if not judging:
        return [*marks.sentences(), "It has Content Credentials (C2PA), which this app does not check."]
    # Optional, and only where it is asked for.
    from pipeline.metadata.credentials import judged

    return [*marks.sentences(), judged(data)]


def _answer(task: str, values: dict, data: bytes) -> tuple[list, bytes]:
    try:
        if task == "metadata":
            return ["done", image_metadata(io.BytesIO(data))], b""
        if task == "marks":
            return ["done", _marks(data, **values)], b""
        picture = Picture.read(data, **values)
        return ["done", asdict(picture.marks)], picture.pixels
    except Untold:
        return ["untold", None], b""
    except InvalidRequest as error:
        return ["refused", str(error)], b""
    except MemoryError:
        name = values.get("name", "file")
        refusal = Described(name, "a picture that takes too much memory to decode", "a smaller one")
        return ["refused", str(refusal)], b""


if __name__ == "__main__":
    main()

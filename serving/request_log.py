"""One line for each request, as JSON: what was asked in numbers, how long it took and how it ended. No prompts."""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.request.request import GenerationRequest

log = logging.getLogger("atelier.requests")


@dataclass
class Entry:
    """A line in the making."""

    facts: dict
    outcome: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def lap(self, stage: str) -> None:
        """The time since the last lap was spent on `stage`: waited, painted, sent."""
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now

    def done(self) -> None:
        """The caller has what was asked for, whatever it does now."""
        self.outcome = "done"


class RequestLog:
    """Writes the lines and counts how requests ended. `prompts`: prompts are written too."""

    def __init__(self, prompts: bool = False):
        self.prompts = prompts
        self.outcomes: Counter[str] = Counter()

    @contextmanager
    def entry(self, request: str, session: str | None, page: bool = False) -> Iterator[Entry]:
        """Keep the record of one request, however it ends. The session is written as a hash: it is a key."""
        short = hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()[:8] if session else None
        entry = Entry({"id": secrets.token_hex(4), "request": request, "from": "page" if page else "api",
                       "session": short})  # fmt: skip
        error = None
        try:
            yield entry
        except (GeneratorExit, asyncio.CancelledError):
            entry.outcome = entry.outcome or "cancelled"
            raise
        except BaseException as failure:
            entry.outcome, error = "failed", kind(failure)
            raise
        finally:
            self._write(entry, error)

    def asked(self, entry: Entry, request: GenerationRequest, shared: set[str], cells: int = 1) -> None:
        """Add what is asked for; adapters by id where everybody has them (`shared`), a visitor's own as "own"."""
        ids = [use.adapter.id if use.adapter.id in shared else "own" for use in request.adapters]
        entry.facts |= {"width": request.width, "height": request.height, "steps": request.total_steps,
                        "images": request.num_images, "adapters": ids}  # fmt: skip
        if cells > 1:
            entry.facts["cells"] = cells
        if self.prompts:
            entry.facts |= {"prompt": request.prompt, "negative_prompt": request.negative_prompt}

    def _write(self, entry: Entry, error: str | None) -> None:
        entry.outcome = entry.outcome or "done"
        self.outcomes[entry.outcome] += 1
        stages = entry.seconds | {"seconds": time.monotonic() - entry.began}
        spent = {stage: round(seconds, 3) for stage, seconds in stages.items()}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, **entry.facts, **spent, "outcome": entry.outcome}
        # ASCII: nothing that a visitor writes can end the line or colour a terminal.
        log.info(json.dumps(line | ({"error": error} if error else {}), ensure_ascii=True))


def kind(error: BaseException) -> str:
    """The name of an error's class; of one that crossed as data, of the one that it was."""
    return getattr(error, "kind", type(error).__name__)


def write_to(stream) -> None:
    """Let the lines go there as they are, without what logging puts before a message."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False

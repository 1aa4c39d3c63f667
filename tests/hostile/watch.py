"""What an attack costs everybody else: memory of the app and its children, and how long the page takes meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import psutil

from tests.serving import Server

MB = 2**20
# Alone on two cores it stays under a second; beside another test process it needs more.
PATIENCE = 3.0


@dataclass
class Watch:
    """What was seen: bytes at the start and the most since, seconds of each GET of the page."""

    before: int = 0
    most: int = 0
    pages: list[float] = field(default_factory=list)

    @property
    def grown(self) -> int:
        """By how many bytes the app grew at the most."""
        return self.most - self.before


def resident(server: Server) -> int:
    """Bytes of memory of the app and all its children."""
    app = psutil.Process(server.process.pid)
    total, itself = app.memory_info().rss, app.cmdline()
    for child in app.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            # Until it has become another program a child shows the app's own memory once more.
            total += 0 if child.cmdline() == itself else child.memory_info().rss
    return total


@contextmanager
def watched(server: Server, grown: int = 300 * MB, page: float = PATIENCE) -> Iterator[Watch]:
    """Look at memory and page while the block runs. Fails above `grown` bytes more or `page` seconds."""
    httpx.get(server.url, timeout=30)
    watch, over = Watch(before=resident(server)), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            watch.most = max(watch.most, resident(server))

    def visit() -> None:
        with httpx.Client(timeout=60) as visitor:
            while not over.wait(0.1):
                began = time.monotonic()
                with suppress(httpx.HTTPError):
                    visitor.get(server.url)
                watch.pages.append(time.monotonic() - began)

    threads = [threading.Thread(target=job, daemon=True) for job in (look, visit)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join(90)
    assert watch.grown < grown, f"the app grew by {watch.grown / MB:.0f} MB"
    assert max(watch.pages, default=0.0) < page, f"the page took {max(watch.pages):.1f} s meanwhile"

"""Pictures that follow what is being changed: of each visitor the newest wish runs, and an older one ends."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Generic, TypeVar

from lora.errors import InvalidRequest, UnknownPicture
from serving.jobs import is_name

Item = TypeVar("Item")
_END: Any = object()


class LiveWishes(Generic[Item]):
    """The wishes that run, and what came of the last one of each key, of `most` of them. Lives on one event loop."""

    def __init__(self, most: int = 64):
        self._most = most
        self._running: dict[tuple[str, str], asyncio.Event] = {}
        self._made: OrderedDict[str, Item] = OrderedDict()

    @contextmanager
    def wish(self, key: object, session: str | None) -> Iterator[asyncio.Event]:
        """The event that a newer wish of that key or session has come; older ones are told. Raises InvalidRequest."""
        if not is_name(key):
            raise InvalidRequest("live_key", key, "16 to 128 letters, digits, - and _")
        overtaken = asyncio.Event()
        names = [("key", str(key)), *([("session", session)] if session else [])]
        for name in names:
            if older := self._running.get(name):
                older.set()
            self._running[name] = overtaken
        try:
            yield overtaken
        finally:
            for name in names:
                if self._running.get(name) is overtaken:
                    del self._running[name]

    def keep(self, key: object, made: Item) -> None:
        """Remember what came of a wish in place of what was before."""
        self._made[str(key)] = made
        self._made.move_to_end(str(key))
        if len(self._made) > self._most:
            self._made.popitem(last=False)

    def last(self, key: object) -> Item:
        """What came of the last wish of that key. Raises UnknownPicture."""
        if not isinstance(key, str) or key not in self._made:
            raise UnknownPicture("That live picture is not there any more; change something, and keep the next one.")
        return self._made[key]


async def until(over: asyncio.Event, source: AsyncGenerator[Item]) -> AsyncGenerator[Item]:
    """What a generator yields until the event; then it is closed, whatever it waits for."""
    async with aclosing(source):
        waiting: list[asyncio.Future] = [asyncio.ensure_future(over.wait())]
        try:
            while not over.is_set():
                waiting[1:] = [asyncio.ensure_future(anext(source, _END))]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not waiting[1].done() or (item := waiting[1].result()) is _END:
                    return
                yield item
        finally:
            # A generator that still works cannot be closed.
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

"""What gradio keeps of a session: freed when nobody fetches it, and never taken from one that is being painted for.

Gradio keeps the results of every call until they are fetched, the values that it was sent with it, and, of 2,000
sessions, throws the oldest out, whatever is being done for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, cast

import gradio as gr
from gradio.queueing import Queue
from gradio.state_holder import SessionState, StateHolder

MOST, IDLE_SECONDS, LOOKS_APART = 2000, 60.0, 11.0


class Mailbox(asyncio.Queue):
    """The messages to one session, and when somebody last looked for them."""

    def __init__(self, clock: Callable[[], float]):
        super().__init__()
        self._clock, self.seen = clock, clock()

    async def get(self):
        """The next message."""
        self.seen = self._clock()
        try:
            return await super().get()
        finally:
            self.seen = self._clock()


class Mailboxes(dict[str, Mailbox]):
    """The mailboxes of all sessions, for gradio's queue. Where there are too many, the longest unread one goes that
    nothing is being done for.
    """

    def __init__(self, queue: Queue, most: int = MOST, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._queue, self._most, self._clock = queue, most, clock

    def __setitem__(self, session: str, _: asyncio.Queue) -> None:
        if session not in self and len(self) >= self._most:
            idle = [name for name in self if not self._busy(name)]
            if idle:
                self._drop(min(idle, key=lambda name: self[name].seen))
        super().__setitem__(session, Mailbox(self._clock))

    def sweep(self, seconds: float = IDLE_SECONDS) -> None:
        """Drop those that nobody has looked into for so long and nothing is being done for."""
        old = self._clock() - seconds
        for session in [name for name, box in self.items() if box.seen < old and not self._busy(name)]:
            self._drop(session)

    def answering(self) -> bool:
        """Whether there is one that somebody listens at and has not been told all of."""
        # By each of gradio's own looks somebody is seen to listen; they are 10 s apart where nothing is told.
        listened = self._clock() - LOOKS_APART
        pending = self._queue.pending_event_ids_session
        return any(box.seen > listened and pending.get(session) for session, box in self.items())

    def _busy(self, session: str) -> bool:
        events = self._queue.pending_event_ids_session.get(session, ())
        return any(event in self._queue.event_ids_to_events for event in events)

    def _drop(self, session: str) -> None:
        del self[session]
        self._queue.pending_event_ids_session.pop(session, None)


class Session(SessionState):
    """Gradio's state of a session without the last values of all components, which are there for links to them."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        pass

    def _update_config(self, key: int) -> None:
        pass


class Sessions(StateHolder):
    """Those of all sessions. None holds what a visitor needs again: it is made anew for who comes back."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)

    def sweep(self, needed: Collection[str], seconds: float = IDLE_SECONDS) -> None:
        """Drop those that are not `needed` and were not used for so long."""
        old = datetime.now() - timedelta(seconds=seconds)
        for session in [name for name, used in self.time_last_used.items() if used < old and name not in needed]:
            self.session_data.pop(session, None)
            del self.time_last_used[session]


def bound_sessions(blocks: gr.Blocks) -> None:
    """Once the Blocks has its queue."""
    blocks._queue.pending_messages_per_session = cast(Any, Mailboxes(blocks._queue))


@asynccontextmanager
async def swept_sessions(app: Any, every: float = 10.0) -> AsyncIterator[None]:
    """A part of the lifespan of gradio's app, in which what nobody fetches is freed."""
    mailboxes = app.get_blocks()._queue.pending_messages_per_session
    app.state_holder = Sessions()
    app.state_holder.set_blocks(app.get_blocks())

    async def sweep() -> None:
        while True:
            await asyncio.sleep(every)
            mailboxes.sweep()
            app.state_holder.sweep(mailboxes)

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

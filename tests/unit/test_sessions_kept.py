"""What gradio keeps of sessions is bounded, and nobody loses what is being done for them (matrix B4, B5)."""

import asyncio
from types import SimpleNamespace

import pytest

from ui.web.sessions import Mailboxes


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def queue():
    return SimpleNamespace(pending_event_ids_session={}, event_ids_to_events={})


@pytest.fixture
def boxes(queue):
    return Mailboxes(queue, most=3, clock=Clock())


def join(queue, boxes, session, event=None):
    boxes[session] = asyncio.Queue()
    queue.pending_event_ids_session[session] = {event or f"{session}-event"}
    if event:
        queue.event_ids_to_events[event] = object()


def test_a_flood_throws_out_who_waits_for_nothing(queue, boxes):
    join(queue, boxes, "painting", event="e")
    for i in range(100):
        boxes._clock.now += 1
        join(queue, boxes, f"made-up-{i}")
    assert set(boxes) == {"painting", "made-up-98", "made-up-99"}
    assert set(queue.pending_event_ids_session) == set(boxes)


def test_where_all_are_being_painted_for_there_are_more(queue, boxes):
    for i in range(5):
        join(queue, boxes, f"s{i}", event=f"e{i}")
    assert len(boxes) == 5


def test_what_nobody_fetches_for_a_minute_is_freed(queue, boxes):
    for session, event in (("done", None), ("read", None), ("painting", "e")):
        join(queue, boxes, session, event)
    boxes._clock.now = 50
    boxes["read"].put_nowait("x")
    assert asyncio.run(boxes["read"].get()) == "x"
    boxes.sweep()
    assert set(boxes) == {"done", "read", "painting"}
    boxes._clock.now = 61
    boxes.sweep()
    assert set(boxes) == {"read", "painting"} == set(queue.pending_event_ids_session)
    del queue.event_ids_to_events["e"]
    boxes._clock.now = 200
    boxes.sweep()
    assert not boxes


def test_it_is_known_whether_somebody_listens_and_has_not_been_told(queue, boxes):
    join(queue, boxes, "told")
    queue.pending_event_ids_session["told"].clear()
    assert not boxes.answering()
    join(queue, boxes, "waiting")
    assert boxes.answering()
    boxes._clock.now = 30
    assert not boxes.answering(), "nobody has looked for half a minute"

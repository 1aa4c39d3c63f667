"""SIGTERM in the middle of a run (matrix F4): whoever is painted for gets the picture, the others are told, exit 0."""

import json
import signal
import threading
import time

import httpx
import pytest

from serving.queue import CLOSING
from tests import serving

BODY = ["a red apple", "", [], 64, 64]


@pytest.fixture
def app(server, tmp_path):
    """An app of its own with these settings."""
    return lambda **settings: serving.start(tmp_path / "log", BASE_MODEL=server.model, **settings)


class Call(threading.Thread):
    """A call of /generate and how it ends."""

    def __init__(self, app, steps, images=1):
        super().__init__(daemon=True)
        self.app, self.data, self.last = app, [*BODY, steps, 5, "Euler", 1, images], None
        self.start()

    def run(self):
        try:
            self.last = self.app.call("generate", self.data)[-1]
        except httpx.HTTPError as error:
            self.last = ("gone", error)


def ended(app) -> int:
    return app.process.wait(30)


def test_f4_the_running_job_ends_the_waiting_are_told_and_nobody_else_comes_in(app):
    app = app(DRAIN_SECONDS=60)
    running = Call(app, 150, 2)
    app.wait_until(running=1)
    waiting = Call(app, 1)
    app.wait_until(waiting=1)
    app.process.send_signal(signal.SIGTERM)
    waiting.join(10)
    late = app.call("generate", [*BODY, 1])[-1]
    assert running.is_alive(), "the run was over before its time"
    for event, answer in (waiting.last, late):
        assert event == "error" and answer["error"] == CLOSING
    running.join(60)
    event, (gallery, details) = running.last
    assert event == "complete" and details["status"] == "done" and len(gallery) == 2
    assert ended(app) == 0
    lines = [json.loads(line) for line in app.log.read_text().splitlines() if line.startswith("{")]
    assert sorted((line["outcome"], line.get("error")) for line in lines) == [
        ("done", None), ("failed", "Busy"), ("failed", "Busy"),
    ]  # fmt: skip
    assert "Traceback" not in app.log.read_text()


def test_f4_a_job_that_takes_too_long_is_cut_off(app):
    app = app(DRAIN_SECONDS=0.5)
    Call(app, **{"steps": 150, "images": 4})
    app.wait_until(running=1)
    before = time.monotonic()
    app.process.send_signal(signal.SIGTERM)
    assert ended(app) == 0 and time.monotonic() - before < 20

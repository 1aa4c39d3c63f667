"""The one way through: what is wrong is said before the queue and before the model (Q1, Q2), without a path."""

import asyncio
import math
import time
from contextlib import contextmanager

import gradio as gr
import pytest

from lora.library import Library
from pipeline.engine import DenoiseStep, Finished, Generation
from pipeline.profiles import EMBEDDED_PROFILE
from serving.generation import GenerationService
from serving.queue import FairQueue
from serving.workers.local import LocalWorker
from ui.errors import in_words, told

GOOD = {"prompt": "a red apple"}
NUMBERS = (
    "width", "height", "steps", "guidance_scale", "seed", "num_images", "strength", "hires_scale", "hires_steps",
    "hires_strength", "clip_skip", "guidance_rescale", "guidance_start", "guidance_end", "eta", "mask_blur",
    "outpaint_left", "outpaint_right", "outpaint_top", "outpaint_bottom", "variation_seed", "variation_strength",
)  # fmt: skip

SHARES = ("strength", "eta", "guidance_end", "variation_strength")


class Engine:
    """An engine that predicts a second for everything and has no model to paint with."""

    profile, limits = EMBEDDED_PROFILE, EMBEDDED_PROFILE.limits
    export = None

    @property
    def facts(self):
        return self

    def expected_seconds(self, request):
        return 1.0

    def observe(self, request, details):
        pass

    def tokenize(self, prompt, wildcards, lexicon=()):
        return {"tokens": prompt.split()}


def service(paint, **queue):
    line = FairQueue(**{"places": 4, "places_per_session": 2} | queue)
    return GenerationService(LocalWorker(Engine(), paint), Library([]), line)


def run(service, values, session="someone"):
    async def collect():
        return [update async for update in service.generate(values, session)]

    with in_words():
        return asyncio.run(collect())


@contextmanager
def sentence(match):
    with pytest.raises(gr.Error, match=match) as caught:
        yield
    message = caught.value.message
    assert message.endswith(".") and "\n" not in message and "Traceback" not in message and "/" not in message
    assert not caught.value.print_exception


def unreachable(request):
    raise AssertionError("the model was called")


def test_the_whole_way():
    def paint(request):
        yield DenoiseStep(0, 1, 1, 1, b"jpeg")
        yield Generation((b"png",), {"seed": request.seed, "seeds": [request.seed]})

    updates = run(service(paint), GOOD | {"seed": 7})
    assert updates[0].details["status"] == "painting" and updates[0].details["step"] == 0
    assert updates[-1].details == {"status": "done", "seed": 7, "seeds": [7], "warnings": []} and updates[
        -1
    ].images == (b"png",)


def test_a_finished_picture_of_a_batch_is_told_once_and_the_last_step_again():
    def paint(request):
        yield DenoiseStep(0, 2, 1, 1, b"jpeg")
        # Long enough to be seen, and then for a pulse without news.
        time.sleep(0.1)
        yield Finished(0, b"first", {"seeds": [7]})
        time.sleep(1.2)
        yield Generation((b"first", b"second"), {"seed": 7, "seeds": [7, 8]})

    updates = run(service(paint), GOOD | {"seed": 7, "num_images": 2})
    (told,) = (update for update in updates if update.finished)
    assert told.finished == Finished(0, b"first", {"seeds": [7]}) and told.images == ()
    after = updates[updates.index(told) + 1 :]
    assert len(after) > 1 and all(update.details == told.details for update in after[:-1])
    assert told.details["status"] == "painting" and told.details["preview"]
    assert updates[-1].images == (b"first", b"second") and updates[-1].finished is None


def is_a_value_of(field, value) -> bool:
    return {"prompt": value == "x", "negative_prompt": isinstance(value, str), "adapters": value == []}.get(
        field, False
    )


WRONG = [None, True, math.nan, [], [1], {}, {"a": 1}, "", "x", -math.inf, 1e30]
ALL = ("prompt", "negative_prompt", "adapters", "scheduler", *NUMBERS)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f in ALL for v in WRONG if not is_a_value_of(f, v)], ids=repr)
def test_q1_every_field_refuses_what_it_is_not(field, value):
    with sentence(rf"{field}(\[0\])? is .*, but must be "):
        run(service(unreachable), GOOD | {field: value})


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        *(("width", value, "multiple of 16 from 128 to 512") for value in (33, 0, -8, 1e6)),
        *(("height", value, "multiple of 16 from 128 to 512") for value in (33, 0, -8, 1e6)),
        *(("steps", value, "from 1 to 150") for value in (-1, 0, 1001, 2.5)),
        *(("seed", value, "from -1 to 4294967295") for value in (2**64, 2**32, -2)),
        *(("guidance_scale", value, "from 0 to 30") for value in (math.nan, 1e30, -0.1)),
        *(("num_images", value, "from 1 to 4") for value in (0, 5)),
        *(("clip_skip", value, "from 0 to 2") for value in (-1, 3, 0.5)),
        *(("hires_scale", value, "from 1 to 4") for value in (0, 4.1, math.nan)),
        ("hires_steps", 151, "from 0 to 150"),
        ("mask_blur", 65, "from 0 to 64"),
        ("outpaint_left", 528, "multiple of 16 from 0 to 512"),
        ("variation_seed", 2**32, "from -1 to 4294967295"),
        *((share, value, "from 0 to 1") for share in SHARES for value in (-0.1, 2)),
    ],
)
def test_q2_every_range_is_named(field, value, allowed):
    with sentence(f"{field} is .*, but must be .*{allowed}"):
        run(service(unreachable), GOOD | {field: value})


def test_an_unknown_style_is_named():
    with sentence("There is no adapter 'ink'"):
        run(service(unreachable), GOOD | {"adapters": [{"id": "ink"}]})


def test_l2_a_full_queue_is_refused_in_words_and_everything_is_given_back():
    made = service(unreachable, places=1, places_per_session=1)
    running = made.queue.enter("a", 1)
    waiting = made.queue.enter("b", 1)
    with sentence("All 1 places in the queue are taken; try again in about 1 s."):
        run(made, GOOD)
    made.queue.leave(waiting)
    made.queue.leave(running)
    assert made.queue.status() == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_what_was_not_foreseen_is_logged_and_not_told(caplog):
    def paint(request):
        yield DenoiseStep(0, 1, 1, 1, None)
        raise RuntimeError("in /secret/place.py")

    made = service(paint)
    with sentence("Something went wrong here; it has been logged."):
        run(made, GOOD)
    assert "/secret/place.py" in caplog.text
    assert made.queue.status()["running"] == 0


def test_tokenize_takes_text_only():
    assert service(unreachable).tokenize("a red apple") == {
        "tokens": ["a", "red", "apple"], "triggers": {"present": [], "missing": []}, "unknown": [],
    }  # fmt: skip
    with sentence("prompt is 3, but must be text"):
        told(service(unreachable).tokenize)(3)


def test_previews_come_at_every_step_but_less_often_while_others_wait():
    def paint(request):
        for step in range(1, 21):
            time.sleep(0.01)
            yield DenoiseStep(0, 1, step, 20, None)
        yield Generation((b"png",), {"seed": request.seed, "seeds": [request.seed]})

    async def steps(house, session):
        return [update.details.get("step") async for update in house.generate(GOOD, session)]

    async def together():
        house = service(paint)
        return await asyncio.gather(steps(house, "one"), steps(house, "two"))

    crowded, alone = asyncio.run(together())
    assert len(crowded) < len(alone) / 2

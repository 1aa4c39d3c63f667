"""The one way through: raw values -> GenerationRequest -> turnstile -> GPU generator -> progress and pictures."""

import base64
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict, dataclass

from lora.library import Library
from pipeline.checks import text
from pipeline.engine import DenoiseStep, Engine, Generation
from pipeline.request import GenerationRequest
from ui.errors import in_words
from ui.gpu import Paint
from ui.stream import newest
from ui.turnstile import Turnstile

FIELDS = (
    "prompt", "negative_prompt", "adapters", "width", "height", "steps", "guidance_scale", "scheduler", "seed",
    "num_images",
)  # fmt: skip


@dataclass(frozen=True)
class Update:
    """What a caller is told: `details["status"]` is waiting, painting or done; done comes once, with the PNG files."""

    details: dict
    images: tuple[bytes, ...] = ()


class Studio:
    """Engine, styles and queue as the page and the endpoints use them."""

    def __init__(self, engine: Engine, library: Library, turnstile: Turnstile, paint: Paint):
        self.engine = engine
        self.library = library
        self.turnstile = turnstile
        self._paint = paint
        # As many threads as may paint at once: a job that was cancelled ends its step before the next one starts.
        self._painters = ThreadPoolExecutor(turnstile.at_once, thread_name_prefix="painter")

    @property
    def profile(self):
        """The profile of the model behind all this."""
        return self.engine.profile

    @property
    def default_adapters(self) -> list[dict]:
        """The styles that are on unless the visitor says otherwise, as a request names them."""
        known = {adapter.id for adapter in self.library.all()}
        return [{"id": i, "weight": w} for i, w in self.profile.adapters if i in known]

    async def generate(self, values: Mapping[str, object], session: str) -> AsyncIterator[Update]:
        """Check the values, wait for a turn, paint. Raises gradio errors only; closing it stops the painting."""
        with in_words():
            request = GenerationRequest.create(values, self.engine.limits, self.library.find)
            seconds = self.engine.expected_seconds(request)
            ticket = self.turnstile.enter(session, seconds)
            try:
                async for place in self.turnstile.wait(ticket):
                    yield Update({"status": "waiting", **asdict(place)})
                async with aclosing(newest(lambda: self._paint(request), self._painters)) as news:
                    update = Update({"status": "painting", "image": 0, "images": request.num_images, "step": 0,
                                     "steps": request.steps, "preview": None})  # fmt: skip
                    yield update
                    async for item in news:
                        # Without news the same again: gradio notices at a yield that nobody listens any more.
                        update = told(item) if item else update
                        if isinstance(item, Generation):
                            self.engine.observe(request, item)
                        yield update
            finally:
                self.turnstile.leave(ticket)

    def tokenize(self, prompt: object) -> dict:
        """How a prompt is read. Raises gradio errors only."""
        with in_words():
            return self.engine.tokenize(text("prompt", prompt))


def told(item: DenoiseStep | Generation) -> Update:
    """A step or the result in the words of the API."""
    if isinstance(item, Generation):
        return Update({"status": "done", **item.details}, item.images)
    preview = item.preview and "data:image/jpeg;base64," + base64.b64encode(item.preview).decode()
    return Update(
        {"status": "painting", "image": item.image, "images": item.images, "step": item.step, "steps": item.steps,
         "preview": preview}
    )  # fmt: skip

"""What is known of a model that holds no weights: how prompts are read, what steps go through, what a request costs.

A front needs these before anything is painted, and the process that paints may be another one.
"""

from lora.composition import layers_of, shapes_of
from lora.names import Shapes
from pipeline.families import Components
from pipeline.profiles import ModelProfile, describe
from pipeline.request.details import Details
from pipeline.request.limits import Limits
from pipeline.request.request import GenerationRequest
from pipeline.sampling import schedulers
from pipeline.text import tokens
from pipeline.text.variants import Wildcards


class ModelFacts:
    """The facts of a model, and what was learnt of its speed. `shapes` are those of the layers that adapters change."""

    def __init__(self, profile: ModelProfile, components: Components):
        """`components` may be on the "meta" device; nothing of them is kept but tokenizers and numbers."""
        self.profile = profile
        self.shapes: Shapes = shapes_of(layers_of(components.adaptable()))
        # For training: the side of the pictures that the model was trained with, in pixels, and its size.
        self.side: int = components.side
        self.small: bool = components.family.is_small(components.denoiser)
        self._tokenizers = components.tokenizers
        self._scheduler_config = components.scheduler_config
        self._step_seconds: float | None = None

    @classmethod
    def of(cls, profile: ModelProfile) -> "ModelFacts":
        """From configs and tokenizers alone. Raises ModelError."""
        return cls(profile, describe(profile))

    @property
    def limits(self) -> Limits:
        """What the model can paint."""
        return self.profile.limits

    @property
    def step_seconds(self) -> float | None:
        """Seconds of a guided step at the model's own size, as measured; None before the first run."""
        return self._step_seconds and round(self._step_seconds, 4)

    def tokenize(self, prompt: str, wildcards: Wildcards | None = None, lexicon: tokens.Lexicon = ()) -> dict:
        """How the prompt is read, its first variant if it has several, with the words of a lexicon as their vectors.

        `tokens` of the first step with their `weights`, `chunks` of 75 (the most at any step), `schedule` [last step,
        text] at the model's own number of steps, `parts` joined by AND with their strengths, `adapters` named in it,
        `clamped` in words, and what would be dropped: nothing. Raises TooLong.
        """
        return tokens.explain(self._tokenizers, prompt, self.limits.steps, wildcards, lexicon)

    def sigmas(self, scheduler: str, steps: int) -> list[float]:
        """The noise levels of a preset over so many steps, falling, standard deviations relative to the picture."""
        return schedulers.sigmas(scheduler, self._scheduler_config, steps, self.profile.family.ays)

    def expected_seconds(self, request: GenerationRequest) -> float:
        """Predicted run time: measured seconds per step and pixel, or the profile's guess before the first run."""
        return self._work(request) * (self._step_seconds or self.profile.step_seconds)

    def observe(self, request: GenerationRequest, details: Details) -> None:
        """Learn from a run how long a step takes. Whoever gets a Generation tells: it may come from another process."""
        # How long a network takes to enlarge says nothing of steps.
        now = (details["timings"]["total"] - details["timings"].get("enlarge", 0.0)) / self._work(request)
        before = self._step_seconds
        self._step_seconds = now if before is None else 0.7 * before + 0.3 * now

    def _work(self, request: GenerationRequest) -> float:
        """A request's size in guided steps at the model's own size; text and decoder count as two."""
        calls, own, work = schedulers.calls(request.scheduler, request.rng), self.limits.width * self.limits.height, 0.0
        for stage in request.passes:
            steps = sum(1.0 if scale > 1 else 0.55 for scale in request.guidance_scales(stage.steps))
            work += (steps * calls + 2) * stage.width * stage.height / own
        return request.num_images * work

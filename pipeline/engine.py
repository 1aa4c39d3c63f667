"""Engine.generate(request) -> steps, then the Generation. The sole owner of everything that changes in a model."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lora.adapter import AdapterMix
from lora.composition import AppliedAdapter, Composer
from lora.errors import PaintingFailed
from lora.export import Exported, export
from pipeline import conditioning, schedulers
from pipeline.decode import Previewer, decode, encode_png
from pipeline.denoise import denoise, initial_noise
from pipeline.models import Components, ModelProfile, load
from pipeline.request import GenerationRequest, Limits


@dataclass(frozen=True)
class DenoiseStep:
    """Progress: step `step` (1-based) of `steps` of image `image` (0-based) of `images`; `preview` is a small JPEG."""

    image: int
    images: int
    step: int
    steps: int
    preview: bytes | None


@dataclass(frozen=True)
class Generation:
    """The result: PNG files in the order of the request's seeds, and `details`, ready for JSON.

    `details`: seed, seeds, adapters (hash, weight, matched layers), prompt (tokens, chunks), settings, timings in
    seconds, profile.
    """

    images: tuple[bytes, ...]
    details: dict


@dataclass
class Stopwatch:
    """Seconds spent by stage of one request."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.last = now


class Engine:
    """One base model and the lock on it: a pipeline is not thread-safe, so one request runs at a time."""

    def __init__(self, profile: ModelProfile):
        self.profile = profile
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: tuple[Components, Composer, Previewer] | None = None
        self._conditioner: conditioning.Conditioner | None = None
        self._step_seconds: float | None = None

    @property
    def limits(self) -> Limits:
        """What this engine can paint."""
        return self.profile.limits

    def load(self) -> tuple[Components, Composer, Previewer]:
        """Load the model, once; later calls return it. Raises ModelError."""
        with self._loading:
            if self._loaded is None:
                components = load(self.profile)
                previewer = Previewer(components.vae, components.unet.config.in_channels)
                self._loaded = components, Composer(components.adaptable()), previewer
            return self._loaded

    def generate(self, request: GenerationRequest, previews: bool = True) -> Iterator[DenoiseStep | Generation]:
        """Yield a DenoiseStep after each step and at last the Generation.

        Closing the generator stops it at the step that it is in. However it ends, the same base request gives the same
        bits afterwards. Raises AdapterError or PaintingFailed.
        """
        components, composer, previewer = self.load()
        with self._lock:
            try:
                watch, images = Stopwatch(), []
                # Before encoding: an adapter may change the text encoders.
                mix, scale = request.mix
                applied = composer.apply(mix)
                watch.lap("adapters")
                for index, seed in enumerate(request.seeds):
                    latents, (prompt, negative) = None, request.texts[index]
                    composer.apply(mix)
                    # What is kept of it counts for this mix only: an adapter may change the text encoders.
                    texts = self._condition(components)(prompt, negative, request.steps, mix)
                    watch.lap("text")
                    for denoised in self._denoise(components, texts, request, seed):
                        latents = denoised.latents
                        preview = previewer(denoised.estimate) if previews else None
                        yield DenoiseStep(index, request.num_images, denoised.step, request.steps, preview)
                        # Merges only where an adapter starts or ends; at all other steps the mix is unchanged.
                        if denoised.step < request.steps:
                            composer.apply(mix, denoised.step / request.steps)
                    watch.lap("denoise")
                    images.append(encode_png(decode(components.vae, finite(latents))))
                    watch.lap("decode")
                generation = Generation(tuple(images), self._details(components, request, applied, scale, watch))
            except torch.OutOfMemoryError as error:
                composer.restore()
                size = f"{request.width} x {request.height}"
                raise PaintingFailed(
                    f"There was not enough memory for {size} pixels; choose a smaller picture."
                ) from error
            except BaseException:
                composer.restore()
                raise
        yield generation

    def export(self, mix: AdapterMix, path: Path, rank: int | None = None) -> Exported:
        """Write a mix as one adapter file; see lora.export. Raises AdapterError, InvalidRequest."""
        _, composer, _ = self.load()
        with self._lock:
            return export(composer, mix, path, rank)

    def tokenize(self, prompt: str) -> dict:
        """How the prompt is read, its first variant if it has several.

        `tokens` of the first step with their `weights`, `chunks` of 75 (the most at any step), `schedule` [last step,
        text] at the profile's usual number of steps, `parts` joined by AND with their strengths, `adapters` named in
        it, `clamped` in words, and what would be dropped: nothing.
        """
        components, _, _ = self.load()
        return conditioning.explain(components.tokenizers, prompt, self.limits.steps)

    def expected_seconds(self, request: GenerationRequest) -> float:
        """Predicted run time: measured seconds per step and pixel, or the profile's guess before the first run."""
        return self._work(request) * (self._step_seconds or self.profile.step_seconds)

    def observe(self, request: GenerationRequest, generation: Generation) -> None:
        """Learn from a run how long a step takes. Whoever gets a Generation tells: it may come from another process."""
        now = generation.details["timings"]["total"] / self._work(request)
        before = self._step_seconds
        self._step_seconds = now if before is None else 0.7 * before + 0.3 * now

    def _work(self, request: GenerationRequest) -> float:
        """A request's size in guided steps at the profile's usual size; text and decoder count as two."""
        # Heun asks the model twice a step.
        steps = request.steps * (1.0 if request.guidance_scale > 1 else 0.55) * (1 + ("Heun" in request.scheduler))
        pixels = request.width * request.height / (self.limits.width * self.limits.height)
        return request.num_images * (steps + 2) * pixels

    def _condition(self, components: Components) -> conditioning.Conditioner:
        if self._conditioner is None:
            self._conditioner = conditioning.Conditioner(components)
        return self._conditioner

    def _denoise(self, components: Components, texts, request: GenerationRequest, seed: int):
        scheduler = schedulers.prepare(
            request.scheduler, components.scheduler_config, request.steps, components.family, components.device
        )
        # On the CPU, whatever the device: the same seed is the same picture everywhere.
        rng = torch.Generator().manual_seed(seed)
        return denoise(
            components,
            scheduler,
            texts,
            initial_noise(components, scheduler, request.width, request.height, rng),
            guidance_scale=request.guidance_scale,
            guidance_rescale=request.guidance_rescale,
            eta=request.eta,
            rng=rng,
        )

    def _details(
        self,
        components: Components,
        request: GenerationRequest,
        applied: tuple[AppliedAdapter, ...],
        scale: float,
        watch: Stopwatch,
    ) -> dict:
        read = conditioning.explain(components.tokenizers, request.texts[0][0], request.steps)
        return {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "prompts": [prompt for prompt, _ in request.texts],
            "tokens": {"tokens": read["count"], "chunks": read["chunks"], "dropped": read["dropped"]},
            "clamped": read["clamped"],
            "adapters": [adapter.public() for adapter in applied],
            "adapters_scale": scale,
            "width": request.width,
            "height": request.height,
            "steps": request.steps,
            "guidance_scale": request.guidance_scale,
            "guidance_rescale": request.guidance_rescale,
            "eta": request.eta,
            "scheduler": request.scheduler,
            "seed": request.seed,
            "seeds": list(request.seeds),
            "timings": {stage: round(s, 4) for stage, s in watch.seconds.items()}
            | {"total": round(sum(watch.seconds.values()), 4)},
            "profile": self.profile.name,
        }


def finite(latents: torch.Tensor) -> torch.Tensor:
    """The latents, if they are numbers: an overflow would come out as a black picture."""
    if not torch.isfinite(latents).all():
        raise PaintingFailed("The numbers overflowed while painting; lower the guidance or the adapter weights.")
    return latents

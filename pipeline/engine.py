"""Engine.generate(request) -> steps, then the Generation. The sole owner of everything that changes in a model."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch

from lora.adapter import AdapterMix
from lora.composition import AppliedAdapter, Composer
from lora.errors import PaintingFailed
from lora.export import Exported, export
from pipeline.facts import ModelFacts
from pipeline.families import Components
from pipeline.metadata import infotext
from pipeline.metadata.marks import packet
from pipeline.profiles import ModelProfile, load
from pipeline.request import details
from pipeline.request.details import Details, SecondPass
from pipeline.request.limits import Limits
from pipeline.request.request import GenerationRequest
from pipeline.sampling.decode import Previewer, decode, encode_png
from pipeline.sampling.inpaint import Canvas
from pipeline.sampling.latents import AnyRandomness, ForeignRandomness, Randomness
from pipeline.sampling.passes import finite, run_pass
from pipeline.sampling.tiling import seamless
from pipeline.text import conditioning, tokens
from pipeline.text.taught import Taught
from pipeline.upscaling.upscalers import Upscalers


@dataclass(frozen=True)
class DenoiseStep:
    """Progress: step `step` (1-based) of `steps` of image `image` (0-based) of `images`; `preview` is a small JPEG."""

    image: int
    images: int
    step: int
    steps: int
    preview: bytes | None


@dataclass(frozen=True)
class Finished:
    """Picture `image` (0-based) of a batch, as the PNG file that the Generation will have, while others are to come.

    `details` are those of a Generation that had only the pictures up to this one, without `timings`.
    """

    image: int
    png: bytes
    details: Details


@dataclass(frozen=True)
class Generation:
    """The result: PNG files in the order of the request's seeds, and how they were made, ready for JSON."""

    images: tuple[bytes, ...]
    details: Details


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

    def timings(self) -> dict[str, float]:
        """Of each stage, and in all."""
        rounded = {stage: round(seconds, 4) for stage, seconds in self.seconds.items()}
        return rounded | {"total": round(sum(self.seconds.values()), 4)}


class Engine:
    """One base model and the lock on it: a pipeline is not thread-safe, so one request runs at a time."""

    def __init__(self, profile: ModelProfile, upscalers: Upscalers | None = None):
        self._upscalers = upscalers or Upscalers()
        limits = replace(profile.limits, upscalers=self._upscalers.names)
        self.profile = replace(profile, limits=limits)
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: tuple[Components, Composer, Previewer] | None = None
        self._conditioner: conditioning.Conditioner | None = None
        self._facts: ModelFacts | None = None

    @property
    def limits(self) -> Limits:
        """What this engine can paint."""
        return self.profile.limits

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model; of a loaded one nothing is read twice."""
        if self._facts is None:
            self._facts = ModelFacts(self.profile, self.load()[0])
        return self._facts

    def load(self) -> tuple[Components, Composer, Previewer]:
        """Load the model, once; later calls return it. Raises ModelError."""
        with self._loading:
            if self._loaded is None:
                components = load(self.profile)
                self._loaded = components, Composer(components.adaptable()), Previewer(components)
            return self._loaded

    def generate(
        self, request: GenerationRequest, previews: bool = True
    ) -> Generator[DenoiseStep | Finished | Generation]:
        """Yield a DenoiseStep after each step, Finished after each picture but the last, and at last the Generation.

        Closing the generator stops it at the step that it is in. However it ends, the same base request gives the same
        bits afterwards. Raises AdapterError or PaintingFailed.
        """
        components, composer, previewer = self.load()
        with self._lock:
            try:
                with seamless(components, request.tiling):
                    generation = yield from self._painted(
                        request, components, composer, previewer if previews else None
                    )
            except torch.OutOfMemoryError as error:
                composer.restore()
                size = f"{request.passes[-1].width} x {request.passes[-1].height}"
                raise PaintingFailed(
                    f"There was not enough memory for {size} pixels; choose a smaller picture."
                ) from error
            except BaseException:
                composer.restore()
                raise
        yield generation

    def _painted(
        self,
        request: GenerationRequest,
        components: Components,
        composer: Composer,
        preview: Callable[[torch.Tensor], bytes] | None,
    ) -> Generator[DenoiseStep | Finished, None, Generation]:
        watch, images = Stopwatch(), []
        # Before encoding: an adapter may change the text encoders.
        mix, scale = request.mix
        applied = composer.apply(mix)
        watch.lap("adapters")
        encoders = [name for _, name in components.family.encoders]
        taught = Taught.of(request.embeddings, encoders, composer.shapes)
        canvas, upscale = Canvas.of(request), None
        if request.hires_scale > 1:
            upscale = self._upscalers.get(request.hires_upscaler, components.device)
        settings = self._settings(components, request, applied, scale, canvas, taught)
        for index in range(request.num_images):
            random, latents, before = _random(request, index), None, 0
            for stage in request.passes:
                composer.apply(mix)
                texts = self._condition(components)(
                    *request.texts[index], stage.steps, composer.text_state, request.clip_skip, taught
                )
                watch.lap("text")
                for denoised in run_pass(components, texts, request, stage, latents, canvas, upscale, random):
                    latents, step = denoised.latents, before + denoised.step
                    seen = preview(denoised.clean) if preview else None
                    yield DenoiseStep(index, request.num_images, step, request.total_steps, seen)
                    if not denoised.step:
                        watch.lap("enlarge")
                    # Merges only where an adapter starts or ends; at all other steps the mix is unchanged.
                    if denoised.done < stage.steps:
                        composer.apply(mix, denoised.done / stage.steps)
                before += stage.steps
                watch.lap("denoise")
            # Every image has a pass, and every pass a step.
            assert latents is not None
            image = decode(components, finite(latents))
            image = canvas.over(image) if canvas else image
            xmp = packet(request.begun_with)
            images.append(encode_png(image, infotext.write(settings, index) if request.metadata else "", xmp))
            watch.lap("decode")
            if len(images) < request.num_images:
                yield Finished(index, images[-1], details.of_first(settings, len(images)))
        return Generation(tuple(images), {**settings, "timings": watch.timings()})

    def export(self, mix: AdapterMix, rank: int | None, path: Path) -> Exported:
        """Write a mix as one adapter file; see lora.export. Raises AdapterError, InvalidRequest."""
        _, composer, _ = self.load()
        with self._lock:
            return export(composer, mix, path, rank)

    @contextmanager
    def lent(self) -> Iterator[Components]:
        """The base without any adapter, for as long as a `with` block lasts: whoever has it gives it back as it was."""
        components, composer, _ = self.load()
        with self._lock:
            composer.restore()
            yield components

    def state(self) -> dict:
        """What it holds in memory, in numbers."""
        _, composer, _ = self.load()
        memory = {f"{name}_bytes": size for name, size in composer.memory().items()}
        texts = self._conditioner.nbytes if self._conditioner else 0
        return {
            "adapters_on": composer.count,
            "memory": memory | {"texts_bytes": texts},
        }

    def _condition(self, components: Components) -> conditioning.Conditioner:
        if self._conditioner is None:
            self._conditioner = conditioning.Conditioner(components)
        return self._conditioner

    def _settings(
        self,
        components: Components,
        request: GenerationRequest,
        applied: tuple[AppliedAdapter, ...],
        scale: float,
        canvas: Canvas | None,
        taught: Taught,
    ) -> Details:
        read = tokens.explain(components.tokenizers, request.texts[0][0], request.steps, lexicon=taught.words)
        own = {
            "version": details.VERSION,
            "prompts": [prompt for prompt, _ in request.texts],
            "negative_prompts": [negative for _, negative in request.texts],
            "tokens": {"tokens": read["count"], "chunks": read["chunks"], "dropped": read["dropped"]},
            "clamped": read["clamped"],
            "adapters": [adapter.public() for adapter in applied],
            "adapters_scale": scale,
            "embeddings": [
                {"word": word, "id": adapter.id, "sha256": adapter.sha256}
                for adapter in request.embeddings
                for word, _ in adapter.words
            ],
            "strength": request.strength if request.image else None,
            "mask": round(float(canvas.mask.mean()), 4) if canvas else None,
            "mask_blur": request.mask_blur if canvas else None,
            "hires": _hires(request),
            "seeds": list(request.seeds),
            "variation_seeds": list(request.variation_seeds),
            "profile": self.profile.name,
            "text_layer": self.profile.limits.text_layer,
        }
        return cast(Details, details.of_request(request) | own)


def _random(request: GenerationRequest, index: int) -> AnyRandomness:
    """What is drawn for one of a request's pictures."""
    seed, variation = request.seeds[index], request.variation_seeds[index] if request.variation_seeds else None
    if request.rng == "own":
        return Randomness.of(seed, variation, request.variation_strength)
    return ForeignRandomness(request.rng, seed, request.ensd, variation, request.variation_strength)


def _hires(request: GenerationRequest) -> SecondPass | None:
    """The second pass as it was, if there was one."""
    if request.hires_scale == 1:
        return None
    last = request.passes[-1]
    return {
        "scale": request.hires_scale, "width": last.width, "height": last.height, "steps": last.planned,
        "strength": request.hires_strength, "upscaler": request.hires_upscaler,
    }  # fmt: skip

"""How much may be asked for: of any model, and of one. Plain data."""

from dataclasses import dataclass

SEEDS = 2**32
MAX_STEPS, MAX_GUIDANCE, MAX_IMAGES, MAX_HIRES_SCALE, MAX_MASK_BLUR = 150, 30.0, 4, 4.0, 64
UPSCALERS = ("pixels", "latent")
RNGS = ("own", "cpu", "nv")


@dataclass(frozen=True)
class Limits:
    """What a profile can paint, and what it paints where nothing is said. Sizes in pixels.

    `hires_size_max` bounds a side of the larger picture of the second pass, `clip_skip_max` the layers that a text
    encoder can spare, and `text_layer` is the one that is read where none is left out, the last being 1: "Clip skip" of
    A1111 and others counts so. `refused`: presets that do not work on this model, and in words what to use;
    `step_caps`: the most steps of some; `upscalers` are what a second pass can enlarge by.
    """

    schedulers: tuple[str, ...]
    scheduler: str
    width: int = 1024
    height: int = 1024
    size_min: int = 256
    size_max: int = 1536
    size_step: int = 8
    hires_size_max: int = 2048
    steps: int = 30
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    clip_skip_max: int = 10
    text_layer: int = 1
    refused: tuple[tuple[str, str], ...] = ()
    step_caps: tuple[tuple[str, int], ...] = ()
    upscalers: tuple[str, ...] = UPSCALERS

    @property
    def presets(self) -> str:
        """The schedulers in words: samplers, and the schedules that most of them take. All together are hundreds."""
        # Of a sampler whose name does not begin another's.
        schedules = [name.removeprefix("UniPC ") for name in self.schedulers if name.startswith("UniPC ")]
        ends = tuple(f" {schedule}" for schedule in schedules)
        samplers = ", ".join(name for name in self.schedulers if not ends or not name.endswith(ends))
        return f"{samplers}; or with a schedule behind it: {', '.join(schedules)}" if schedules else samplers

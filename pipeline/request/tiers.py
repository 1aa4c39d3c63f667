"""Speed tiers: steps, sampler, guidance and, for the fewest steps, an adapter, chosen together. Pure data.

A few-step adapter (LCM, TCD, Lightning, Hyper-SD, DMD2) is known by its name or description and only ever offered:
it changes the picture, so whoever chooses the tier puts it on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lora.adapter import Adapter
from pipeline.request.request import Limits


@dataclass(frozen=True)
class Tier:
    """`schedulers` in order of preference: the first that the model takes. `guidance_scale` None: the model's usual."""

    name: str
    about: str
    steps: int
    schedulers: tuple[str, ...]
    guidance_scale: float | None = None

    def values(self, limits: Limits) -> dict | None:
        """The fields of a request that it sets, or None where the model takes none of its samplers."""
        preset = next((name for name in self.schedulers if name in limits.schedulers), None)
        if preset is None:
            return None
        guidance = limits.guidance_scale if self.guidance_scale is None else self.guidance_scale
        return {"steps": self.steps, "scheduler": preset, "guidance_scale": guidance}


@dataclass(frozen=True)
class FewStep:
    """A kind of few-step adapter: how its files are called, and the tier that its makers say to use it at."""

    pattern: str
    tier: Tier


QUALITY = Tier("Quality", "Twice the work, the finest detail", 40, ("DPM++ 2M Karras", "DPM++ 2M"))
FAST = Tier("Fast", "Ten well-placed steps (Sabour et al. 2024)", 10, ("DPM++ 2M AYS", "DPM++ 2M"))
_TRAILING_EULER, _TRAILING_DDIM = ("Euler SGM uniform", "Euler"), ("DDIM SGM uniform", "DDIM")
# Guidance is distilled into them: 1 is none at all. First what is more particular.
FEW_STEP = (
    FewStep(r"hyper[-_ ]?sd.*cfg", Tier("Hyper-SD", "Ren et al. 2024", 8, _TRAILING_DDIM, 5.0)),
    FewStep(r"hyper[-_ ]?sd", Tier("Hyper-SD", "Ren et al. 2024", 8, _TRAILING_DDIM, 1.0)),
    FewStep(
        r"(sd(xl)?|xl)[-_ ]?lightning|lightning.*\dsteps?",
        Tier("Lightning", "Lin et al. 2024", 4, _TRAILING_EULER, 1.0),
    ),
    FewStep(r"\bdmd2\b", Tier("DMD2", "Yin et al. 2024", 4, ("LCM",), 1.0)),
    FewStep(r"\btcd\b", Tier("TCD", "Zheng et al. 2024", 6, ("TCD",), 1.0)),
    FewStep(r"\blcm\b", Tier("LCM", "Luo et al. 2023", 6, ("LCM",), 1.0)),
)
MAX_FEW = 16


def tiers(limits: Limits, adapters: Iterable[Adapter] = ()) -> list[dict]:
    """For callers, ready for JSON: name, about, `values` (steps, scheduler, guidance_scale), and `adapter`, the entry
    of a request's `adapters` that belongs to it (None: any), for this model and the adapters that are there.
    """
    balanced = Tier("Balanced", "As this model is usually run", limits.steps, (limits.scheduler,))
    found: list[tuple[Tier, Adapter | None]] = [(tier, None) for tier in (QUALITY, balanced, FAST)]
    found += [(tier, adapter) for adapter in adapters if (tier := few_step(adapter))]
    return [
        {
            "name": tier.name, "about": tier.about, "values": values,
            "adapter": adapter and {"id": adapter.id, "weight": 1.0},
        }
        for tier, adapter in found if (values := tier.values(limits))
    ]  # fmt: skip


def few_step(adapter: Adapter) -> Tier | None:
    """The tier of an adapter that was distilled to few steps, with the number of steps that its name says."""
    said = f"{adapter.id} {adapter.name} {adapter.description}".lower()
    # Names are joined in every way: "Hyper-SDXL-8steps-lora", "lightning_4step_lora".
    words = re.sub(r"(\d)[-_ ]?(steps?)\b", r"\1\2", re.sub(r"[-_]", " ", said))
    kind = next((kind for kind in FEW_STEP if re.search(kind.pattern, words)), None)
    if kind is None:
        return None
    steps = re.search(r"\b(\d{1,2})steps?\b", words)
    count = min(int(steps[1]), MAX_FEW) if steps and int(steps[1]) else kind.tier.steps
    tier = kind.tier
    return Tier(f"Few-step: {adapter.name}", tier.about, count, tier.schedulers, tier.guidance_scale)

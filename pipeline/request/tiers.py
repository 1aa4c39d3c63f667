"""Speed tiers: steps, sampler, guidance and, for the fewest steps, an adapter, chosen together. Pure data.

A few-step adapter says so itself, as those of `training.distill` do, or is known by its name or description (LCM, TCD,
Lightning, Hyper-SD, DMD2). It is only ever offered: it changes the picture, so whoever chooses the tier puts it on.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lora.adapter import MAX_FEW_STEPS, Adapter
from lora.offers import BY_CONTENT, OFFERS, Offer
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


Entry = tuple[Tier, Adapter | None, Offer | None]
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
    # Its four steps are trailing: LCM alone has others.
    FewStep(r"\bdmd2\b", Tier("DMD2", "Yin et al. 2024", 4, ("LCM SGM uniform", "LCM"), 1.0)),
    FewStep(r"\btcd\b", Tier("TCD", "Zheng et al. 2024", 6, ("TCD",), 1.0)),
    FewStep(r"\blcm\b", Tier("LCM", "Luo et al. 2023", 6, ("LCM",), 1.0)),
)


def tiers(limits: Limits, adapters: Iterable[Adapter] = (), base: str = "", most_bytes: float = math.inf) -> list[dict]:
    """For callers, ready for JSON: name, about, `values` (steps, scheduler, guidance_scale), and `adapter`, the entry
    of a request's `adapters` that belongs to it (None: any), for this model and the adapters that are there.

    Those of OFFERS for the model `base` are among them: with what is to be fetched as `offer` (None: nothing), and no
    `adapter` yet. No file above `most_bytes` is offered, since it would be refused.
    """
    adapters = tuple(adapters)
    own, few = _few_step_tiers(limits, adapters)
    balanced = Tier("Balanced", "As this model is usually run", limits.steps, (limits.scheduler,))
    found: list[Entry] = [(QUALITY, None, None), (balanced, None, None), own or (FAST, None, None), *few]
    found += _offers(adapters, base, most_bytes)
    return [
        {
            "name": tier.name, "about": tier.about, "values": values,
            "adapter": adapter and {"id": adapter.id, "weight": 1.0}, "offer": offer and offer.public(),
        }
        for tier, adapter, offer in found if (values := tier.values(limits))
    ]  # fmt: skip


def _few_step_tiers(limits: Limits, adapters: Iterable[Adapter]) -> tuple[Entry | None, list[Entry]]:
    """Those of adapters that are there: the fastest that belongs to the model, as the way to paint fast with it, and
    the others."""
    pairs = [(tier, adapter) for adapter in adapters if adapter.sha256 not in BY_CONTENT
             and (tier := few_step(adapter)) and tier.values(limits)]  # fmt: skip
    own = min((pair for pair in pairs if pair[1].source == "built-in"), key=lambda pair: pair[0].steps, default=None)
    fast = own and (replace(own[0], name=FAST.name), own[1], None)
    return fast, [(*pair, None) for pair in pairs if pair != own]


def _offers(adapters: Iterable[Adapter], base: str, most_bytes: float) -> Iterator[Entry]:
    """Those of OFFERS: with the adapter, where it is there, or else for their base to be fetched."""
    there = {adapter.sha256: adapter for adapter in adapters}
    for offer in OFFERS:
        few = offer.few_steps
        tier = Tier(offer.name, offer.about, few.steps, few.schedulers, few.guidance_scale)
        if adapter := there.get(offer.sha256):
            yield tier, adapter, None
        elif base == offer.base and offer.size <= most_bytes:
            yield tier, None, offer


def fastest(known: Iterable[dict]) -> dict | None:
    """Of some `tiers` the one of the fewest steps whose adapter is there and that needs no guidance, if there is one;
    of equals one of an adapter that belongs to the model."""
    there = [tier for tier in known if tier["adapter"] and tier["values"]["guidance_scale"] <= 1]
    # The built-in one is the first of them.
    return min(there, key=lambda tier: tier["values"]["steps"], default=None)


def few_step(adapter: Adapter) -> Tier | None:
    """The tier of an adapter that was distilled to few steps: as its file says, or by its name, with the number of
    steps in that."""
    name = f"Few-step: {adapter.name}"
    if said := adapter.few_steps:
        guided = f"at guidance {said.guidance_scale:g}" if said.guidance_scale > 1 else "without guidance"
        about = f"{said.steps} step{'s' * (said.steps > 1)} {guided}, by {adapter.name}"
        return Tier(name, about, said.steps, said.schedulers, said.guidance_scale)
    told = f"{adapter.id} {adapter.name} {adapter.description}".lower()
    # Names are joined in every way: "Hyper-SDXL-8steps-lora", "lightning_4step_lora".
    words = re.sub(r"(\d)[-_ ]?(steps?)\b", r"\1\2", re.sub(r"[-_]", " ", told))
    kind = next((kind for kind in FEW_STEP if re.search(kind.pattern, words)), None)
    if kind is None:
        return None
    steps = re.search(r"\b(\d{1,2})steps?\b", words)
    count = min(int(steps[1]), MAX_FEW_STEPS) if steps and int(steps[1]) else kind.tier.steps
    return replace(kind.tier, name=name, steps=count)

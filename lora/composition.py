"""Put an adapter mix on a model, and take it off again, exactly.

W = W0 + sum over adapters of weight * scale * up @ down, summed into the weights once per mix: a denoising step then
costs the same with five adapters as with none. W0 is kept and copied back, never recomputed by subtraction, so that
the base returns bit for bit.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from lora.adapter import Adapter, AdapterMix
from lora.errors import UnfitAdapter, shown
from lora.formats import Deltas, LoraDelta, read_deltas

CACHE_BYTES = 512 * 2**20

Place = tuple[str, str]


@dataclass(frozen=True)
class AppliedAdapter:
    """What putting an adapter on came to: how many of its layers the model has, and which it lacks."""

    adapter: Adapter
    weight: float
    matched: int
    unmatched: tuple[str, ...]

    def public(self) -> dict:
        """For callers."""
        return {
            "id": self.adapter.id,
            "name": self.adapter.name,
            "weight": self.weight,
            "sha256": self.adapter.sha256,
            "rank": self.adapter.rank,
            "matched": self.matched,
            "unmatched": len(self.unmatched),
        }


class Composer:
    """Owns the weights of a model's layers between `apply` and `restore`. Not thread-safe: the engine has the lock."""

    def __init__(self, components: Mapping[str, nn.Module]):
        self._layers: dict[Place, nn.Module] = {}
        self._unet_config = components["unet"].config
        for component, module in components.items():
            for path, layer in module.named_modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    # transformers 5 drops the `text_model.` that adapter files were written with, or keeps it.
                    self._layers[component, path.removeprefix("text_model.")] = layer
        self._originals: dict[Place, torch.Tensor] = {}
        self._cache: OrderedDict[str, Deltas] = OrderedDict()
        self._mix: tuple = ()
        self._applied: tuple[AppliedAdapter, ...] = ()

    @torch.no_grad()
    def apply(self, mix: AdapterMix) -> tuple[AppliedAdapter, ...]:
        """Make the model W0 + mix, whatever was on it before. An unchanged mix costs nothing.

        Raises UnreadableAdapter or UnfitAdapter with the base restored.
        """
        weights: dict[str, list[float]] = {}
        for use in mix:
            weights.setdefault(use.adapter.sha256, []).append(use.weight)
        sums = {digest: round(math.fsum(parts), 9) for digest, parts in weights.items()}
        # Sorted by hash: the order of a mix does not change the rounding. 0 is left out: it is the base, exactly.
        key = tuple(sorted((digest, weight) for digest, weight in sums.items() if weight))
        if key != self._mix:
            try:
                adapters = {use.adapter.sha256: use.adapter for use in mix}
                self._put_on([(adapters[digest], weight) for digest, weight in key])
                self._mix = key
            except BaseException:
                self.restore()
                raise
        return self._applied

    @torch.no_grad()
    def restore(self) -> None:
        """Copy W0 back, bit for bit."""
        for place, original in self._originals.items():
            self._layers[place].weight.copy_(original)
        self._originals.clear()
        self._mix, self._applied = (), ()

    def _put_on(self, adapters: list[tuple[Adapter, float]]) -> None:
        todo: dict[Place, list[tuple[LoraDelta, float]]] = {}
        applied = []
        for adapter, weight in adapters:
            deltas = self._deltas(adapter)
            fitting = {place: delta for place, delta in deltas.items() if place in self._layers}
            if not fitting:
                example = ".".join(next(iter(deltas), ("", "")))
                raise UnfitAdapter(
                    f"Adapter {shown(adapter.id)} was made for another model: none of its {len(deltas)} layers, "
                    f"such as {shown(example, 80)}, is in this one."
                )
            for place, delta in fitting.items():
                self._check_shape(adapter, place, delta)
                todo.setdefault(place, []).append((delta, weight))
            unmatched = tuple(".".join(place) for place in deltas if place not in fitting)
            applied.append(AppliedAdapter(adapter, weight, len(fitting), unmatched))
        for place in [place for place in self._originals if place not in todo]:
            self._layers[place].weight.copy_(self._originals.pop(place))
        for place, terms in todo.items():
            weight = self._layers[place].weight
            if place not in self._originals:
                self._originals[place] = weight.clone()
            weight.copy_(merged(self._originals[place], terms))
        self._applied = tuple(applied)

    def _check_shape(self, adapter: Adapter, place: Place, delta: LoraDelta) -> None:
        shape = tuple(self._layers[place].weight.shape)
        offered = (delta.up.shape[0], *delta.down.shape[1:])
        # A 1 x 1 convolution may have been trained as a linear layer, or the other way round.
        if shape != offered and shape != (*offered, 1, 1) and (*shape, 1, 1) != offered:
            raise UnfitAdapter(
                f"Adapter {shown(adapter.id)} was made for another model: its layer {shown('.'.join(place), 80)} "
                f"changes weights of shape {list(offered)}, this model's have {list(shape)}."
            )

    def _deltas(self, adapter: Adapter) -> Deltas:
        if adapter.sha256 not in self._cache:
            found = read_deltas(adapter.path, self._unet_config)
            self._cache[adapter.sha256] = {(c, layer.removeprefix("text_model.")): d for (c, layer), d in found.items()}
        self._cache.move_to_end(adapter.sha256)
        while len(self._cache) > 1 and sum(map(_bytes, self._cache.values())) > CACHE_BYTES:
            self._cache.popitem(last=False)
        return self._cache[adapter.sha256]


def merged(original: torch.Tensor, terms: list[tuple[LoraDelta, float]]) -> torch.Tensor:
    """W0 + sum of weight * scale * up @ down, computed in float32 as one product of the stacked factors."""
    factors = [(*delta.factors(), weight * delta.scale) for delta, weight in terms]
    up = torch.cat([scale * up for up, _, scale in factors], 1).to(original.device)
    down = torch.cat([down for _, down, _ in factors]).to(original.device)
    return torch.addmm(original.float().flatten(1), up, down).view_as(original)


def _bytes(deltas: Deltas) -> int:
    return sum(delta.up.nbytes + delta.down.nbytes for delta in deltas.values())

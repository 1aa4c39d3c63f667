"""Put an adapter mix on a model, and take it off again, exactly.

W = W0 + the sum of all adapters' changes at their weights, summed into the weights once per mix: a denoising step then
costs the same with five adapters as with none. W0 itself is never written to: a layer is given another tensor while a
mix is on, and its own one back afterwards. So the base returns bit for bit, at once, and whatever went wrong before.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from lora.adapter import Adapter, AdapterMix, AdapterUse, combined, in_block
from lora.deltas import Delta, LoraDelta, merge_into
from lora.errors import UnfitAdapter, shown
from lora.formats import Deltas, read_adapter
from lora.inspection import Fit, fit
from lora.names import Layer, is_text

CACHE_BYTES, SPARE_BYTES = 512 * 2**20, 512 * 2**20

# What is on a layer: (hash of an adapter, its weight there).
Terms = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class AppliedAdapter:
    """What putting an adapter on came to: how many of its layers the model has, and which it lacks."""

    use: AdapterUse
    matched: int
    unmatched: tuple[str, ...]

    def public(self) -> dict:
        """For callers."""
        weight, text_weight = self.use.weights
        return {
            "id": self.use.adapter.id,
            "name": self.use.adapter.name,
            "weight": weight,
            "text_weight": text_weight,
            "blocks": dict(self.use.blocks),
            "start": self.use.start,
            "end": self.use.end,
            "sha256": self.use.adapter.sha256,
            "rank": self.use.adapter.rank,
            "matched": self.matched,
            "unmatched": len(self.unmatched),
        }


@dataclass(frozen=True)
class KnownAdapter:
    """An adapter in memory: its changes, how they fit the model, and the bytes that they take."""

    deltas: Deltas
    fit: Fit
    bytes: int


def layers_of(components: Mapping[str, nn.Module]) -> dict[Layer, nn.Module]:
    """The places that adapters may change: weights of layers and norms, and their biases, named `LAYER.bias`.

    Files are written as if text encoders had a level `text_model`.
    """
    return {
        (component, path.removeprefix("text_model.") + end): module
        for component, model in components.items()
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm))
        for end, parameter in (("", module.weight), (".bias", module.bias))
        if parameter is not None
    }


def parameter(layer: Layer, module: nn.Module) -> nn.Parameter:
    """What a place holds."""
    return getattr(module, "bias" if layer[1].endswith(".bias") else "weight")


def shapes_of(layers: Mapping[Layer, nn.Module]) -> dict[Layer, tuple[int, ...]]:
    """The shapes of what the places hold, which the "meta" device knows as well."""
    return {layer: tuple(parameter(layer, module).shape) for layer, module in layers.items()}


class Composer:
    """Owns the weights of a model's layers between `apply` and `restore`. Not thread-safe: the engine has the lock."""

    def __init__(self, components: Mapping[str, nn.Module]):
        self._modules = layers_of(components)
        self.shapes = shapes_of(self._modules)
        self._originals: dict[Layer, torch.Tensor] = {}
        self._on: dict[Layer, Terms] = {}
        # What was on a layer last, for whoever wants the same again, or else the room it takes.
        self._spare: dict[Layer, tuple[Terms, torch.Tensor]] = {}
        self._spare_bytes = 0
        self._cache: OrderedDict[str, KnownAdapter] = OrderedDict()
        self._cached_bytes = 0
        self._key: tuple = ()
        self._applied: tuple[AppliedAdapter, ...] = ()

    @torch.no_grad()
    def apply(self, mix: AdapterMix, progress: float = 0.0) -> tuple[AppliedAdapter, ...]:
        """Make the model W0 + mix as of `progress` (0..1 of the steps), whatever was on it before.

        An unchanged mix costs nothing, and of a changed one only the layers that change are merged anew. Raises
        UnreadableAdapter or UnfitAdapter with the base restored.
        """
        uses = combined(mix)
        key = uses, tuple(use.active(progress) for use in uses)
        if key != self._key:
            try:
                self._put_on(uses, progress)
                self._key = key
            except BaseException:
                self.restore()
                raise
        return self._applied

    @torch.no_grad()
    def restore(self) -> None:
        """Give every layer its W0 back."""
        for layer in list(self._originals):
            self._take_off(layer)
        self._key, self._applied = (), ()

    @property
    def text_state(self) -> frozenset:
        """What is on the layers of the text encoders; equal where they give equal encodings."""
        return frozenset((layer, terms) for layer, terms in self._on.items() if is_text(layer[0]))

    @property
    def count(self) -> int:
        """How many adapters are on the model."""
        return len(self._applied)

    @torch.no_grad()
    def changed(self, mix: AdapterMix) -> dict[Layer, tuple[torch.Tensor, list]]:
        """W0 and the (delta, weight) terms of each layer that a mix changes, as of the first step."""
        uses = combined(mix)
        self._admitted(uses)
        terms = self._terms(uses, 0.0)
        return {layer: (self._original(layer), self._with_deltas(layer, on)) for layer, on in terms.items()}

    def memory(self) -> dict[str, int]:
        """Bytes of kept base weights, of adapters in memory and of room kept for mixes, and the most each may come to.

        W0 is kept only of the layers that a mix changes; the adapters of the mix that is on stay even above the limit.
        """
        return {
            "originals": sum(tensor.nbytes for tensor in self._originals.values()),
            "originals_limit": sum(self._parameter(layer).nbytes for layer in self._modules),
            "adapters": self._cached_bytes,
            "adapters_limit": CACHE_BYTES,
            "spare": self._spare_bytes,
            "spare_limit": SPARE_BYTES,
        }

    def _put_on(self, uses: AdapterMix, progress: float) -> None:
        applied = self._admitted(uses)
        wanted = self._terms(uses, progress)
        for layer in [layer for layer in self._originals if layer not in wanted]:
            self._take_off(layer)
        for layer, terms in wanted.items():
            if self._on.get(layer) != terms:
                weight = self._parameter(layer)
                if layer in self._originals:
                    self._take_off(layer)
                original = weight.data
                kept, changed = self._spare.pop(layer, ((), None))
                self._spare_bytes -= 0 if changed is None else changed.nbytes
                if changed is None or kept != terms:
                    changed = torch.empty_like(original) if changed is None else changed
                    merge_into(changed, original, self._with_deltas(layer, terms))
                self._originals[layer], self._on[layer], weight.data = original, terms, changed
        self._applied = applied

    def _take_off(self, layer: Layer) -> None:
        weight = self._parameter(layer)
        terms = self._on.pop(layer)
        # Fresh memory costs a CPU as much as the merging.
        if self._spare_bytes + weight.nbytes <= SPARE_BYTES:
            self._spare[layer] = terms, weight.data
            self._spare_bytes += weight.nbytes
        weight.data = self._originals.pop(layer)

    def _admitted(self, uses: AdapterMix) -> tuple[AppliedAdapter, ...]:
        """Have all of a mix in memory and judged. Raises what is said in `apply`."""
        applied = tuple(self._judged(use) for use in uses)
        self._forget_oldest(keep=len({use.adapter.sha256 for use in uses}))
        return applied

    def _judged(self, use: AdapterUse) -> AppliedAdapter:
        found = self._read(use.adapter).fit
        if not found.fits:
            raise UnfitAdapter(f"Adapter {shown(use.adapter.id)} {found.reason}")
        for name, _ in use.blocks:
            if not any(not is_text(component) and in_block(path, name) for component, path in self.shapes):
                raise UnfitAdapter(f"This model has no block {shown(name)} for adapter {shown(use.adapter.id)}.")
        return AppliedAdapter(use, len(found.matched), tuple(".".join(layer) for layer in found.unmatched))

    def _terms(self, uses: AdapterMix, progress: float) -> dict[Layer, Terms]:
        """What each layer is to have on it; an adapter that is used in several ways counts with the sum."""
        weights: dict[Layer, dict[str, list[float]]] = {}
        for use in uses:
            active = use.active(progress)
            for layer in self._read(use.adapter).deltas:
                # The text is encoded once, before the first step, with all adapters of the mix.
                if layer in self.shapes and (active or is_text(layer[0])):
                    weights.setdefault(layer, {}).setdefault(use.adapter.sha256, []).append(use.weight_of(*layer))
        terms = {
            layer: tuple((digest, total) for digest, parts in own.items() if (total := round(math.fsum(parts), 9)))
            for layer, own in weights.items()
        }
        return {layer: on for layer, on in terms.items() if on}

    def _with_deltas(self, layer: Layer, terms: Terms) -> list:
        return [(self._cache[digest].deltas[layer], weight) for digest, weight in terms]

    def _original(self, layer: Layer) -> torch.Tensor:
        return self._originals.get(layer, self._parameter(layer).data)

    def _parameter(self, layer: Layer) -> nn.Parameter:
        return parameter(layer, self._modules[layer])

    def _read(self, adapter: Adapter) -> KnownAdapter:
        if adapter.sha256 not in self._cache:
            file = read_adapter(adapter.path, self.shapes)
            deltas = {layer: self._as_merged(layer, delta) for layer, delta in file.deltas.items()}
            size = sum(tensor.nbytes for delta in deltas.values() for tensor in delta.tensors)
            self._cache[adapter.sha256] = KnownAdapter(deltas, fit(deltas, self.shapes, file.stems), size)
            self._cached_bytes += size
        self._cache.move_to_end(adapter.sha256)
        return self._cache[adapter.sha256]

    def _as_merged(self, layer: Layer, delta: Delta) -> Delta:
        """A plain LoRA's factors in float32 where the weights are: a third of a merge would be to convert them."""
        if not isinstance(delta, LoraDelta) or layer not in self._modules:
            return delta
        if self._parameter(layer).dtype != torch.float32:
            return delta
        return replace(delta, up=delta.up.float(), down=delta.down.float())

    def _forget_oldest(self, keep: int) -> None:
        while len(self._cache) > keep and self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1].bytes

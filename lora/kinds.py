"""One layer's tensors in an adapter file -> what they do to its weight, its bias, its scale."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from lora.deltas import Delta, DoraDelta, FullDelta, LohaDelta, LokrDelta, LoraDelta
from lora.errors import UnreadableAdapter, shown
from lora.names import Layer
from lora.scaling import Scaling
from lora.transforms import GloraDelta, Ia3Delta, OftDelta

# MAX_VALUES: of one factor. A rank of 1024 on SDXL's widest convolution has 24 million.
MAX_RANK, MAX_ALPHA, MAX_VALUES = 1024, 1e5, 2**27
# What is added to a layer's bias, and whether the layer's scale counts for it.
BIASES = {"diff_b": False, "b_norm": False, "lora_B.bias": True}
# How each kind begins; tensors of a layer without any of them belong to no adapter.
SIGNS = ("lora_", "hada_", "lokr_", "oft_", "diff", "w_norm", "b_norm", "on_input", "a1", "b1")
Parts = dict[str, torch.Tensor]


def is_adapter(parts: Parts) -> bool:
    """Whether a layer's tensors are an adapter's."""
    return any(part.startswith(SIGNS) for part in parts)


def deltas_of(name: str, stem: str, layer: Layer, parts: Parts, scaling: Scaling) -> Iterator[tuple[str, Delta]]:
    """("", what changes the weight of a layer) and (".bias", what changes its bias), whichever are there.

    `name` is the file's and `stem` the layer's in it, for messages. Raises UnreadableAdapter.
    """
    left = dict(parts)
    try:
        bias = next((part for part in BIASES if part in left), "")
        added = left.pop(bias) if bias else None
        delta = _delta(name, stem, layer, left, scaling) if set(left) - {"alpha", "scalar"} or not bias else None
        if delta is not None:
            yield "", delta
        if added is not None:
            yield ".bias", FullDelta(added.flatten(), delta.scale if delta is not None and BIASES[bias] else 1.0)
    except KeyError as error:
        raise UnreadableAdapter(f"{name} lacks {error.args[0]} for layer {shown(stem, 80)}.") from None
    except (ValueError, IndexError, RuntimeError) as error:
        raise UnreadableAdapter(
            f"{name} has tensors that do not go together in {shown(stem, 80)}: {shown(error, 80)}."
        ) from None
    if left and delta is not None:
        raise UnreadableAdapter(f"{name} has {min(left)} in {shown(stem, 80)}, where it does not belong.")


def _delta(name: str, stem: str, layer: Layer, left: Parts, scaling: Scaling) -> Delta:
    magnitude, dora_scale = left.pop("lora_magnitude_vector", None), left.pop("dora_scale", None)
    factor = _number(name, stem, "scalar", left.pop("scalar", None), 1.0)
    delta = _fixed(left, factor) or _scaled(name, stem, layer, left, scaling, factor)
    if magnitude is not None:
        return DoraDelta(delta, magnitude, axis=0, inside=True)
    if dora_scale is not None:
        # 1 x in: a magnitude for each input; out x 1: for each output.
        return DoraDelta(delta, dora_scale, axis=int(dora_scale.shape[0] == 1), inside=False)
    return delta


def _fixed(parts: Parts, factor: float) -> Delta | None:
    """A delta whose tensors are all there is to it: an alpha means nothing to it, or something of its own."""
    if "on_input" in parts:
        parts.pop("alpha", None)
        factors, on_input = parts.pop("weight"), bool(parts.pop("on_input"))
        # Out x 1 or 1 x in tells better than the flag, which some tools have turned round.
        return Ia3Delta(factors, factors.shape[0] == 1 if factors.ndim > 1 and factors.numel() > 1 else on_input)
    for part in ("diff", "w_norm"):
        if part in parts:
            parts.pop("alpha", None)
            return FullDelta(parts.pop(part), factor)
    for part in ("oft_blocks", "oft_diag"):
        if part in parts:
            alpha = parts.pop("alpha", None)
            most = 0.0 if alpha is None or part == "oft_diag" else float(alpha)
            if not 0 <= most <= MAX_ALPHA:
                raise ValueError(f"a constraint of {most:g}, 0 to {MAX_ALPHA:g} is taken")
            return OftDelta(parts.pop(part), most, parts.pop("rescale", None), direct=part == "oft_diag")
    return None


def _scaled(name: str, stem: str, layer: Layer, parts: Parts, scaling: Scaling, factor: float) -> Delta:
    """Take a delta's tensors out of `parts`; its scale from its own alpha, or else from the file's metadata."""
    alpha = parts.pop("alpha", None)
    delta = _unscaled(parts)
    if isinstance(delta, LokrDelta) and delta.rank == 0:
        # Two whole matrices have no rank: LyCORIS takes the scale to be 1 and writes as alpha the dimension that was
        # asked for, which may be beyond what the type holds. PEFT has a scale of its own.
        return replace(delta, scale=factor * (1.0 if alpha is not None else scaling.without_rank(layer)))
    if not 1 <= delta.rank <= MAX_RANK:
        raise UnreadableAdapter(f"{name} has rank {delta.rank} in {shown(stem, 80)}; 1 to {MAX_RANK} are taken.")
    value = _number(name, stem, "alpha", alpha, scaling.alpha(layer, delta.rank) if alpha is None else 0.0)
    return replace(delta, scale=factor * value / delta.rank)


def _number(name: str, stem: str, what: str, tensor: torch.Tensor | None, otherwise: float) -> float:
    value = otherwise if tensor is None else float(tensor)
    if not abs(value) <= MAX_ALPHA:
        raise UnreadableAdapter(f"{name} has {what} {value:g} in {shown(stem, 80)}; up to {MAX_ALPHA:g} is taken.")
    return value


def _unscaled(parts: Parts) -> LoraDelta | LohaDelta | LokrDelta | GloraDelta:
    if any(part.startswith("hada_") for part in parts):
        names = {"a1": "hada_w1_a", "b1": "hada_w1_b", "a2": "hada_w2_a", "b2": "hada_w2_b"}
        cores = {core: parts.pop(f"hada_{core}") for core in ("t1", "t2") if f"hada_{core}" in parts}
        return LohaDelta(**{field: parts.pop(part) for field, part in names.items()}, **cores, scale=1.0)
    if any(part.startswith("lokr_") for part in parts):
        w1, w2 = _kronecker(parts, "lokr_w1"), _kronecker(parts, "lokr_w2", "lokr_t2")
        ranks = [w[1].shape[0] for w in (w1, w2) if len(w) > 1]
        return LokrDelta(w1, w2, 1.0, ranks[0] if ranks else 0)
    if "a1" in parts:
        a1, a2, b1, b2 = (parts.pop(part) for part in ("a1", "a2", "b1", "b2"))
        # Older files have the factors of each pair in the order in which an input meets them, later ones as a product
        # is written. The rank is the smaller side.
        older = a1.shape[0] <= a1.shape[1]
        return GloraDelta(a2, a1, b2, b1, 1.0) if older else GloraDelta(a1, a2, b1, b2, 1.0)
    down, up, core = parts.pop("lora_A"), parts.pop("lora_B"), parts.pop("lora_mid", None)
    if core is not None:
        # A convolution as 1 x 1, core, 1 x 1: the core goes into the down factor, and it is a plain LoRA.
        if core[:, 0].numel() * down[0].numel() > MAX_VALUES:
            raise ValueError("a core too large")
        down = torch.einsum("abkl,bi->aikl", core.float(), down.float().flatten(1))
    return LoraDelta(down, up, 1.0)


def _kronecker(parts: Parts, name: str, core: str = "") -> tuple[torch.Tensor, ...]:
    if name in parts:
        return (parts.pop(name),)
    factors = parts.pop(f"{name}_a"), parts.pop(f"{name}_b")
    return (*factors, parts.pop(core)) if core in parts else factors

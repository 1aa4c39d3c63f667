"""safetensors file -> deltas by layer, whatever tool wrote it. What is not understood is refused.

Layouts: diffusers (`unet.LAYER.lora_A.weight`, or the older `lora.down`), raw PEFT (`base_model.model.LAYER...`), and
kohya's and LyCORIS' (`lora_unet_`, `lora_te1_`, ... with underscores for dots, in diffusers' or the original
order of blocks). Kinds: LoRA, LoCon with or without a core, LoHa, LoKr, and DoRA on top of each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lora.deltas import Delta, DoraDelta, LohaDelta, LokrDelta, LoraDelta
from lora.errors import UnreadableAdapter, shown
from lora.files import read
from lora.names import Layer, Names, Shapes
from lora.scaling import Scaling

# MAX_VALUES: of one factor. A rank of 1024 on SDXL's widest convolution has 24 million.
MAX_RANK, MAX_ALPHA, MAX_VALUES = 1024, 1e5, 2**27
KEY = re.compile(
    r"(?P<stem>[\w.-]{1,300}?)\.(?P<part>lora_[AB]|lora_down|lora_up|lora_mid|(?:lora\.|lora_linear_layer\.)?(?:down|up)"
    r"|lora_magnitude_vector|dora_scale|alpha|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)"
    r"(?:\.default)?(?:\.weight)?"
)
SAME_PART = {"lora_down": "lora_A", "down": "lora_A", "lora_up": "lora_B", "up": "lora_B"}
# Embeddings that some tools put into the same file: they belong to words, not to layers.
NOT_LAYERS = ("bundle_emb.", "emb_params")

Deltas = dict[Layer, Delta]


@dataclass(frozen=True)
class AdapterFile:
    """An adapter in the one form that everything else works on.

    `ignored` are tensors that belong to no layer; `notes` say in words what had to be assumed.
    """

    deltas: Deltas
    metadata: Mapping[str, str]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def rank(self) -> int:
        """The largest of its layers' ranks."""
        return max(delta.rank for delta in self.deltas.values())


def read_adapter(path: Path, shapes: Shapes, header_only: bool = False) -> AdapterFile:
    """Read an adapter for a model whose layers have those shapes; layers that it lacks keep their name in the file.

    With `header_only` the deltas know their shapes and scales, not their values. Raises UnreadableAdapter for anything
    that is not a complete, finite adapter of bounded rank.
    """
    file = read(path, header_only)
    layers: dict[str, dict[str, torch.Tensor]] = {}
    ignored = tuple(key for key in file.tensors if key.startswith(NOT_LAYERS))
    for key, tensor in file.tensors.items():
        if key.startswith(NOT_LAYERS):
            continue
        match = KEY.fullmatch(key)
        if match is None:
            raise UnreadableAdapter(
                f"{path.name} has a tensor {shown(key, 80)} that is no adapter weight of a known layout."
            )
        if not tensor.is_meta and not torch.isfinite(tensor.float()).all():
            raise UnreadableAdapter(f"{path.name} has values that are not finite in {shown(key, 80)}.")
        part = match["part"].rpartition(".")[2]
        parts = layers.setdefault(match["stem"], {})
        if parts.setdefault(SAME_PART.get(part, part), tensor) is not tensor:
            raise UnreadableAdapter(f"{path.name} has {shown(key, 80)} twice, under two names.")
    if not layers:
        raise UnreadableAdapter(f"{path.name} holds no adapter weights of a known layout.")
    names, scaling, deltas = Names(shapes), Scaling.of(path, file.metadata, layers), {}
    for stem, parts in layers.items():
        candidates = names.layers(stem)
        delta = _delta(path.name, stem, candidates[0], parts, scaling)
        # Raw PEFT does not say which text encoder it is for; the width does.
        layer = next((p for p in candidates if p in shapes and delta.fits(shapes[p])), candidates[0])
        if layer in deltas:
            raise UnreadableAdapter(f"{path.name} has the layer {shown('.'.join(layer), 80)} twice.")
        deltas[layer] = delta
    return AdapterFile(deltas, file.metadata, ignored, scaling.notes)


def _delta(name: str, stem: str, layer: Layer, parts: dict[str, torch.Tensor], scaling: Scaling) -> Delta:
    where = shown(stem, 80)
    left = dict(parts)
    magnitude, dora_scale = left.pop("lora_magnitude_vector", None), left.pop("dora_scale", None)
    try:
        delta = _scaled(name, where, layer, left, scaling)
        if magnitude is not None:
            delta = DoraDelta(delta, magnitude, axis=0, inside=True)
        elif dora_scale is not None:
            # 1 x in: a magnitude for each input; out x 1: for each output.
            delta = DoraDelta(delta, dora_scale, axis=int(dora_scale.shape[0] == 1), inside=False)
    except KeyError as error:
        raise UnreadableAdapter(f"{name} lacks {error.args[0]} for layer {where}.") from None
    except (ValueError, IndexError, RuntimeError) as error:
        raise UnreadableAdapter(f"{name} has tensors that do not go together in {where}: {shown(error, 80)}.") from None
    if left:
        raise UnreadableAdapter(f"{name} has {min(left)} in {where}, where it does not belong.")
    return delta


def _scaled(name: str, where: str, layer: Layer, parts: dict[str, torch.Tensor], scaling: Scaling) -> Delta:
    """Take a delta's tensors out of `parts`; its scale from its own alpha, or else from the file's metadata."""
    alpha = parts.pop("alpha", None)
    delta = _unscaled(parts)
    if not 1 <= delta.rank <= MAX_RANK and not (isinstance(delta, LokrDelta) and delta.rank == 0):
        raise UnreadableAdapter(f"{name} has rank {delta.rank} in {where}; 1 to {MAX_RANK} are taken.")
    value = scaling.alpha(layer, delta.rank) if alpha is None else float(alpha)
    if not abs(value) <= MAX_ALPHA:
        raise UnreadableAdapter(f"{name} has alpha {value:g} in {where}; up to {MAX_ALPHA:g} is taken.")
    if delta.rank:
        return replace(delta, scale=value / delta.rank)
    # Two whole matrices have no rank: LyCORIS takes the scale to be 1, whatever alpha says; PEFT has its own.
    return delta if alpha is not None else replace(delta, scale=scaling.without_rank(layer))


def _unscaled(parts: dict[str, torch.Tensor]) -> LoraDelta | LohaDelta | LokrDelta:
    if any(part.startswith("hada_") for part in parts):
        names = {"a1": "hada_w1_a", "b1": "hada_w1_b", "a2": "hada_w2_a", "b2": "hada_w2_b"}
        cores = {core: parts.pop(f"hada_{core}") for core in ("t1", "t2") if f"hada_{core}" in parts}
        return LohaDelta(**{field: parts.pop(part) for field, part in names.items()}, **cores, scale=1.0)
    if any(part.startswith("lokr_") for part in parts):
        w1, w2 = _kronecker(parts, "lokr_w1"), _kronecker(parts, "lokr_w2", "lokr_t2")
        ranks = [w[1].shape[0] for w in (w1, w2) if len(w) > 1]
        return LokrDelta(w1, w2, 1.0, ranks[0] if ranks else 0)
    down, up, core = parts.pop("lora_A"), parts.pop("lora_B"), parts.pop("lora_mid", None)
    if core is not None:
        # A convolution as 1 x 1, core, 1 x 1: the core goes into the down factor, and it is a plain LoRA.
        if core[:, 0].numel() * down[0].numel() > MAX_VALUES:
            raise ValueError("a core too large")
        down = torch.einsum("abkl,bi->aikl", core.float(), down.float().flatten(1))
    return LoraDelta(down, up, 1.0)


def _kronecker(parts: dict[str, torch.Tensor], name: str, core: str = "") -> tuple[torch.Tensor, ...]:
    if name in parts:
        return (parts.pop(name),)
    factors = parts.pop(f"{name}_a"), parts.pop(f"{name}_b")
    return (*factors, parts.pop(core)) if core in parts else factors

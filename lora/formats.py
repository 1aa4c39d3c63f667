"""safetensors file -> deltas by layer, whatever tool wrote it. A layer that is not understood whole is refused.

Layouts: diffusers (`unet.LAYER.lora_A.weight`, or the older `lora.down`), raw PEFT (`base_model.model.LAYER...`),
kohya's and LyCORIS' (`lora_unet_`, `lora_te1_`, ... with underscores for dots, in diffusers' or the original
order of blocks), ComfyUI's (`diffusion_model.LAYER`, `text_encoders.clip_l...`) and OMI's (`unet.`, `clip_l.`). Kinds:
LoRA, LoCon with or without a core, LoHa, LoKr, GLoRA, whole differences, OFT, BOFT, (IA)^3, DoRA on top of each, and
differences of biases and norms. A bias is a place of its own, named as its layer with `.bias` behind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lora.deltas import Delta
from lora.embeddings import BUNDLED, Vectors, bundled
from lora.errors import UnreadableAdapter, shown
from lora.files import TensorFile, read
from lora.foreign import recognized
from lora.kinds import MAX_RANK, Parts, deltas_of, is_adapter
from lora.names import Layer, Names, Shapes
from lora.scaling import Scaling

KEY = re.compile(
    r"(?P<stem>[\w.-]{1,300}?)\.(?P<part>lora_B\.bias|lora_[AB]|lora_down|lora_up|lora_mid"
    r"|(?:lora\.|lora_linear_layer\.)?(?:down|up)|lora_magnitude_vector|dora_scale|alpha|scalar"
    r"|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2|diff|diff_b|[wb]_norm|oft_blocks|oft_diag|rescale"
    r"|on_input|weight|[ab][12])(?:\.default(?:_\d{1,3})?)?(?:\.weight)?"
)
SAME_PART = {"lora_down": "lora_A", "down": "lora_A", "lora_up": "lora_B", "up": "lora_B"}
# Embeddings that some tools put into the same file: they belong to words, not to layers.
NOT_LAYERS = (BUNDLED, "emb_params")

Deltas = dict[Layer, Delta]
__all__ = ["KEY", "MAX_RANK", "AdapterFile", "Deltas", "read_adapter"]


@dataclass(frozen=True)
class AdapterFile:
    """An adapter in the one form that everything else works on.

    `ignored` are tensors that belong to no layer; `notes` say in words what had to be assumed or left out; `stems` are
    the layers' names in the file, `words` those of embeddings that came with it.
    """

    deltas: Deltas
    metadata: Mapping[str, str]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    stems: Mapping[Layer, str] = field(default_factory=dict)
    words: Vectors = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The largest of its layers' ranks."""
        return max((delta.rank for delta in self.deltas.values()), default=0)


def read_adapter(path: Path, shapes: Shapes, header_only: bool = False) -> AdapterFile:
    """Read an adapter for a model whose places have those shapes; layers that it lacks keep their name in the file.

    With `header_only` the deltas know their shapes and scales, not their values. Raises UnreadableAdapter for anything
    that is not a complete, finite adapter of bounded rank.
    """
    file = read(path, header_only)
    layers, strays = _sorted(path.name, file)
    names, scaling, deltas, stems = Names(shapes), Scaling.of(path, file.metadata, layers), {}, {}
    for stem, parts in layers.items():
        candidates = names.layers(stem)
        for end, delta in deltas_of(path.name, stem, candidates[0], parts, scaling):
            places = [(component, f"{layer}{end}") for component, layer in candidates]
            # Raw PEFT does not say which text encoder it is for; the width does.
            place = next((p for p in places if p in shapes and delta.fits(shapes[p])), places[0])
            if place in deltas:
                raise UnreadableAdapter(f"{path.name} has the layer {shown('.'.join(place), 80)} twice.")
            deltas[place], stems[place] = delta, f"{stem}{end}"
    embeddings = tuple(key for key in file.tensors if key.startswith(NOT_LAYERS))
    notes = scaling.notes
    if strays:
        some = "a tensor is" if len(strays) == 1 else f"{len(strays)} tensors are"
        notes += (f"Left out: {some} no adapter weight of a known layout, such as {shown(strays[0], 80)}.",)
    return AdapterFile(deltas, file.metadata, embeddings + strays, notes, stems, bundled(path.name, file))


def _sorted(name: str, file: TensorFile) -> tuple[dict[str, Parts], tuple[str, ...]]:
    """The tensors of each layer by its name, and the names of those that belong to none."""
    found: dict[str, Parts] = {}
    keys: dict[str, list[str]] = {}
    strays = []
    for key, tensor in file.tensors.items():
        if key.startswith(NOT_LAYERS):
            continue
        if (match := KEY.fullmatch(key)) is None:
            strays.append(key)
            continue
        part = match["part"] if match["part"] == "lora_B.bias" else match["part"].rpartition(".")[2]
        parts = found.setdefault(match["stem"], {})
        keys.setdefault(match["stem"], []).append(key)
        if parts.setdefault(SAME_PART.get(part, part), tensor) is not tensor:
            raise UnreadableAdapter(f"{name} has {shown(key, 80)} twice, under two names.")
    layers = {stem: parts for stem, parts in found.items() if is_adapter(parts)}
    strays += [key for stem in found if stem not in layers for key in keys[stem]]
    if what := recognized(strays or [key for key in file.tensors if not layers]):
        raise UnreadableAdapter(f"{name} is {what}, no adapter; bring a LoRA file.")
    if not layers:
        raise UnreadableAdapter(f"{name} holds no adapter weights of a known layout.")
    if len(strays) > sum(map(len, layers.values())):
        raise UnreadableAdapter(
            f"{name} is no adapter: {len(strays)} of its tensors, such as {shown(strays[0], 80)}, are no adapter "
            f"weights of a known layout."
        )
    for stem, parts in layers.items():
        for part, tensor in parts.items():
            # An alpha that counts is looked at where it is read.
            if part != "alpha" and not tensor.is_meta and not torch.isfinite(tensor.float()).all():
                raise UnreadableAdapter(f"{name} has values that are not finite in {shown(f'{stem}.{part}', 80)}.")
    return layers, tuple(strays)

"""safetensors file -> deltas by layer. Refuses what is not a plain LoRA file; never unpickles.

Understood: the diffusers and PEFT key layouts (`unet.LAYER.lora_A.weight` / `lora_B.weight`, or the older
`lora.down` / `lora.up`), with the alpha of each layer from an `.alpha` tensor or from PEFT's metadata; and kohya's
(`lora_unet_`, `lora_te1_`, ...), whose names diffusers translates.
"""

import json
import re
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import torch
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from safetensors import SafetensorError, safe_open

from lora.errors import UnreadableAdapter, shown

MAX_BYTES, MAX_RANK, MAX_ALPHA, MAX_TENSORS = 2**31, 1024, 1e5, 20_000
KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
KEY = re.compile(
    r"(?P<component>unet|text_encoder_2|text_encoder)\.(?P<layer>[\w.]+?)\.(?:lora\.|lora_linear_layer\.)?"
    r"(?P<part>lora_A|lora_B|down|up|alpha)(?:\.default)?(?:\.weight)?"
)


@dataclass(frozen=True)
class LoraDelta:
    """One layer's change dW = scale * up @ down (Hu et al. 2021, section 4.1), scale = alpha / rank.

    `down` is rank x in [x kernel x kernel], `up` is out x rank [x 1 x 1], both as stored.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(up, down) as float32 matrices out x rank and rank x (in * kernel), the scale not yet applied."""
        return self.up.float().flatten(1), self.down.float().flatten(1)


# (component, layer) -> delta
Deltas = dict[tuple[str, str], LoraDelta]


def sha256(path: Path) -> str:
    """Hash of the whole file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read_metadata(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """The file's metadata and its tensors' shapes, without reading a tensor."""
    with _opened(path) as file:
        return file.metadata() or {}, {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def read_deltas(path: Path, unet_config: dict | None = None) -> Deltas:
    """All deltas of an adapter file, tensors in the precision that they are stored in.

    `unet_config` is the config of the UNet it goes on: kohya's files for SDXL count its blocks in another way.
    Raises UnreadableAdapter for anything that is not a complete, finite LoRA of bounded rank.
    """
    with _opened(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        alphas = _metadata_alphas(file.metadata() or {})
    if any(key.startswith(KOHYA) for key in tensors):
        tensors = _from_kohya(path.name, tensors, unet_config)
    layers: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = KEY.fullmatch(key)
        if match is None:
            raise UnreadableAdapter(
                f"{path.name} has a tensor {shown(key, 80)} that is no LoRA weight of a known layout."
            )
        if not torch.isfinite(tensor.float()).all():
            raise UnreadableAdapter(f"{path.name} has values that are not finite in {shown(key, 80)}.")
        part = {"down": "lora_A", "up": "lora_B"}.get(match["part"], match["part"])
        layers.setdefault((match["component"], match["layer"]), {})[part] = tensor
    return {place: _delta(path.name, place, parts, alphas) for place, parts in layers.items()}


def _from_kohya(name: str, tensors: dict[str, torch.Tensor], unet_config: dict | None) -> dict[str, torch.Tensor]:
    """kohya's names -> diffusers' names, by diffusers; what it would drop or not understand is refused here."""
    if any("dora_scale" in key for key in tensors):
        raise UnreadableAdapter(f"{name} is a DoRA in kohya's layout, which is not supported yet.")
    try:
        found, alphas = StableDiffusionXLLoraLoaderMixin.lora_state_dict(dict(tensors), unet_config=unet_config)
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise UnreadableAdapter(f"{name} is in kohya's layout, but not a plain LoRA of SDXL or SD 1.5.") from error
    # diffusers names attention layers after its former processors, and an alpha after the tensor that it scales.
    named = found | {key: torch.tensor(float(alpha)) for key, alpha in (alphas or {}).items()}
    return {_plain(key): tensor for key, tensor in named.items()}


def _plain(key: str) -> str:
    key = re.sub(r"\.processor\.(to_[qkv])_lora\.", r".\1.", key).replace(".processor.to_out_lora.", ".to_out.0.")
    key = re.sub(r"\.self_attn\.to_([qkv]|out)_lora\.", r".self_attn.\1_proj.", key)
    return re.sub(r"(\.lora|\.lora_linear_layer)?\.down\.weight\.alpha$", ".alpha", key)


def _delta(name: str, place: tuple[str, str], parts: dict[str, torch.Tensor], alphas) -> LoraDelta:
    down, up, layer = parts.get("lora_A"), parts.get("lora_B"), ".".join(place)
    if down is None or up is None:
        raise UnreadableAdapter(f"{name} has only half of the pair for layer {shown(layer, 80)}.")
    if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != down.shape[0]:
        raise UnreadableAdapter(f"{name} has shapes {list(down.shape)} and {list(up.shape)} in {shown(layer, 80)}.")
    rank = down.shape[0]
    if not 1 <= rank <= MAX_RANK:
        raise UnreadableAdapter(f"{name} has rank {rank} in {shown(layer, 80)}; 1 to {MAX_RANK} are taken.")
    alpha = float(parts["alpha"]) if "alpha" in parts else alphas(place, rank)
    if not 0 <= abs(alpha) <= MAX_ALPHA:
        raise UnreadableAdapter(f"{name} has alpha {alpha:g} in {shown(layer, 80)}; up to {MAX_ALPHA:g} is taken.")
    return LoraDelta(down, up, alpha / rank)


def _metadata_alphas(metadata: dict[str, str]):
    """(component, layer), rank -> alpha, as PEFT's config in the metadata says; the rank itself where it is silent.

    Only plain numbers are taken from it: its patterns are regular expressions from a stranger, so a layer's own entry
    in `alpha_pattern` counts where it is spelt out in full, and is otherwise not interpreted.
    """
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        config = {}
    config = config if isinstance(config, dict) else {}

    def alpha(place: tuple[str, str], rank: int) -> float:
        component, layer = place
        own = config.get(f"{component}.alpha_pattern")
        value = (
            own.get(layer) if isinstance(own, dict) and layer in own else config.get(f"{component}.lora_alpha", rank)
        )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnreadableAdapter(f"The metadata gives alpha {shown(value)} for {component}; a number is needed.")
        # rsLoRA divides by sqrt(rank) (Kalajdzievski 2023); expressed here as an alpha for alpha / rank.
        return value * rank**0.5 if config.get(f"{component}.use_rslora") is True else value

    return alpha


def _opened(path: Path):
    if path.suffix != ".safetensors":
        raise UnreadableAdapter(f"{path.name} is not a .safetensors file; other formats can run code and are refused.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableAdapter(f"{path.name} is larger than {MAX_BYTES >> 30} GiB.")
        file = safe_open(path, framework="pt")
        if len(file.keys()) > MAX_TENSORS:
            raise UnreadableAdapter(f"{path.name} has more than {MAX_TENSORS} tensors.")
        return file
    except (SafetensorError, OSError) as error:
        raise UnreadableAdapter(f"{path.name} is missing, damaged or no safetensors file.") from error

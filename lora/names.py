"""The layer that a name in an adapter file means: as diffusers, PEFT, kohya's tools and the original code call it."""

import re
from collections.abc import Mapping

# A layer of a model: its component (the denoiser, "unet" or "transformer", or a text encoder) and its path in it.
Layer = tuple[str, str]
Shapes = Mapping[Layer, tuple[int, ...]]

COMPONENTS = ("unet", "transformer", "text_encoder_3", "text_encoder_2", "text_encoder")
# How kohya's names begin, and the component; "" is the denoiser, whatever that is.
KOHYA = {
    "lora_unet_": "", "lycoris_": "", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder", "oft_unet_": "", "oft_te1_": "text_encoder", "oft_te2_": "text_encoder_2",
    "oft_te_": "text_encoder",
}  # fmt: skip
# How others' names begin, which have dots and may be of either order of blocks.
DOTTED = {
    "model.diffusion_model.": "", "diffusion_model.": "", "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2", "clip_l.": "text_encoder", "clip_g.": "text_encoder_2",
    "unet.": "unet", "transformer.": "transformer",
}  # fmt: skip
ENDS = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "conv_norm_out": "out.0"}
EMBEDDINGS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
RESNET = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3"}
RESNET |= {"conv_shortcut": "skip_connection", "norm1": "in_layers.0", "norm2": "out_layers.0"}


def is_text(component: str) -> bool:
    """Whether it is a text encoder; else it is the denoiser."""
    return component.startswith("text_encoder")


def plain(path: str) -> str:
    """A path without the level that transformers 5 dropped and files still have, former processors named as layers."""
    path = path.removeprefix("text_model.")
    path = re.sub(r"\.processor\.to_([qkv])_lora$", r".to_\1", path).replace(".processor.to_out_lora", ".to_out.0")
    return re.sub(r"\.self_attn\.to_([qkv]|out)_lora$", r".self_attn.\1_proj", path)


class Names:
    """All names of a model's layers, not of their biases. kohya's underscores cannot be read back: looked up."""

    def __init__(self, shapes: Shapes):
        self._layers: dict[str, list[Layer]] = {}
        self._kohya: dict[Layer, Layer] = {}
        self._denoiser = next((component for component, _ in shapes if not is_text(component)), "unet")
        unet = [path for component, path in shapes if component == "unet"]
        per_block = len({path.split(".")[3] for path in unet if path.startswith("down_blocks.0.resnets.")})
        attended = {path.split(".")[1] for path in unet if re.match(r"up_blocks\.\d+\.attentions\.", path)}
        for layer in shapes:
            component, path = layer
            if path.endswith(".bias"):
                continue
            self._layers.setdefault(path, []).append(layer)
            other = f"text_model.{path}" if is_text(component) else original(path, per_block, attended)
            self._kohya |= {(component, name.replace(".", "_")): layer for name in (path, other)}

    def layers(self, stem: str) -> list[Layer]:
        """The layers that a name may mean, the likeliest first: where the model has none, the name's own words."""
        for prefix, component in KOHYA.items():
            if stem.startswith(prefix):
                return [self._found(component or self._denoiser, stem.removeprefix(prefix))]
        stem = stem.removeprefix("base_model.model.")
        for prefix, component in DOTTED.items():
            if stem.startswith(prefix):
                return [self._found(component or self._denoiser, plain(stem.removeprefix(prefix)))]
        component, _, path = stem.partition(".")
        if component in COMPONENTS:
            return [(component, plain(path))]
        return self._layers.get(plain(stem)) or [(self._denoiser, plain(stem))]

    def _found(self, component: str, path: str) -> Layer:
        if (component, path) in self._layers.get(path, ()):
            return component, path
        return self._kohya.get((component, path.replace(".", "_")), (component, path))


def original(path: str, per_block: int, attended: set[str]) -> str:
    """A UNet layer's name in the original code of Stable Diffusion (`input_blocks.4.1.proj_in`).

    There the layers of all blocks are counted through; `per_block` is their number in a down block, `attended` the
    numbers of the up blocks with attention, whose upsampler comes third.
    """
    if path in ENDS or path in EMBEDDINGS:
        return ENDS.get(path) or EMBEDDINGS[path]
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path):
        kind, index, rest = match.groups()
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(index)}.{_inner(kind, rest)}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.(.+)", path)
    if match is None:
        return path
    way, block, kind, index, rest = match.groups()
    first = int(block) * (per_block + 1) + (way == "down")
    start = "input_blocks" if way == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{start}.{first + per_block}.0.op"
    if kind == "upsamplers":
        return f"{start}.{first + per_block}.{2 if block in attended else 1}.{rest}"
    return f"{start}.{first + int(index)}.{int(kind == 'attentions')}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    return RESNET.get(rest, rest) if kind == "resnets" else rest

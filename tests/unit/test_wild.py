"""Adapter files as the tools that people use write them: names, shapes and types are real, the values are zeros.

`fixtures/adapters.json.xz` has them, as `forms`, which are (shape, type, value where it matters), and `cases`: the
names of the tensors with the number of the form of each, the base they are offered to, and what has to come of it.
"""

import json
import lzma
import math
import re
import struct
import time
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora.composition import layers_of, shapes_of
from lora.errors import UnreadableAdapter
from lora.files import CONFIG
from lora.inspection import inspect
from pipeline.families import known_marks

FIXTURE = json.loads(lzma.decompress((Path(__file__).parents[1] / "fixtures" / "adapters.json.xz").read_bytes()))
CASES = {case["name"]: case for case in FIXTURE["cases"]}
TYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I64": torch.int64,
         "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}  # fmt: skip
UNETS = {
    "sdxl": dict(
        sample_size=128, block_out_channels=(320, 640, 1280), use_linear_projection=True, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ),
    "sd15": dict(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8),
}  # fmt: skip
# Kinds of files, and the words of the refusal.
NO_ADAPTERS = {
    "textual inversion SDXL (clip_l, clip_g)": "a textual inversion embedding",
    "textual inversion SD1.5 (emb_params)": "a textual inversion embedding",
    "checkpoint SDXL (first tensors)": "a checkpoint", "diffusers UNet file": "the UNet of a checkpoint",
    "VAE file": "a VAE", "ControlNet-LLLite": "a ControlNet", "Control-LoRA (stability, lora_controlnet)":
    "a ControlNet", "IP-Adapter": "an IP-Adapter", "hypernetwork-like junk": "a hypernetwork",
}  # fmt: skip


def text_config(width: int, layers: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, projection_dim=width,
        num_attention_heads=width // 64, vocab_size=49408,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bases():
    """The true shapes of SDXL and of Stable Diffusion 1.5."""
    with torch.device("meta"):
        parts = {name: {"unet": UNet2DConditionModel(**config), "text_encoder": CLIPTextModel(text_config(768, 12))}
                 for name, config in UNETS.items()}  # fmt: skip
        parts["sdxl"]["text_encoder_2"] = CLIPTextModelWithProjection(text_config(1280, 32))
    return {name: shapes_of(layers_of(each)) for name, each in parts.items()}


def stored(shape: list[int], kind: str, value: float | str | None = None) -> tuple[str, int, bytes]:
    """A tensor's type in the file, its size in bytes, and what is in it where that is not zeros."""
    if kind == "F16" and isinstance(value, (int, float)) and abs(value) > 6e4:
        kind = "F32"
    size = math.prod(shape) * TYPES[kind].itemsize
    if value is None and kind != "BOOL":
        return kind, size, b""
    filled = torch.full(shape, float(value or 1), dtype=torch.float64).to(TYPES[kind])
    return kind, size, bytes(filled.reshape(-1).view(torch.uint8).tolist())


def written(folder: Path, case: dict) -> Path:
    """The file of a case, sparse."""
    path, header, start, filled = folder / case.get("file", "file.safetensors"), {}, 0, []
    for key, form in zip(case["keys"], case["forms"]):
        shape, *rest = FIXTURE["forms"][form]
        kind, size, value = stored(shape, *rest)
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        filled += [(start, value)] if value else []
        start += size
    header["__metadata__"] = {key: str(value) for key, value in case.get("meta", {}).items()}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for offset, value in filled:
            file.seek(8 + len(text) + offset)
            file.write(value)
        file.truncate(8 + len(text) + start)
    if "beside" in case:
        (folder / CONFIG).write_text(json.dumps(case["beside"]))
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_file_from_the_wild_fits_or_is_refused_by_what_it_is(bases, tmp_path, name):
    case = CASES[name]
    path, start = written(tmp_path, case), time.process_time()
    try:
        verdict = inspect(path, bases[case["base"]], case["base"], families=known_marks()).public()
    except UnreadableAdapter as error:
        verdict = {"fits": False, "reason": str(error), "family": "unknown"}
    took, said = time.process_time() - start, verdict["reason"]
    if case["want"] == "no":
        assert not verdict["fits"] and re.search(case.get("says", ""), said), said
        never = case.get("never") or ("Flux" if "AuraFlow" in name else "(?!)")
        assert not re.search(never, said), said
        assert not re.search(r"unet\.(diffusion_model|lora_|double_blocks|transformer_blocks)", said), "invented"
        assert NO_ADAPTERS.get(name, "") in said, said
    else:
        assert verdict["fits"], said
        assert verdict["matched"] == (case.get("matched") or verdict["matched"]), said
        assert verdict["unmatched"] == case["unmatched"] and took < 2
        assert verdict["family"] == case.get("family", verdict["family"])
        assert verdict["ignored"] == case.get("ignored", verdict["ignored"])


FILES = {
    "an upscaler": ["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.bias"],
    "a VAE": ["encoder.down.0.block.0.conv1.weight", "decoder.mid.attn_1.q.weight", "quant_conv.weight"],
    "a ControlNet": ["controlnet_cond_embedding.conv_in.weight", "conv_in.weight"],
    "a checkpoint": ["model.diffusion_model.double_blocks.0.img_attn.proj.weight"],
    "an AnimateDiff motion module": ["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
    "a text encoder": ["text_model.embeddings.token_embedding.weight", "text_model.encoder.layers.0.mlp.fc1.weight"],
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_adapter_is_refused_as_what_it_is(bases, tmp_path, what):
    save_file({key: torch.zeros(2, 2) for key in FILES[what]}, tmp_path / "x.safetensors")
    with pytest.raises(UnreadableAdapter, match=f"is {what}") as caught:
        inspect(tmp_path / "x.safetensors", bases["sdxl"], "sdxl", families=known_marks())
    assert ("Flux" in str(caught.value)) == ("double_blocks" in FILES[what][0])


def test_relatives_are_told_apart_without_cross_attention(bases, tmp_path):
    """Each has blocks with attention, or deep ones, where the other has none."""
    for name, base, block in (
        ("sd15", "sdxl", "down_blocks_0_attentions_0_transformer_blocks_0"),
        ("sd15", "sdxl", "input_blocks_1_1_transformer_blocks_0"),
        ("sdxl", "sd15", "down_blocks_2_attentions_0_transformer_blocks_4"),
        ("sdxl", "sd15", "input_blocks_7_1_transformer_blocks_4"),
    ):
        stem = f"lora_unet_{block}_attn1_to_q"
        tensors = {f"{stem}.lora_down.weight": torch.zeros(2, 320), f"{stem}.lora_up.weight": torch.zeros(320, 2)}
        save_file(tensors, tmp_path / "x.safetensors")
        verdict = inspect(tmp_path / "x.safetensors", bases[base], base, families=known_marks())
        assert not verdict.fits and verdict.family == name, (block, verdict.family)

"""Tiny random pipelines of the real classes, saved to disk in the format of the Hub. Never mocks.

They paint noise, but noise that follows the prompt, the seed and the weights: enough for every test of the code.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DEISMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


def tokenizer(folder: Path, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """A byte-level CLIP tokenizer with a few whole words."""
    letters = [chr(b) for b in (*range(33, 127), *range(161, 173), *range(174, 256))] + [
        chr(256 + i) for i in range(68)
    ]
    merges = ["r e", "re d</w>", "a p", "p l", "ap pl", "appl e</w>", "c a", "ca t</w>"]
    tokens = [*letters, *(c + "</w>" for c in letters), *(m.replace(" ", "") for m in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token=pad,
    )  # fmt: skip


def text_config(words: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3,
        num_attention_heads=2, projection_dim=width, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip


def vae(levels: int) -> AutoencoderKL:
    """Each level but the first halves the side."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16)[-levels:], down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels, latent_channels=4, norm_num_groups=4,
        layers_per_block=1, sample_size=SIDE,
    )  # fmt: skip


SIDE = 64
UNET = dict(
    in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
)  # fmt: skip
NOISE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def tiny_sdxl(folder: Path, levels: int = 4, **scheduler) -> Path:
    """SDXL format: two text encoders, pooled embedding, time ids. 64 px and up.

    With two levels in the autoencoder a latent stands for 2 x 2 pixels, not 8 x 8: a step takes three times as long.
    """
    torch.manual_seed(0)
    first, second = tokenizer(folder / "t1"), tokenizer(folder / "t2", pad="!")
    unet = UNet2DConditionModel(
        **UNET, sample_size=SIDE >> (levels - 1), cross_attention_dim=48, transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=32 + 6 * 8,
    )  # fmt: skip
    encoders = CLIPTextModel(text_config(first, 16)), CLIPTextModelWithProjection(text_config(second, 32))
    noise = EulerDiscreteScheduler(**NOISE, **(dict(timestep_spacing="leading", steps_offset=1) | scheduler))
    StableDiffusionXLPipeline(vae(levels), *encoders, first, second, unet, noise).save_pretrained(folder / "model")
    return folder / "model"


def tiny_sd15(folder: Path) -> Path:
    """SD 1.5 format: one text encoder, its last hidden state."""
    torch.manual_seed(1)
    words = tokenizer(folder / "t1")
    unet = UNet2DConditionModel(**UNET, sample_size=SIDE >> 3, cross_attention_dim=16, attention_head_dim=4)
    encoder = CLIPTextModel(text_config(words, 16))
    noise = PNDMScheduler(**NOISE, skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(
        vae(4), encoder, words, unet, noise, None, None, requires_safety_checker=False
    ).save_pretrained(folder / "model")
    return folder / "model"


def tiny_sdxs(folder: Path) -> Path:
    """Format of SDXS: as SD 1.5, but a UNet without a middle and a tiny autoencoder, for one step of DEIS."""
    torch.manual_seed(2)
    words = tokenizer(folder / "t1")
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), sample_size=SIDE >> 3,
        cross_attention_dim=16, attention_head_dim=4,
    )  # fmt: skip
    small = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    noise = DEISMultistepScheduler(**NOISE, timestep_spacing="trailing")
    StableDiffusionPipeline(
        small, CLIPTextModel(text_config(words, 16)), words, unet, noise, None, CLIPImageProcessor(),
        requires_safety_checker=False,
    ).save_pretrained(folder / "model")  # fmt: skip
    return folder / "model"

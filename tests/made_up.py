"""A model family that does not exist: a transformer that predicts noise and variance, one text encoder, a shifted VAE.

All that it takes is in this file; see tests/unit/test_families.py.
"""

from pathlib import Path

import torch
from diffusers import DDPMScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
from transformers import CLIPTextModel

from lora.inspection import FamilyMarks
from pipeline.families import Family, register
from tests import tiny


class MadeUp(Family):
    """One text encoder's last states, noise and variance in one prediction."""

    marks = FamilyMarks(name="made-up", title="Made Up", layers="madeup_blocks")
    pipeline = "PixArtAlphaPipeline"
    encoders = (("tokenizer", "text_encoder"),)
    denoiser = "transformer"
    steps, guidance_scale = 8, 3.0

    def states(self, encoder, output, clip_skip):
        """Those of the layer that is asked for."""
        return output.hidden_states[-1 - clip_skip]

    def predict(self, components, latents, timestep, hidden, pooled):
        """The noise without its variance."""
        steps = torch.as_tensor(timestep, device=latents.device).expand(len(latents))
        sizes = {"resolution": None, "aspect_ratio": None}
        out = components.denoiser(latents, hidden, steps, added_cond_kwargs=sizes).sample
        return out.chunk(2, 1)[0]


MADE_UP = register(MadeUp())


def made_up(folder: Path) -> Path:
    """A tiny random model of the family, on disk."""
    torch.manual_seed(3)
    words = tiny.tokenizer(folder / "t1")
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        cross_attention_dim=16, caption_channels=16, patch_size=2, use_additional_conditions=False,
    )  # fmt: skip
    # It begins as one that says nothing.
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    vae = tiny.vae(4)
    vae.register_to_config(shift_factor=3.0)
    encoder, noise = CLIPTextModel(tiny.text_config(words, 16)), DDPMScheduler(**tiny.NOISE)
    PixArtAlphaPipeline(words, encoder, vae, transformer, noise).save_pretrained(folder / "model")
    return folder / "model"

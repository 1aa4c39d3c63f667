"""Stable Diffusion XL (Podell et al. 2023, arXiv:2307.01952)."""

from typing import cast

import torch
from diffusers.schedulers import AysSchedules

from lora.inspection import FamilyMarks
from pipeline.families.base import AYS_LOWEST, Family


class StableDiffusionXL(Family):
    """Two text encoders, the second one's pooled embedding, and the picture's size as conditions."""

    marks = FamilyMarks(
        name="sdxl",
        title="SDXL",
        base="stabilityai/stable-diffusion-xl-base-1.0",
        # Its deep transformers, for files without cross-attention.
        layers=r"(attentions[._]\d|put_blocks[._]\d[._]1|middle_block[._]1)[._]transformer_blocks[._][1-9]",
        text_width=2048,
        second_text_encoder=True,
        metadata="sdxl|xl-v1",
    )
    pipeline, inpainting = "StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline"
    encoders = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
    kohya_versions = ((2048, "sdxl_base_v1-0"),)
    text_layer = 2
    ays = *cast(list[float], AysSchedules["StableDiffusionXLSigmas"])[:-1], AYS_LOWEST

    def states(self, encoder, output, clip_skip):
        """Those before the last layer, as they are."""
        return output.hidden_states[-2 - clip_skip]

    def predict(self, components, latents, timestep, hidden, pooled):
        """With original size, crop corner and target size in pixels: the whole picture."""
        height, width = (side * components.vae_scale_factor for side in latents.shape[-2:])
        ids = torch.tensor([[height, width, 0, 0, height, width]] * len(latents), dtype=hidden.dtype)
        added = {"text_embeds": pooled, "time_ids": ids.to(latents.device)}
        return components.denoiser(latents, timestep, encoder_hidden_states=hidden, added_cond_kwargs=added).sample


SDXL = StableDiffusionXL()

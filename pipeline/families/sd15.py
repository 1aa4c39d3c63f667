"""Stable Diffusion 1 (Rombach et al. 2022, arXiv:2112.10752), and what has its form."""

from typing import cast

from diffusers.schedulers import AysSchedules

from lora.inspection import FamilyMarks
from pipeline.families.base import AYS_LOWEST, Family


class StableDiffusion(Family):
    """One text encoder, whose last states the denoiser reads."""

    marks = FamilyMarks(
        name="sd15",
        title="Stable Diffusion 1.5",
        base="stable-diffusion-v1-5/stable-diffusion-v1-5",
        # Its first and last blocks, which attend; SDXL's do not.
        layers=r"(down_blocks[._]0|up_blocks[._]3)[._]attentions|(in|out)put_blocks[._]([12]|9|1[01])[._]1[._]",
        text_width=768,
        metadata="sd_v1|diffusion-v1",
    )
    pipeline, inpainting = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"
    encoders = (("tokenizer", "text_encoder"),)
    kohya_versions = ((768, "sd_v1"), (1024, "sd_v2"))
    ays = *cast(list[float], AysSchedules["StableDiffusionSigmas"])[:-1], AYS_LOWEST

    def states(self, encoder, output, clip_skip):
        """Those after a layer and the final norm."""
        if clip_skip:
            return encoder.final_layer_norm(output.hidden_states[-1 - clip_skip])
        return output.last_hidden_state

    def predict(self, components, latents, timestep, hidden, pooled):
        """Without more conditions."""
        return components.denoiser(latents, timestep, encoder_hidden_states=hidden).sample


SD15 = StableDiffusion()

"""Files that are no adapter, known by the names of their tensors: the sentence says what they are."""

import re
from collections.abc import Iterable

# The first that fits counts: a checkpoint has a VAE in it.
WHAT = {
    "a ControlNet": r"lora_controlnet$|lllite_|(control_model|controlnet\w*)\.|input_hint_block\.",
    "an IP-Adapter": r"ip_adapter\.|image_proj\.",
    "an AnimateDiff motion module": r"[\w.]*\bmotion_modules\.",
    "a textual inversion embedding": r"(clip_[lg]|emb_params|string_to_param\..*|<.*>)$",
    "a checkpoint of a whole model":
        r"(model\.)?diffusion_model\..*\.(weight|bias)$|(first_stage_model|cond_stage_model|conditioner)\.",
    "a VAE": r"(encoder|decoder)\.(conv_in|conv_out|mid|mid_block|down|up|(down|up)_blocks)\.|(post_)?quant_conv\.",
    "an upscaler": r"(params_ema\.)?(conv_first|conv_body|body\.\d+\.(rdb|weight|bias)|model\.\d+\.(sub|weight))",
    "a hypernetwork": r"\d+\.\d+\.linear",
    "the UNet of a checkpoint": r"(conv_in|conv_out|time_embedding\.linear_\d|input_blocks\.0\.0)\.(weight|bias)$",
    "a text encoder": r"(text_model|transformer)\.(embeddings|wte)\b|(token|position)_embedding\.weight$",
}  # fmt: skip
KNOWN = {what: re.compile(pattern) for what, pattern in WHAT.items()}


def recognized(keys: Iterable[str]) -> str | None:
    """What a file is whose tensors, other than those of an adapter, have these names; None where they do not tell."""
    keys = list(keys)
    return next((what for what, pattern in KNOWN.items() if any(map(pattern.match, keys))), None)

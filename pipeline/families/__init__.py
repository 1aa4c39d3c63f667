"""The model families, a file each. Whoever adds one lists it here; nothing else has to know of it."""

from lora.inspection import FamilyMarks
from pipeline.families.base import Components, Family, family_of, register, registered
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL

# In the order in which adapters are held against them.
for family in (SDXL, SD15):
    register(family)

# Families that are not painted with: their adapters are refused by name. The more particular come first. What is found
# is the layer's name in the file: [._] is a dot, or the underscore that kohya's tools write for it.
FOREIGN = (
    FamilyMarks("cascade", "Stable Cascade", layers="^lora_prior_unet_"),
    FamilyMarks("auraflow", "AuraFlow", layers="joint_transformer_blocks"),
    FamilyMarks("hidream", "HiDream", layers="(double|single)_stream_blocks"),
    FamilyMarks("krea", "Krea", layers=r"txtfusion|blocks[._]\d+[._]attn[._]w[qkvo]$"),
    FamilyMarks("anima", "Anima (Cosmos)",
                layers=r"blocks[._]\d+[._](cross|self)_attn[._]([qkv]|output)_proj$|adaln_modulation_cross_attn"),
    FamilyMarks("wan", "Wan", layers=r"blocks[._]\d+[._]((cross|self)_attn[._][qkvo](_img)?$|ffn[._][02]$)"
                r"|^transformer\.blocks\.\d+\.attn[12]\."),
    FamilyMarks("z-image", "Z-Image", layers=r"\blayers[._]\d+[._](attention|feed_forward|adaLN)"
                r"|_layers_\d+_(attention|feed_forward|adaLN)", widths=(3840,)),
    FamilyMarks("lumina", "Lumina 2", layers=r"[._]layers[._]\d+[._](attention|feed_forward)[._]", widths=(2304,)),
    FamilyMarks("hunyuan-video", "HunyuanVideo", layers=r"double_blocks\.\d+\.(img|txt)_attn_(qkv|proj)"
                r"|double_blocks[._]\d+[._](img|txt)_mlp[._]fc|individual_token_refiner"),
    FamilyMarks("flux", "Flux", layers="double_blocks|single_blocks|single_transformer_blocks", metadata="flux"),
    FamilyMarks("sd35", "Stable Diffusion 3.5", layers=r"joint_blocks|transformer_blocks[._]\d+[._]attn[._]",
                widths=(2432,)),
    FamilyMarks("sd3", "Stable Diffusion 3", layers="joint_blocks", metadata="sd3|v3"),
    FamilyMarks("sd3", "Stable Diffusion 3", layers=r"transformer_blocks[._]\d+[._]attn[._]", widths=(1536,)),
    FamilyMarks("qwen-image", "Qwen-Image", layers=r"transformer_blocks[._]\d+[._](img|txt)_m(lp|od)[._]"),
    FamilyMarks("qwen-image", "Qwen-Image", layers=r"^transformer_blocks\.\d+\.attn\."
                r"|transformer_blocks[._](19|[2-5]\d)[._]attn[._]", widths=(3072,)),
    FamilyMarks("flux", "Flux", layers=r"transformer_blocks[._]\d+[._](attn|ff_context)[._]", widths=(3072,)),
    FamilyMarks("ltx", "LTX-Video", layers=r"(?<![._]\d[._])transformer_blocks[._]\d+[._]attn[12][._]",
                widths=(2048, 4096)),
    FamilyMarks("pixart", "PixArt", layers=r"(?<![._]\d[._])transformer_blocks[._]\d+[._]attn[12][._]",
                widths=(1152,)),
    FamilyMarks("sd21", "Stable Diffusion 2.1", text_width=1024, metadata="sd_v2|diffusion-v2"),
)  # fmt: skip

__all__ = ["FOREIGN", "Components", "Family", "family_of", "known_marks", "register", "registered"]


def known_marks() -> tuple[FamilyMarks, ...]:
    """How the adapters of each family are known, and what each is called."""
    return (*(family.marks for family in registered()), *FOREIGN)

"""The model families, a file each. Whoever adds one lists it here; nothing else has to know of it."""

from lora.inspection import FamilyMarks
from pipeline.families.base import Components, Family, family_of, register, registered
from pipeline.families.sd15 import SD15
from pipeline.families.sdxl import SDXL

# In the order in which adapters are held against them.
for family in (SDXL, SD15):
    register(family)

# Families that are not painted with: their adapters are refused by name.
FOREIGN = (
    FamilyMarks("flux", "Flux", layers="double_blocks|single_blocks|single_transformer_blocks",
                width=3072, metadata="flux"),
    FamilyMarks("sd3", "Stable Diffusion 3", layers=r"joint_blocks|\btransformer\.transformer_blocks",
                metadata="sd3|v3"),
)  # fmt: skip

__all__ = ["FOREIGN", "Components", "Family", "family_of", "known_marks", "register", "registered"]


def known_marks() -> tuple[FamilyMarks, ...]:
    """How the adapters of each family are known, and what each is called."""
    return (*(family.marks for family in registered()), *FOREIGN)

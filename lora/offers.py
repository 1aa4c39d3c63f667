"""Few-step adapters on the Hub that an app may offer before they are there. Pure data.

Not Hyper-SD: its card names no licence, and its repository has a different one for each kind of its files. Not DMD2,
which is CC BY-NC 4.0.
"""

from dataclasses import dataclass

from lora.adapter import FewSteps


@dataclass(frozen=True)
class Offer:
    """A file of one commit of `repo`, for the model `base`, and how its card says to paint with it.

    `size` is in bytes, `sha256` of the whole file: by it the adapter is known, wherever it came from.
    """

    name: str
    about: str
    few_steps: FewSteps
    repo: str
    commit: str
    file: str
    size: int
    sha256: str
    licence: str = "openrail++"
    base: str = "stabilityai/stable-diffusion-xl-base-1.0"

    def public(self) -> dict:
        """For callers: `repo_id` is for /inspect_adapter, `url` its card."""
        return {
            "repo_id": f"{self.repo}@{self.commit}/{self.file}", "licence": self.licence, "bytes": self.size,
            "sha256": self.sha256, "url": f"https://huggingface.co/{self.repo}",
        }  # fmt: skip


_LIGHTNING = "ByteDance/SDXL-Lightning", "c9a24f48e1c025556787b0c58dd67a091ece2e44"
# The steps that it has learnt. Where a base's own are trailing there is "Euler" alone.
_TRAILING = ("Euler SGM uniform", "Euler")
# Guidance is distilled into all of them.
OFFERS = (
    Offer(
        "LCM, 4 steps", "4 steps without guidance, by LCM-LoRA (Luo et al. 2023)", FewSteps(4, ("LCM",)),
        "latent-consistency/lcm-lora-sdxl", "a18548dd4956b174ec5b0d78d340c8dae0a129cd",
        "pytorch_lora_weights.safetensors", 393_855_224,
        "a764e6859b6e04047cd761c08ff0cee96413a8e004c9f07707530cd776b19141",
    ),
    Offer(
        "Lightning, 4 steps", "4 steps without guidance (Lin et al. 2024)", FewSteps(4, _TRAILING),
        *_LIGHTNING, "sdxl_lightning_4step_lora.safetensors", 393_854_592,
        "bf56cf2657efb15e465d81402ed481d1e11c4677e4bcce1bc11fe71ad8506b79",
    ),
    Offer(
        "Lightning, 8 steps", "8 steps without guidance (Lin et al. 2024)", FewSteps(8, _TRAILING),
        *_LIGHTNING, "sdxl_lightning_8step_lora.safetensors", 393_854_592,
        "5aa30d94cdf7950a8b53a693682650ee061eddb128c5435a8f88defea73b2ac6",
    ),
)  # fmt: skip
BY_CONTENT = {offer.sha256: offer for offer in OFFERS}

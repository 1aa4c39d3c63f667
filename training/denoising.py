"""A frozen base and what its denoiser says of noisy latents under a text: what all that is learnt is held against."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

import torch
from torch import nn

from lora.errors import InvalidRequest, ModelError
from pipeline.families import Components
from pipeline.text.conditioning import Conditioning, encode_plain
from pipeline.text.tokens import tokenize
from training.config import TrainingConfig
from training.inject import masked_ranks, rank_masks

# Hidden states and pooled texts, where the family has these.
Encoded = tuple[torch.Tensor, torch.Tensor | None]


class Denoising(ABC):
    """What every objective has: the base with its noise, and texts, encoded once.

    `side` is that of the pictures in pixels, `latents` are what has been made latents before, N x C x h x w, `rows` the
    texts that each example may be shown with, as rows of `texts`, of which the first is the empty one; `sha256` is a
    hash of all examples, `source` what people call them. `encoded` is what another one of the same texts has made of
    them. Raises InvalidRequest, ModelError.
    """

    source = "images"
    latents: torch.Tensor
    rows: list[list[int]]
    sha256: str

    def __init__(
        self, components: Components, texts: Iterable[str], config: TrainingConfig, encoded: Encoded | None = None
    ):
        if components.inpaints:
            raise ModelError("A model that was trained to paint into pictures cannot be adapted; its base can.")
        self.components, self.config = components, config
        self.noise = components.family.noising(components.scheduler_config)
        self.side = config.resolution or components.side
        if self.side % components.vae_scale_factor:
            raise InvalidRequest("resolution", self.side, f"a multiple of {components.vae_scale_factor}")
        self.base = fingerprint(components.denoiser)
        self.texts = list(dict.fromkeys(("", *texts)))
        # All of one length: a batch holds any of them.
        self.chunks = max(len(tokenize(components.tokenizers, text).chunks[0]) for text in self.texts)
        self.embedded = None if config.text_encoders else self._embedded(encoded)

    @abstractmethod
    def loss(self, rng: torch.Generator) -> torch.Tensor:
        """That of a random batch, a scalar with gradient."""

    def prepared(self) -> dict:
        """What took time to make, as tensors and text: the same for each objective of these examples on this base."""
        texts = None if self.embedded is None else (self.embedded.hidden, self.embedded.pooled)
        return {"data": self.sha256, "base": self.base, "latents": self.latents, "texts": texts}

    def refuse_others(self, prepared: dict) -> None:
        """Raises InvalidRequest for what was prepared of other examples, or on another base."""
        for field, key, now in ((self.source, "data", self.sha256), ("base", "base", self.base)):
            if prepared[key] != now:
                raise InvalidRequest(field, "another", "that of the checkpoint that is to go on")

    def predict(self, noisy: torch.Tensor, steps: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """What the denoiser says of noisy latents N x C x h x w at their time steps, under the captions in `rows`."""
        components, device = self.components, noisy.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            texts = self.conditioning(rows)
            hidden, dtype = texts.hidden, components.denoiser.dtype
            pooled = None if texts.pooled is None else texts.pooled.to(dtype)
            masks = rank_masks(steps, self.noise.config.num_train_timesteps, self.config)
            with masked_ranks(components.denoiser, masks):
                return components.family.predict(components, noisy, steps, hidden.to(dtype), pooled).float()

    def conditioning(self, rows: list[int]) -> Conditioning:
        """The captions in `rows`, encoded."""
        if self.embedded is None:
            return encode_captions(self.components, [self.texts[row] for row in rows], self.chunks)
        hidden, pooled = self.embedded.hidden, self.embedded.pooled
        return Conditioning(hidden[rows], None if pooled is None else pooled[rows])

    @torch.no_grad()
    def _embedded(self, encoded: Encoded | None) -> Conditioning:
        if encoded is not None:
            hidden, some = encoded
            device = self.components.device
            return Conditioning(hidden.to(device), None if some is None else some.to(device))
        lots = [self.texts[i : i + 64] for i in range(0, len(self.texts), 64)]
        parts = [encode_captions(self.components, lot, self.chunks) for lot in lots]
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Conditioning(torch.cat([part.hidden for part in parts]), torch.cat(pooled) if pooled else None)


def fingerprint(module: nn.Module) -> str:
    """Hash of the first numbers of each parameter: tells one trained base from another without reading all of it."""
    digest = sha256()
    for parameter in module.parameters():
        digest.update(parameter.detach().flatten()[:256].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def encode_captions(components: Components, texts: Sequence[str], chunks: int) -> Conditioning:
    """Captions as the painter encodes its prompts, the empty one as it does an empty negative prompt."""
    encoded = encode_plain(components, texts, chunks)
    if not components.zero_empty_negative:
        return encoded
    said = torch.tensor([float(bool(text)) for text in texts], device=encoded.hidden.device)
    pooled = None if encoded.pooled is None else encoded.pooled * said[:, None]
    return replace(encoded, hidden=encoded.hidden * said[:, None, None], pooled=pooled)

"""What is learnt: the loss of a random batch of pictures under the base model's own noise and text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from diffusers import DDPMScheduler
from torch import nn

from lora.errors import InvalidRequest, ModelError
from training.config import TrainingConfig
from training.dataset import Example, data_sha256, pixels
from training.inject import switched_off


@dataclass(frozen=True)
class Components:
    """The loaded parts of a base model, SDXL or SD 1.5, as diffusers makes them."""

    unet: nn.Module
    vae: nn.Module
    scheduler: object
    # (tokenizer, text encoder), in the order in which their hidden states are joined
    texts: tuple[tuple[object, nn.Module], ...]
    zero_empty_prompt: bool = False

    @classmethod
    def of(cls, pipe) -> "Components":
        """Those of a diffusers pipeline."""
        pairs = [(pipe.tokenizer, pipe.text_encoder)]
        if hasattr(pipe, "text_encoder_2"):
            pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
        zeros = bool(pipe.config.get("force_zeros_for_empty_prompt", False))
        return cls(pipe.unet, pipe.vae, pipe.scheduler, tuple(pairs), zeros)

    @property
    def is_sdxl(self) -> bool:
        """Whether the UNet takes the pooled embedding and the time ids."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def version(self) -> str:
        """The base as kohya's tools call it, told by the width of its text embedding."""
        known = {768: "sd_v1", 1024: "sd_v2", 2048: "sdxl_base_v1-0"}
        return known.get(self.unet.config.cross_attention_dim, "custom")

    @property
    def side(self) -> int:
        """Side of the pictures that the model was made for, in pixels."""
        return self.unet.config.sample_size * self.pixels_per_latent

    @property
    def pixels_per_latent(self) -> int:
        """How many pixels stand behind one latent, along a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def usual_learning_rate(self) -> float:
        """A peak that suits the base: a UNet of ten million parameters needs more than one of a thousand million."""
        return 1e-3 if sum(p.numel() for p in self.unet.parameters()) < 1e8 else 1e-4

    def adapted(self, config: TrainingConfig) -> dict[str, nn.Module]:
        """The modules that get adapter layers, by their names in the file."""
        names = ("text_encoder", "text_encoder_2") if config.text_encoders else ()
        return {"unet": self.unet} | {name: encoder for name, (_, encoder) in zip(names, self.texts)}


class Objective:
    """Pictures as latents and captions as embeddings, made once; and the loss of a random batch of them."""

    def __init__(self, components: Components, examples: Sequence[Example], config: TrainingConfig):
        if not examples:
            raise InvalidRequest("images", None, "at least one picture")
        self.components, self.config = components, config
        self.noise = DDPMScheduler.from_config(components.scheduler.config)
        self.kind = self.noise.config.prediction_type
        if self.kind not in ("epsilon", "v_prediction"):
            raise ModelError(f"A base that predicts {self.kind!r} cannot be adapted; epsilon and v_prediction can.")
        self.side = config.resolution or components.side
        if self.side % components.pixels_per_latent:
            raise InvalidRequest("resolution", self.side, f"a multiple of {components.pixels_per_latent}")
        pictures = pixels([e.picture for e in examples], self.side)
        paired = any(e.before for e in examples)
        if paired and not config.preserve_noisiest:
            raise InvalidRequest("preserve_noisiest", 0.0, "more than 0 with pictures before, or leave these out")
        before = pixels([e.before or e.picture for e in examples], self.side) if paired else pictures
        shown = pictures if torch.equal(pictures, before) else torch.cat([pictures, before])
        self.sha256 = data_sha256(shown, examples)
        self.base = fingerprint(components.unet)
        latents = encode_pictures(components.vae, shown)
        self.latents, self.before = latents[: len(examples)], latents[-len(examples) :]
        # The noisiest step at which the style is learnt: a sampler comes to it by the base's predictions.
        self.switch = math.ceil(self.noise.config.num_train_timesteps * (1 - config.preserve_noisiest)) - 1
        # Row 0 is the empty caption.
        self.texts = list(dict.fromkeys(("", *(text for e in examples for text in e.captions))))
        row = {text: i for i, text in enumerate(self.texts)}
        self.rows = [[row[text] for text in e.captions] for e in examples]
        self.notes = tuple(cut_captions(components, self.texts))
        self.embedded = None
        if not config.text_encoders:
            with torch.no_grad():
                parts = [encode_texts(components, self.texts[i : i + 64]) for i in range(0, len(self.texts), 64)]
            self.embedded = tuple(torch.cat(part) for part in zip(*parts))

    def loss(self, rng: torch.Generator) -> torch.Tensor:
        """Mean weighted squared error over a random batch, a scalar with gradient."""
        config, count, device = self.config, self.config.batch_size, self.latents.device
        picks = torch.randint(len(self.latents), (count,), generator=rng)
        turns = torch.randint(2**31, (count,), generator=rng).tolist()
        lot = torch.rand(count, generator=rng)
        said = lot >= config.caption_dropout
        steps = torch.randint(len(self.noise.alphas_cumprod), (count,), generator=rng).to(device)
        noise = torch.randn(self.latents[picks].shape, generator=rng).to(device)
        latents, noise = self.underway(picks.to(device), noise, steps)
        choices = [self.rows[pick] for pick in picks.tolist()]
        rows = [choice[turn % len(choice)] if say else 0 for choice, turn, say in zip(choices, turns, said)]
        target = self.noise.get_velocity(latents, noise, steps) if self.kind == "v_prediction" else noise
        noisy = self.noise.add_noise(latents, noise, steps).to(self.components.unet.dtype)
        kept = (lot < config.caption_dropout * config.preserve_unconditional).to(device)
        kept |= steps > self.switch
        if kept.any():
            with torch.no_grad(), switched_off(self.components.adapted(config).values()):
                target[kept] = self.predict(noisy[kept], steps[kept], [rows[i] for i in kept.nonzero()])
        errors = (self.predict(noisy, steps, rows) - target).square().mean((1, 2, 3))
        alphas = self.noise.alphas_cumprod.to(device)[steps]
        return (errors * snr_weights(alphas, self.kind, config.min_snr_gamma)).mean()

    def underway(
        self, picks: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and noise whose mixture at `steps` is what a sampler meets on its way to these pictures.

        Before the switch it goes to `before`, as the base paints it. From there on the probability flow to the
        picture leaves the share sigma / sigma(switch) of their difference: as if the noise had held it all along.
        """
        latents, before = self.latents[picks], self.before[picks]
        alpha = self.noise.alphas_cumprod[self.switch].item()
        shift = (before - latents) * math.sqrt(alpha / (1 - alpha))
        learnt = (steps <= self.switch)[:, None, None, None]
        return torch.where(learnt, latents, before), torch.where(learnt, noise + shift, noise)

    def predict(self, noisy: torch.Tensor, steps: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """What the UNet says of noisy latents N x C x h x w at their time steps, under the captions in `rows`."""
        unet, device = self.components.unet, noisy.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            hidden, pooled = self.conditioning(rows)
            added = None
            if self.components.is_sdxl:
                # Original size, crop corner and target size as a request has them: the whole picture.
                ids = torch.tensor((self.side, self.side, 0, 0, self.side, self.side), device=device)
                added = {"text_embeds": pooled.to(unet.dtype), "time_ids": ids.to(unet.dtype).expand(len(rows), -1)}
            return unet(noisy, steps, hidden.to(unet.dtype), added_cond_kwargs=added).sample.float()

    def conditioning(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states and pooled embeddings of the captions in `rows`."""
        if self.embedded is None:
            return encode_texts(self.components, [self.texts[row] for row in rows])
        return tuple(part[rows] for part in self.embedded)


def fingerprint(module: nn.Module) -> str:
    """Hash of the first numbers of each parameter: tells one trained base from another without reading all of it."""
    digest = sha256()
    for parameter in module.parameters():
        digest.update(parameter.detach().flatten()[:256].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def snr_weights(alphas: torch.Tensor, kind: str, gamma: float | None) -> torch.Tensor:
    """Min-SNR weights of time steps with cumulated `alphas`, shape as theirs (Hang et al. 2023, arXiv:2303.09556).

    With SNR = a / (1 - a): min(SNR, gamma) / SNR where noise is predicted, min(SNR, gamma) / (SNR + 1) for velocity.
    """
    if gamma is None:
        return torch.ones_like(alphas)
    snr = alphas / (1 - alphas)
    if kind == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    # gamma / SNR capped at 1 is the same quotient, and defined where the SNR is zero.
    return (gamma / snr).clamp(max=1)


@torch.no_grad()
def encode_pictures(vae: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """uint8 N x 3 x H x W -> latents N x C x h x w, scaled as the UNet wants them, float32."""
    latents = []
    for batch in pictures.split(16):
        out = vae.encode((batch.to(vae.device).float() / 127.5 - 1).to(vae.dtype))
        # AutoencoderTiny has latents, AutoencoderKL a distribution, whose mode leaves the picture as it is.
        latents.append((out.latents if hasattr(out, "latents") else out.latent_dist.mode()).float())
    result = torch.cat(latents)
    if not torch.isfinite(result).all():
        raise ModelError("The autoencoder's numbers run out of range in float16; load it in float32.")
    if (mean := getattr(vae.config, "latents_mean", None)) is not None:
        mean, deviation = (result.new_tensor(v).view(1, -1, 1, 1) for v in (mean, vae.config.latents_std))
        result = (result - mean) / deviation
    return result * vae.config.scaling_factor


def encode_texts(components: Components, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions -> hidden states N x 77 x D and the last encoder's first output, as diffusers' pipelines make them.

    SDXL joins the penultimate hidden states of both encoders, and its last encoder's first output is the pooled
    embedding; SD 1.5 takes the last hidden state.
    """
    hidden = []
    for words, encoder in components.texts:
        length = words.model_max_length
        ids = words(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        out = encoder(ids.to(encoder.device), output_hidden_states=True)
        hidden.append(out.hidden_states[-2] if components.is_sdxl else out[0])
    states, pooled = torch.cat(hidden, -1), out[0]
    if components.zero_empty_prompt:
        said = torch.tensor([float(bool(text)) for text in texts], device=states.device)
        states, pooled = states * said[:, None, None], pooled * said.view(-1, *(1,) * (pooled.ndim - 1))
    return states, pooled


def cut_captions(components: Components, texts: list[str]) -> Iterator[str]:
    """A note on captions that are longer than the text encoders can read."""
    words = components.texts[0][0]
    most = words.model_max_length
    if long := sum(len(ids) > most for ids in words(texts).input_ids):
        yield f"{long} of {len(texts) - 1} captions are longer than {most} tokens; what is beyond was not learnt."

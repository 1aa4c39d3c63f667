"""Train the autoencoder: 128 x 128 pictures <-> 8 x 16 x 16 latents, diffusers' `AutoencoderTiny`.

    python -m assets.recipe.autoencoder [--minutes 60] [--decoder-only]

Trains on 64 px crops of every set. Latents are held near zero mean and unit deviation by a penalty, so that the
denoiser needs no scaling. `--decoder-only` freezes the encoder: the decoder can be sharpened at any later time
without invalidating what was trained on the latents.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from PIL import Image

from assets.recipe.common import Average, Clock, arguments, load, mixed, save
from assets.recipe.data import SETS, SIZE, over, read

CROP, BATCH, PEAK = 64, 8, 2e-3
# Most noise a latent (deviation 1) is decoded through: it smooths the latent space, so that the denoiser's small errors
# stay small in the picture. With a tenth the latents were sharper than the denoiser could follow.
NOISE = 0.4
CONFIG = dict(
    encoder_block_out_channels=(32, 32, 32, 32),
    decoder_block_out_channels=(32, 32, 32, 32),
    num_encoder_blocks=(1, 2, 2, 3),
    num_decoder_blocks=(3, 2, 2, 1),
    latent_channels=8,
    scaling_factor=1.0,
)


def background(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """White, a flat colour, or a gradient between two: size x size x 3, float 0..255."""
    kind = rng.random()
    if kind < 0.5:
        return np.full((size, size, 3), 255, np.float32)
    first, second = rng.integers(0, 256, (2, 3)).astype(np.float32)
    if kind < 0.8:
        return np.broadcast_to(first, (size, size, 3))
    ramp = np.linspace(0, 1, size, dtype=np.float32).reshape(-1, 1, 1)
    return np.broadcast_to(first * ramp + second * (1 - ramp), (size, size, 3))


def crops(pictures: list[np.ndarray], rng: np.random.Generator, count: int) -> torch.Tensor:
    """`count` random crops as a tensor N x 3 x 64 x 64 in -1..1."""
    batch = np.empty((count, CROP, CROP, 3), np.float32)
    for i in range(count):
        images = pictures[rng.integers(len(pictures))]
        y, x = rng.integers(0, 128 - CROP + 1, 2)
        whole = over(images[rng.integers(len(images))], background(rng))
        crop = whole[y : y + CROP, x : x + CROP]
        batch[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return torch.from_numpy(batch).permute(0, 3, 1, 2) / 127.5 - 1


def gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 + MSE + L1 of the image gradients: absolute colour, no outliers, sharp edges."""
    edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(out), gradients(target)))
    return F.l1_loss(out, target) + F.mse_loss(out, target) + edges


def train(args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    path = args.work / "autoencoder.pt"
    state = load(path) or {"seconds": 0.0, "steps": 0}
    clock = Clock(args.minutes, before=0.0 if args.decoder_only else state["seconds"])
    model = (trained(args.work) or AutoencoderTiny(**CONFIG)).train().to(memory_format=torch.channels_last)
    if "model" in state:
        model.load_state_dict(state["model"])
    model.encoder.requires_grad_(not args.decoder_only)
    average = Average(model, 0.998)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=PEAK, weight_decay=1e-4)
    if "optimizer" in state and not args.decoder_only:
        optimizer.load_state_dict(state["optimizer"])
    rng = np.random.default_rng(args.seed + state["steps"])
    pictures = [read(args.work)[name][1] for name in SETS]
    step, running, saved = state["steps"], 0.0, 0.0
    while not clock.over:
        for group in optimizer.param_groups:
            group["lr"] = clock.cosine(PEAK / 4 if args.decoder_only else PEAK)
        target = crops(pictures, rng, BATCH).to(memory_format=torch.channels_last)
        with mixed():
            latents = model.encoder(target).float()
            noisy = latents + torch.randn_like(latents) * NOISE * torch.rand(len(latents), 1, 1, 1)
            out = model.decoder(noisy).float()
        # Over a batch, each latent channel near mean 0 and deviation 1.
        spread, mean = torch.std_mean(latents, dim=(0, 2, 3))
        loss = reconstruction_loss(out, target) + 0.02 * ((spread - 1).square() + mean.square()).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        step, running = step + 1, 0.99 * running + 0.01 * loss.item() if step else loss.item()
        if step % 200 == 0:
            print(f"step {step} {clock.total / 60:.1f} min loss {running:.4f} latents {spread.mean():.2f}", flush=True)
        if clock.run - saved > 120 or clock.over:
            saved = clock.run
            now = {"model": model.state_dict(), "average": average.shadow, "steps": step}
            save(path, now | {"optimizer": optimizer.state_dict(), "seconds": clock.total})
            contact_sheet(args.work)


@torch.no_grad()
def contact_sheet(work, count: int = 50) -> float:
    """Fifty icons over their reconstructions in `autoencoder.png`; returns the PSNR in dB on whole pictures."""
    model, (_, images) = trained(work), read(work)["noto"]
    chosen = np.linspace(0, len(images) - 1, count).astype(int)
    target = np.stack([over(images[i], np.float32(255)) for i in chosen])
    out = model(torch.from_numpy(target).permute(0, 3, 1, 2) / 127.5 - 1).sample.clamp(-1, 1)
    out = ((out + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    psnr = float(-10 * np.log10((((out - target) / 255) ** 2).mean()))
    rows = [np.concatenate(list(pictures[i : i + 10]), 1) for i in range(0, count, 10) for pictures in (target, out)]
    Image.fromarray(np.concatenate(rows).round().astype(np.uint8)).save(work / "autoencoder.png")
    print(f"PSNR on {count} whole pictures {psnr:.2f} dB", flush=True)
    return psnr


def trained(work) -> AutoencoderTiny | None:
    """The autoencoder with its averaged weights, or what `decoder` keeps of it, for evaluation; None where there is
    neither. The shipped one is that of `decoder`, which begins with this one.
    """
    if (state := load(work / "autoencoder.pt")) is None:
        kept = work / "decoder256" / "teacher"
        return AutoencoderTiny.from_pretrained(kept, dtype=torch.float32).eval() if kept.exists() else None
    model = AutoencoderTiny(**CONFIG)
    model.load_state_dict(state["average"])
    return model.eval()


def needed(work) -> AutoencoderTiny:
    """The same; without one the command ends in a sentence."""
    if (model := trained(work)) is None:
        sys.exit("The work folder has no autoencoder of 128 px; run python -m assets.recipe.autoencoder first.")
    return model


def main() -> None:
    parser = arguments(__doc__, minutes=60)
    parser.add_argument("--decoder-only", action="store_true", help="go on with the decoder, encoder frozen")
    train(parser.parse_args())


if __name__ == "__main__":
    main()

"""Train an autoencoder of 256 x 256 pictures on the latents of the shipped one, which the denoiser paints: 16 pixels a
latent.

    python -m assets.recipe.decoder train [--minutes 60]
    python -m assets.recipe.decoder measure
    python -m assets.recipe.decoder sheet
    python -m assets.recipe.decoder export --to FOLDER

Begins with `doubling.doubled`, the shipped one with every pixel four times. Icons are vectors, so the decoder's targets
are sharp: the same composition drawn at 256 px (`data --size 256`), from the latents of the halved picture with the
noise that the denoiser leaves. A discriminator lets edges commit that the latents leave open, on pictures that the base
paints too, for which there is no target. The encoder learns to give the latents of the halved picture.
All is kept in the folder `decoder256` of the work folder; `train` goes on from there.
"""

import argparse
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from PIL import Image
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from assets.recipe import autoencoder, judge
from assets.recipe.autoencoder import NOISE, background, gradients, reconstruction_loss
from assets.recipe.base import COLOURS, SAMPLES, TIME_IDS
from assets.recipe.common import ADAPTERS, MODEL, Average, Clock, arguments, load, mixed, save
from assets.recipe.data import GROUPS, over, read
from assets.recipe.doubling import convert, doubled
from assets.recipe.evaluate import GUIDANCE, RESCALE, pipeline
from assets.recipe.styles import STYLES, grey

FOLDER, SIZE, SCALE, STEPS = "decoder256", 256, 16, 25
WIDTH, BLOCKS = 48, (4, 4, 3, 2)
# Real and painted pictures of a step, and latents a side of the part that is decoded of each.
REAL, PAINTED, WINDOW, AT_ONCE = 8, 2, 8, 16
PEAK, DISCRIMINATOR_PEAK = 1e-3, 4e-4
# Length of the adversarial gradient, of the reconstruction's; it rises to it in so many seconds.
SHARE, RISE = 0.25, 600
# The encoder begins all but right: it learns at each so manieth step, from so many pictures.
ENCODER_EVERY, ENCODED = 8, 2
SETS_OF_BASE = 0.3
# Share of pictures in a few inks instead of their colours, as some styles are.
INKED = 0.25
Pictures = list[tuple[np.ndarray, np.ndarray]]


def unseen(name: str) -> bool:
    """Whether a concept belongs to the twentieth of which no picture of any set is trained on."""
    return int(sha256(f"{name}/decoder".encode()).hexdigest(), 16) % 20 == 0


def icons(work: Path, held_out: bool) -> Pictures:
    """Of each set, the base's first: its pictures, and the numbers of those that are held out, or of the others."""
    return [
        (pictures, np.flatnonzero([unseen(icon.name) == held_out for icon in known]))
        for known, pictures in read(work, SIZE).values()
    ]


def compose(pictures: Pictures, rng: np.random.Generator, count: int) -> torch.Tensor:
    """`count` random icons on random grounds, N x 3 x 256 x 256 in -1..1; most of the base's look."""
    others = (1 - SETS_OF_BASE) / (len(pictures) - 1)
    batch = []
    for chosen in rng.choice(len(pictures), count, p=[SETS_OF_BASE] + [others] * (len(pictures) - 1)):
        images, numbers = pictures[chosen]
        whole = over(images[rng.choice(numbers)], background(rng, SIZE))
        whole = inked(whole, rng) if rng.random() < INKED else whole
        batch.append(whole[:, ::-1] if rng.random() < 0.5 else whole)
    return to_input(np.stack(batch))


def inked(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture in two to four random inks, from dark to light: mixed as it is shaded, or one beside the other."""
    inks = np.stack(sorted(rng.integers(0, 256, (rng.integers(2, 5), 3)).astype(np.float32), key=np.sum))
    places = grey(picture)[..., 0] / 255 * (len(inks) - 1)
    if rng.random() < 0.5:
        places = places.round()
    steps = np.arange(len(inks))
    return np.stack([np.interp(places, steps, inks[:, colour]) for colour in range(3)], -1).astype(np.float32)


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """N x H x W x 3 in 0..255 -> N x 3 x H x W in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last) / 127.5 - 1


def windows(of: torch.Tensor, corners: np.ndarray, side: int) -> torch.Tensor:
    """The square of `side` of each, from its corner (row, column)."""
    parts = torch.stack([each[:, y : y + side, x : x + side] for each, (y, x) in zip(of, corners)])
    return parts.contiguous(memory_format=torch.channels_last)


class Discriminator(nn.Sequential):
    """Pictures N x 3 x H x W -> whether each patch is drawn (positive) or decoded (Isola et al. 2017), with spectral
    normalisation (Miyato et al. 2018).
    """

    def __init__(self) -> None:
        def layer(*shape: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(*shape))

        super().__init__(
            *(layer(3, 32, 4, 2, 1), nn.LeakyReLU(0.2), layer(32, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(layer(64, 128, 4, 2, 1), nn.LeakyReLU(0.2), layer(128, 1, 3, 1, 1)),
        )

    def features(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """What each layer makes of them, the verdict last."""
        found = [pictures]
        for layer in self:
            found.append(layer(found[-1]))
        return [f for f, layer in zip(found[1:], self) if not isinstance(layer, nn.LeakyReLU)]


def adversarial_loss(judged: nn.Module, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How far the decoded pictures are from being taken for drawn ones, and the first ones' features from those of
    their targets (Wang et al. 2018, arXiv:1711.11585).
    """
    *decoded, verdict = judged.features(out)
    with torch.no_grad():
        *drawn, _ = judged.features(target)
    matching = [F.l1_loss(a[: len(b)].float(), b.float()) for a, b in zip(decoded, drawn)]
    return torch.stack(matching).mean() - verdict.float().mean()


def discriminator_loss(judged: nn.Module, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Hinge loss: drawn pictures above 1, decoded ones below -1."""
    return F.relu(1 - judged(target).float()).mean() + F.relu(1 + judged(out).float()).mean()


def pull(loss: torch.Tensor, adversarial: torch.Tensor, out: torch.Tensor, share: float) -> torch.Tensor:
    """The gradient at the pictures `out`: that of the loss, and the adversarial one at a `share` of its length.

    So neither has to be weighed against the other, whatever the discriminator's slopes are.
    """
    (main,), (other,) = torch.autograd.grad(loss, out), torch.autograd.grad(adversarial, out)
    return main + share * main.norm() / other.norm().clamp(min=1e-12) * other


class Trainer:
    """What is trained, and a step of it."""

    def __init__(self, work: Path, seed: int, count: int):
        self.path = work / FOLDER / "checkpoint.pt"
        state = load(self.path) or {"steps": 0, "seconds": 0.0}
        self.steps, self.seconds = state["steps"], state["seconds"]
        torch.manual_seed(seed + self.steps)
        self.teacher, self.model, self.judged = teacher(work), fresh(work).train(), Discriminator()
        for module in (self.teacher, self.model, self.judged):
            module.to(memory_format=torch.channels_last)
        self.average, coders = Average(self.model, 0.999), (self.model.decoder, self.model.encoder)
        groups = [{"params": coder.parameters(), "peak": peak} for coder, peak in zip(coders, (PEAK, PEAK / 4))]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-4, fused=True)
        self.judging = torch.optim.AdamW(self.judged.parameters(), DISCRIMINATOR_PEAK, (0.5, 0.99), fused=True)
        if self.steps:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.average.shadow, self.average.steps = state["average"], self.steps
        self.rng = np.random.default_rng([seed, self.steps])
        self.icons, self.painted = icons(work, False), painted(work, count)

    def _parts(self) -> dict:
        return {"model": self.model, "judged": self.judged, "optimizer": self.optimizer, "judging": self.judging}

    def save(self, seconds: float) -> None:
        """Write all that `__init__` goes on from."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        save(self.path, parts | {"average": self.average.shadow, "steps": self.steps, "seconds": seconds})

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Parts of latents, REAL drawn ones with noise and PAINTED ones of the base; the drawn parts; and what the
        shipped decoder makes of the painted ones.
        """
        whole, corners = compose(self.icons, self.rng, REAL), self.rng.integers(0, 17 - WINDOW, (REAL + PAINTED, 2))
        with torch.no_grad(), mixed():
            latents = self.teacher.encoder(F.avg_pool2d(whole, 2)).float()
            latents += torch.randn_like(latents) * NOISE * torch.rand(REAL, 1, 1, 1)
            chosen = torch.from_numpy(self.rng.integers(len(self.painted), size=PAINTED))
            parts = windows(torch.cat([latents, self.painted[chosen]]), corners, WINDOW)
            known = self.teacher.decoder(parts[REAL:]).float()
        return parts, windows(whole, corners * SCALE, WINDOW * SCALE), known

    def step(self, share: float) -> float:
        """Learn from a batch; the loss of its reconstruction."""
        latents, target, known = self.batch()
        with mixed():
            decoded = self.model.decoder(latents).float()
        out = decoded.detach().requires_grad_()
        # Of what the base has painted only the colours are known.
        loss = reconstruction_loss(out[:REAL], target) + F.l1_loss(F.avg_pool2d(out[REAL:], 4), F.avg_pool2d(known, 2))
        with mixed():
            adversarial = adversarial_loss(self.judged, out, target)
        decoded.backward(pull(loss, adversarial, out, share))
        if self.steps % ENCODER_EVERY == 0:
            self._encoder_loss().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(self.model)
        with mixed():
            verdict = discriminator_loss(self.judged, out.detach(), target)
        self.judging.zero_grad()
        verdict.backward()
        self.judging.step()
        self.steps += 1
        return loss.item()

    def _encoder_loss(self) -> torch.Tensor:
        whole = compose(self.icons, self.rng, ENCODED)
        with mixed():
            with torch.no_grad():
                latents = self.teacher.encoder(F.avg_pool2d(whole, 2))
            return (self.model.encoder(whole) - latents).float().square().mean()


def train(args: argparse.Namespace) -> None:
    """Go on for so many minutes of processor time."""
    trainer = Trainer(args.work, args.seed, args.painted)
    # Time of the processor: it stands while the process is stopped.
    clock, saved, running = Clock(args.minutes, trainer.seconds, time.process_time), 0.0, 0.0
    while not clock.over:
        for group in trainer.optimizer.param_groups:
            group["lr"] = clock.cosine(group["peak"])
        loss = trainer.step(SHARE * min(1.0, clock.total / RISE))
        running = 0.99 * running + 0.01 * loss if running else loss
        if trainer.steps % 100 == 0:
            print(f"step {trainer.steps} {clock.total / 60:.1f} min loss {running:.4f}", flush=True)
        if clock.run - saved > 180 or clock.over:
            saved = clock.run
            trainer.save(clock.total)


def teacher(work: Path) -> AutoencoderTiny:
    """The autoencoder of 128 px whose latents the denoiser paints, kept, since the model gets this one in its place."""
    if not (kept := work / FOLDER / "teacher").exists():
        autoencoder.needed(work).save_pretrained(kept)
    return AutoencoderTiny.from_pretrained(kept, torch_dtype=torch.float32).eval().requires_grad_(False)


def fresh(work: Path) -> AutoencoderTiny:
    """The new one before any training."""
    return doubled(teacher(work), WIDTH, BLOCKS)


def trained(work: Path) -> AutoencoderTiny:
    """The new one with its averaged weights, for evaluation; before any training, as it begins."""
    model = fresh(work)
    if state := load(work / FOLDER / "checkpoint.pt"):
        model.load_state_dict(state["average"])
    return model.eval()


def prompts(work: Path, count: int) -> list[str]:
    """What the base is asked for: things that are not held out, on white, on a coloured ground, or two of them."""
    icons_of_base, _ = read(work, SIZE)["noto"]
    known = [icon.label.lower() for icon in icons_of_base if icon.group in GROUPS and not unseen(icon.name)]
    rng = np.random.default_rng(0)
    one, other = rng.permutation(known), rng.permutation(known)
    ways = "{0}", "{0}", "{0} on a {2} background", "{0} and {1}"
    return [
        ways[i % len(ways)].format(one[i % len(known)], other[i % len(known)], [*COLOURS][i // 4 % len(COLOURS)])
        for i in range(count)
    ]


@torch.no_grad()
def paint(texts: list[str], seed: int, style: str = "") -> torch.Tensor:
    """What the base paints, with a style on or without, number i from seed + i, as the autoencoder has it:
    N x 8 x 16 x 16.
    """
    pipe = pipeline()
    if style:
        pipe.load_lora_weights(ADAPTERS, weight_name=f"{style}.safetensors")
    rng = [torch.Generator().manual_seed(seed + i) for i in range(len(texts))]
    with mixed():
        out = pipe(texts, num_inference_steps=STEPS, guidance_scale=GUIDANCE, guidance_rescale=RESCALE, generator=rng,
                   output_type="latent")  # fmt: skip
    if style:
        pipe.unload_lora_weights()
    return out.images.float() / pipe.vae.config.scaling_factor


def painted(work: Path, count: int) -> torch.Tensor:
    """Latents that the base paints of `prompts`, at least `count`, and a batch with each of the shipped styles; those
    painted before are kept in `painted`.
    """
    parts, texts = [], prompts(work, count)
    styles = sorted(path.stem for path in ADAPTERS.glob("*.safetensors") if path.stem in STYLES)
    wanted = [("", start) for start in range(0, count, AT_ONCE)]
    for style, start in (*wanted, *((style, i * AT_ONCE) for i, style in enumerate(styles))):
        path = work / FOLDER / "painted" / f"{style}{start}.pt"
        if (kept := load(path)) is None:
            kept = {"latents": paint(texts[start : start + AT_ONCE], start, style)}
            save(path, kept)
            print(f"painted {style} {start + len(kept['latents'])} of {count}", flush=True)
        parts.append(kept["latents"])
    return torch.cat(parts)


def sharpness(pictures: torch.Tensor) -> torch.Tensor:
    """How steep the steepest fiftieth of each picture's slopes is on average: N."""
    slopes = torch.stack([slope.abs().amax(1)[:, : SIZE - 1, : SIZE - 1] for slope in gradients(pictures)]).amax(0)
    return slopes.flatten(1).topk((SIZE - 1) ** 2 // 50).values.mean(1)


def distance(texture: nn.Sequential, one: torch.Tensor, other: torch.Tensor) -> float:
    """As LPIPS (Zhang et al. 2018, arXiv:1801.03924), unweighted, by the judge's features of texture: 0 is the same."""
    total = 0.0
    for layer in texture:
        one, other = layer(one), layer(other)
        if isinstance(layer, nn.GELU):
            total += (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean().item()
    return total


def to_pixels(decoded: torch.Tensor) -> np.ndarray:
    """N x 3 x H x W in -1..1 -> N x H x W x 3, uint8."""
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def enlarged(decoded: torch.Tensor) -> np.ndarray:
    """The same with twice the side, by Lanczos."""
    return np.stack([
        np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        for picture in to_pixels(decoded)
    ])  # fmt: skip


@torch.no_grad()
def both(work: Path, latents: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the shipped decoder, enlarged, and of the new one."""
    before, after = teacher(work).decoder, trained(work).decoder
    parts = [(enlarged(before(part)), to_pixels(after(part))) for part in latents.split(10)]
    old, new = (np.concatenate(pictures) for pictures in zip(*parts))
    return old, new


def held_out(work: Path, count: int) -> np.ndarray:
    """Icons that were not trained on, from all sets alike, on white: N x 256 x 256 x 3."""
    chosen = [(pictures, number) for pictures, numbers in icons(work, True) for number in numbers]
    numbers = np.linspace(0, len(chosen) - 1, count).astype(int)
    return np.stack([over(chosen[i][0][chosen[i][1]], np.float32(255)) for i in numbers])


@torch.no_grad()
def measure(args: argparse.Namespace, count: int = 300) -> None:
    """Print how far from the drawn icons those are that went through the autoencoder, the shipped one and this one."""
    drawn, model, texture = held_out(args.work, count), trained(args.work), judge.trained()[0].texture
    real = to_input(drawn)
    latents = torch.cat([teacher(args.work).encoder(F.avg_pool2d(part, 2)) for part in real.split(10)])
    own = torch.cat([model.encoder(part) for part in real.split(10)])
    print(f"latents of the encoder: {(own - latents).std() / latents.std():.4f} of their deviation off")
    print("| | PSNR, dB | distance | sharpness, of the real |")
    for name, pictures in zip(("shipped, Lanczos", "this, same latents", "this, own latents"),
                              (*both(args.work, latents), both(args.work, own)[1])):  # fmt: skip
        psnr = -10 * np.log10((((pictures - drawn) / 255) ** 2).mean())
        seen = to_input(pictures)
        far = np.mean([distance(texture, a, b) for a, b in zip(seen.split(10), real.split(10))])
        print(f"| {name} | {psnr:.2f} | {far:.4f} | {(sharpness(seen) / sharpness(real)).mean():.3f} |")
    print(f"decoding one picture takes {seconds(model):.3f} s")


def seconds(model: AutoencoderTiny, runs: int = 7) -> float:
    """The quickest of some decodings, in time of the processor."""
    latents, taken = torch.randn(1, model.config.latent_channels, 16, 16), []
    for _ in range(runs):
        start = time.process_time()
        model.decoder(latents)
        taken.append(time.process_time() - start)
    return min(taken)


def sheet(args: argparse.Namespace) -> None:
    """What the base paints of SAMPLES in `sheet.png`: rows of six by the shipped decoder, enlarged, and by this one."""
    path = args.work / FOLDER / "samples.pt"
    if (cached := load(path)) is None:
        cached = {"latents": paint([*SAMPLES], 0)}
        save(path, cached)
    old, new = both(args.work, cached["latents"])
    rows = [np.concatenate([*pictures[i : i + 6]], 1) for i in range(0, len(old), 6) for pictures in (old, new)]
    Image.fromarray(np.concatenate(rows)).save(args.work / FOLDER / "sheet.png")
    print("sharpness", *(f"{sharpness(to_input(pictures)).mean():.3f}" for pictures in (old, new)))


def export(args: argparse.Namespace) -> None:
    """Write the model with this autoencoder, sizes as `doubling.convert` says, to the folder `--to`."""
    convert(MODEL, trained(args.work), TIME_IDS, args.to)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": train,
    "measure": measure,
    "sheet": sheet,
    "export": export,
}


def main() -> None:
    parser = arguments(__doc__, minutes=60)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--to", type=Path, help="folder of the model that `export` writes")
    parser.add_argument("--painted", type=int, default=512, help="latents that the base paints to train on")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    COMMANDS[args.command](args)


if __name__ == "__main__":
    main()

"""Train the adapter `turbo`, with which the embedded model paints in four steps, by `training`; and measure it.

    python -m assets.recipe.turbo train [--steps 1000]
    python -m assets.recipe.turbo measure [--processes 1]

It learns from prompts alone, captions of concepts and of pairs, half of them with one of the styles on. Goes on from a
checkpoint in the work folder, where the base's ways from noise to picture are kept too (`turbo/trajectories`); the same
command again gives the same bytes. Writes `turbo/turbo.safetensors` and its loss there. What is measured is judged by
the recipe's judge, beside the base in as few steps without the adapter: what that does is not the adapter's merit.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from tqdm import tqdm

from assets.recipe.base import JOINED, joined
from assets.recipe.captions import caption
from assets.recipe.common import ADAPTERS, MODEL, PRECISION, ROOT, mixed, quick
from assets.recipe.contact import sheet
from assets.recipe.data import concepts
from assets.recipe.evaluate import RESCALE, Bench, Mix, Way, both_shown, pipeline, scheduler
from assets.recipe.judge import LOOKS
from assets.recipe.styles import STYLES
from training import Components, TrainedAdapter
from training.config import DistillationConfig
from training.distill import Recorded, distill
from training.export import save_curve

PAIRS, TRAJECTORIES, SHOWN = 256, 960, 12
SCHEDULER, OTHER_SCHEDULERS = "TCD", ("Euler", "LCM")
FULL, FEW, STEPS = Way(25), Way(4, 1.0, SCHEDULER), (1, 2, 4, 8)


def prompts(work: Path) -> list[str]:
    """Each concept once as people may call it, and PAIRS of two; shuffled; the first TRAJECTORIES are learnt."""
    icons, rng = [*concepts(work)], np.random.default_rng(0)
    single = [caption(icon, rng) for icon in icons]
    chosen = rng.integers(len(icons), size=(PAIRS, 2))
    pairs = [joined(icons[a], icons[b], i % len(JOINED)) for i, (a, b) in enumerate(chosen)]
    # In an order in which the first part of them is a sample of all.
    return [str(text) for text in rng.permutation([*single, *pairs])]


def config(steps: int) -> DistillationConfig:
    """Of the teacher, what the model's card is measured with."""
    return DistillationConfig(
        steps=steps, batch_size=16, learning_rate=2e-3, warmup=50, rank=28, few_steps=FEW.steps, teacher_steps=12,
        trajectories=TRAJECTORIES, guidance_scale=FULL.guidance, guidance_rescale=RESCALE, checkpoint_every=50,
        precision=str(PRECISION).removeprefix("torch."), title="turbo", license="CC-BY-4.0",
        description="Four steps without guidance instead of 25 with it.",
    )  # fmt: skip


def train(args: argparse.Namespace) -> None:
    """Learn and write the adapter."""
    pipe, folder = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32), args.work / "turbo"
    quick(pipe.unet)
    components, settings = Components.of(pipe), config(args.steps)
    styles = sorted(path for path in ADAPTERS.glob("*.safetensors") if path.stem in STYLES)
    ways, checkpoint = folder / "trajectories", folder / "checkpoint.pt"
    with tqdm(total=args.steps, unit="step", mininterval=10) as bar:
        for event in distill(components, prompts(args.work), settings, ways, checkpoint, beside=styles):
            if isinstance(event, TrainedAdapter):
                break
            if isinstance(event, Recorded):
                bar.set_postfix_str(f"{event.done} of {event.total} trajectories")
            else:
                bar.update(event.step - bar.n)
                bar.set_postfix(loss=f"{event.loss:.4f}")
    event.save(args.adapter)
    save_curve(event.losses, folder / "turbo")
    print(f"{event.parameters:,} numbers, {event.share:.2%} of the base, {event.seconds:.0f} s")


@dataclass(frozen=True)
class Painted:
    """Pictures of every concept in one way, N x 128 x 128 x 3, uint8."""

    name: str
    way: Way
    pictures: np.ndarray

    def line(self, bench: Bench, wanted: np.ndarray) -> str:
        """A row of the table: what the judge names, and how near the pictures are to those that are `wanted`."""
        every = range(len(bench.names))
        five, first = (bench.among(self.pictures, every, count).mean().item() for count in (5, 1))
        near = nearness(self.pictures, wanted)
        far = "" if np.isinf(near) else f"{near:.1f} dB"
        return (f"| {self.name} | {self.way.steps} | {self.way.guidance:g} | {self.way.scheduler} | {five:.1%} "
                f"| {first:.1%} | {far} |")  # fmt: skip


def nearness(pictures: np.ndarray, wanted: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of pictures N x H x W x 3, uint8, in dB."""
    errors = np.square(pictures.astype(np.float32) - wanted).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        return float((10 * np.log10(255**2 / errors)).mean())


def concepts_table(bench: Bench, turbo: Mix) -> dict[str, list[float]]:
    """Every concept: the base as it paints by itself, in few steps without guidance, and with the adapter; of these two
    how near they come by the number of STEPS, in dB.
    """
    near: dict[str, list[float]] = {}
    base = Painted("base", FULL, bench.paint(bench.labels, (), FULL))
    print("| | steps | guidance | scheduler | concept in five | first | PSNR to the base's 25 |", flush=True)
    print("|---|---|---|---|---|---|---|")
    print(base.line(bench, base.pictures), flush=True)
    for name, mix in (("base", ()), ("turbo", turbo)):
        for steps in STEPS:
            way = Way(steps, 1.0, SCHEDULER)
            painted = Painted(name, way, bench.paint(bench.labels, mix, way))
            near.setdefault(name, []).append(nearness(painted.pictures, base.pictures))
            print(painted.line(bench, base.pictures), flush=True)
    for preset in OTHER_SCHEDULERS:
        way = Way(4, 1.0, preset)
        print(Painted("turbo", way, bench.paint(bench.labels, turbo, way)).line(bench, base.pictures), flush=True)
    return near


def curves(near: dict[str, list[float]]) -> Image.Image:
    """How near pictures come by the number of STEPS, a line for each way; steps double from left to right."""
    (width, height), edge = (640, 320), 44
    low, high = (op(value for line in near.values() for value in line) for op in (min, max))
    low, high = np.floor(low), np.ceil(high)
    across, up = (width - 2 * edge) / (len(STEPS) - 1), (height - 2 * edge) / (high - low)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for level in np.arange(low, high + 1, 2):
        y = height - edge - (level - low) * up
        draw.line([(edge, y), (width - edge, y)], fill="gainsboro")
        draw.text((8, y - 6), f"{level:.0f} dB", fill="black")
    for (name, values), colour in zip(near.items(), ("grey", "orangered")):
        points = [(edge + i * across, height - edge - (value - low) * up) for i, value in enumerate(values)]
        draw.line(points, fill=colour, width=3)
        for x, y in points:
            draw.ellipse([(x - 4, y - 4), (x + 4, y + 4)], fill=colour)
        draw.text((points[-1][0] - 40, points[-1][1] - 20), name, fill=colour)
    for i, steps in enumerate(STEPS):
        draw.text((edge + i * across - 18, height - edge + 10), f"{steps} step{'s' * (steps > 1)}", fill="black")
    return image


def pairs_table(bench: Bench, turbo: Mix, count: int = 64) -> None:
    """Two things: is each among the judge's five of a part?"""
    pairs = list(zip(bench.shuffled[:count], bench.shuffled[count : 2 * count]))
    texts = [JOINED[i % 2].format(*(bench.labels[c] for c in pair)) for i, pair in enumerate(pairs)]
    for name, mix, way in (("base", (), FULL), ("base", (), FEW), ("turbo", turbo, FEW)):
        share = both_shown(bench.parts(bench.paint(texts, mix, way)), pairs)
        print(f"two things, both seen, {name} in {way.steps} steps: {share:.1%}", flush=True)


def styles_table(bench: Bench, turbo: Mix) -> None:
    """Concepts that no style has seen: its own pictures, and those in few steps, without the adapter and with it."""
    labels = [bench.labels[i] for i in bench.held_out]
    print("| style | named right | few steps | with turbo | of its own | concept in five | few steps | with turbo |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in bench.adapters:
        named, kept, look = [], [], LOOKS.index(name)
        for mix, way in (((), FULL), ((), FEW), (turbo, FEW)):
            pictures = bench.paint(labels, ((name, 1.0), *mix), way)
            named.append((bench.styles(pictures).argmax(1) == look).double().mean().item())
            kept.append(bench.among(pictures, bench.held_out, 5).mean().item())
        shares = " | ".join(f"{share:.0%}" for share in (*named, named[2] / named[0], *kept))
        print(f"| {name} | {shares} |", flush=True)


def seconds(file: Path, pairs: int = 9) -> tuple[float, float]:
    """Median time of one picture on one thread: by the base in 25 guided steps, and with the adapter, by turns."""
    pipe = pipeline()
    pipe.load_lora_weights(file.parent, weight_name=file.name)
    pipe.fuse_lora()
    took: dict[Way, list[float]] = {FULL: [], FEW: []}
    # As long with the adapter in the weights as without it.
    for _ in range(pairs + 1):
        for way, times in took.items():
            pipe.scheduler = scheduler(way.scheduler)
            start = time.perf_counter()
            with mixed():
                pipe(
                    "a red apple", num_inference_steps=way.steps, guidance_scale=way.guidance, guidance_rescale=RESCALE
                )
            times.append(time.perf_counter() - start)
    full, few = (median(times[1:]) for times in took.values())
    return full, few


def measure(args: argparse.Namespace) -> None:
    """Print the tables, and paint a sheet of the three ways."""
    bench, turbo = Bench(args.work, args.processes, args.styled), ((str(args.adapter), 1.0),)
    curves(concepts_table(bench, turbo)).save(args.work / "turbo" / "turbo.curve.png")
    pairs_table(bench, turbo)
    styles_table(bench, turbo)
    torch.set_num_threads(1)
    full, few = seconds(args.adapter)
    print(f"a picture: {full:.2f} s in 25 guided steps, {few:.2f} s in 4 with turbo, {few / full:.2f} of the time")
    ways = (("25 steps", (), FULL), ("4 without", (), FEW), ("4 turbo", turbo, FEW))
    rows = [(name, [*map(Image.fromarray, bench.paint(bench.labels, mix, way)[:SHOWN])]) for name, mix, way in ways]
    sheet(rows, bench.labels[:SHOWN]).save(args.work / "turbo" / "turbo.sheet.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("--work", type=Path, default=ROOT / ".work", help="folder for data, checkpoints and pictures")
    parser.add_argument("--adapter", type=Path, help="its file; turbo/turbo.safetensors in the work folder")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--processes", type=int, default=1, help="that paint, of one thread each")
    parser.add_argument("--styled", type=int, default=100, help="held-out concepts that each style is judged on")
    args = parser.parse_args()
    args.adapter = args.adapter or args.work / "turbo" / "turbo.safetensors"
    torch.set_num_threads(1)
    train(args) if args.what == "train" else measure(args)


if __name__ == "__main__":
    main()

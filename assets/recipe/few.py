"""Measure how a style is learnt from a few pictures: plain LoRA against T-LoRA, at the same number of steps.

    python -m assets.recipe.few [--looks fxemoji] [--counts 3 5] [--ways plain tlora] [--with batch_size=2]

Looks are icon sets that no shipped style has learnt: those that the judge knows, and openmoji (CC-BY-SA; only measured
with, nothing of it is shipped), for which the judge's head of styles gets one more row here. The pictures are icons of
concepts that are not held out, as many of each kind as may be; judged are pictures of held-out concepts, picture i from
seed i, the style at weight 1, its word not said. `masked` is T-LoRA whose ranks are masked while painting too, as in
the paper and as no ordinary file says. Each result is a line in `few/results.jsonl` in the work folder, and a run that
is there is not done again; beside it stand the adapters, what was painted, and a sheet of what was learnt and painted.
In the end the results of the runs that were asked for are printed as a table.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from hashlib import sha256
from itertools import chain, product, zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from assets.recipe.common import MODEL, ROOT, load, mixed, save
from assets.recipe.contact import sheet
from assets.recipe.data import Icon, concepts, draw_set, fetch, held_out, read, words
from assets.recipe.evaluate import BATCH, GUIDANCE, RESCALE, STEPS, Bench, as_judged, pipeline
from assets.recipe.judge import LOOKS, OTHERS, Judge, seen_through, to_input, unseen
from assets.recipe.styles import STYLES, image, on_white
from training import Components, Example, TrainedAdapter, TrainingConfig, train
from training.dataset import captions_of
from training.inject import NAME, masked_ranks, rank_masks

WAYS = {"plain": {}, "tlora": {"timestep_rank": True}, "masked": {"timestep_rank": True}}
OUTLINED, VERSION = "openmoji", "1.2.29"
ALL = (*LOOKS, OUTLINED)
MOST, SHOWN = 20, 10


@lru_cache
def drawn(work: Path, look: str) -> tuple[list[Icon], np.ndarray]:
    """An icon set, of openmoji what has the name of an emoji: icons and their pictures (RGBA)."""
    if look != OUTLINED:
        return read(work)[look]
    known, file = words(work / "packages"), work / "images" / f"{OUTLINED}.npy"
    icons = json.loads((fetch(f"@iconify-json/{OUTLINED}", VERSION, work / "packages") / "icons.json").read_text())
    names = [name for name in icons["icons"] if name in known]
    if not file.exists():
        draw_set(OUTLINED, icons, names, file.parent)
    return [known[name] for name in names], np.load(file, mmap_mode="r")


def widen(judge: Judge, work: Path) -> None:
    """Let the judge know openmoji too: one more row in its head of styles. What it says of the others stays."""
    row, old = fitted_row(judge, work), judge.style
    judge.style = torch.nn.Linear(old.in_features, len(ALL))
    judge.style.weight.data = torch.cat([old.weight.data, row[None, 1:]])
    judge.style.bias.data = torch.cat([old.bias.data, row[:1]])


def fitted_row(judge: Judge, work: Path, most: int = 120) -> torch.Tensor:
    """Bias and weights of the row, fitted to real icons, as they are and as the autoencoder gives them back."""
    if cached := load(path := work / "few" / f"{OUTLINED}.pt"):
        return cached["row"]
    own, features, looks, left_out = {icon.name for icon in concepts(work)}, [], [], []
    for number, look in enumerate(ALL):
        style = STYLES.get(look)
        found = drawn(work, style.source if style else "noto" if look == "base" else look)
        pairs = [(icon.name, picture) for icon, picture in zip(*found) if icon.name in own]
        pairs = pairs[:: len(pairs) // (4 * most if look == OUTLINED else most)]
        plain = np.stack([np.asarray(image((style.look if style else on_white)(picture))) for _, picture in pairs])
        for pictures in (plain, seen_through(pipeline().vae, plain)):
            with torch.no_grad():
                maps = torch.cat([judge.texture(to_input(part)).flatten(2) for part in np.array_split(pictures, 8)])
            features.append(torch.cat([maps.mean(2), maps.amax(2)], 1))
            looks += [number] * len(pairs)
            left_out += [unseen(name, look) for name, _ in pairs]
    seen, look, test = torch.cat(features), torch.tensor(looks), torch.tensor(left_out)
    with torch.no_grad():
        others = judge.style(seen)
    row = torch.zeros(1 + seen.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([row], lr=0.02, weight_decay=1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        logits = torch.cat([others, (seen @ row[1:] + row[0])[:, None]], 1)
        F.cross_entropy(logits[~test], look[~test]).backward()
        optimizer.step()
    named, mine = logits[test].argmax(1) == len(LOOKS), look[test] == len(LOOKS)
    print(f"{OUTLINED}: of {int(mine.sum())} views of icons not shown {named[mine].double().mean():.0%} are named "
          f"right, of others' {named[~mine].double().mean():.1%} are taken for it", flush=True)  # fmt: skip
    save(path, {"row": row.detach()})
    return row.detach()


def spread(icons: list[Icon]) -> list[Icon]:
    """In the order of a hash of the name, the kinds by turns: the first few are of different kinds."""
    ordered = sorted(icons, key=lambda icon: sha256(icon.name.encode()).hexdigest())
    kinds = [[i for i in ordered if i.group == group] for group in sorted({i.group for i in ordered})]
    return [icon for icon in chain(*zip_longest(*kinds)) if icon]


def examples(bench: Bench, work: Path, look: str, count: int, draw: int) -> tuple[list[Example], list[int]]:
    """So many pictures of a look with their captions, and their concepts; each draw has others."""
    found = {i: p for i, p in zip(*drawn(work, look)) if i.name in bench.names and not held_out(i.name)}
    icons = spread([*found])[draw * MOST :][:count]
    pictures = [Example(image(on_white(found[icon])), captions_of(icon.label.lower(), look)) for icon in icons]
    return pictures, [bench.names.index(icon.name) for icon in icons]


@contextmanager
def masking(pipe: StableDiffusionXLPipeline, config: TrainingConfig) -> Iterator[None]:
    """At each step of a painting only those ranks act that have learnt there."""
    unet, forward, total = pipe.unet, pipe.unet.forward, pipe.scheduler.config.num_train_timesteps

    def masked(sample: torch.Tensor, timestep: torch.Tensor, *args, **options):
        with masked_ranks(unet, rank_masks(timestep.expand(len(sample)), total, config)):
            return forward(sample, timestep, *args, **options)

    unet.forward = masked
    try:
        yield
    finally:
        unet.forward = forward


def paint(adapter: Path | None, prompts: list[str], masks: TrainingConfig | None = None) -> np.ndarray:
    """One picture for each prompt, number i from seed i, as the judge sees it: N x 128 x 128 x 3, uint8."""
    pipe, parts = pipeline(), []
    if adapter:
        pipe.load_lora_weights(adapter.parent, weight_name=adapter.name, adapter_name=NAME)
    for start in range(0, len(prompts), BATCH):
        part = prompts[start : start + BATCH]
        rng = [torch.Generator().manual_seed(start + i) for i in range(len(part))]
        with mixed(), masking(pipe, masks) if masks else nullcontext():
            out = pipe(part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, guidance_rescale=RESCALE,
                       generator=rng, output_type="np")  # fmt: skip
        parts.append(as_judged(out.images))
    if adapter:
        pipe.unload_lora_weights()
    return np.concatenate(parts)


def judged(bench: Bench, pictures: np.ndarray, look: str, learnt: list[int]) -> dict:
    """Shares, 0..1, of pictures of the held-out concepts: `nearer` are those that look more like the style than like
    the base, `leaked` those that are taken for what was learnt.
    """
    likely, first, own = bench.styles(pictures), bench.ranking(pictures)[:, 0], ALL.index(look)
    return {
        "named": (likely.argmax(1) == own).double().mean().item(),
        "nearer": (likely[:, own] > likely[:, LOOKS.index("base")]).double().mean().item(),
        "score": likely[:, own].double().mean().item(),
        "kept": bench.among(pictures, bench.held_out, 5).mean().item(),
        "first": bench.among(pictures, bench.held_out, 1).mean().item(),
        "leaked": torch.isin(first, torch.tensor(learnt)).double().mean().item(),
    }


def learn(components: Components, pictures: list[Example], config: TrainingConfig, path: Path) -> dict:
    """Train and write an adapter; what it took."""
    start, spent = time.monotonic(), time.process_time()
    for event in train(components, pictures, config):
        if isinstance(event, TrainedAdapter):
            event.save(path)
            lost = float(np.mean(event.losses[-50:]))
    return {"seconds": time.monotonic() - start, "cpu": time.process_time() - spent, "loss": lost}


def runs(args: argparse.Namespace) -> Iterator[dict]:
    """What is to be measured: first the base on each look, then each way on each number of pictures."""
    for look in args.looks:
        yield {"look": look, "way": "base", "judged": args.judged}
    for look, count, way in product(args.looks, args.counts, args.ways):
        yield {
            "look": look, "way": way, "count": count, "draw": args.draw, "judged": args.judged,
            "config": WAYS[way] | args.options,
        }  # fmt: skip


def measure(bench: Bench, components: Components, folder: Path, run: dict, args: argparse.Namespace) -> dict:
    """One run: learn, paint, judge."""
    prompts = [bench.labels[i] for i in bench.held_out]
    if run["way"] == "base":
        if not (cached := folder / f"base-{len(prompts)}.npy").exists():
            np.save(cached, paint(None, prompts))
        return run | judged(bench, np.load(cached), run["look"], [])
    name = sha256(json.dumps(run).encode()).hexdigest()[:8]
    path = folder / f"{run['look']}-{run['count']}-{run['way']}-{name}.safetensors"
    pictures, learnt = examples(bench, args.work, run["look"], run["count"], run["draw"])
    config = TrainingConfig(trigger=run["look"], **run["config"])
    took = learn(components, pictures, config, path)
    painted = paint(path, prompts, config if run["way"] == "masked" else None)
    np.save(path.with_suffix(".npy"), painted)
    rows = [("painted", [*map(Image.fromarray, painted[:SHOWN])]), ("learnt", [e.picture for e in pictures][:SHOWN])]
    sheet(rows, prompts[:SHOWN]).save(path.with_suffix(".png"))
    return run | took | judged(bench, painted, run["look"], learnt)


def line(found: dict) -> str:
    """A row of the table."""
    shares = " | ".join(f"{found[key]:.0%}" for key in ("named", "nearer", "score", "kept", "first", "leaked"))
    options = " ".join(f"{key} {value}" for key, value in found.get("config", {}).items() if key != "timestep_rank")
    way = f"{found['way']} {options}".strip()
    return f"| {found['look']} | {found.get('count', '')} | {way} | {shares} | {found.get('cpu', 0):.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".work", help="folder for data and results")
    parser.add_argument("--looks", choices=(*OTHERS, OUTLINED), nargs="+", default=[OUTLINED, "fxemoji", "twemoji"])
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 5, MOST], help=f"pictures, at most {MOST}")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=["plain", "tlora"])
    parser.add_argument("--draw", type=int, default=0, help="which pictures of each look")
    parser.add_argument("--judged", type=int, default=64, help="held-out concepts that each run is judged on")
    parser.add_argument("--with", nargs="+", default=[], metavar="NAME=VALUE", dest="options",
                        help="fields of TrainingConfig, instead of its defaults")  # fmt: skip
    args = parser.parse_args()
    pairs = (option.split("=", 1) for option in args.options)
    args.options = {name: json.loads(value) for name, value in pairs}
    torch.set_num_threads(1)
    folder = args.work / "few"
    folder.mkdir(parents=True, exist_ok=True)
    lines, bench = folder / "results.jsonl", Bench(args.work, 1, args.judged)
    done = [json.loads(text) for text in lines.read_text().splitlines()] if lines.exists() else []
    if OUTLINED in args.looks:
        widen(bench.judge, args.work)
    components = Components.of(StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32))
    wanted = [*runs(args)]
    for run in wanted:
        if not any(found.items() >= run.items() for found in done):
            done.append(measure(bench, components, folder, run, args))
            with lines.open("a") as out:
                out.write(json.dumps(done[-1]) + "\n")
            print(line(done[-1]), flush=True)
    print("\n| look | pictures | way | named | nearer | score | in five | first | taken for learnt | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(*(line(found) for run in wanted for found in done if found.items() >= run.items()), sep="\n")


if __name__ == "__main__":
    main()

"""Measure the ratios of the plan and print them as a table; a plot goes to `--plot`.

    python -m tests.benchmarks [--pairs 15] [--only 6 7] [--plot ratios.svg]

One thread, variants interleaved, medians of pairs, equal output asserted. Nothing here fails for being slow.
"""

import argparse
import io
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from pipeline.engine import Engine
from pipeline.profiles import EMBEDDED, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.text.conditioning import Conditioner
from tests.benchmarks.crowd import crowd
from tests.benchmarks.ratios import HEADER, Ratio, Variant, paired
from tests.benchmarks.startup import startup
from tests.benchmarks.switching import BENCHMARKS, Subject

PROMPT, SEED = "a red apple", 7


def last_image(engine: Engine, request: GenerationRequest, previews: bool) -> bytes:
    *_, generation = engine.generate(request, previews)
    return generation.images[0]


def bare(pipe: StableDiffusionXLPipeline, request: GenerationRequest) -> bytes:
    """The same request by diffusers' own pipeline, encoded as PNG too."""
    image = pipe(
        request.prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        guidance_rescale=request.guidance_rescale,
        generator=torch.Generator().manual_seed(request.seed),
    ).images[0]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def embedded_pipeline() -> StableDiffusionXLPipeline:
    """The embedded model as diffusers loads it."""
    pipe = StableDiffusionXLPipeline.from_pretrained(EMBEDDED, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def measured(only: set[int], pairs: int) -> list[Ratio]:
    """The chosen benchmarks on the embedded model, at its default steps."""
    torch.set_num_threads(1)
    engine, ratios = Engine(load_profile("embedded")), []
    request = GenerationRequest.create({"prompt": PROMPT, "seed": SEED, "metadata": False}, engine.limits, None)
    ours = Variant(partial(last_image, engine, request, True))
    if 6 in only:
        without = Variant(partial(last_image, engine, request, False))
        ratios.append(paired(6, "preview at every step / without", 1.01, ours, without, pairs))
    if 7 in only:
        theirs = Variant(partial(bare, embedded_pipeline(), request))
        ratios.append(paired(7, "engine / bare diffusers pipeline", 1.02, ours, theirs, pairs))
    with tempfile.TemporaryDirectory() as folder:
        for number in sorted(only & BENCHMARKS.keys()):
            subject = Subject(embedded_pipeline(), Path(folder), rank=16, side=16, tolerance=1e-4)
            ratios += BENCHMARKS[number](subject, pairs)
    if 8 in only:
        ratios += crowd(engine, max(2, pairs // 5))
    if 9 in only:
        ratios.append(text_again(engine, pairs))
    if 10 in only:
        ratios.append(startup(max(3, pairs // 5)))
    return ratios


def text_again(engine: Engine, pairs: int) -> Ratio:
    """The text part of a request with a prompt that was painted before, against that of a new one."""
    components, values = engine.load()[0], []
    for i in range(pairs + 1):
        conditioner, times = Conditioner(components), []
        for _ in range(2):
            start = time.process_time()
            conditioner(f"{PROMPT} {i}", "blurry", engine.limits.steps)
            times.append(time.process_time() - start)
        values.append((times[1], times[0]))
    medians = tuple(statistics.median(column) for column in zip(*values[1:]))
    return Ratio(9, "text of a prompt again / new", 0.01, tuple(a / b for a, b in values[1:]), medians)


def plot(ratios: list[Ratio], path: Path) -> None:
    """Each ratio's range and median on one axis, its goal as a tick."""
    width, left, rows = 720, 300, []
    top = max(2.0, float(np.ceil(max(max(r.values) for r in ratios) * 2) / 2))

    def x(value: float) -> float:
        return left + (width - left - 40) * value / top

    def line(x1: float, x2: float, y1: float, y2: float, colour: str) -> str:
        return f'<line x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}" stroke="{colour}" stroke-width="3"/>'

    for i, r in enumerate(ratios):
        y = 40 + 34 * i
        rows += [
            f'<text x="{left - 12}" y="{y + 5}" text-anchor="end">{r.what}</text>',
            line(x(min(r.values)), x(max(r.values)), y, y, "#8a93a6"),
            line(x(r.goal), x(r.goal), y - 11, y + 11, "#d05a2b"),
            f'<circle cx="{x(r.median)}" cy="{y}" r="5" fill="#22304a"/>',
        ]
    height = 60 + 34 * len(ratios)
    marks = np.arange(0, top + 0.1, 0.5)
    axis = "".join(f'<text x="{x(v)}" y="{height - 8}" text-anchor="middle" fill="#667">{v:g}</text>' for v in marks)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    ground = 'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
    path.write_text(f"{head} {ground}{''.join(rows)}{axis}</svg>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", type=int, nargs="+", default=[1, 2, 3, 4, 6, 7, 8, 9, 10])
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    ratios = measured(set(args.only), args.pairs)
    print(HEADER, *(ratio.row() for ratio in ratios), sep="\n")
    if args.plot:
        plot(ratios, args.plot)


if __name__ == "__main__":
    main()

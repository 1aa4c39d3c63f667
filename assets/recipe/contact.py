"""Paint the contact sheet: a column for each concept, a row for the base and for each style.

    python -m assets.recipe.contact [--output assets/contact.png] [--weights 1] [--concepts "a red apple" penguin]

Concepts with a star were held out of all adapters' training. With several `--weights`, each style has a row for each.
"""

import argparse
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw

from assets.recipe.adapters import paint
from assets.recipe.common import ADAPTERS, MODEL, ROOT
from assets.recipe.data import held_out, slug
from assets.recipe.styles import STYLES

LABEL = 14
CONCEPTS = (
    "red apple", "penguin", "rocket", "guitar", "castle", "strawberry", "carrot", "rabbit", "tulip", "grapes",
)  # fmt: skip


def rows(pipe: StableDiffusionXLPipeline, prompts: list[str], adapters: list[Path], weights: list[float]):
    """(label, one picture for each prompt) for the base, then for each adapter at each weight."""
    yield "base", paint(pipe, prompts)
    for path in adapters:
        pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=path.stem)
        for weight in weights:
            pipe.set_adapters(path.stem, weight)
            yield f"{path.stem} {weight:g}", paint(pipe, prompts)
        pipe.unload_lora_weights()


def sheet(labelled: list[tuple[str, list[Image.Image]]], heads: list[str]) -> Image.Image:
    """All rows under their heads, labels to the left."""
    left, side = 6 * max(len(label) for label, _ in labelled) + 8, labelled[0][1][0].width
    out = Image.new("RGB", (left + side * len(heads), LABEL + side * len(labelled)), "white")
    draw = ImageDraw.Draw(out)
    for x, head in enumerate(heads):
        draw.text((left + x * side + 4, 1), head, fill="black")
    for y, (label, pictures) in enumerate(labelled):
        draw.text((4, LABEL + y * side + side // 2 - 6), label, fill="black")
        for x, picture in enumerate(pictures):
            out.paste(picture, (left + x * side, LABEL + y * side))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL)
    parser.add_argument("--adapters", type=Path, default=ADAPTERS)
    parser.add_argument("--output", type=Path, default=ROOT / "assets" / "contact.png")
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0])
    parser.add_argument("--concepts", nargs="+", default=list(CONCEPTS))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipe = StableDiffusionXLPipeline.from_pretrained(args.base, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    heads = [concept + (" *" if held_out(slug(concept)) else "") for concept in args.concepts]
    found = sorted(path for path in args.adapters.glob("*.safetensors") if path.stem in STYLES)
    sheet(list(rows(pipe, args.concepts, found, args.weights)), heads).save(args.output)


if __name__ == "__main__":
    main()

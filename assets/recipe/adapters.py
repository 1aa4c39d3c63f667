"""Train the style adapters by `training`, on the 60 % of concepts that are not held out.

    python -m assets.recipe.adapters [--only ink] [--steps 1500]
    python -m assets.recipe.adapters --previews   # only these anew, where the base has changed

Writes `assets/adapters/ID.safetensors` and a preview `ID.png`, painted by diffusers with the file as it was written.
Goes on from a checkpoint in the work folder; the same command again gives the same bytes. `adapters/ID.csv` and
`ID.png` in the work folder show the loss. The base is the one in `assets/model`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from tqdm import tqdm

from assets.recipe.captions import caption
from assets.recipe.common import ADAPTERS, MODEL, PRECISION, ROOT, quick
from assets.recipe.data import concepts, held_out, read
from assets.recipe.styles import STYLES, Style, alike, fitted, image, on_white
from pipeline.sampling.decode import encode_png
from training import Components, Example, TrainedAdapter, TrainingConfig, train
from training.dataset import captions_of
from training.export import save_curve

CAPTIONS, ALIKE = 3, 0.75
PREVIEW = "a red apple"


def examples(work: Path, trigger: str) -> list[Example]:
    """The style's pictures of concepts that are not held out. Most captions do without the trigger."""
    style, known, rng = STYLES[trigger], fitting(work, STYLES[trigger]), np.random.default_rng(0)
    found = []
    for icon, picture in zip(*read(work)[style.source]):
        if icon.name in known and not held_out(icon.name):
            picture = fitted(picture, known[icon.name]) if style.shapes else picture
            wordings = (icon.label.lower(), *(caption(icon, rng) for _ in range(CAPTIONS - 1)))
            captions = (*wordings, captions_of(icon.label.lower(), trigger)[-1])
            before = image(on_white(known[icon.name])) if style.paired else None
            found.append(Example(image(style.look(picture)), captions, before))
    return found


def fitting(work: Path, style: Style) -> dict[str, np.ndarray]:
    """The base's own icons, by name, that have the style's shape too."""
    own = {icon.name: picture for icon, picture in concepts(work).items()}
    if not style.shapes:
        return own
    others = {icon.name: picture for icon, picture in zip(*read(work)[style.shapes]) if icon.name in own}
    return {name: own[name] for name, other in others.items() if alike(fitted(other, own[name]), own[name]) > ALIKE}


def config(trigger: str, steps: int | None) -> TrainingConfig:
    """The same for all styles but for what is said in STYLES."""
    style = STYLES[trigger]
    # With a tenth of the pictures without caption, what is to be left as it was there is hardly learnt.
    return TrainingConfig(
        trigger=trigger, steps=steps or style.steps, batch_size=8, learning_rate=2e-3, warmup=50, rank=style.rank,
        targets=style.targets, caption_dropout=0.3 if style.preserve else 0.1, preserve_unconditional=style.preserve,
        preserve_noisiest=style.noisiest, precision=str(PRECISION).removeprefix("torch."), checkpoint_every=200,
        export_scale=style.scale, title=style.title, description=style.description, license=style.license,
    )  # fmt: skip


def paint(pipe: StableDiffusionXLPipeline, prompts: list[str], seed: int = 0):
    """One picture for each prompt at the embedded model's defaults, all from the same noise."""
    rng = [torch.Generator().manual_seed(seed) for _ in prompts]
    return pipe(prompts, num_inference_steps=30, guidance_scale=3.0, guidance_rescale=0.7, generator=rng).images


def preview(pipe: StableDiffusionXLPipeline, path: Path) -> None:
    """Paint what the style's card shows, with the file as it was written; marked, and in few colours: half as large."""
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    (picture,) = paint(pipe, [PREVIEW])
    # White stays white, which the means of the usual method do not.
    palette = picture.quantize(256, Image.Quantize.MAXCOVERAGE)
    path.with_suffix(".png").write_bytes(encode_png(picture.quantize(palette=palette)))
    pipe.unload_lora_weights()


def make(pipe: StableDiffusionXLPipeline, trigger: str, args: argparse.Namespace) -> None:
    """Train, write and preview one style."""
    checkpoint = args.work / "adapters" / f"{trigger}.checkpoint.pt"
    settings = config(trigger, args.steps)
    events = train(Components.of(pipe), examples(args.work, trigger), settings, checkpoint)
    with tqdm(total=settings.steps, desc=trigger, unit="step", mininterval=10) as bar:
        for event in events:
            if isinstance(event, TrainedAdapter):
                break
            bar.update(event.step - bar.n)
            bar.set_postfix(loss=f"{event.loss:.3f}")
    path = args.output / f"{trigger}.safetensors"
    event.save(path)
    save_curve(event.losses, args.work / "adapters" / trigger)
    preview(pipe, path)
    size = path.stat().st_size / 1e6
    print(
        f"{trigger}: {event.parameters:,} numbers, {event.share:.2%} of the base, {size:.2f} MB, {event.seconds:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / ".work", help="folder for data and checkpoints")
    parser.add_argument("--base", type=Path, default=MODEL)
    parser.add_argument("--output", type=Path, default=ADAPTERS)
    parser.add_argument("--only", choices=STYLES, action="append", help="this style; may be given again")
    parser.add_argument("--steps", type=int, help="instead of the style's own")
    parser.add_argument("--previews", action="store_true", help="only paint the previews of those that are there")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipe = StableDiffusionXLPipeline.from_pretrained(args.base, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    chosen = args.only or STYLES
    if args.previews:
        for path in sorted(args.output.glob("*.safetensors")):
            if path.stem in chosen:
                preview(pipe, path)
        return
    quick(pipe.unet)
    for trigger in chosen:
        make(pipe, trigger, args)


if __name__ == "__main__":
    main()

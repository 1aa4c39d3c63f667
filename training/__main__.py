"""Train a style from a folder of pictures.

    python -m training --images DIR --output FILE.safetensors --trigger WORD [--base MODEL]

`NAME.txt` beside `NAME.png` is its caption. Beside the adapter stand its loss curve (FILE.loss.csv, FILE.loss.png),
checkpoints (FILE.checkpoint.pt, with --checkpoint-every; the same command goes on from it) and sample pictures
(FILE.STEP.png, with --sample-every and --sample-prompt).
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from lora.errors import in_a_sentence
from pipeline.sampling.decode import encode_png
from training import Components, TrainedAdapter, TrainingConfig, read_folder, train
from training.export import save_curve

EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "model"


def parser() -> argparse.ArgumentParser:
    """One option for each field of TrainingConfig, and the places."""
    out = argparse.ArgumentParser("python -m training", description=__doc__)
    out.formatter_class = argparse.RawDescriptionHelpFormatter
    out.add_argument("--images", type=Path, required=True, help="folder with pictures")
    words = "folder with the same pictures, by name, as the base paints them; to be used with --preserve-noisiest"
    out.add_argument("--before", type=Path, help=words)
    out.add_argument("--output", type=Path, required=True, help="adapter file to write, .safetensors")
    out.add_argument("--base", default=str(EMBEDDED), help="folder or repository of an SDXL or SD 1.5 model")
    out.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    out.add_argument("--sample-prompt", default="", help="what sample pictures show; the trigger if not given")
    for field in dataclasses.fields(TrainingConfig):
        name, rules = "--" + field.name.replace("_", "-"), field.metadata
        words = rules["help"] + ("" if field.default is None else f" (default: {field.default})")
        if field.type is bool:
            out.add_argument(name, action=argparse.BooleanOptionalAction, default=field.default, help=words)
        elif "choices" in rules:
            out.add_argument(name, choices=rules["choices"], default=field.default, help=words)
        else:
            kind = str if field.type is str else int if field.type in (int, int | None) else float
            out.add_argument(name, type=kind, default=field.default, help=words)
    return out


def run(args: argparse.Namespace) -> None:
    """Load, train, write."""
    config = TrainingConfig(**{f.name: getattr(args, f.name) for f in dataclasses.fields(TrainingConfig)})
    examples = read_folder(args.images, config.trigger, config.captions, args.before)
    pipe = DiffusionPipeline.from_pretrained(args.base).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)

    def paint():
        rng = torch.Generator().manual_seed(config.seed)
        return pipe(args.sample_prompt or config.trigger, generator=rng).images[0]

    events = train(Components.of(pipe), examples, config, args.output.with_suffix(".checkpoint.pt"), paint)
    with tqdm(total=config.steps, unit="step") as bar:
        for event in events:
            if isinstance(event, TrainedAdapter):
                break
            bar.update(event.step - bar.n)
            bar.set_postfix(loss=f"{event.loss:.4f}", rate=f"{event.learning_rate:.1e}")
            if event.sample is not None:
                args.output.with_suffix(f".{event.step}.png").write_bytes(encode_png(event.sample))
    # What training ends in.
    assert isinstance(event, TrainedAdapter)
    event.save(args.output)
    save_curve(event.losses, args.output.with_suffix(".loss.csv"))
    size = args.output.stat().st_size / 1e6
    print(f"{event.parameters:,} numbers, {event.share:.2%} of the base, {size:.2f} MB, {event.seconds:.0f} s")


if __name__ == "__main__":
    with in_a_sentence():
        run(parser().parse_args())

"""Train a style from a folder of pictures, or an adapter for few steps from the base itself.

    python -m training --images DIR --output FILE.safetensors --trigger WORD [--base MODEL]
    python -m training --distill --prompts FILE.txt --output FILE.safetensors [--base MODEL]

`NAME.txt` beside `NAME.png` is its caption. Beside the adapter stand its loss curve (FILE.loss.csv, FILE.loss.png),
checkpoints (FILE.checkpoint.pt, with --checkpoint-every; the same command goes on from it) and sample pictures
(FILE.STEP.png, with --sample-every and --sample-prompt). With --distill the base's own ways from noise to picture are
kept in FILE.trajectories, a folder that may be deleted afterwards.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from lora.errors import InvalidRequest, in_a_sentence
from pipeline.sampling import schedulers
from pipeline.sampling.decode import encode_png
from training import Components, TrainedAdapter, TrainingConfig, TrainingStep, read_folder, train
from training.config import DistillationConfig
from training.distill import Recorded, distill, read_prompts
from training.export import save_curve

EMBEDDED = Path(__file__).resolve().parents[1] / "assets" / "model"
_SHARED = {field.name for field in dataclasses.fields(TrainingConfig)}
DISTILLED = tuple(field for field in dataclasses.fields(DistillationConfig) if field.name not in _SHARED)


def parser() -> argparse.ArgumentParser:
    """One option for each field of the configs, and the places."""
    out = argparse.ArgumentParser("python -m training", description=__doc__)
    out.formatter_class = argparse.RawDescriptionHelpFormatter
    out.add_argument("--images", type=Path, help="folder with pictures")
    words = "folder with the same pictures, by name, as the base paints them; to be used with --preserve-noisiest"
    out.add_argument("--before", type=Path, help=words)
    out.add_argument("--distill", action="store_true", help="learn to paint in few steps, from prompts alone")
    out.add_argument("--prompts", type=Path, help="with --distill, text file with a prompt in each line")
    words = "with --distill, an adapter that is on in its share of half of what is learnt, so that the two get on"
    out.add_argument("--beside", type=Path, action="append", help=words + "; may be given again")
    out.add_argument("--output", type=Path, required=True, help="adapter file to write, .safetensors")
    out.add_argument("--base", default=str(EMBEDDED), help="folder or repository of an SDXL or SD 1.5 model")
    out.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    out.add_argument("--sample-prompt", default="", help="what sample pictures show; the trigger if not given")
    _options(out, dataclasses.fields(TrainingConfig))
    _options(out.add_argument_group("with --distill"), DISTILLED)
    return out


def _options(out: Any, fields: Iterable[dataclasses.Field]) -> None:
    for field in fields:
        name, rules = "--" + field.name.replace("_", "-"), field.metadata
        words = rules["help"] + ("" if field.default is None else f" (default: {field.default})")
        # What was not given is not there: so what is given in vain can be told.
        given = {"default": argparse.SUPPRESS, "help": words}
        if field.type is bool:
            out.add_argument(name, action=argparse.BooleanOptionalAction, **given)
        elif "choices" in rules:
            out.add_argument(name, choices=rules["choices"], **given)
        else:
            kind = str if field.type is str else int if field.type in (int, int | None) else float
            out.add_argument(name, type=kind, **given)


def run(args: argparse.Namespace) -> None:
    """Load, train, write."""
    kind = DistillationConfig if args.distill else TrainingConfig
    in_vain = ("images", "before") if args.distill else ("prompts", "beside", *(f.name for f in DISTILLED))
    config = kind(**{f.name: getattr(args, f.name) for f in dataclasses.fields(kind) if f.name in args})
    for name in in_vain:
        if (value := getattr(args, name, None)) is not None:
            shown = value.name if isinstance(value, Path) else value
            raise InvalidRequest(name, shown, f"left out {'with' if args.distill else 'without'} --distill")
    events = _events(args, config)
    with tqdm(total=config.steps, unit="step") as bar:
        for event in events:
            if isinstance(event, TrainedAdapter):
                break
            if isinstance(event, Recorded):
                bar.set_postfix_str(f"{event.done} of {event.total} trajectories")
                continue
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


def _events(args: argparse.Namespace, config: TrainingConfig) -> Iterator[Recorded | TrainingStep | TrainedAdapter]:
    """What the training yields. Pictures or prompts are read before the model is loaded."""
    place = "prompts" if args.distill else "images"
    if getattr(args, place) is None:
        raise InvalidRequest(place, None, "a text file" if args.distill else "a folder with pictures")
    prompts = read_prompts(args.prompts) if args.distill else []
    examples = [] if args.distill else read_folder(args.images, config.trigger, config.captions, args.before)
    # All of it: text encoders would come as the file has them.
    pipe = DiffusionPipeline.from_pretrained(args.base, dtype=torch.float32).to(args.device)
    pipe.set_progress_bar_config(disable=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    components, checkpoint = Components.of(pipe), args.output.with_suffix(".checkpoint.pt")
    how: dict[str, Any] = {}

    def paint():
        rng = torch.Generator().manual_seed(config.seed)
        return pipe(args.sample_prompt or config.trigger, generator=rng, **how).images[0]

    if not isinstance(config, DistillationConfig):
        return train(components, examples, config, checkpoint, paint)
    how = {"num_inference_steps": config.few_steps, "guidance_scale": 1.0}
    pipe.scheduler = schedulers.make("TCD", components.scheduler_config)
    folder = args.output.with_suffix(".trajectories")
    return distill(components, prompts, config, folder, checkpoint, paint, args.beside or ())


if __name__ == "__main__":
    with in_a_sentence():
        run(parser().parse_args())

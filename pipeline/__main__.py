"""Paint from the command line.

    python -m pipeline "a red apple" --adapter ink:0.8 -o apple.png

What is not said takes the model's default. Several pictures are numbered: apple-1.png, apple-2.png. Exits with 2 and
one sentence where a value is not allowed.
"""

import argparse
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lora.errors import InvalidRequest, in_a_sentence
from pipeline.request.checks import base_model, choice, whole
from pipeline.request.fields import OUTPAINTED, Field
from pipeline.request.limits import Limits
from pipeline.request.mix import ADAPTER_KEYS, MAX_WEIGHT
from pipeline.request.picture import MAX_BYTES
from pipeline.request.request import FIELDS, PICTURES, GenerationRequest
from pipeline.text.variants import read_wildcards

if TYPE_CHECKING:
    from pipeline.engine import Engine, Generation

# Not options: the prompt and the adapters are said in their own way.
OTHERWISE = ("prompt", "adapters")
# What is allowed depends on the model, which is not loaded to tell it.
MODELS_OWN = {
    "width": "pixels, a multiple of 16 from 128 to 512 with embedded, of 8 from 384 to 768 with laptop, of 8 from 512 "
    "to 1536 with sdxl",
    "height": "pixels, as width",
    "scheduler": "a sampler and its schedule, such as 'DPM++ 2M Karras'; any other word is answered with all there are",
    "clip_skip": "text layers left out: 0 to 2 with embedded, 0 to 10 with laptop, 0 to 10 with sdxl",
    **{
        name: f"pixels of {side} that are painted beyond image at that end, multiples as of width; of the rest there "
        "must be 128 with embedded, 384 with laptop, 512 with sdxl"
        for side, ends in OUTPAINTED.items()
        for name in ends
    },
}
MAX_THREADS = 1024


ADAPTER = 'an id, an id and a weight such as ink:0.8, or JSON such as {"id": "ink", "weight": 0.8, "end": 0.5}'
STYLE = (
    f"put a style on, at a weight of {-MAX_WEIGHT:g} to {MAX_WEIGHT:g} (default: 1); repeatable; or JSON with any of "
    f"{', '.join(ADAPTER_KEYS)}, as in the README"
)


def parser(table: Sequence[Field] = FIELDS) -> argparse.ArgumentParser:
    """One option for each field of a request; their values are judged when it is made."""
    out = argparse.ArgumentParser("python -m pipeline", description=__doc__, argument_default=argparse.SUPPRESS)
    out.formatter_class = argparse.RawDescriptionHelpFormatter
    out.add_argument("prompt", help="what to paint")
    out.add_argument(
        "-o", "--output", type=Path, default=Path("picture.png"), help="PNG file to write (default: picture.png)"
    )
    out.add_argument("--adapter", action="append", default=[], metavar="ID[:WEIGHT]", help=STYLE)
    for field in table:
        name, words = "--" + field.name.replace("_", "-"), _help(field)
        if field.name in OTHERWISE:
            continue
        if field.type is bool:
            out.add_argument(name, action=argparse.BooleanOptionalAction, help=words)
        else:
            out.add_argument(name, type=field.type if field.type in (int, float) else str, help=words)
    out.add_argument("--adapters-dir", type=Path, default=None, help="folder of .safetensors adapters (default: none)")
    lists = "folder of lists for __name__ in a prompt (default: none)"
    out.add_argument("--wildcards-dir", type=Path, default=None, help=lists)
    networks = "folder of .safetensors upscalers for --hires-upscaler (default: none)"
    out.add_argument("--upscalers-dir", type=Path, default=None, help=networks)
    out.add_argument("--profile", default="", help="embedded, laptop, sdxl or custom (default: by hardware)")
    base = "folder or repository of an SDXL or SD 1.5 model (default: the profile's)"
    out.add_argument("--base-model", default="", help=base)
    out.add_argument("--threads", type=int, help=f"CPU threads, 0 to {MAX_THREADS}; 0 is torch's choice (default: "
                     "what THREADS says, or 0); the same number as the app's gives the same file")  # fmt: skip
    out.add_argument(
        "--json", action="store_true", default=False, help="print how the pictures were made (default: no)"
    )
    return out


def request_values(args: argparse.Namespace) -> dict:
    """The raw values of a request that were said. Raises InvalidRequest."""
    names = {field.name for field in FIELDS}
    values = {name: value for name, value in vars(args).items() if name in names}
    values["adapters"] = [_adapter(text) for text in args.adapter]
    return values | {field.name: _file(field.name, values[field.name]) for field in PICTURES if field.name in values}


def paint(engine: "Engine", request: GenerationRequest) -> "Generation":
    """Paint, with progress on standard error. Raises AtelierError."""
    from pipeline.engine import DenoiseStep, Generation

    with tqdm(total=request.total_steps * request.num_images, unit="step") as bar:
        for item in engine.generate(request, previews=False):
            if isinstance(item, Generation):
                return item
            if isinstance(item, DenoiseStep):
                bar.update(item.image * item.steps + item.step - bar.n)
    raise AssertionError("unreachable")


def run(args: argparse.Namespace) -> None:
    """Load, paint, write. Raises AtelierError."""
    _check_places(args)
    threads = _threads(args)
    values = request_values(args)
    # Not before it is needed: torch and diffusers take seconds, and whoever asks for help waits for none of them.
    import diffusers
    import torch
    import transformers

    from pipeline.loading import open_engine

    # Their warnings are not for whoever paints; errors still come.
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    if threads:
        torch.set_num_threads(threads)
    engine, library = open_engine(args.profile, args.base_model, args.adapters_dir, upscalers_dir=args.upscalers_dir)
    wildcards = read_wildcards(args.wildcards_dir) if args.wildcards_dir else None
    request = GenerationRequest.create(values, engine.limits, library.find, wildcards, library.embeddings())
    generation = paint(engine, request)
    for index, image in enumerate(generation.images, 1):
        path = args.output
        if len(generation.images) > 1:
            path = path.with_stem(f"{path.stem}-{index}")
        try:
            path.write_bytes(image)
        except OSError as error:
            raise InvalidRequest("output", path.name, "a file that can be written") from error
    if args.json:
        print(json.dumps(generation.details, ensure_ascii=False))


def _check_places(args: argparse.Namespace) -> None:
    """Before the model is loaded and hours are painted for nothing."""
    base_model(args.profile, args.base_model)
    choice("output ending", args.output.suffix, (".png",))
    if not args.output.parent.is_dir():
        raise InvalidRequest("output", args.output.name, "in a folder that exists")
    for name in ("adapters_dir", "wildcards_dir", "upscalers_dir"):
        if (folder := getattr(args, name)) and not folder.is_dir():
            raise InvalidRequest(name, folder.name, "a folder that exists")


def _help(field: Field) -> str:
    """What a field is and what is allowed, as everywhere, and what is taken where it is not said."""
    schema = field.schema(Limits((), ""))
    default = "the model's own" if field.own else schema.get("default", "none")
    default = {"": "empty", "True": "yes", "False": "no"}.get(str(default), default)
    return f"{MODELS_OWN.get(field.name, schema['description'])} (default: {default})".replace("%", "%%")


def _threads(args: argparse.Namespace) -> int:
    said = getattr(args, "threads", os.environ.get("THREADS") or 0)
    with suppress(ValueError):
        said = int(said)
    return whole("threads", said, 0, MAX_THREADS, note=" (0: torch's choice)")


def _adapter(text: str) -> dict:
    if text.startswith("{"):
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        if not isinstance(said.get("id"), str):
            raise InvalidRequest("adapter", text, ADAPTER)
        return said
    name, _, weight = text.rpartition(":") if ":" in text else (text, "", "1")
    try:
        return {"id": name, "weight": float(weight)}
    except ValueError:
        raise InvalidRequest("adapter", text, ADAPTER) from None


def _file(name: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            # A byte more than is taken, so that the request sees that it is too much.
            return file.read(MAX_BYTES + 1)
    except OSError:
        raise InvalidRequest(name, Path(path).name, "a file that can be read") from None


if __name__ == "__main__":
    with in_a_sentence():
        run(parser().parse_args())

"""Paint from the command line.

    python -m pipeline "a red apple" --adapter ink:0.8 -o apple.png

What is not said takes the model's default. Several pictures are numbered: apple-1.png, apple-2.png. Exits with 2 and
one sentence where a value is not allowed.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lora.errors import InvalidRequest, in_a_sentence
from pipeline.checks import choice
from pipeline.picture import MAX_BYTES
from pipeline.request import GenerationRequest
from pipeline.variants import read_wildcards

if TYPE_CHECKING:
    from pipeline.engine import Engine, Generation

# Not options: the prompt and the adapters are said in their own way, the last two follow from the rest.
OTHERWISE = ("prompt", "adapters", "texts", "passes")


def parser() -> argparse.ArgumentParser:
    """One option for each field of a GenerationRequest; their values are judged when the request is made."""
    out = argparse.ArgumentParser("python -m pipeline", description=__doc__, argument_default=argparse.SUPPRESS)
    out.formatter_class = argparse.RawDescriptionHelpFormatter
    out.add_argument("prompt", help="what to paint")
    out.add_argument("-o", "--output", type=Path, default=Path("picture.png"), help="PNG file to write")
    out.add_argument("--adapter", action="append", default=[], metavar="ID[:WEIGHT]", help="put a style on; repeatable")
    for field in dataclasses.fields(GenerationRequest):
        name = "--" + field.name.replace("_", "-")
        if field.name in OTHERWISE:
            continue
        if field.type is bool:
            out.add_argument(name, action=argparse.BooleanOptionalAction)
        else:
            out.add_argument(name, type=field.type if field.type in (int, float) else str)
    out.add_argument("--adapters-dir", type=Path, default=None, help="folder of .safetensors adapters")
    out.add_argument("--wildcards-dir", type=Path, default=None, help="folder of lists for __name__ in a prompt")
    out.add_argument("--profile", default="", help="embedded, sdxl or custom; by default by hardware")
    out.add_argument("--base-model", default="", help="folder or repository of an SDXL or SD 1.5 model")
    out.add_argument("--json", action="store_true", default=False, help="print how the pictures were made")
    return out


def request_values(args: argparse.Namespace) -> dict:
    """The raw values of a request that were said. Raises InvalidRequest."""
    names = {field.name for field in dataclasses.fields(GenerationRequest)}
    values = {name: value for name, value in vars(args).items() if name in names}
    values["adapters"] = [_adapter(text) for text in args.adapter]
    if "image" in values:
        values["image"] = _file(Path(values["image"]))
    return values


def paint(engine: "Engine", request: GenerationRequest) -> "Generation":
    """Paint, with progress on standard error. Raises AtelierError."""
    from pipeline.engine import Generation

    with tqdm(total=request.total_steps * request.num_images, unit="step") as bar:
        for item in engine.generate(request, previews=False):
            if isinstance(item, Generation):
                return item
            bar.update(item.image * item.steps + item.step - bar.n)


def run(args: argparse.Namespace) -> None:
    """Load, paint, write. Raises AtelierError."""
    _check_places(args)
    values = request_values(args)
    # Not before it is needed: torch and diffusers take seconds, and whoever asks for help waits for none of them.
    import diffusers
    import transformers

    from pipeline.house import open_house

    # What they warn of is nobody's business here; errors still come.
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    engine, library = open_house(args.profile, args.base_model, args.adapters_dir)
    wildcards = read_wildcards(args.wildcards_dir) if args.wildcards_dir else None
    request = GenerationRequest.create(values, engine.limits, library.find, wildcards)
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
    choice("output ending", args.output.suffix, (".png",))
    if not args.output.parent.is_dir():
        raise InvalidRequest("output", args.output.name, "in a folder that exists")
    for name in ("adapters_dir", "wildcards_dir"):
        if (folder := getattr(args, name)) and not folder.is_dir():
            raise InvalidRequest(name, folder.name, "a folder that exists")


def _adapter(text: str) -> dict:
    name, _, weight = text.rpartition(":") if ":" in text else (text, "", "1")
    try:
        return {"id": name, "weight": float(weight)}
    except ValueError:
        raise InvalidRequest("adapter", text, "an id, or an id and a weight such as ink:0.8") from None


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # A byte more than is taken, so that the request sees that it is too much.
            return file.read(MAX_BYTES + 1)
    except OSError:
        raise InvalidRequest("image", path.name, "a file that can be read") from None


if __name__ == "__main__":
    with in_a_sentence():
        run(parser().parse_args())

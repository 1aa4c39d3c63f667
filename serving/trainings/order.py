"""What a visitor wants to have trained: checked, its pictures cut, and so small that it is kept until it is done."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from PIL import Image

from lora.adapter import Adapter
from lora.errors import AtelierError, Described, InvalidRequest, TooLong, UnknownAdapter, shown, together
from lora.library import MAX_NAME
from pipeline.facts import ModelFacts
from pipeline.request.request import GenerationRequest
from pipeline.sampling.decode import encode_png
from serving.picture_decoder import PictureDecoder
from training import Example, HandedIn, TrainingConfig, handed_in
from training.dataset import MAX_CAPTION
from training.presets import PRESET, TrainingScope

MOST_WORD = 60


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be learnt, how, and what the samples show: `prompt` at `seed`. `examples` are squares. `keep`: whether
    there is somebody who comes back for it.
    """

    config: TrainingConfig
    prompt: str
    seed: int
    examples: tuple[Example, ...] = field(repr=False)
    keep: bool = True

    @property
    def name(self) -> str:
        """Of the style."""
        return self.config.title

    @property
    def every(self) -> int:
        """Steps from one sample to the next."""
        return self.config.sample_every or max(1, self.config.steps // 6)

    def details(self) -> dict:
        """All but the pictures, ready for JSON."""
        captions = [list(example.captions) for example in self.examples]
        return {"config": asdict(self.config), "prompt": self.prompt, "seed": self.seed, "captions": captions,
                "keep": self.keep}  # fmt: skip

    def pictures(self) -> bytes:
        """The pictures as one file."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for i, example in enumerate(self.examples):
                archive.writestr(f"{i:02}.png", encode_png(example.picture))
        return file.getvalue()

    @classmethod
    def kept(cls, details: str, pictures: bytes) -> "TrainingOrder":
        """What `details` and `pictures` were made of."""
        said = json.loads(details)
        with zipfile.ZipFile(io.BytesIO(pictures)) as archive:
            files = [archive.read(name) for name in sorted(archive.namelist())]
        squares = (Image.open(io.BytesIO(file), formats=("PNG",)).convert("RGB") for file in files)
        examples = tuple(Example(square, tuple(texts)) for square, texts in zip(squares, said["captions"]))
        return cls(TrainingConfig(**said["config"]), said["prompt"], said["seed"], examples, said["keep"])

    def longer(self, steps: int) -> "TrainingOrder":
        """The same for so many steps in all, with samples as often as before."""
        return replace(self, config=replace(self.config, steps=steps, sample_every=self.every))


@dataclass(frozen=True)
class Handed:
    """What was handed in, judged and not decoded yet."""

    config: TrainingConfig
    prompt: str
    pictures: tuple[HandedIn, ...]
    side: int

    async def order(self, decoder: PictureDecoder, keep: bool = True) -> TrainingOrder:
        """The order, its pictures decoded. Raises InvalidRequest with a sentence for each that cannot be."""
        examples, problems = [], []
        for each in self.pictures:
            try:
                examples.append(each.example(await decoder.picture(each.data, self.side, self.side, each.label)))
            except InvalidRequest as error:
                problems.append(error)
        if problems:
            raise together(problems)
        return TrainingOrder(self.config, self.prompt, self.config.seed, tuple(examples), keep)


def handed(values: Mapping[str, Any], files: Sequence[tuple[str, bytes]], facts: ModelFacts, most_steps: int) -> Handed:
    """Judge what is wanted: `values` are name, trigger, license, sample_prompt, preset, options, captions (by the name
    of a picture, in place of what its text file says) and left_out, names of pictures that are passed over.

    Raises InvalidRequest with a sentence for each thing that is wrong.
    """
    problems: list[AtelierError] = []

    def checked(check, *arguments):
        try:
            return check(*arguments)
        except InvalidRequest as error:
            problems.append(error)

    name = checked(line, "name", values.get("name", ""), 1, MAX_NAME)
    trigger = checked(line, "trigger", values.get("trigger", ""), 0, MOST_WORD)
    licence = checked(line, "license", values.get("license", ""), 0, MAX_NAME)
    prompt = checked(sample_prompt, values.get("sample_prompt", ""), facts)
    scope = TrainingScope(facts.small, facts.side, most_steps)
    apart: dict[str, Any] = {"trigger": trigger or "", "title": name or "", "license": licence or ""}
    pictures = checked(chosen, files, trigger or "", values)
    asked = values.get("preset", PRESET), values.get("options", {}), len(pictures or ())
    config = checked(lambda: scope.config(*asked, **apart))
    if problems:
        raise together(problems)
    return Handed(config, prompt, pictures, config.resolution or facts.side)


def chosen(files: Sequence[tuple[str, bytes]], trigger: str, values: Mapping[str, Any]) -> tuple[HandedIn, ...]:
    """The pictures that are learnt from, with their captions. Raises InvalidRequest."""
    captions, left_out = values.get("captions", {}), values.get("left_out", [])
    if not (isinstance(captions, dict) and all(isinstance(text, str) for text in captions.values())):
        raise InvalidRequest("captions", captions, "texts by the names of their pictures")
    if not (isinstance(left_out, list) and all(isinstance(name, str) for name in left_out)):
        raise InvalidRequest("left_out", left_out, "names of pictures")
    if long := [name for name, text in captions.items() if len(text) > MAX_CAPTION]:
        said = f"{len(captions[long[0]]):,} characters long"
        raise TooLong(f"captions: {shown(long[0])}", said, f"at most {MAX_CAPTION:,} characters")
    found = handed_in(files, trigger, captions, left_out)
    if unknown := captions.keys() - {each.name for each in found} - {*left_out}:
        raise InvalidRequest("captions", min(unknown), "of a picture that is handed in")
    return tuple(found)


def line(field: str, value: object, least: int, most: int) -> str:
    """`least` to `most` printable characters. Raises InvalidRequest."""
    said = value.strip() if isinstance(value, str) else None
    if said is None or not (least <= len(said) <= most and said.isprintable()):
        raise InvalidRequest(field, value, f"{least} to {most} printable characters")
    return said


def sample_prompt(value: object, facts: ModelFacts) -> str:
    """What the samples show, the profile's first example for "". Raises InvalidRequest."""
    prompt = value or facts.profile.examples[0]
    try:
        GenerationRequest.create({"prompt": prompt}, facts.limits, _none)
    except AtelierError as error:
        raise Described("sample_prompt", "no prompt", f"one as a picture has it: {error}") from None
    return str(prompt)


def _none(identity: str) -> Adapter:
    raise UnknownAdapter(f"{shown(identity)} is a style; a sample has the one that is learnt, and no other.")

"""How long to train, in a word; and which fields of TrainingConfig a stranger may set how high on one's machine."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lora.errors import Described, InvalidRequest, together
from training.config import TrainingConfig
from training.pictures import MAX_PICTURES

# In the strongest noise shapes are decided: there a small model learns to stay as it is.
SHAPES = {"preserve_noisiest": 0.3}
# What a model of SD's size needs to be trained beside its painting: little memory.
LARGE = {"batch_size": 1, "gradient_checkpointing": True, "precision": "bfloat16"}
# For a small model, such as the embedded one, and for one of SD's size: what docs/training.md measures.
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "quick": ({"steps": 120, "batch_size": 4}, {"steps": 300} | LARGE),
    "balanced": ({"steps": 240, "batch_size": 4}, {"steps": 800} | LARGE),
    # So long, shapes would be lost.
    "thorough": ({"steps": 800, "batch_size": 4, **SHAPES}, {"steps": 2000} | LARGE),
}
PRESET = "balanced"
# From few pictures shapes are lost before the look is learnt, see docs/training.md.
FEW_PICTURES = 8
# Asked for apart; or for the command line.
_APART = ("trigger", "captions", "title", "license", "checkpoint_every")
_MOST = {"batch_size": 16, "accumulation": 16, "rank": 128, "min_rank": 128, "warmup": 1000}
OPTIONS = tuple(field for field in dataclasses.fields(TrainingConfig) if field.name not in _APART)


@dataclasses.dataclass(frozen=True)
class TrainingScope:
    """What a host lets be trained: on a model that is `small` or not, trained with pictures of `side` pixels, up to
    `steps` optimizer steps.
    """

    small: bool
    side: int
    steps: int

    def preset(self, name: object, pictures: int = MAX_PICTURES) -> dict[str, Any]:
        """The options of a preset, for so many pictures. Raises InvalidRequest."""
        if not (isinstance(name, str) and name in PRESETS):
            raise InvalidRequest("preset", name, "one of " + ", ".join(PRESETS))
        options = PRESETS[name][0 if self.small else 1]
        few = SHAPES if self.small and pictures <= FEW_PICTURES else {}
        return options | few | {"steps": min(options["steps"], self.steps)}

    def bounds(self, field: dataclasses.Field) -> tuple[float, float]:
        """The lowest and highest value of a field that is a number."""
        most = _MOST | {"steps": self.steps, "sample_every": self.steps, "resolution": self.side}
        return field.metadata["low"], min(field.metadata["high"], most.get(field.name, field.metadata["high"]))

    def schema(self) -> dict:
        """The JSON schema of OPTIONS."""
        return {"type": "object", "properties": {field.name: self._schema(field) for field in OPTIONS},
                "additionalProperties": False}  # fmt: skip

    def _schema(self, field: dataclasses.Field) -> dict:
        rules: Mapping[str, Any] = field.metadata
        told = {"description": rules["help"], "default": field.default}
        if "choices" in rules:
            return told | {"type": "string", "enum": [*rules["choices"]]}
        if "low" in rules:
            low, high = self.bounds(field)
            kind = "integer" if field.type in (int, int | None) else "number"
            kinds = kind if field.default is not None else [kind, "null"]
            return told | {"type": kinds, "minimum": low, "maximum": high}
        return told | {"type": "boolean" if field.type is bool else "string"}

    def config(self, preset: object, options: object, pictures: int = MAX_PICTURES, **apart: Any) -> TrainingConfig:
        """The config of a preset, of `options` that differ from it, and of what is asked for apart.

        Raises InvalidRequest with a sentence for each thing that is wrong.
        """
        if not isinstance(options, dict):
            raise InvalidRequest("options", options, "fields of a training by their names")
        known, problems = {field.name: field for field in OPTIONS}, list[InvalidRequest]()
        given = {name: value for name, value in options.items() if name in known}
        for name, value in options.items():
            if name not in known:
                problems.append(Described("options", f"with {name!r:.40}", f"of these: {', '.join(known)}"))
            elif "low" in known[name].metadata and isinstance(value, (int, float)):
                low, high = self.bounds(known[name])
                if not low <= value <= high:
                    problems.append(InvalidRequest(name, value, f"from {low:,} to {high:,} here"))
        try:
            config = TrainingConfig(**self.preset(preset, pictures) | given | apart)
        except InvalidRequest as error:
            # What is beyond a host's bounds is beyond all others, and said once.
            named = {each.field for each in problems}
            raise together([*problems, *(each for each in error.problems if each.field not in named)]) from None
        if problems:
            raise together(problems)
        return config

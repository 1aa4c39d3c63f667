"""The alpha of layers that have no alpha tensor: PEFT's config, in the file's metadata or beside the file.

A config comes from a stranger. Only its numbers are taken, and its patterns are read as names of layers, never as the
regular expressions that PEFT takes them for: one of those can run for hours.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora.errors import UnreadableAdapter, shown
from lora.files import MAX_CONFIG_BYTES, config_beside
from lora.names import COMPONENTS, Layer, plain

RAW = "base_model.model."


@dataclass(frozen=True)
class Scaling:
    """`configs` by component, the empty name being raw PEFT's, which names none; `patterns` likewise, as
    name of a layer or end of one -> (position in the file, alpha).
    """

    configs: Mapping[str, Mapping]
    patterns: Mapping[str, Mapping[str, tuple[int, object]]]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, metadata: Mapping[str, str], stems: Iterable[str]) -> "Scaling":
        """From the metadata as diffusers writes it, or for PEFT's `adapter_model.safetensors` from the config beside.

        Raises UnreadableAdapter for a config that trains whole modules, or whose alphas cannot be read.
        """
        raw, written = any(stem.startswith(RAW) for stem in stems), {}
        notes: tuple[str, ...] = ()
        if "lora_adapter_metadata" in metadata:
            written = _object(path.name, metadata["lora_adapter_metadata"])
        elif raw:
            if beside := config_beside(path):
                with beside.open("rb") as file:
                    written = _object(path.name, file.read(MAX_CONFIG_BYTES))
            else:
                notes = ("No alpha is given; it is taken to be the rank.",)
        configs: dict[str, dict] = {}
        for key, value in written.items():
            component, dot, field = key.partition(".")
            known = dot and component in COMPONENTS
            configs.setdefault(component if known else "", {})[field if known else key] = value
        patterns: dict[str, dict] = {}
        for component, config in configs.items():
            patterns[component] = _layer_names(path.name, config.get("alpha_pattern"))
            if config.get("modules_to_save"):
                raise UnreadableAdapter(
                    f"{path.name} replaces whole modules ({shown(config['modules_to_save'], 80)}); "
                    f"only adapters that add to weights are taken."
                )
        return cls(configs, patterns, notes)

    def alpha(self, layer: Layer, rank: int) -> float:
        """The alpha of a layer, for a scale of alpha / rank; the rank itself where the config is silent."""
        config, patterns = self._config(self.configs, layer), self._config(self.patterns, layer)
        levels = layer[1].split(".")
        ends = (".".join(levels[i:]) for i in range(len(levels)))
        # The first that fits counts, as in PEFT.
        own = min((patterns[end] for end in ends if end in patterns), default=None, key=lambda found: found[0])
        value = _number("alpha", own[1] if own else config.get("lora_alpha", config.get("alpha", rank)))
        # rsLoRA divides by sqrt(rank) (Kalajdzievski 2023); expressed here as an alpha for alpha / rank.
        return value * rank**0.5 if config.get("use_rslora") is True else value

    def without_rank(self, layer: Layer) -> float:
        """The scale of a LoKr of two whole matrices, whose rank only the config tells; 1 where it does not."""
        config = self._config(self.configs, layer)
        rank = _number("r", config.get("r", 1))
        return self.alpha(layer, 1) / rank if rank and "r" in config else 1.0

    @staticmethod
    def _config(by_component: Mapping[str, Mapping], layer: Layer) -> Mapping:
        return by_component.get(layer[0], by_component.get("", {}))


def _layer_names(file: str, pattern: object) -> dict[str, tuple[int, object]]:
    names = pattern if isinstance(pattern, dict) else {}
    for name in names:
        if not re.fullmatch(r"[\w.]+", name):
            raise UnreadableAdapter(f"{file} has {shown(name)} in its alpha_pattern, which names no layer.")
    return {plain(name): (i, value) for i, (name, value) in reversed(list(enumerate(names.items())))}


def _object(name: str, text: str | bytes) -> dict:
    try:
        found = json.loads(text)
    # A deep nest of brackets ends in RecursionError.
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableAdapter(f"{name} comes with a config that is not a JSON object.")
    return found


def _number(field: str, value: object) -> float:
    # Compared before float(), which a huge int overflows.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 2**63:
        raise UnreadableAdapter(f"The metadata gives {field} {shown(value)}; a number of ordinary size is needed.")
    return float(value)

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
from lora.names import COMPONENTS, Place, plain

MAX_CONFIG_BYTES = 2**20
RAW = "base_model.model."


@dataclass(frozen=True)
class Scaling:
    """`configs` by component; the empty name is raw PEFT's, which names none."""

    configs: Mapping[str, Mapping]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, metadata: Mapping[str, str], stems: Iterable[str]) -> "Scaling":
        """From the metadata as diffusers writes it, or for raw PEFT from `adapter_config.json` in the same folder.

        Raises UnreadableAdapter for a config that trains whole modules, or whose alphas cannot be read.
        """
        raw, notes, written = any(stem.startswith(RAW) for stem in stems), (), {}
        if "lora_adapter_metadata" in metadata:
            written = _object(metadata["lora_adapter_metadata"])
        elif raw:
            beside = path.with_name("adapter_config.json")
            if beside.is_file() and beside.stat().st_size <= MAX_CONFIG_BYTES:
                written = _object(beside.read_text(errors="replace"))
            else:
                notes = ("No alpha is given; it is taken to be the rank.",)
        configs: dict[str, dict] = {}
        for key, value in written.items():
            component, dot, field = key.partition(".")
            known = dot and component in COMPONENTS
            configs.setdefault(component if known else "", {})[field if known else key] = value
        for config in configs.values():
            if config.get("modules_to_save"):
                raise UnreadableAdapter(
                    f"{path.name} replaces whole modules ({shown(config['modules_to_save'], 80)}); "
                    f"only adapters that add to weights are taken."
                )
        return cls(configs, notes)

    def alpha(self, place: Place, rank: int) -> float:
        """The alpha of a layer, for a scale of alpha / rank; the rank itself where the config is silent."""
        config = self._config(place)
        patterns = config.get("alpha_pattern")
        value = config.get("lora_alpha", config.get("alpha", rank))
        for name, own in patterns.items() if isinstance(patterns, dict) else ():
            if not re.fullmatch(r"[\w.]+", name):
                raise UnreadableAdapter(f"The metadata's alpha_pattern has {shown(name)}, which names no layer.")
            if f".{place[1]}".endswith(f".{plain(name)}"):
                value = own
                break
        value = _number("alpha", value)
        # rsLoRA divides by sqrt(rank) (Kalajdzievski 2023); expressed here as an alpha for alpha / rank.
        return value * rank**0.5 if config.get("use_rslora") is True else value

    def without_rank(self, place: Place) -> float:
        """The scale of a LoKr of two whole matrices, whose rank only the config tells; 1 where it does not."""
        config = self._config(place)
        rank = _number("r", config.get("r", 1))
        return self.alpha(place, 1) / rank if rank and "r" in config else 1.0

    def _config(self, place: Place) -> Mapping:
        return self.configs.get(place[0], self.configs.get("", {}))


def _object(text: str) -> dict:
    try:
        found = json.loads(text)
    # A deep nest of brackets ends in RecursionError.
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(field: str, value: object) -> float:
    # Compared before float(), which a huge int overflows.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 2**63:
        raise UnreadableAdapter(f"The metadata gives {field} {shown(value)}; a number of ordinary size is needed.")
    return float(value)

"""Checks of single values, each with its sentence: the field, the value, what is allowed. No torch, no gradio."""

import math
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

from lora.errors import InvalidRequest, ModelError, TooLong, shown
from pipeline.request.limits import MAX_STEPS, SEEDS, Limits
from pipeline.text.variants import MAX_CHARACTERS

PROFILES = ("embedded", "laptop", "sdxl", "custom")


def text(field: str, value: object, empty: bool = True) -> str:
    """A prompt without control characters and lone surrogates, at most MAX_CHARACTERS long."""
    if not isinstance(value, str):
        raise InvalidRequest(field, value, "text")
    if len(value) > MAX_CHARACTERS:
        raise TooLong(field, f"{len(value)} characters long", f"text of at most {MAX_CHARACTERS} characters")
    # C*: control, lone surrogates, unassigned, and invisible marks such as those that reverse the writing direction.
    kept = (" " if c.isspace() else c for c in value)
    clean = "".join(c for c in kept if not unicodedata.category(c).startswith("C")).strip()
    if not (clean or empty):
        raise InvalidRequest(field, None, 'a few words, such as "a red apple"')
    return clean


def real(field: str, value: object, low: float, high: float) -> float:
    allowed = f"a number from {low:g} to {high:g}"
    # bool is an int in Python, but True is nobody's guidance scale.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(field, value, allowed)
    # Compared before float(), which a huge int overflows; NaN fails both comparisons.
    if not (low <= value <= high) or not math.isfinite(value):
        raise InvalidRequest(field, value, allowed)
    return float(value)


def whole(field: str, value: Any, low: int, high: int, step: int = 1, note: str = "") -> int:
    allowed = (
        f"a whole number from {low} to {high}{note}" if step == 1 else f"a multiple of {step} from {low} to {high}"
    )
    try:
        real(field, value, low, high)
    except InvalidRequest:
        raise InvalidRequest(field, value, allowed) from None
    if value != int(value) or int(value) % step:
        raise InvalidRequest(field, value, allowed)
    return int(value)


def switch(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(field, value, "true or false")
    return value


def choice(field: str, value: object, options: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in options:
        raise InvalidRequest(field, value, "one of " + ", ".join(options))
    return value


def drawn_seed(field: str, value: object) -> int:
    """0..SEEDS - 1; for -1 one that is drawn."""
    seed = whole(field, value, -1, SEEDS - 1, note=" (-1 draws one)")
    return random.SystemRandom().randrange(SEEDS) if seed == -1 else seed


def scheduler(value: object, limits: Limits) -> str:
    """The name of a preset that works on this model; for one that does not, the message says what to use."""
    names = limits.schedulers
    if isinstance(value, str) and value in names:
        return value
    instead = dict(limits.refused).get(value) if isinstance(value, str) else None
    raise InvalidRequest("scheduler", value, instead or f"one of {limits.presets}")


def steps(field: str, value: object, preset: object, limits: Limits, low: int = 1) -> int:
    """low..MAX_STEPS, or as many as the preset takes."""
    cap = dict(limits.step_caps).get(preset) if isinstance(preset, str) else None
    return whole(field, value, low, cap or MAX_STEPS, note=f" with {preset}" if cap else "")


def base_model(profile: str, base: str) -> None:
    """Whether PROFILE and BASE_MODEL, each empty or not, can be meant; asks no network. Raises ModelError."""
    if profile not in ("", *PROFILES):
        raise ModelError(f"PROFILE is {shown(profile)}, but must be one of {', '.join(PROFILES)}, or empty.")
    if profile == "custom" and not base:
        raise ModelError("PROFILE is custom, but BASE_MODEL is empty; set it to a folder or a Hub repository.")
    if base and profile not in ("", "custom"):
        raise ModelError(
            f"BASE_MODEL is set, but PROFILE is {shown(profile)}; leave PROFILE empty or set it to custom."
        )
    folder = Path(base)
    repository = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", base, re.ASCII) and not folder.exists()
    if base and not repository and not (folder / "model_index.json").is_file():
        # Its name only: nobody is told where on this machine something is.
        raise ModelError(
            f"BASE_MODEL is {shown(folder.name)}, but must be a folder of a diffusers model, with its "
            "model_index.json, or a Hub repository such as owner/name."
        )

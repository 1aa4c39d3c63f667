"""InvokeAI's texts, of three generations: a command line ("Dream"), "sd-metadata", and "invokeai_metadata"."""

import re
from typing import Any

from lora.errors import shown
from pipeline.metadata import names
from pipeline.metadata.parsing import reading, said, section, taken, use
from pipeline.request.fields import read_whole

_NAMES = {
    "positive_prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed", "steps": "steps",
    "cfg_scale": "guidance_scale", "cfg_rescale_multiplier": "guidance_rescale", "width": "width", "height": "height",
    "strength": "strength",
}  # fmt: skip
_TOLD = ("controlnets", "ipAdapters", "t2iAdapters", "refiner_model", "hrf_enabled", "perlin", "threshold", "vae",
         "seamless_x", "seamless_y", "regions", "variations", "postprocessing", "hires_fix")  # fmt: skip
_WEIGHED = re.compile(
    r"\(([^()]{1,500})\)(\+{1,9}|-{1,9}|\d\.?\d{0,3})?|(?<![^\s,])([^\s,()+-]{1,60})(\+{1,9}|-{1,9})(?=[\s,.]|\Z)"
)
# Of a command line the options stand at the end, steps first, and are short.
_START, _MOST_OPTIONS = re.compile(r" -s ?\d{1,4} -"), 400
_LETTERS = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "guidance_scale", "f": "strength"}


def is_its(found: dict) -> bool:
    """Whether it is InvokeAI's JSON."""
    return bool({"positive_prompt", "generation_mode", "app_id", "model_weights"} & {*found})


def read(found: dict) -> dict:
    """As `readers.read`."""
    image = section(found, "image")
    fields = image or dict(found)
    if image:
        # One prompt, or a list of several with weights.
        prompts = image.get("prompt")
        parts = prompts if isinstance(prompts, list) else [prompts]
        words = " ".join(said(part.get("prompt") if isinstance(part, dict) else part) for part in parts)
        fields["positive_prompt"], fields["negative_prompt"] = _parted(words.strip())
    values = taken(fields, _NAMES)
    if not image:
        values |= {name: _weighed(values[name]) for name in ("prompt", "negative_prompt") if name in values}
    if sampler := said(fields.get("scheduler") or fields.get("sampler")):
        values["scheduler"] = names.preset(sampler)
    # Layers that are left out, of models that have a choice.
    if skipped := read_whole(said(fields.get("clip_skip"))):
        values["clip_skip"] = skipped + 1
    uses = []
    for entry in fields["loras"] if isinstance(fields.get("loras"), list) else []:
        # {"lora": {"model_name": ...}, "weight": ...}, later {"model": {"name": ...}, "weight": ...}.
        if isinstance(entry, dict):
            uses += use(_name(section(entry, "lora") or section(entry, "model")), entry.get("weight", 1.0))
    other = {"Model": _name(section(found, "model")) or found.get("model_weights", "")}
    other |= {name: _shown(fields.get(name)) for name in _TOLD}
    style = said(fields.get("positive_style_prompt"))
    apart = style not in ("", found.get("positive_prompt"))
    notes = [f"Its second text encoder had words of its own: {shown(style, 300)}."] if apart else []
    return reading(values, uses, other, notes)


def read_command(text: str) -> dict | None:
    """What a command line of the first generation means: `"a red apple [blurry]" -s 50 -S 7 -W 512 ...`."""
    start = _START.search(text, max(0, len(text) - _MOST_OPTIONS))
    if start is None or "\n" in text.strip():
        return None
    options: dict[str, Any] = {}
    last = ""
    for word in text[start.start() :].split():
        # A value may follow its letter at once.
        if word[:1] == "-" and word[1:2].isalpha():
            last = word[:2] if word[1] in (*_LETTERS, "A") else word
            options[last] = word.removeprefix(last)
        elif not options[last]:
            options[last] = word
    words = text[: start.start()].strip()
    prompt, negative = _parted(words[1:-1] if words[:1] == words[-1:] == '"' else words)
    values = {"prompt": prompt, "negative_prompt": negative}
    values |= taken(options, {f"-{letter}": name for letter, name in _LETTERS.items()})
    if sampler := options.pop("-A", ""):
        values["scheduler"] = names.preset(sampler)
    return reading(values, [], options)


def _parted(words: str) -> tuple[str, str]:
    """A prompt in whose [brackets] stands what is to be left out."""
    negative = re.findall(r"\[([^\[\]]*)\]", words)
    prompt = re.sub(r"\[[^\[\]]*\]", "", words)
    return _weighed(prompt.strip()), _weighed(", ".join(part.strip() for part in negative))


def _weighed(words: str) -> str:
    """Its word+, word--, (several words)++ and (words)1.3 as weights: a tenth more or less for each sign. Brackets
    without a weight only hold words together there.
    """

    def weight(match: re.Match) -> str:
        inside, signs = match[1] or match[3], match[2] or match[4] or ""
        if signs[:1] in ("+", "-"):
            signs = f"{(1.1 if signs[0] == '+' else 0.9) ** len(signs):.4g}"
        return f"({inside}:{signs})" if signs else inside

    return _WEIGHED.sub(weight, words)


def _name(model: dict) -> str:
    return said(model.get("name") or model.get("model_name"))


def _shown(value: object) -> object:
    """Whether something stands there, if it is no word or number itself."""
    return "given" if isinstance(value, (list, dict)) and value else value

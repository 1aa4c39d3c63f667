"""Generation details <-> the text that A1111 writes into a picture's `parameters`. Pure text, linear time.

    a red apple <lora:ink:0.8>
    Negative prompt: blurry
    Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6, Seed: 7, Size: 1024x1024, Clip skip: 2, ...

Only what was applied is written. What A1111 has no name for stands in fields of our own, and a prompt that this form
would not bring back as it was (one with a line "Negative prompt: ..." in it) stands there once more, quoted.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from lora.errors import InvalidRequest, TooLong
from pipeline.request.details import upgraded
from pipeline.request.fields import Field, read_number
from pipeline.request.request import FIELDS
from pipeline.text.variants import adapter_tags

MAX_INFOTEXT = 100_000
VERSION = "LoRA Atelier"
NEGATIVE = "Negative prompt: "
# Our name -> A1111's.
SCHEDULE_TYPES = {
    "Karras": "Karras", "exponential": "Exponential", "beta": "Beta", "SGM uniform": "SGM Uniform",
    "AYS": "Align Your Steps",
}  # fmt: skip
# What A1111 users know stands where they look for it; fields that are ours alone come after.
ORDER = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Variation seed",
    "Variation seed strength", "Clip skip", "Denoising strength", "Mask blur", "Tiling", "Hires upscale", "Hires steps",
    "Hires upscaler", "Hires strength",
)  # fmt: skip
LAST = ("Lora hashes", "Version")
# The names of ComfyUI, which Fooocus writes too.
_COMFY = {
    "euler": "Euler", "euler_ancestral": "Euler a", "heun": "Heun", "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE", "dpmpp_sde": "DPM++ SDE", "ddim": "DDIM", "ddpm": "DDPM", "uni_pc": "UniPC",
    "uni_pc_bh2": "UniPC", "lcm": "LCM", "tcd": "TCD",
}  # fmt: skip
# Fields that it calls as we do.
_FOOOCUS = ("steps", "seed", "guidance_scale", "clip_skip")
# The name that ends at a colon, and a value in quotes, which may hold commas.
_NAME, _QUOTED = re.compile(r"\w[\w /-]*\Z"), re.compile(r'\s*("(?:[^\\"]|\\.)*")(?:,|\Z)')
_MAX_NAME = 61


def write(
    details: Mapping, index: int = 0, more: Mapping[str, str] | None = None, table: Sequence[Field] = FIELDS
) -> str:
    """The text of picture `index` of a Generation's details, of any version, with `more` fields at its end."""
    details = upgraded(details)
    prompt, negative = details["prompts"][index], details["negative_prompts"][index]
    uses = details["adapters"]
    tags = "".join(f" <lora:{use['id']}:{use['weight']:g}>" for use in uses)
    fields = {**_written(details, index, table), **(more or {})}
    lines = [prompt + tags, *([NEGATIVE + negative] if negative else [])]
    told = "\n".join([*lines, _joined(fields)])
    read = parse(told, table)
    if (read["prompt"], read["negative_prompt"]) != (prompt, negative):
        fields |= {"Exact prompt": json.dumps([prompt, negative])}
    if read["adapters"] != (exact := [_exact(use) for use in uses]):
        fields |= {"Adapters": json.dumps(exact)}
    return "\n".join([*lines, _joined(fields)])


def parse(text: str, table: Sequence[Field] = FIELDS) -> dict:
    """The values of a request, by the names that `GenerationRequest.create` takes, from our text, A1111's, or Fooocus'
    JSON. `other` are the fields that mean nothing here, as they stand.

    Raises InvalidRequest for what is no text or too long; values are checked when a request is made of them.
    """
    if not isinstance(text, str):
        raise InvalidRequest("parameters", text, "text")
    if len(text) > MAX_INFOTEXT:
        raise TooLong("parameters", f"{len(text)} characters long", f"text of at most {MAX_INFOTEXT} characters")
    if text.lstrip().startswith("{") and (found := _json(text, dict)):
        return _fooocus(found)
    return _a1111(text, table)


def _written(details: Mapping, index: int, table: Sequence[Field]) -> dict[str, object]:
    """The fields by their names in the text."""
    sampler, schedule = _split(details["scheduler"])
    hires, strength = details["hires"], details["strength"]
    # The second pass's values stand together in the details.
    values = {**details, "seed": details["seeds"][index], **{f"hires_{k}": v for k, v in (hires or {}).items()}}
    values["variation_seed"] = next(iter(details["variation_seeds"][index:]), None)
    fields = {
        field.infotext: field.written(values[field.name])
        for field in table
        if field.infotext and field.name in values and values[field.name] != field.neutral
    }
    # A1111 has one strength for both; only a picture that was painted over and enlarged needs two.
    both = hires is not None and strength is not None
    fields |= {
        "Sampler": sampler,
        "Schedule type": SCHEDULE_TYPES.get(schedule),
        "Size": f"{details['width']}x{details['height']}",
        "Model": details["profile"],
        "Denoising strength": hires["strength"] if hires and strength is None else strength,
        "Hires strength": hires["strength"] if both else None,
        "Lora hashes": ", ".join(f"{use['id']}: {use['sha256'][:12]}" for use in details["adapters"]) or None,
        "Version": VERSION,
    }
    names = sorted(fields, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER) + (name in LAST))
    return {name: fields[name] for name in names if fields[name] is not None}


def _joined(fields: Mapping) -> str:
    return ", ".join(f"{name}: {_quoted(str(value).removesuffix('.0'))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:"\\\n') or value != value.strip() else value


def _unquoted(value: str) -> str:
    found = _json(value, str) if value.startswith('"') else None
    return value.strip() if found is None else found


def _exact(use: Mapping) -> dict:
    """An applied adapter as an entry of a request's `adapters`, its usual values left out."""
    entry = {"id": use["id"], "weight": use["weight"]}
    entry |= {} if use["text_weight"] == use["weight"] else {"text_weight": use["text_weight"]}
    entry |= {"blocks": dict(use["blocks"])} if use["blocks"] else {}
    return entry | {name: use[name] for name, usual in (("start", 0), ("end", 1)) if use[name] != usual}


def _split(preset: str) -> tuple[str, str]:
    """Sampler and schedule of a preset, the schedule "" where it is the model's own."""
    schedule = next((name for name in SCHEDULE_TYPES if preset.endswith(f" {name}")), "")
    return preset.removesuffix(f" {schedule}"), schedule


def _a1111(text: str, table: Sequence[Field]) -> dict:
    *lines, last = text.strip("\n").split("\n")
    fields = {name: _unquoted(value) for name, value in _named(last)}
    if len(fields) < 3:
        # As in A1111: without a line of settings all of it is prompt.
        lines, fields = [*lines, last], {}
    start = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE.strip())), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(NEGATIVE.strip()).removeprefix(" ")
    prompt, tags = adapter_tags("\n".join(lines[:start]))
    values = {"prompt": prompt, "negative_prompt": negative, "adapters": [_tagged(*tag) for tag in tags]}
    if (exact := _json(fields.pop("Exact prompt", ""), list)) and list(map(type, exact)) == [str, str]:
        values["prompt"], values["negative_prompt"] = exact
    if (exact := _json(fields.pop("Adapters", ""), list)) is not None:
        values["adapters"] = exact
    return values | _settings(fields, table)


def _named(line: str) -> Iterator[tuple[str, str]]:
    """The fields of a line in order. No sign is looked at more than a few times, whatever it is."""
    at = 0
    while (colon := line.find(":", at)) >= 0:
        name = _NAME.search(line[max(at, colon - _MAX_NAME) : colon])
        at = colon + 1
        if name is None:
            continue
        # A quote that is not closed is none. Later ones stand behind a backslash then, and begin no value.
        quoted = _QUOTED.match(line, at)
        end = quoted.end(1) if quoted else line.find(",", at)
        end = end if end >= 0 else len(line)
        yield name[0], quoted[1] if quoted else line[at:end]
        at = end + 1


def _tagged(name: str, numbers: tuple[float, ...]) -> dict:
    # A1111: <lora:name:text encoder:unet>, or one number for both.
    weights = {"weight": numbers[-1] if numbers else 1.0}
    return {"id": name} | weights | ({"text_weight": numbers[0]} if len(numbers) == 2 else {})


def _settings(fields: dict[str, str], table: Sequence[Field]) -> dict:
    """The fields below a prompt as values; those that are not understood are `other`."""
    values: dict = {}

    def take(name: str, written: str, read: Callable[[str], object]) -> None:
        if written in fields and (value := read(fields[written])) is not None:
            values[name] = value
            del fields[written]

    if "Sampler" in fields:
        values["scheduler"] = _preset(fields.pop("Sampler"), fields.pop("Schedule type", ""))
    for field in table:
        if field.infotext:
            take(field.name, field.infotext, field.read)
    take("hires_strength", "Hires strength", read_number)
    one_strength = "hires_scale" in values and "hires_strength" not in values
    take("hires_strength" if one_strength else "strength", "Denoising strength", read_number)
    if size := re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", fields.get("Size", ""), re.ASCII):
        values |= {"width": int(size[1]), "height": int(size[2])}
        del fields["Size"]
    return values | {"other": fields}


def _preset(sampler: str, schedule: str) -> str:
    """Our name of a sampler and schedule of A1111, also where the schedule is at the end of the sampler's name."""
    name = f"{sampler} {schedule}" if schedule else sampler
    for ours, theirs in SCHEDULE_TYPES.items():
        if name.lower().endswith(f" {theirs.lower()}"):
            return f"{name[: -len(theirs) - 1]} {ours}"
    return sampler


def _fooocus(found: dict) -> dict:
    """Fooocus' JSON, of its pictures ("guidance_scale") or of its log ("Guidance Scale")."""
    fields = {re.sub(r"\W+", "_", name.strip().lower()): value for name, value in found.items()}
    text = {name: _said(fields.pop(name, "")) for name in ("prompt", "negative_prompt")}
    text["prompt"], tags = adapter_tags(text["prompt"])
    values: dict = text | {"adapters": [*_fooocus_adapters(fields), *(_tagged(*tag) for tag in tags)]}
    sampler = re.sub("_gpu$", "", _said(fields.pop("sampler", "")).lower())
    if sampler:
        schedule = _said(fields.pop("scheduler", "")).lower().replace("_", " ")
        values["scheduler"] = _preset(_COMFY.get(sampler, sampler), schedule)
    for field in FIELDS:
        if field.name in _FOOOCUS and (value := field.read(_said(fields.get(field.name)))) is not None:
            values[field.name] = value
            del fields[field.name]
    if size := re.fullmatch(r"\D*(\d{1,6})\D+(\d{1,6})\D*", _said(fields.get("resolution")), re.ASCII):
        values |= {"width": int(size[1]), "height": int(size[2])}
        del fields["resolution"]
    return values | {"other": {name: _said(value) for name, value in fields.items()}}


def _fooocus_adapters(fields: dict) -> list[dict]:
    found = fields.pop("loras", [])
    pairs = [use[:2] for use in found if isinstance(use, list) and len(use) > 1] if isinstance(found, list) else []
    for name in [name for name in fields if re.fullmatch(r"lora(_combined)?_\d+", name)]:
        pairs.append([*_said(fields.pop(name)).rpartition(" : ")[::2]])
    weights = ((_said(name), read_number(_said(weight))) for name, weight in pairs)
    return [{"id": name.removesuffix(".safetensors"), "weight": w} for name, w in weights if name and w is not None]


def _said(value: object) -> str:
    """A word or number of JSON as text, "" for what holds others: that may be deeper than Python writes."""
    return str(value) if isinstance(value, (str, int, float)) else ""


def _json(text: str, kind: type):
    """JSON of that type, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None

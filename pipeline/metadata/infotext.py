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
from pipeline.metadata import names, readers
from pipeline.metadata.parsing import read_json, read_size, said, use
from pipeline.request.details import upgraded
from pipeline.request.fields import Field, read_number, read_whole
from pipeline.request.mix import tagged
from pipeline.request.request import FIELDS
from pipeline.text.variants import adapter_tags

MAX_INFOTEXT = 100_000
# Of what this app writes. In the first form, which had no number, "Clip skip" was one more than ours on any model; in
# the first two the embedded model had eight pixels a latent, now it has sixteen.
VERSION, FORM = "LoRA Atelier", 3
NEGATIVE = "Negative prompt: "
# What A1111 users know stands where they look for it; fields that are ours alone come after.
ORDER = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Variation seed",
    "Variation seed strength", "Clip skip", "Denoising strength", "Mask blur", "Tiling", "Hires upscale", "Hires steps",
    "Hires upscaler", "Hires strength",
)  # fmt: skip
LAST = ("Lora hashes", "TI hashes", "Version")
# Others' names of A1111's fields: TensorArt's, Draw Things', Fooocus'.
OTHERWISE = {
    "KSampler": "Sampler", "Schedule": "Schedule type", "Guidance Scale": "CFG scale", "Scheduler": "Schedule type",
}  # fmt: skip
# Fields that A1111 never writes. Whoever wrote one drew noise in another way.
_FOREIGN = {
    "KSampler", "Guidance Scale", "Seed Mode", "Civitai resources", "Civitai metadata", "Created Date", "App",
    "Backend", "Parser", "Operations", "Pipeline", "Lora weights", "Performance", "metadata_scheme",
}  # fmt: skip
_A1111 = re.compile(r"(?:f[\d.]{1,9})?v(\d{1,3})\.(\d{1,3})|neo")
# The name that ends at a colon, and a value in quotes, which may hold commas.
_NAME, _QUOTED = re.compile(r"\w[\w /-]*\Z"), re.compile(r'\s*("(?:[^\\"]|\\.)*")(?:,|\Z)')
_MAX_NAME = 61
# Fields whose value is JSON, with commas in it.
_IN_JSON = {"Hashes", "Civitai resources", "Civitai metadata"}


def write(
    details: Mapping, index: int = 0, more: Mapping[str, str] | None = None, table: Sequence[Field] = FIELDS
) -> str:
    """The text of picture `index` of a Generation's details, of any version, with `more` fields at its end."""
    details = upgraded(details)
    prompt, negative = details["prompts"][index], details["negative_prompts"][index]
    uses = details["adapters"]
    fields = {**_written(details, index, table), **(more or {})}
    lines = [prompt + "".join(map(_tag, uses)), *([NEGATIVE + negative] if negative else [])]
    told = "\n".join([*lines, _joined(fields)])
    read = parse(told, table)
    if (read["prompt"], read["negative_prompt"]) != (prompt, negative):
        fields |= {"Exact prompt": json.dumps([prompt, negative])}
    if read["adapters"] != (exact := [_exact(use) for use in uses]):
        fields |= {"Adapters": json.dumps(exact)}
    return "\n".join([*lines, _joined(fields)])


def parse(text: str, table: Sequence[Field] = FIELDS, text_layer: int = 1) -> dict:
    """The values of a request, by the names that `GenerationRequest.create` takes, from our text, A1111's, or one of
    the other `readers`. `other` are the fields that mean nothing here, as they stand; `notes`, where there are any, say
    in words what a text is not able to tell. `text_layer` is the model's, as in Limits.

    Raises InvalidRequest for what is no text or too long; values are checked when a request is made of them.
    """
    if not isinstance(text, str):
        raise InvalidRequest("parameters", text, "text")
    if len(text) > MAX_INFOTEXT:
        raise TooLong("parameters", f"{len(text)} characters long", f"text of at most {MAX_INFOTEXT} characters")
    read = readers.read(text) or _a1111(text, table)
    if "clip_skip" in read:
        first = form(read["other"].get("Version")) == 1
        read["clip_skip"] = max(0, read["clip_skip"] - (1 if first else text_layer))
    return read


def is_ours(version: object) -> bool:
    """Whether this app wrote the text with this "Version"."""
    return form(version) > 0


def form(version: object) -> int:
    """The form of a text of this app with this "Version", 1 and up; 0 of any other's."""
    found = re.fullmatch(rf"{VERSION}(?: (\d{{1,3}}))?", version) if isinstance(version, str) else None
    return int(found[1] or 1) if found else 0


def _written(details: Mapping, index: int, table: Sequence[Field]) -> dict[str, object]:
    """The fields by their names in the text."""
    sampler, schedule = names.split(details["scheduler"])
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
    # Older records do not say of which layer they count.
    skipped, layer = details["clip_skip"], details.get("text_layer")
    fields |= {
        "Sampler": sampler,
        "Schedule type": names.SCHEDULE_TYPES.get(schedule),
        "Size": f"{details['width']}x{details['height']}",
        "Model": details["profile"],
        "Clip skip": skipped + (layer or 1) if skipped else None,
        "Denoising strength": hires["strength"] if hires and strength is None else strength,
        "Hires strength": hires["strength"] if both else None,
        "Lora hashes": ", ".join(f"{use['id']}: {use['sha256'][:12]}" for use in details["adapters"]) or None,
        "TI hashes": ", ".join(f"{one['word']}: {one['sha256'][:12]}" for one in details["embeddings"]) or None,
        "Version": f"{VERSION} {FORM}" if layer else VERSION,
    }
    order = sorted(fields, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER) + (name in LAST))
    return {name: fields[name] for name in order if fields[name] is not None}


def _tag(use: Mapping) -> str:
    weights = [use["weight"]] if use["text_weight"] == use["weight"] else [use["text_weight"], use["weight"]]
    return f" <lora:{use['id']}:{':'.join(f'{weight:g}' for weight in weights)}>"


def _joined(fields: Mapping) -> str:
    return ", ".join(f"{name}: {_quoted(str(value).removesuffix('.0'))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:"\\\n') or value != value.strip() else value


def _unquoted(value: str) -> str:
    found = read_json(value, str) if value.startswith('"') else None
    return value.strip() if found is None else found


def _exact(use: Mapping) -> dict:
    """An applied adapter as an entry of a request's `adapters`, its usual values left out."""
    entry = {"id": use["id"], "weight": use["weight"]}
    entry |= {} if use["text_weight"] == use["weight"] else {"text_weight": use["text_weight"]}
    entry |= {"blocks": dict(use["blocks"])} if use["blocks"] else {}
    return entry | {name: use[name] for name, usual in (("start", 0), ("end", 1)) if use[name] != usual}


def _a1111(text: str, table: Sequence[Field]) -> dict:
    *lines, last = text.replace("\r\n", "\n").strip("\n").split("\n")
    fields = {name: _unquoted(value) for name, value in _named(last)}
    if len(fields) < 3:
        # As in A1111: without a line of settings all of it is prompt.
        lines, fields = [*lines, last], {}
    start = next((i for i, line in enumerate(lines) if line.startswith(NEGATIVE.strip())), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(NEGATIVE.strip()).removeprefix(" ")
    prompt, tags = adapter_tags("\n".join(lines[:start]))
    uses = [tagged(*tag) for tag in tags] or _listed(fields)
    values: dict = {"prompt": prompt, "negative_prompt": negative, "adapters": uses}
    if (exact := read_json(fields.pop("Exact prompt", ""), list)) and list(map(type, exact)) == [str, str]:
        values["prompt"], values["negative_prompt"] = exact
    if (exact := read_json(fields.pop("Adapters", ""), list)) is not None:
        values["adapters"] = exact
    return values | _settings(fields, table)


def _named(line: str) -> Iterator[tuple[str, str]]:
    """The fields of a line in order. No sign is looked at more than a few times, whatever it is."""
    at, in_json, decoder = 0, {*_IN_JSON}, json.JSONDecoder()
    while (colon := line.find(":", at)) >= 0:
        name = _NAME.search(line[max(at, colon - _MAX_NAME) : colon])
        at = colon + 1
        if name is None:
            continue
        if name[0] in in_json:
            # Once each: it may take reading all that follows to see that it is none.
            in_json.remove(name[0])
            try:
                end = decoder.raw_decode(line, at + line[at : at + 1].count(" "))[1]
            except (ValueError, RecursionError):
                pass
            else:
                yield name[0], line[at:end]
                at = end
                continue
        # A quote that is not closed is none. Later ones stand behind a backslash then, and begin no value.
        quoted = _QUOTED.match(line, at)
        end = quoted.end(1) if quoted else line.find(",", at)
        end = end if end >= 0 else len(line)
        yield name[0], quoted[1] if quoted else line[at:end]
        at = end + 1


def _listed(fields: Mapping[str, str]) -> list[dict]:
    """Adapters that stand below a prompt without tags: Fooocus', and those of Civitai's generator."""
    uses = []
    for pair in fields.get("Lora weights", "").split(","):
        name, _, weight = pair.rpartition(": ")
        uses += use(name.strip(), weight)
    for resource in read_json(fields.get("Civitai resources", ""), list) or []:
        if isinstance(resource, dict) and said(resource.get("type")).lower() in ("lora", "locon", "dora", "lycoris"):
            uses += use(resource.get("modelName"), resource.get("weight", 1.0))
    return uses


def _settings(fields: dict[str, str], table: Sequence[Field]) -> dict:
    """The fields below a prompt as values; those that are not understood are `other`."""
    fields |= {ours: fields[theirs] for theirs, ours in OTHERWISE.items() if theirs in fields and ours not in fields}
    values: dict = {}

    def take(name: str, written: str, read: Callable[[str], object]) -> None:
        if written in fields and (value := read(fields[written])) is not None:
            values[name] = value
            del fields[written]

    maker = _A1111.match(fields.get("Version", ""))
    if "Sampler" in fields:
        sampler, schedule = fields.pop("Sampler"), fields.pop("Schedule type", "")
        spreads = maker is not None and maker[1] is not None and (int(maker[1]), int(maker[2])) >= (1, 9)
        values["scheduler"] = names.preset(sampler, schedule, spreads)
        # Who writes no version and ComfyUI's names, or a field of another tool, is neither A1111 nor Forge. These two
        # draw noise on the GPU unless they say another "RNG" (randn_source in their modules/shared_options.py).
        classic = "Version" not in fields and not (sampler.islower() or _FOREIGN & {*fields})
        if maker or classic:
            values["rng"] = {"CPU": "cpu"}.get(fields.pop("RNG", ""), "nv")
    ours = is_ours(fields.get("Version"))
    for field in table:
        # Other tools' noise is not known to be like ours, whatever they call it.
        if field.infotext and (ours or "rng" in values or field.name not in ("rng", "ensd")):
            take(field.name, field.infotext, field.read)
    take("clip_skip", "Clip skip", read_whole)
    take("hires_strength", "Hires strength", read_number)
    _take_resize(fields, values)
    one_strength = "hires_scale" in values and "hires_strength" not in values
    take("hires_strength" if one_strength else "strength", "Denoising strength", read_number)
    if size := read_size(fields.get("Size", "")):
        values |= size
        del fields["Size"]
    return values | {"other": fields}


def _take_resize(fields: dict[str, str], values: dict) -> None:
    """A second pass to a size in pixels, where it has the first one's shape, as one by a factor."""
    small, large = read_size(fields.get("Size", "")), read_size(fields.get("Hires resize", ""))
    if "hires_scale" in values or not (small and large):
        return
    # A side of 0 follows from the other one.
    factors = [large[side] / small[side] for side in small if small[side] and large[side]]
    if factors and max(factors) - min(factors) < 0.01 * min(factors):
        values["hires_scale"] = round(factors[0], 4)
        del fields["Hires resize"]

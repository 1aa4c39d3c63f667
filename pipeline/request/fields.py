"""What each value of a request is: its type, its limits and, in words, what it does. All descriptions come from here.

The endpoints' help, the API page, OpenAPI, the tools of agents and the command line say what this table says; whether
a value is allowed is seen in `GenerationRequest.create`.
"""

from pipeline.request.mix import MAX_ADAPTERS
from pipeline.request.request import (
    MAX_GUIDANCE,
    MAX_HIRES_SCALE,
    MAX_IMAGES,
    MAX_STEPS,
    SEEDS,
    UPSCALERS,
    Limits,
    usual,
)
from pipeline.text.prompt import MAX_CHUNKS

# An entry of `adapters`.
ADAPTER = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "weight": {"type": "number", "minimum": -2, "maximum": 2, "default": 1},
        "text_weight": {"type": "number", "minimum": -2, "maximum": 2},
        "blocks": {
            "type": "object",
            "properties": {
                name: {"type": "number", "minimum": -2, "maximum": 2} for name in ("down", "mid", "up")
            },
        },
        "start": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
        "end": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
    },
}  # fmt: skip


def schemas(limits: Limits) -> dict[str, dict]:
    """The JSON schema of each raw value of a request, with a `description`; `image` is a file. In /generate's order."""
    side = f"pixels, {limits.size_min} to {limits.size_max}, a multiple of {limits.size_step}"
    size = whole(side, limits.size_min, limits.size_max) | {"multipleOf": limits.size_step}
    chosen = {"enum": [*limits.schedulers]}
    rows = {
        "prompt": words(f"what to paint, up to {75 * MAX_CHUNKS} tokens, written as in AUTOMATIC1111"),
        "negative_prompt": words("what to leave out; no effect where guidance_scale is 1 or less"),
        "adapters": {
            "type": "array", "maxItems": MAX_ADAPTERS, "items": ADAPTER, "description":
            f'[{{"id": "ink", "weight": 0.8}}, ...], at most {MAX_ADAPTERS}, weights -2 to 2; ids from /adapters',
        },
        "width": size,
        "height": size,
        "steps": whole(f"1 to {MAX_STEPS}", 1, MAX_STEPS),
        "guidance_scale": real(f"0 to {MAX_GUIDANCE:g}", 0, MAX_GUIDANCE),
        "scheduler": words(f"one of {', '.join(limits.schedulers)}") | chosen,
        "seed": whole(f"0 to {SEEDS - 1}, or -1 to draw one; picture i has seed + i", -1, SEEDS - 1),
        "num_images": whole(f"1 to {MAX_IMAGES}", 1, MAX_IMAGES),
        "normalize_adapters": switch("scale the weights down so that their sizes add up to at most 1"),
        "image": {"description": "a PNG, JPEG or WebP file to begin with"},
        "strength": real("0 to 1, the share of the steps that paint over image", 0, 1),
        "hires_scale": real(
            f"1 to {MAX_HIRES_SCALE:g}; above 1 a second pass enlarges the picture", 1, MAX_HIRES_SCALE
        ),
        "hires_steps": whole(f"0 to {MAX_STEPS}; 0 is as many as steps", 0, MAX_STEPS),
        "hires_strength": real("0 to 1, the share of hires_steps that run", 0, 1),
        "hires_upscaler": words(f"what is enlarged, {' or '.join(UPSCALERS)}") | {"enum": [*UPSCALERS]},
        "clip_skip": whole(
            f"0 to {limits.clip_skip_max}; 0 is the model's usual text layer (A1111's \"Clip skip\" less one)",
            0, limits.clip_skip_max,
        ),
        "guidance_rescale": real("0 to 1", 0, 1),
        "guidance_start": real("0 to 1, the share of the steps after which guidance begins", 0, 1),
        "guidance_end": real("0 to 1, the share of the steps after which it ends", 0, 1),
        "eta": real("0 to 1, noise that DDIM and TCD add", 0, 1),
        "metadata": switch("write into the PNG how it was made"),
    }  # fmt: skip
    defaults = usual(limits)
    return {name: row | ({} if defaults[name] is None else {"default": defaults[name]}) for name, row in rows.items()}


def describe(limits: Limits) -> dict[str, str]:
    """In words what each value of a request is and what is allowed."""
    return {name: row["description"] for name, row in schemas(limits).items()}


def words(description: str) -> dict:
    """The schema of a text."""
    return {"type": "string", "description": description}


def whole(description: str, low: int, high: int) -> dict:
    """The schema of a whole number from `low` to `high`."""
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


def real(description: str, low: float, high: float) -> dict:
    """The schema of a number from `low` to `high`."""
    return {"type": "number", "minimum": low, "maximum": high, "description": description}


def switch(description: str) -> dict:
    """The schema of true or false."""
    return {"type": "boolean", "description": description}

"""Prompt templates: words that are written into the prompt, where everybody sees and edits them. Pure text."""

import json
from dataclasses import dataclass
from pathlib import Path

from lora.errors import InvalidRequest

SLOT = "{prompt}"
MAX_TEMPLATES = 8


@dataclass(frozen=True)
class PromptTemplate:
    """`prompt` holds SLOT, where what was written before goes; `negative` is added to the negative prompt."""

    name: str
    prompt: str
    negative: str


PROMPT_TEMPLATES = tuple(
    PromptTemplate(*row) for row in json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
)


def apply(names: object, prompt: str, negative: str = "") -> tuple[str, str]:
    """Prompt and negative prompt with the templates of these names around them, the first innermost.

    What a template would add to the negative prompt and is there already is left out. Raises InvalidRequest.
    """
    known = {style.name: style for style in PROMPT_TEMPLATES}
    if not isinstance(names, (list, tuple)) or len(names) > MAX_TEMPLATES:
        raise InvalidRequest("prompt_styles", names, f"a list of at most {MAX_TEMPLATES} names")
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise InvalidRequest("prompt_styles", name, "one of " + ", ".join(list(known)[:12]) + " …")
        before, _, after = known[name].prompt.partition(SLOT)
        prompt = before + prompt + after
        parts = [part.strip() for part in negative.split(",")]
        added = [part.strip() for part in known[name].negative.split(",")]
        negative = ", ".join([*filter(None, [negative]), *(part for part in added if part and part not in parts)])
    return prompt, negative

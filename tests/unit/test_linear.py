"""Foreign text is read in linear time, whatever it is: a hundred times as much takes about a hundred times as long."""

import json
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from lora import hub
from lora.errors import AtelierError, shown
from lora.foreign import recognized
from lora.formats import KEY
from lora.inspection import _by_names, one_line, top_tags, triggers
from lora.names import Names, plain
from pipeline.families import known_marks
from pipeline.metadata import infotext, names
from pipeline.metadata.infotext import MAX_INFOTEXT
from pipeline.metadata.restore import restore
from pipeline.profiles import EMBEDDED_PROFILE
from pipeline.request.checks import text
from pipeline.request.compare import listed
from pipeline.request.mix import trigger_words
from pipeline.request.request import GenerationRequest
from pipeline.request.tiers import few_step
from pipeline.text import prompt
from pipeline.text.variants import MAX_CHARACTERS, adapter_tags, combinations, expand
from tests.unit.test_restore import INK

LIMITS, MB = EMBEDDED_PROFILE.limits, 10**6
SIGNS = [
    "a", " ", ":", ",", '"', "\\", '\\"', "a:", "a: ", 'a:"', 'a:"\\', 'a: "b, ', "a: b, ", "\n", "[", "{", "(", "{}",
    "}{", "[" * 9, "<lora:", "<lora:a", "<lora:a:1", "<lora:a:1>", "{<lora:a>", "{a|", "{a|b}", "a|", "|}", "__", "_",
    "__a__", "__colour__", "[a:b:0.5]", "[a|", "((((a:1.2)", "a:1.2) ", "AND ", " AND a:1", "BREAK ", "\\(", "é猫",
    "0123456789", "1x", "a - ", "-1", "1-2, ", "a/", "a@", "/blob/", ".processor.to_q_lora", "up_blocks.1.",
    "a.lora_A.", ".down", "blocks.1", "blocks_0_", "transformer_blocks.0.", "model.diffusion_model.", ".layers.1", "-_",
    "lightning 1", "hyper sd cfg", "4steps ", "deadbeef: ", ": deadbeef", '": "', "\0", "\u202e",
]  # fmt: skip
SIDES = {side for marks in known_marks() for side in marks.widths}
COLOURS = {"colour": tuple(f"c{i}" for i in range(20_000))}


def hashes(value: str) -> None:
    restore(f"x\nSteps: 1, Sampler: Euler, Lora hashes: {value}", LIMITS, [INK], "embedded")


def quoted(value: str) -> None:
    restore(f'x\nSteps: 1, Sampler: Euler, Lora hashes: "{value}', LIMITS, [INK], "embedded")


def create(value: str) -> None:
    GenerationRequest.create({"prompt": value, "negative_prompt": value}, LIMITS, lambda name: INK, COLOURS)


def tags(value: str) -> None:
    top_tags({"ss_tag_frequency": json.dumps({"folder": {value: 1, **{str(i): 1 for i in range(len(value) // 20)}}})})


# What reads it, and up to what length: others refuse more, before or in it.
READERS = {
    "infotext": (infotext.parse, MAX_INFOTEXT), "last line": (lambda v: infotext.parse("a\n" + v), MAX_INFOTEXT - 2),
    "fields": (lambda v: infotext.parse("a\nSteps: 1, Sampler: x, Seed: 1, " + v), MAX_INFOTEXT - 99),
    "fooocus": (lambda v: infotext.parse(json.dumps({"prompt": v, "resolution": v, "lora_1": v, v: v})), 20_000),
    "graph": (lambda v: infotext.parse(json.dumps({"1": {"class_type": v, "inputs": {"text": v}}})), 20_000),
    "novelai": (lambda v: infotext.parse(json.dumps({"Comment": json.dumps({"prompt": v, "uc": v})})), 10_000),
    "invokeai": (lambda v: infotext.parse(json.dumps({"app_id": "", "image": {"prompt": v, "sampler": v}})), 20_000),
    "command": (lambda v: infotext.parse('"a" ' + v + " -s 1 -S 1"), MAX_INFOTEXT - 99),
    "options": (lambda v: infotext.parse('"a"' + " -s 1" * 99 + v), MAX_INFOTEXT - 999),
    "in json": (lambda v: infotext.parse(f"a\nSteps: 1, Sampler: x, Civitai resources: [{v}"), MAX_INFOTEXT - 99),
    "sampler": (names.preset, MAX_INFOTEXT),
    "hashes": (hashes, MAX_INFOTEXT - 99), "quoted hashes": (quoted, MAX_INFOTEXT - 99),
    "recall": (lambda v: restore(v, LIMITS, [INK], "embedded"), MAX_INFOTEXT), "tags": (adapter_tags, MB),
    "expand": (lambda v: expand(v, 1, COLOURS), 100_000), "combinations": (lambda v: combinations(v, COLOURS), 100_000),
    "create": (create, MAX_CHARACTERS), "prompt": (prompt.parse, 50_000), "text": (lambda v: text("prompt", v), MB),
    "reference": (hub.parse, MB), "short reference": (hub.parse, 1000), "key": (KEY.fullmatch, MB),
    "kind of file": (lambda v: recognized([v]), MB), 
    "family": (lambda v: _by_names([v], SIDES, known_marks()), 100_000),
    "layer": (plain, MB), "layers": (lambda v: Names({("unet", v): (1, 1)}).layers(v), MB), "line": (one_line, MB),
    "triggers": (lambda v: triggers({"modelspec.trigger_phrase": v}), MB), "tag counts": (tags, 200_000),
    "words": (lambda v: trigger_words(v, [replace(INK, triggers=("a" * 299 + "b",))]), MAX_CHARACTERS),
    "few steps": (lambda v: few_step(replace(INK, description=v[:300])), MB),
    "axis": (lambda v: listed("steps", v), 20_000), "shown": (shown, MB),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_reading_takes_linear_time(name):
    read, most = READERS[name]

    def seconds(sign: str, size: int) -> float:
        value = (sign * size)[:size]
        start = time.process_time()
        with suppress(AtelierError):
            read(value)
        return time.process_time() - start

    for sign in SIGNS:
        # Quadratic would be 10,000; the constant is for the garbage collector and what is not worth measuring.
        if (long := seconds(sign, most)) >= 0.1:
            short = min(seconds(sign, most // 100) for _ in range(3))
            assert min(long, seconds(sign, most)) < 300 * short + 0.1, (sign, short, long)

"""Foreign text that other readers stall on: in pictures, prompts and references (matrix B3)."""

import time
import zlib

import pytest

from tests.hostile import bombs
from tests.hostile.test_pictures import ended, sent
from tests.hostile.watch import watched

LAST = "a cat\nSteps: 3, Sampler: Euler, Seed: 1, "
# What is repeated up to the bound.
SIGNS = [
    "a",
    " ",
    "a: ",
    'a: "',
    '\\"',
    "<lora:a:1>",
    "{<lora:a:1>",
    "{a|",
    "[a:b:",
    "((",
    "__a__",
    "a, b: deadbeef",
    "AND ",
]
SIGNS += ["éé", "\u202e", "BREAK ", "[a|", "(a:1.1)", "\\", "[[[["]
INFOTEXTS = {
    "quote": LAST + 'Lora hashes: "' + "a" * 99_900, "hashes": LAST + "Lora hashes: " + "a" * 99_900,
    "fooocus": '{"prompt": "x", "loras": ' + "[" * 900 + "]" * 900 + "}", "digits": '{"steps": ' + "1" * 90_000 + "}",
    "weight": LAST + r'Adapters: "[{\"id\": \"x\", \"weight\": \"x\"}]"', "null": '{"prompt": null, "seed": 1e999}',
    **{f"prompt {sign}": (sign * 99_900)[:99_900] + "\n" + LAST[6:] for sign in SIGNS[::2]},
    **{f"fields {sign}": LAST + (sign * 99_900)[:99_900] for sign in SIGNS[1::2]},
}  # fmt: skip


def test_no_infotext_stalls(server):
    with watched(server):
        for name, text in INFOTEXTS.items():
            packed = zlib.compress(text.encode(), 9)
            data = bombs.png(bombs.chunk(b"iTXt", b"parameters\0\1\0\0\0" + packed))
            file, begun = sent(server, data), time.monotonic()
            ended(*server.call("read_picture", [file])[-1])
            assert time.monotonic() - begun < 10, name


@pytest.mark.parametrize("endpoint", ["tokenize", "generate"])
def test_no_prompt_stalls(server, endpoint):
    # No picture, the usual settings, and only told what it would cost.
    rest = [[], 64, 64, 2, 1.0, "Euler", 1, 1, False, None, 0.6, 1.0, 0, 0.5, "pixels", 0, 0.0, 0.0, 1.0, 0.0, False]
    rest += ["", True]
    with watched(server):
        for sign in SIGNS:
            for size in (9_990, 150_000) if sign in SIGNS[:3] else (9_990,):
                text, begun = (sign * size)[:size], time.monotonic()
                ended(*server.call(endpoint, [text] if endpoint == "tokenize" else [text, text, *rest])[-1])
                assert time.monotonic() - begun < 10, (sign, size)

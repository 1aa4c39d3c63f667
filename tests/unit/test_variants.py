"""Variants, wildcards and style tags: seeded, capped, and text where malformed (P7)."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora.errors import TooLong
from pipeline.text.variants import MAX_CHARACTERS, adapter_tags, combinations, expand, read_wildcards

COLOURS = {"colour": ("red", "green"), "fruit": ("__colour__ apple", "{ripe|raw} pear")}


def test_a_seed_draws_one_variant_and_always_the_same():
    drawn = {expand("a {red|green|{dark|pale} blue} apple", seed) for seed in range(60)}
    assert drawn == {"a red apple", "a green apple", "a dark blue apple", "a pale blue apple"}
    assert expand("{a|b|c|d}" * 9, 7) == expand("{a|b|c|d}" * 9, 7)


def test_wildcards_are_lines_of_files(tmp_path):
    (tmp_path / "colours").mkdir()
    (tmp_path / "colours" / "warm.txt").write_text("red # like a rose\n\n# none\norange\n")
    lists = read_wildcards(tmp_path)
    assert lists == {"colours/warm": ("red", "orange")}
    assert {expand("__colours/warm__ cat", s, lists) for s in range(20)} == {"red cat", "orange cat"}


def test_combinations_come_in_order_and_lines_may_hold_variants():
    assert combinations("{a|b}{c|}") == ("ac", "a", "bc", "b")
    assert combinations("__fruit__", COLOURS) == ("red apple", "green apple", "ripe pear", "raw pear")


@pytest.mark.parametrize("text", ["{a", "a}", "{a}", "{}", "__none__", "____", r"\{a|b\}", "a|b", "_x_", "<lora:x", ""])
def test_what_is_malformed_or_unknown_is_text(text):
    assert expand(text, 1, COLOURS) == text and combinations(text, COLOURS) == (text,)
    assert adapter_tags(text) == (text, ())


def test_tags_are_taken_out():
    assert adapter_tags("a <lora:ink:0.8> cat<lora:gloss> <lora:x:-1:0.5>") == (
        "a cat",
        (("ink", (0.8,)), ("gloss", ()), ("x", (-1.0, 0.5))),
    )
    assert adapter_tags("<lora:a:te=0.5><lora:b:1:unet=0:dyn=8>")[1] == (("a", (0.5, 0.5)), ("b", (1.0, 0.0, 8.0)))
    for text in (
        "<lora:ink:strong>",
        r"\<lora:ink>",
        "<lora:>",
        "<lora:a:1:2:3>",
        "<lora:a:>",
        "<lora:a:te=>",
        "<lora:a:lbw=1>",
    ):
        assert adapter_tags(text) == (text, ())


BOMBS = {
    "self": ("__self____self__",),
    **{f"b{i}": (f"__b{i + 1}__" * 10,) for i in range(9)},
    "b9": ("x",),
    "e9": ("", ""),
    **{f"e{i}": (f"__e{i + 1}__" * 10,) * 2 for i in range(9)},
}


@pytest.mark.parametrize("text", ["__self__", "__b0__", "__e0__", "{a|" * 500 + "}" * 500, "__b8__" * 1500])
def test_p7_bombs_are_refused_in_words(text):
    start = time.process_time()
    for spread in (lambda: expand(text, 1, BOMBS), lambda: combinations(text, BOMBS)):
        with pytest.raises(TooLong, match="prompt is"):
            spread()
    assert time.process_time() - start < 2


def test_p7_combinations_are_capped():
    assert len(combinations("{a|b}" * 2000, most=100)) == 100
    assert len(combinations("{" + "{a|b}" * 30 + "|c}", most=10)) == 10


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from([*"{}|_\\<>: ", "__colour__", "__fruit__", "__self__", "a"]), max_size=40).map("".join))
def test_p7_any_text_is_expanded_or_refused(text):
    lists = COLOURS | {"self": ("__self__ a", "b")}
    try:
        assert len(expand(text, 3, lists)) <= MAX_CHARACTERS
        assert len(combinations(text, lists, 5)) <= 5
    except TooLong:
        pass

"""Prompts are read as A1111 documents them; what is malformed is text; everything takes linear time (P1, P2, P3)."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora.errors import TooLong
from pipeline.text.prompt import MAX_PARTS, MAX_WEIGHT, parse


def runs(text: str, step: int = 1, steps: int = 1) -> list:
    ((phrase, _),) = parse(text).at(step, steps)
    assert len(phrase) == 1
    return [(words.text, words.weight) for words in phrase[0]]


def phases(text: str, steps: int) -> list:
    found = parse(text).schedule(steps)
    return [(last, "".join(words.text for group in parts[0][0] for words in group)) for last, parts in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("a (word)", [("a ", 1), ("word", 1.1)]),
        ("a ((word))", [("a ", 1), ("word", 1.21)]),
        ("a [word]", [("a ", 1), ("word", 1 / 1.1)]),
        ("a (word:1.5)", [("a ", 1), ("word", 1.5)]),
        ("a (word:0.25)", [("a ", 1), ("word", 0.25)]),
        (r"a \(word\)", [("a (word)", 1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
             ("sky", 1.4641), (".", 1.1)],
        ),
    ],
)  # fmt: skip
def test_a1111_documented_weights(text, expected):
    assert [t for t, _ in runs(text)] == [t for t, _ in expected]
    assert [w for _, w in runs(text)] == pytest.approx([w for _, w in expected])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: 3]", [(3, "a "), (10, "a b")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
        ("[day::4] sky", [(4, "day sky"), (10, " sky")]),
        ("[:day:4] sky", [(4, " sky"), (10, "day sky")]),
        ("[fe|]male", [(i, "female" if i % 2 else "male") for i in range(1, 11)]),
        ("[fe|||]male", [(1, "female"), (4, "male"), (5, "female"), (8, "male"), (9, "female"), (10, "male")]),
        ("a [b:c:20]", [(10, "a b")]),
        ("a [b:c:0]", [(10, "a c")]),
    ],
)
def test_a1111_documented_schedules(text, expected):
    assert phases(text, 10) == expected


def test_a1111_documented_landscape():
    text = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6]"
        "[ in background:0.25] [shoddy:masterful:0.5]"
    )
    start = "fantasy landscape with a "
    assert phases(text, 100) == [
        (25, start + "mountain and an oak in foreground shoddy"),
        (50, start + "lake and an oak in foreground in background shoddy"),
        (60, start + "lake and an oak in foreground in background masterful"),
        (75, start + "lake and an oak in background masterful"),
        (100, start + "lake and a christmas tree in background masterful"),
    ]


def test_weights_reach_into_switches():
    assert runs("([a:b:0.5]:1.3)", 1, 2) == [("a", 1.3)] and runs("([a:b:0.5]:1.3)", 2, 2) == [("b", 1.3)]
    assert [runs("[a|(b:1.1)]", step, 9) for step in (1, 2, 3)] == [[("a", 1)], [("b", 1.1)], [("a", 1)]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a) b]", [("a) b]", 1)]),
        ("10:30 | noon", [("10:30 | noon", 1)]),
        ("(x:nan)", [("x:nan", 1.1)]),
        ("(x:1e9)", [("x:1e9", 1.1)]),
        ("(x:-inf)", [("x:-inf", 1.1)]),
        ("(a [b) c]", [("a [b", 1.1), (" c]", 1)]),
        ("[a:b:c:1]", [("a:b:c:1", 1 / 1.1)]),
        ("[a|b:0.5]", [("a|b:0.5", 1 / 1.1)]),
        ("(a:b:1.3)", [("a:b", 1.3)]),
        ("()[]", []),
        ("back\\slash \\\\(x)", [("back\\slash \\", 1), ("x", 1.1)]),
    ],
)
def test_what_is_malformed_is_text(text, expected):
    assert runs(text) == expected


@pytest.mark.parametrize(("weight", "taken"), [("9", 5), ("1000000000", 5), ("-2", 0), ("0", 0), ("5", 5)])
def test_p3_weights_are_clamped_and_it_is_said(weight, taken):
    parsed = parse(f"a (sky:{weight}) b")
    assert runs(f"a (sky:{weight}) b")[1] == ("sky", taken)
    assert len(parsed.clamped) == (float(weight) != taken)
    assert all('"sky"' in said and f"counts as {taken}" in said for said in parsed.clamped)


def test_break_starts_a_group():
    ((phrase, _),) = parse("a BREAK (b BREAK c) BREAKFAST").at(1, 1)
    assert [[w.text for w in group] for group in phrase] == [["a "], [" ", "b "], [" c", " BREAKFAST"]]


def test_and_composes_with_weights():
    parsed = parse("a cat :1.2 AND a dog AND a (penguin:1.1) :2.2 AND 10:30")
    assert [part.weight for part in parsed.parts] == [1.2, 1, 2.2, MAX_WEIGHT]
    assert runs("a cat :1.2") == [("a cat :1.2", 1)]
    assert len(parse("a AND b", compose=False).parts) == 1 and len(parse("SAND AND sand").parts) == 2
    with pytest.raises(TooLong, match="parts joined by AND"):
        parse(" AND ".join("x" * (MAX_PARTS + 1)))


def test_switches_in_switches_have_an_end():
    with pytest.raises(TooLong, match="at most 50 deep"):
        parse("[a|" * 60 + "]" * 60)


SIGNS = st.lists(
    st.sampled_from([*"()[]:|\\{}_<> ,", ":1.3)", ":0.5]", ":3]", "(", "[", "BREAK", " AND ", "a", "apple", "1", "é"])
    | st.text(max_size=3),
    max_size=60,
).map("".join)


def holds(text: str) -> None:
    try:
        parsed = parse(text)
    except TooLong:
        return
    hash(parsed)
    for last, parts in parsed.schedule(5):
        assert 1 <= last <= 5
        for phrase, strength in parts:
            assert -MAX_WEIGHT <= strength <= MAX_WEIGHT
            for words in (w for group in phrase for w in group):
                assert words.text and math.isfinite(words.weight) and 0 <= words.weight <= MAX_WEIGHT
    if not set(text) & set("()[]\\") and "BREAK" not in text and "AND" not in text:
        assert "".join(w for w, _ in runs(text)) == text


@settings(max_examples=2000, deadline=None)
@given(SIGNS)
def test_p2_any_text_is_read(text):
    holds(text)


@pytest.mark.slow
@settings(max_examples=100_000, deadline=None)
@given(SIGNS)
def test_p2_any_text_is_read_100_000_cases(text):
    holds(text)


@pytest.mark.parametrize("sign", ["(", "[", "([", "(a)[b|c](d:1.2)", "((x:1.2", "[a:b:", "a:|", ")]", "BREAK ", " "])
def test_p2_linear_time(sign):
    def seconds(size: int) -> float:
        text = (sign * size)[:size]
        start = time.process_time()
        parse(text)
        return time.process_time() - start

    # 10 would be linear; the rest is for the garbage collector and a busy machine. Quadratic would be 100.
    assert min(seconds(200_000) for _ in range(2)) < 50 * min(seconds(20_000) for _ in range(2)) + 0.1


@pytest.mark.parametrize("sign", ["(", "[", "(["])
def test_p2_ten_thousand_brackets(sign):
    def seconds() -> float:
        start = time.process_time()
        parse((sign * 10_000)[:10_000])
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.05

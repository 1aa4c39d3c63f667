"""Templates are added as text, visibly; the collection is whole and sound."""

import pytest

from lora.errors import InvalidRequest
from pipeline.text.prompt import parse, plain
from pipeline.text.prompt_templates import PROMPT_TEMPLATES, SLOT, apply
from pipeline.text.variants import adapter_tags, combinations


def test_there_are_many_and_each_is_its_own():
    assert len(PROMPT_TEMPLATES) >= 32
    for field in ("name", "prompt"):
        assert len({getattr(style, field) for style in PROMPT_TEMPLATES}) == len(PROMPT_TEMPLATES)


@pytest.mark.parametrize("style", PROMPT_TEMPLATES, ids=lambda style: style.name)
def test_a_template_holds_the_prompt_once_and_nothing_that_a_prompt_reads_as_a_sign(style):
    assert style.prompt.count(SLOT) == 1 and style.negative and style.name.isprintable()
    text, negative = apply([style.name], "a fox")
    assert "a fox" in text and negative == style.negative
    for written in (text, negative):
        assert combinations(written) == (written,) and adapter_tags(written) == (written, ())
        ((phrase, weight),) = parse(written).at(1, 1)
        assert plain(phrase) == written and weight == 1 and {w.weight for group in phrase for w in group} == {1}


def test_styles_stand_around_the_prompt_in_order():
    prompt, negative = apply(["Line art", "Sticker"], "{red|green} {prompt} fox", "blur, photo")
    assert prompt == (
        "die-cut sticker of clean line art of {red|green} {prompt} fox, even black contour on white, no shading, "
        "thick white border, bold simple colours, plain background"
    )
    assert negative == "blur, photo, colour, shading, grey, busy background"
    assert apply([], "x", "y") == ("x", "y")


@pytest.mark.parametrize("names", ["Line art", None, ["Nothing"], [3], ["Line art"] * 9])
def test_what_is_no_list_of_names_is_refused(names):
    with pytest.raises(InvalidRequest, match=r"prompt_styles is .*, but must be"):
        apply(names, "x")

"""What the actions on a picture set on the page."""

import pytest

from lora.errors import InvalidRequest
from pipeline.request.limits import Limits
from ui.pages.common.acts import enlargement, fitted, restoring, starting

LIMITS = Limits(schedulers=("Euler",), scheduler="Euler", size_min=256, size_max=1536, hires_size_max=2048)
VALUES = {"prompt": "a cat", "seed": 7, "width": 512, "height": 768, "hires_scale": 1.0, "steps": 25}


def test_all_is_restored_and_the_seed_is_locked():
    made = restoring("restore", VALUES, [], LIMITS)
    assert made.values == VALUES | {"image": None, "mask": None}
    assert (made.done, made.notes, made.page, made.paint) == ("Restored. The seed is locked", (), "paint", False)
    made = restoring("whatever", VALUES, ["x is missing."], LIMITS)
    assert (made.done, made.notes) == ("Restored", ("x is missing.", "The seed is locked."))
    # A picture that says no seed.
    assert restoring("restore", VALUES | {"seed": -1}, [], LIMITS).done == "Restored"


def test_only_the_prompt_or_the_seed():
    assert restoring("prompt", VALUES, ["x"], LIMITS).values == {"prompt": "a cat"}
    made = restoring("seed", VALUES, ["x"], LIMITS)
    assert made.values == {"seed": 7} and made.done == "The seed is set. The seed is locked" and made.notes == ()


def test_compare_is_another_page():
    assert restoring("compare", VALUES, [], LIMITS).page == "compare"


def test_enlarging_and_varying_paint_at_once():
    made = restoring("enlarge", VALUES, [], LIMITS)
    assert made.paint and made.values == VALUES | {"hires_scale": 2.0, "image": None, "mask": None}
    made = restoring("vary", VALUES, [], LIMITS)
    assert made.paint and made.values["variation_strength"] == 0.15 and made.values["variation_seed"] == -1
    assert made.values["seed"] == 7 and made.done == "Varying it. The seed is locked"


@pytest.mark.parametrize("what", ["enlarge", "vary"])
def test_what_may_not_become_the_same_picture_is_set_and_not_painted(what):
    made = restoring(what, VALUES, ["The adapter is missing."], LIMITS)
    assert not made.paint and made.notes[0] == "The adapter is missing." and "Nothing was painted yet" in made.notes[1]


@pytest.mark.parametrize(("size", "scale"), [((512, 512), 2.0), ((1024, 1024), 2.0), ((1536, 512), 1.25)])
def test_as_much_as_the_model_can_do(size, scale):
    assert enlargement(*size, 1.0, LIMITS) == scale
    assert round(max(size) * scale) <= LIMITS.hires_size_max


def test_what_is_as_large_as_can_be_is_not_enlarged():
    with pytest.raises(InvalidRequest, match="picture is 1024 × 1536 pixels large, but must be one that has not been"):
        enlargement(512, 768, 2.0, LIMITS)
    with pytest.raises(InvalidRequest, match="but must be smaller to be enlarged, since 1600 pixels a side"):
        enlargement(1536, 1536, 1.0, Limits(schedulers=(), scheduler="", hires_size_max=1600))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((512, 768), (512, 768)), ((1024, 2048), (768, 1536)), ((64, 128), (256, 512)), ((500, 501), (496, 504)),
     ((1, 100_000), (256, 1536)), ((100_000, 1), (1536, 256)), ((1000, 3), (1536, 256))],
)  # fmt: skip
def test_the_size_that_can_be_painted_in_the_shape_of_a_picture(size, wanted):
    assert fitted(*size, LIMITS) == wanted


def test_starting_from_a_picture_forgets_what_belongs_to_another():
    fields = dict.fromkeys(("image", "width", "mask", "outpaint_left", "hires_scale"))
    nothing = {"outpaint_left": 0, "hires_scale": 1, "mask": None}
    assert starting(512, 768, fields, LIMITS) == nothing | {"width": 512, "height": 768}
    for wrong in (None, "512", 0, -1, 2**70, 1.5, [1], float("nan")):
        assert starting(512, wrong, fields, LIMITS) == nothing

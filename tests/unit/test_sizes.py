"""Sizes that a model paints well."""

import pytest

from pipeline.profiles import EMBEDDED_PROFILE, SDXL_PROFILE
from pipeline.request.limits import Limits
from pipeline.request.sizes import good_sizes


def test_those_of_sdxl_are_those_it_was_trained_at():
    """Podell et al. 2023, appendix I."""
    sizes = {each["name"]: (each["width"], each["height"]) for each in good_sizes(SDXL_PROFILE.limits)}
    assert sizes == {
        "1:1": (1024, 1024),
        "4:3": (1152, 896),
        "3:2": (1216, 832),
        "16:9": (1344, 768),
        "21:9": (1536, 640),
    }


@pytest.mark.parametrize("limits", [EMBEDDED_PROFILE.limits, SDXL_PROFILE.limits])
def test_all_of_them_are_allowed_and_none_costs_more(limits):
    for each in good_sizes(limits):
        for side in (each["width"], each["height"]):
            assert limits.size_min <= side <= limits.size_max and side % limits.size_step == 0
        assert 0.9 * limits.width * limits.height <= each["width"] * each["height"] <= limits.width * limits.height


def test_where_there_is_one_size_only_there_is_no_other():
    only = Limits(schedulers=(), scheduler="", width=512, height=512, size_min=512, size_max=512)
    assert [each["name"] for each in good_sizes(only)] == ["1:1"]

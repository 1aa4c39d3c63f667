"""What a host lets strangers choose of a training, and what it chooses itself."""

import math

import jsonschema
import pytest

from lora.errors import InvalidRequest
from training.presets import OPTIONS, PRESETS, TrainingScope

SMALL, LARGE = TrainingScope(True, 128, 5000), TrainingScope(False, 1024, 5000)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scope", [SMALL, LARGE], ids=["small", "large"])
def test_a_preset_is_a_config_within_the_bounds(scope, preset):
    config = scope.config(preset, {}, trigger="x")
    jsonschema.validate({field.name: getattr(config, field.name) for field in OPTIONS}, scope.schema())
    assert TrainingScope(scope.small, scope.side, 50).config(preset, {}, trigger="x").steps == 50
    assert scope.config(preset, {"steps": 7}, trigger="x").steps == 7


def test_from_few_pictures_a_small_model_keeps_its_shapes_unless_it_is_told_otherwise():
    shares = [SMALL.config("quick", {}, count, trigger="x").preserve_noisiest for count in (3, 8, 9, 50)]
    assert shares == [0.3, 0.3, 0, 0] and LARGE.config("quick", {}, 3, trigger="x").preserve_noisiest == 0
    assert SMALL.config("quick", {"preserve_noisiest": 0.0}, 3, trigger="x").preserve_noisiest == 0


def test_a_large_model_is_trained_in_little_memory():
    config = LARGE.config("balanced", {}, trigger="x")
    assert config.gradient_checkpointing and config.precision == "bfloat16" and config.batch_size == 1


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"resolution": 256}, ["resolution"]),
        ({"rank": 129, "batch_size": 17, "steps": 5001}, ["rank", "batch_size", "steps"]),
        ({"steps": math.nan}, ["steps"]),
        ({"steps": 10**400}, ["steps"]),
        ({"rank": True}, ["rank"]),
        ({"rank": 4, "speed": 1, "dora": 1}, ["options", "dora"]),
        ({"trigger": "mine"}, ["options"]),
        ([1], ["options"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_beyond_the_bounds_or_no_option_is_refused_by_name(options, fields):
    with pytest.raises(InvalidRequest) as caught:
        SMALL.config("quick", options, trigger="x")
    assert [each.field for each in caught.value.problems] == fields

"""`python -m pipeline` on a tiny model: the same pictures as the engine's, and errors in one sentence."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from lora.errors import AtelierError
from pipeline.__main__ import MODELS_OWN, parser, request_values, run
from pipeline.profiles import EMBEDDED_PROFILE, LAPTOP_PROFILE, SDXL_PROFILE
from pipeline.request.fields import schemas
from pipeline.request.request import FIELDS, Limits
from tests.adapters import library_with

ROOT = Path(__file__).resolve().parents[2]


def painted(model, folder, *more):
    place = ["--base-model", str(model[0]), "-o", str(folder / "apple.png"), "--steps", "2", "--seed", "7"]
    run(parser().parse_args(["a red apple", *place, *more]))


@pytest.mark.parametrize("model", ["tiny_sdxl"], indirect=True)
def test_it_writes_numbered_files_and_prints_the_details(model, tmp_path, capsys):
    (tmp_path / "styles").mkdir()
    library_with(model[1], tmp_path / "styles", "ink")
    styles = ["--adapters-dir", str(tmp_path / "styles"), "--adapter", "ink:0.8"]
    painted(model, tmp_path, *styles, "--num-images", "2", "--json")
    details = json.loads(capsys.readouterr().out)
    assert details["seeds"] == [7, 8] and details["adapters"][0]["weight"] == 0.8
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["apple-1.png", "apple-2.png"]
    painted(model, tmp_path, *styles)
    assert (tmp_path / "apple.png").read_bytes() == (tmp_path / "apple-1.png").read_bytes()
    assert "<lora:ink:0.8>" in Image.open(io.BytesIO((tmp_path / "apple.png").read_bytes())).text["parameters"]


def test_only_what_is_said_is_a_value():
    said = request_values(parser().parse_args(["x", "--adapter", "ink", "--no-metadata", "--clip-skip", "1"]))
    adapters = [{"id": "ink", "weight": 1.0}]
    assert said == {"prompt": "x", "adapters": adapters, "metadata": False, "clip_skip": 1}


def test_an_adapter_can_be_said_in_full():
    ink = {"id": "ink", "weight": 0.8, "text_weight": 0.3, "start": 0.2, "end": 0.9, "blocks": {"down": 0.5}}
    args = parser().parse_args(["x", "--adapter", json.dumps(ink), "--adapter", "neon:-1", "--adapter", "gloss"])
    assert request_values(args)["adapters"] == [ink, {"id": "neon", "weight": -1.0}, {"id": "gloss", "weight": 1.0}]


def test_every_option_tells_what_it_is_what_is_allowed_and_what_is_taken_without_it():
    offered = {action.dest: action.help for action in parser()._actions}
    assert all(offered.values())
    told = schemas(Limits((), ""), FIELDS)
    assert set(told) - {"adapters"} <= set(offered), "every field of a request"
    for name, schema in told.items():
        if "maximum" in schema and name not in MODELS_OWN:
            assert all(str(schema[end]).removesuffix(".0") in offered[name] for end in ("minimum", "maximum")), name
    assert offered["steps"] == "1 to 150 (default: the model's own)" and "(default: 0.6)" in offered["strength"]
    assert "(default: 1)" in offered["num_images"] and "-2 to 2" in offered["adapter"]
    assert "0 to 1024" in offered["threads"]
    for profile in (EMBEDDED_PROFILE, LAPTOP_PROFILE, SDXL_PROFILE):
        limits = profile.limits
        assert f"0 to {limits.clip_skip_max} with {profile.name}" in offered["clip_skip"]
        sides = f"of {limits.size_step} from {limits.size_min} to {limits.size_max} with {profile.name}"
        assert sides in offered["width"]


@pytest.fixture
def as_many_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", ["tiny_sdxl"], indirect=True)
def test_threads_are_as_said_or_as_the_variable_says(model, tmp_path, monkeypatch, as_many_threads_after):
    for said, variable, threads in ((["--threads", "1"], "", 1), ([], "2", 2), (["--threads", "1"], "2", 1)):
        monkeypatch.setenv("THREADS", variable)
        painted(model, tmp_path, *said)
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("value", ["-1", "1025", "two"])
def test_a_bad_number_of_threads_is_said(monkeypatch, value):
    monkeypatch.setenv("THREADS", value)
    with pytest.raises(AtelierError, match=f"threads is '?{value}'?, but must be a whole number from 0 to 1024"):
        run(parser().parse_args(["x"]))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--adapter", '{"id": "ink"'], "adapter is .*, but must be an id"),
        (["--adapter", '{"weight": 1}'], "adapter is .*, but must be an id"),
        (["--threads", "5000"], "threads is 5000, but must be a whole number from 0 to 1024"),
        (["--adapter", "ink:much"], "adapter is 'ink:much', but must be an id"),
        (["--image", "no-such.png"], "image is 'no-such.png', but must be a file that can be read"),
        (["-o", "apple.jpg"], "output ending is '.jpg', but must be one of .png"),
        (["-o", "no-such/apple.png"], "in a folder that exists"),
        (["--adapters-dir", "no-such"], "adapters_dir is 'no-such'"),
        (["--profile", "sd3"], "PROFILE is 'sd3', but must be"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(more, says):
    with pytest.raises(AtelierError, match=says):
        run(parser().parse_args(["x", *more]))


def test_an_error_is_a_sentence_and_exit_code_2_and_comes_before_torch_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "pipeline", "x", "-o", "apple.jpg"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.strip().splitlines()[-1] == "output ending is '.jpg', but must be one of .png."
    assert "Traceback" not in ended.stderr
    assert not re.search(r"\|\s+(torch|diffusers)\n", ended.stderr)

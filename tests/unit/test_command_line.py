"""`python -m pipeline` on a tiny model: the same pictures as the engine's, and errors in one sentence."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lora.errors import AtelierError
from pipeline.__main__ import parser, request_values, run
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


@pytest.mark.parametrize(
    ("more", "says"),
    [
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

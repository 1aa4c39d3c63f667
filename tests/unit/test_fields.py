"""A value of a request is one row: everything that takes it or tells of it follows. And all that is wrong is told."""

import inspect
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora.errors import InvalidRequest, Several, UnknownAdapter
from pipeline.__main__ import parser
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.request import details
from pipeline.request.fields import Switch, Whole, defaults, row, rows, schemas
from pipeline.request.limits import Limits
from pipeline.request.request import FIELDS, GenerationRequest
from serving.history import History
from ui.api.agents import FILE as AGENTS_FILE
from ui.api.endpoint import Endpoint
from ui.api.endpoints import generate_endpoint
from ui.api.openapi import openapi
from ui.atelier import Atelier
from ui.web.uploads import Uploads

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(("Euler", "DDIM"), "Euler", 128, 128, 64, 256, steps=25)


@dataclass(frozen=True, kw_only=True)
class Larger(GenerationRequest):
    """A request of two rows more."""

    vae_tiling: bool = row(Switch(help="decode in tiles", default=False, infotext="VAE tiling"))
    tiles: int = row(Whole(help="{low} to {high} tiles", low=1, high=9, default=4, neutral=4, infotext="Tiles"))


TABLE = rows(Larger)


def unknown(name):
    raise UnknownAdapter(f"There is no adapter {name!r}.")


@pytest.fixture(scope="module")
def endpoint():
    """/generate of the larger table."""
    profile = SimpleNamespace(negative_prompt="")
    service = SimpleNamespace(facts=SimpleNamespace(limits=LIMITS), profile=profile, default_adapters=[])
    with Atelier(Uploads(2**20, 2**20)):
        return Endpoint.of(generate_endpoint(service, None, TABLE), schemas(LIMITS, TABLE), ("images", "details"))


def test_a_row_is_a_parameter_of_the_endpoint_with_its_help(endpoint):
    taken = inspect.signature(endpoint.function).parameters
    assert taken["vae_tiling"].default is False and taken["vae_tiling"].annotation is bool
    assert taken["tiles"].default == 4 and taken["tiles"].annotation is int
    names = [*taken]
    assert names[:3] == ["request", "prompt", "negative_prompt"] and names[-3:] == ["vae_tiling", "tiles", "live_key"]
    # For those who call by position: what came later stands behind what was there.
    assert names[names.index("metadata") :][:4] == ["metadata", "owner", "dry_run", "mask"]
    assert (
        "vae_tiling: decode in tiles" in endpoint.function.__doc__
        and "tiles: 1 to 9 tiles" in endpoint.function.__doc__
    )


@pytest.mark.parametrize("who", ["programs", "agents"])
def test_a_row_is_told_to_programs_and_agents_with_type_and_limits(endpoint, who):
    body = openapi({"generate": endpoint}, "x", "1")["paths"]["/gradio_api/call/v2/generate"]["post"]["requestBody"]
    told = {
        "programs": body["content"]["application/json"]["schema"],
        "agents": endpoint.schema(AGENTS_FILE),
    }[who]["properties"]
    assert told["vae_tiling"] == {"type": "boolean", "default": False, "description": "decode in tiles"}
    assert told["tiles"] == {"type": "integer", "minimum": 1, "maximum": 9, "default": 4,
                             "description": "1 to 9 tiles"}  # fmt: skip


def test_a_row_is_an_option_of_the_command_line_with_its_help():
    args = parser(TABLE).parse_args(["x", "--vae-tiling", "--tiles", "3"])
    assert args.vae_tiling is True and args.tiles == 3
    said = {action.dest: action.help for action in parser(TABLE)._actions}
    assert said["tiles"] == "1 to 9 tiles (default: 4)" and said["vae_tiling"].startswith(
        "decode in tiles (default: no"
    )


@pytest.mark.parametrize(("tiling", "tiles"), [(True, 9), (False, 4), (True, 4)])
def test_a_row_is_written_into_pictures_and_read_back(tiling, tiles):
    request = Larger.create({"prompt": "a cat", "vae_tiling": tiling, "tiles": tiles, "seed": 1}, LIMITS, unknown)
    own = {"prompts": ["a cat"], "negative_prompts": [""], "seeds": [1], "hires": None, "strength": None,
           "adapters": [], "profile": "embedded"}  # fmt: skip
    made = details.of_request(request, TABLE) | own
    assert made["vae_tiling"] is tiling and made["tiles"] == tiles
    text = infotext.write(made, table=TABLE)
    # What does nothing is not said.
    assert ("VAE tiling: True" in text) is tiling and ("Tiles: 9" in text) is (tiles == 9)
    read = infotext.parse(text, TABLE)
    assert (read.get("vae_tiling", False), read.get("tiles", 4), read["other"].keys() & {"Tiles", "VAE tiling"}) == (
        tiling, tiles, set(),
    )  # fmt: skip


def test_a_row_is_judged():
    assert defaults(LIMITS, TABLE)["tiles"] == 4
    with pytest.raises(InvalidRequest, match="tiles is 10, but must be a whole number from 1 to 9"):
        Larger.create({"prompt": "x", "tiles": 10}, LIMITS, unknown)


def test_the_readme_names_every_row():
    text = (ROOT / "README.md").read_text("utf-8")
    assert [field.name for field in FIELDS if f"`{field.name}`" not in text] == []


def test_all_that_is_wrong_is_told_at_once():
    wrong = {"prompt": "", "width": 3, "steps": 0, "seed": "x", "adapters": [{"id": "nowhere"}], "guidance_start": 2}
    with pytest.raises(Several) as caught:
        GenerationRequest.create(wrong, LIMITS, unknown)
    said = str(caught.value)
    for words in ("prompt is empty", "width is 3", "steps is 0", "seed is 'x'", "no adapter 'nowhere'",
                  "guidance_start is 2"):  # fmt: skip
        assert said.count(words) == 1, words
    assert [each.field for each in caught.value.problems] == ["prompt", "width", "steps", "seed", "guidance_start"]


def test_what_does_not_go_together_is_told_beside_the_rest():
    with pytest.raises(Several, match=r"steps is 0.*guidance_start is 0.5, but must be less than guidance_end"):
        GenerationRequest.create(
            {"prompt": "x", "steps": 0, "guidance_start": 0.5, "guidance_end": 0.5}, LIMITS, unknown
        )


def test_a_history_of_an_older_version_is_opened_and_restored(tmp_path):
    """As it was written before details had a version: a plain picture, a mix, a second pass, one over a picture."""
    shutil.copytree(ROOT / "tests" / "fixtures" / "history-1", tmp_path / "data")
    with sqlite3.connect(tmp_path / "data" / "history.sqlite3") as db:
        owner = db.execute("SELECT owner FROM sets").fetchone()[0]
        assert "version" not in db.execute("SELECT details FROM sets").fetchone()[0]
    history = History(tmp_path / "data")
    kept = history.all(owner)
    assert len(kept) == 5 and not history.notice
    for each in kept:
        assert each.details["version"] == details.VERSION
        # What the text says is what stands in the file that was written then.
        values, _ = restore(infotext.write(each.details), LIMITS, (), "embedded")
        assert values["prompt"] and values["steps"] == each.details["steps"] and values["seed"] == 7
        name = each.files[0][1]
        assert history.path(name, history.signed(each, name).partition("key=")[2]).exists()
    compared, painted_over, enlarged, mixed, plain = kept
    assert enlarged.details["hires"]["scale"] == 1.5 and painted_over.details["strength"] == 0.75
    assert mixed.details["adapters"][0]["id"] == "ink" and plain.details["clip_skip"] == 0
    assert compared.details["comparison"]["x"]["name"] == "steps"

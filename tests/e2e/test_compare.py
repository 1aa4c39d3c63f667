"""Comparisons as programs meet them: cost, cells, sheet, cancel, turns."""

import io
from pathlib import Path
from secrets import token_urlsafe

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.serving import LONG

FIELDS = {"prompt": "a red apple", "steps": 2, "seed": 3}
AXES = {"x_axis": "adapter", "x_values": ["", "ink"], "y_axis": "guidance_scale", "y_values": [1, 5.0]}


def compare(client, **values):
    return client.predict(**FIELDS | AXES | values, api_name="/compare")


def test_the_cost_is_told_before(client):
    sheet, plan = compare(client, dry_run=True)
    assert sheet is None and plan["status"] == "planned" and plan["cells"] == 4 and plan["expected_seconds"] >= 0
    more = compare(client, dry_run=True, steps=150)[1]["expected_seconds"]
    assert more > plan["expected_seconds"] and (plan["columns"], plan["rows"]) == (2, 2)


def test_a_cell_is_byte_for_byte_the_request_alone(client):
    sheet, details = compare(client)
    assert details["status"] == "done" and len(details["cells"]) == 4
    for cell in details["cells"]:
        alone = {"adapters": [{"id": "ink"}] if cell["column"] else [], "guidance_scale": [1, 5][cell["row"]]}
        gallery, _ = client.predict(**FIELDS, **alone, api_name="/generate")
        assert Path(cell["image"]).read_bytes() == Path(gallery[0]["image"]).read_bytes()
        assert [use["id"] for use in cell["adapters"]] == ["ink"][: cell["column"]] and cell["seed"] == 3
    drawn = Image.open(sheet)
    assert drawn.format == "PNG" and drawn.width > 128 and drawn.height > 128
    assert 'X Type: Style, X Values: "none, Ink", Y Type: Guidance, Y Values: "1, 5"' in drawn.text["parameters"]
    plain = Image.open(io.BytesIO(Path(compare(client, metadata=False)[0]).read_bytes()))
    assert plain.text.keys() == {"XML:com.adobe.xmp"}


def test_it_streams_cell_by_cell(client):
    job = client.submit(**FIELDS | AXES, api_name="/compare")
    job.result(timeout=60)
    *before, (sheet, details) = job.outputs()
    assert sheet and details["status"] == "done"
    assert all(nothing is None and told["cells"] == 4 for nothing, told in before)
    cells = [told for _, told in before if told["status"] == "cell"]
    assert [(told["cell"], told["column"] + 2 * told["row"]) for told in cells] == [(i, i) for i in range(4)]
    assert {told["status"] for _, told in before} >= {"painting", "cell"}


def test_the_sheet_is_kept_for_its_owner_and_reads_as_its_first_cell(client):
    owner = token_urlsafe(32)
    sheet, details = compare(client, owner=owner)
    (kept,) = client.predict(owner, api_name="/history")
    assert kept["id"] == details["kept"] and kept["details"]["comparison"]["x"]["labels"] == ["none", "Ink"]
    assert len(kept["pictures"]) == 1 and kept["pictures"][0]["seed"] == 3
    values = client.predict(handle_file(sheet), api_name="/read_picture")["values"]
    assert values["seed"] == 3 and values["guidance_scale"] == 1 and not values["adapters"]
    assert client.predict(token_urlsafe(32), api_name="/history") == []
    with pytest.raises(AppError, match="owner is"):
        compare(client, owner="short")


def test_l3_others_have_a_turn_between_two_cells(server, client):
    grid = client.submit(**FIELDS | {"steps": 40}, x_axis="seed", x_values=list(range(30)), api_name="/compare")
    server.wait_until(running=1)
    other = Client(server.url, verbose=False)
    for _ in range(2):
        other.predict(**FIELDS, api_name="/generate")
    painted = sum(told["status"] == "cell" for _, told in grid.outputs())
    assert not grid.done() and painted < 20
    grid.cancel()
    server.wait_until(running=0, waiting=0)


def test_f2_a_comparison_that_is_cancelled_stops_within_a_step(server, client):
    values = {"x_axis": "seed", "x_values": [1, 2, 3], "steps": LONG["steps"]}
    base = client.predict(**FIELDS, api_name="/generate")[0][0]["image"]
    job = client.submit(**FIELDS | values, api_name="/compare")
    server.wait_until(running=1)
    job.cancel()
    server.wait_until(running=0, waiting=0)
    again = client.predict(**FIELDS, api_name="/generate")[0][0]["image"]
    assert Path(base).read_bytes() == Path(again).read_bytes()
    assert not any(told["status"] == "done" for _, told in job.outputs())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"x_axis": "colour"}, "x_axis is 'colour', but must be one of"),
        ({"x_values": ["nosuch"]}, "There is no adapter 'nosuch'"),
        ({"x_values": ["ink"] * 65}, "x_values is 65 values long"),
        ({"y_values": [99]}, "guidance_scale is 99, but must be a number from 0 to 30"),
        ({"prompt": ""}, "prompt is empty"),
        ({"num_images": 2}, "num_images is 2, but must be 1 in a comparison"),
    ],
)
def test_bad_axes_are_a_sentence(server, client, values, says):
    for dry_run in (True, False):
        with pytest.raises(AppError) as caught:
            compare(client, dry_run=dry_run, **values)
        assert str(caught.value).startswith(says) and str(caught.value).endswith(".")
    assert server.queue()["running"] == server.queue()["waiting"] == 0

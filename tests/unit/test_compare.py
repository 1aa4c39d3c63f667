"""Axes -> requests, and the sheet that they come to. No model."""

import io

import pytest
from PIL import Image, ImageFont

from lora.adapter import Adapter
from lora.errors import InvalidRequest, UnknownAdapter
from pipeline.request.compare import MAX_CELLS, grid, listed
from pipeline.request.request import GenerationRequest, Limits
from pipeline.sheet import LINES, MAX_PIXELS, sheet, wrapped

LIMITS = Limits(schedulers=("Euler", "DDIM"), scheduler="Euler", width=64, height=64, size_min=64, size_max=256)
INK = {"id": "ink", "weight": 0.5, "text_weight": 0.25, "blocks": {"mid": 0}}


def find(name):
    if name not in ("ink", "neon"):
        raise UnknownAdapter(f"There is no adapter {name!r}.")
    return Adapter(name, name.title(), None, name * 16, 4, 10, 40, "folder")


def made(x, x_values, y="", y_values=(), **values):
    axes = {"x_axis": x, "x_values": x_values, "y_axis": y, "y_values": list(y_values)}
    return grid({"prompt": "a red apple"} | values, axes, LIMITS, find)


def test_a_third_axis_is_a_page_for_each_of_its_values():
    axes = {"x_axis": "steps", "x_values": [1, 2], "y_axis": "scheduler", "y_values": ["Euler", "DDIM"],
            "z_axis": "guidance_scale", "z_values": [2, 4, 8]}  # fmt: skip
    wanted = grid({"prompt": "a red apple", "seed": 5}, axes, LIMITS, find)
    assert [(c.page, c.row, c.column) for c in wanted.cells] == [
        (p, r, c) for p in range(3) for r in range(2) for c in range(2)
    ]
    assert [cell.request.guidance_scale for cell in wanted.cells] == [2.0] * 4 + [4.0] * 4 + [8.0] * 4
    assert wanted.public["pages"] == 3 and wanted.public["z"]["labels"] == ("2", "4", "8")
    assert wanted.infotext["Z Type"] == "Guidance" and wanted.infotext["Z Values"] == "2, 4, 8"
    assert [len(page.cells) for page in wanted.pages] == [4, 4, 4]
    colours = ["red", "green", "blue"]
    drawn = sheet(wanted, [picture(colours[cell.page]) for cell in wanted.cells])
    alone = sheet(wanted.pages[0], [picture("red")] * 4)
    assert drawn.width == alone.width and drawn.height > 3 * alone.height
    seen = [colour for y in range(drawn.height) if (colour := drawn.getpixel((drawn.width - 20, y))) in
            ((255, 0, 0), (0, 128, 0), (0, 0, 255))]  # fmt: skip
    assert [*dict.fromkeys(seen)] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    # One that was stopped: its place is empty.
    part = sheet(wanted, [picture("red"), *[None] * 11])
    assert part.size == drawn.size
    for names in ({"z_axis": "steps"}, {"z_axis": "scheduler"}):
        with pytest.raises(InvalidRequest, match=r"z_axis is .* another one than"):
            grid({"prompt": "a red apple"}, axes | names | {"z_values": [1]}, LIMITS, find)
    with pytest.raises(InvalidRequest, match=r"2 x 2 x 17 = 68 pictures"):
        grid({"prompt": "a red apple"}, axes | {"z_values": [*range(1, 18)]}, LIMITS, find)


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("words", "values"),
    [("0..1 step 0.25", [0, 0.25, 0.5, 0.75, 1]), ("1..4", [1, 2, 3, 4]), ("1..0 STEP 0.5", [1, 0.5, 0]),
     ("-1 .. 1", [-1, 0, 1]), ("1-10", [*range(1, 11)]), ("2, 5..6", [2, 5, 6])],
)  # fmt: skip
def test_a_range_is_written_with_dots_and_a_step(words, values):
    assert listed("adapter_weight", words) == values


def weights(wanted):
    return [[(use.adapter.id, *use.weights) for use in cell.request.adapters] for cell in wanted.cells]


def test_every_cell_is_the_request_for_it_alone():
    wanted = made("steps", [1, 2, 3], "scheduler", ["Euler", "DDIM"], seed=5)
    assert [(cell.column, cell.row) for cell in wanted.cells] == [(c, r) for r in range(2) for c in range(3)]
    for cell in wanted.cells:
        values = {"steps": cell.column + 1, "scheduler": ("Euler", "DDIM")[cell.row], "seed": 5}
        assert cell.request == GenerationRequest.create({"prompt": "a red apple"} | values, LIMITS, find)


def test_one_axis_is_enough_and_a_seed_is_drawn_once():
    wanted = made("guidance_scale", [1, 5.5])
    assert wanted.y is None and wanted.public["rows"] == 1 and wanted.x.labels == ("1", "5.5")
    assert len({cell.request.seed for cell in wanted.cells}) == 1
    assert [cell.request.seed for cell in made("seed", [7, 8]).cells] == [7, 8]


def test_each_style_is_on_alone_at_its_weight_or_at_that_of_the_other_axis():
    uses = [INK, {"id": "neon", "weight": -1}]
    assert weights(made("adapter", ["", "ink", None], adapters=uses)) == [[], [("ink", 0.5, 0.25)], []]
    assert weights(made("adapter", ["neon"])) == [[("neon", 1.0, 1.0)]]
    styles, strengths = ("adapter", ["", "ink"]), ("adapter_weight", [0, 2])
    for axes in ((*styles, *strengths), (*strengths, *styles)):
        assert sorted(weights(made(*axes, adapters=uses))) == [[], [], [("ink", 0, 0)], [("ink", 2, 2)]]
    assert weights(made("adapter_weight", [0.1], adapters=[INK])) == [[("ink", 0.1, 0.1)]]
    assert made("adapter", ["", "ink"]).x.labels == ("none", "Ink")


def test_words_are_replaced_in_both_prompts():
    wanted = made("prompt", ["apple", "pear, plum"], negative_prompt="apple pie")
    assert [(cell.request.prompt, cell.request.negative_prompt) for cell in wanted.cells] == [
        ("a red apple", "apple pie"), ("a red pear, plum", "pear, plum pie"),
    ]  # fmt: skip


def test_a_picture_to_begin_with_is_read_once():
    buffer = io.BytesIO()
    Image.new("RGB", (99, 70), "red").save(buffer, "PNG")
    first, second = made("steps", [4, 8], image=buffer.getvalue()).cells
    assert first.request.image is second.request.image and first.request.image.width == 64


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nosuch", [1]), "x_axis is 'nosuch', but must be one of adapter, adapter_weight"),
        (("", []), "x_axis is empty, but must be one of"),
        ((3, [1]), "x_axis is 3, but must be one of"),
        (("steps", []), "x_values is empty, but must be a list of 1 to 64 values"),
        (("steps", "1, 2"), "x_values is '1, 2', but must be a list"),
        (("steps", [[1]]), r"x_values is \[1\], but must be a list of words or numbers"),
        (("steps", [1], "", [1]), "y_axis is empty, but must be one of .* where there are y_values"),
        (("steps", [1], "steps", [2]), "y_axis is 'steps', but must be another one than x_axis"),
        (("steps", [1] * (MAX_CELLS + 1)), "x_values is 65 values long, but must be at most 64"),
        (("steps", [1] * 9, "seed", [1] * 8), "grid is 9 x 8 = 72 pictures, but must be of at most 64"),
        (("steps", [0]), "steps is 0, but must be a whole number from 1 to 150"),
        (("steps", ["many"]), "steps is 'many', but must be"),
        (("seed", [True]), "seed is True, but must be"),
        (("adapter", ["nosuch"]), "There is no adapter 'nosuch'"),
        (("adapter_weight", [1]), "adapters is 0 long, but must be 1 long where adapter_weight is an axis"),
        (("prompt", ["pear", "plum"]), "prompt values is 'pear', but must be words of the prompt, which those"),
        (("prompt", ["a", "x" * 9999]), "prompt is too long with 'xxx"),
    ],
)
def test_bad_axes_are_refused_in_a_sentence(arguments, says):
    with pytest.raises((InvalidRequest, UnknownAdapter), match=says) as caught:
        made(*arguments)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_cell_is_one_picture():
    with pytest.raises(InvalidRequest, match="num_images is 2, but must be 1 in a comparison"):
        made("steps", [1], num_images=2)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("steps", "10, 20,30", [10, 20, 30]),
        ("steps", "1-5", [1, 2, 3, 4, 5]),
        ("steps", "5-1", [5, 4, 3, 2, 1]),
        ("steps", "1-9 (+2), 20", [1, 3, 5, 7, 9, 20]),
        ("adapter_weight", "-1-1 [5]", [-1, -0.5, 0, 0.5, 1]),
        ("adapter_weight", "0-0.3 (0.1)", [0, 0.1, 0.2, 0.3]),
        ("seed", "7", [7]),
        ("seed", "1-2 (0)", ["1-2 (0)"]),
        ("steps", "few, 3,, ", ["few", 3]),
        ("steps", "٣", ["٣"]),
        ("prompt", 'apple, "red, ripe",  pear', ["apple", "red, ripe", "pear"]),
        ("prompt", "1-3", ["1-3"]),
        ("", "", []),
    ],
)
def test_values_as_somebody_writes_them(name, text, values):
    assert listed(name, text) == values


def test_a_range_without_end_is_cut_where_it_is_refused_anyway():
    assert len(listed("seed", "0-4294967295")) == MAX_CELLS + 1


def sheet_of(wanted, size=(64, 48)):
    files = []
    for i in range(len(wanted.cells)):
        buffer = io.BytesIO()
        Image.new("RGB", size, (i * 9, 90, 200 - i)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return sheet(wanted, files)


def test_a_sheet_has_every_cell_in_its_place_and_room_for_the_labels():
    drawn = sheet_of(made("steps", [1, 2, 3], "adapter", ["", "ink"]))
    places = [[drawn.getpixel((drawn.width - 70 * (3 - c) + 32, drawn.height - 54 * (2 - r) + 24)) for c in range(3)]
              for r in range(2)]  # fmt: skip
    assert places == [[((3 * r + c) * 9, 90, 200 - 3 * r - c) for c in range(3)] for r in range(2)]
    assert drawn.width > 3 * 70 + 40 and drawn.height > 2 * 54 + 40
    assert len(drawn.crop((0, 0, drawn.width, 40)).getcolors(9999)) > 2, "something is written above"


def test_a_sheet_is_bounded():
    drawn = sheet_of(made("steps", [*range(1, 17)]), (1536, 1536))
    assert drawn.width * drawn.height < 1.3 * MAX_PIXELS


@pytest.mark.parametrize("text", ["x" * 10_000, "a b " * 2500, "", "\u202e", "Käse", "a " + "y" * 300])
def test_labels_stay_within_their_column(text):
    font = ImageFont.load_default(14)
    lines = wrapped(text, font, 100)
    assert 1 <= len(lines) <= LINES and all(font.getlength(line) <= 100 for line in lines)
    if len(text) > 100:
        assert "…" in "".join(lines)

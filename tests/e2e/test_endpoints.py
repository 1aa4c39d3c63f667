"""The named endpoints as programs meet them: names, order, defaults, streams, files."""

import io
import re
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests import serving
from tests.hostile import bombs
from tests.serving import LONG, STYLES

PARAMETERS = (
    "prompt negative_prompt adapters width height steps guidance_scale scheduler seed num_images normalize_adapters "
    "image strength hires_scale hires_steps hires_strength hires_upscaler clip_skip guidance_rescale guidance_start "
    "guidance_end eta metadata owner dry_run mask mask_blur outpaint_left outpaint_right outpaint_top outpaint_bottom "
    "variation_seed variation_strength tiling rng ensd live_key"
).split()
ENDPOINTS = (
    "generate adapters inspect_adapter search_adapters export_adapters tokenize queue schedule tiers sizes "
    "prompt_styles compare history forget_picture favourite_picture read_picture my_styles keep_style rename_style "
    "style_preview forget_style train_style"
).split()
QUICK = {"steps": 4, "seed": 11, "api_name": "/generate"}


def png(gallery, i=0) -> bytes:
    return Path(gallery[i]["image"]).read_bytes()


def pixels(data: bytes) -> bytes:
    return Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def test_the_names_and_defaults_are_as_promised(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == [f"/{name}" for name in ENDPOINTS]
    parameters = endpoints["/generate"]["parameters"]
    assert [p["parameter_name"] for p in parameters] == PARAMETERS
    assert [p["parameter_name"] for p in parameters if not p["parameter_has_default"]] == ["prompt"]


def test_types_limits_and_what_is_required_are_told_to_programs_and_on_the_api_page(server):
    document = httpx.get(f"{server.url}/gradio_api/openapi.json").json()
    assert document["openapi"] == "3.1.0" and "filepath" not in str(document)
    info = httpx.get(f"{server.url}/gradio_api/info").json()["named_endpoints"]
    for name in ENDPOINTS:
        body = document["paths"][f"/gradio_api/call/v2/{name}"]["post"]["requestBody"]["content"]["application/json"]
        schema, told = body["schema"], {p["parameter_name"]: p for p in info[f"/{name}"]["parameters"]}
        assert list(schema["properties"]) == list(told) and schema["additionalProperties"] is False
        assert schema["required"] == [n for n, p in told.items() if not p["parameter_has_default"]]
        for value, about in schema["properties"].items():
            assert about["description"] and told[value]["python_type"]["description"] in about["description"]
            assert about["type"] == told[value]["type"].get("type", "object")
    generate = document["paths"]["/gradio_api/call/v2/generate"]["post"]["requestBody"]["content"]["application/json"]
    values = generate["schema"]["properties"]
    assert generate["schema"]["required"] == ["prompt"]
    assert (values["steps"]["minimum"], values["steps"]["maximum"]) == (1, 150)
    assert values["width"]["multipleOf"] == 8 and "Euler" in values["scheduler"]["enum"]
    assert values["adapters"]["items"]["properties"]["weight"]["maximum"] == 2
    assert values["image"]["required"] == ["path", "meta"]
    steps = next(p for p in info["/generate"]["parameters"] if p["parameter_name"] == "steps")
    assert steps["type"]["maximum"] == 150 and steps["python_type"]["description"] == "1 to 150"


def test_a_program_without_gradios_client_calls_by_name(server):
    """As the OpenAPI document says: values by their names, then the events."""
    posted = httpx.post(f"{server.url}/gradio_api/call/v2/schedule", json={"steps": 3}).json()
    event, (levels,) = server.events("schedule", posted["event_id"])[-1]
    assert event == "complete" and len(levels["sigmas"]) == 4


def test_only_a_prompt_is_needed(client):
    gallery, details = client.predict(prompt="a red apple", api_name="/generate")
    assert Image.open(gallery[0]["image"]).format == "PNG" and len(gallery) == 1
    assert details["status"] == "done" and details["profile"] == "custom" and details["adapters"] == []
    assert details["timings"]["total"] > 0 and 0 <= details["seed"] < 2**32


def test_same_seed_same_file_and_another_prompt_another_picture(client):
    first, _ = client.predict(prompt="a red apple", **QUICK)
    again, _ = client.predict(prompt="a red apple", **QUICK)
    other, _ = client.predict(prompt="a cat", **QUICK)
    assert png(first) == png(again) != png(other)


def test_each_of_several_pictures_is_as_if_made_alone(client):
    both, details = client.predict(prompt="a red apple", num_images=2, **QUICK)
    alone, _ = client.predict(prompt="a red apple", **QUICK | {"seed": 12})
    assert details["seeds"] == [11, 12] and pixels(png(both, 1)) == pixels(png(alone))


def test_styles_change_the_picture_and_at_zero_they_do_not(client):
    base, _ = client.predict(prompt="a red apple", **QUICK)
    ink, details = client.predict(prompt="a red apple", adapters=[{"id": "ink", "weight": 0.8}], **QUICK)
    none, _ = client.predict(prompt="a red apple", adapters=[{"id": "ink", "weight": 0}], **QUICK)
    after, _ = client.predict(prompt="a red apple", **QUICK)
    assert pixels(png(base)) == pixels(png(none)) != pixels(png(ink)) and png(after) == png(base)
    used = details["adapters"][0]
    assert used["id"] == "ink" and used["weight"] == 0.8 and used["matched"] > 0 and len(used["sha256"]) == 64


def test_the_stream_tells_every_step_with_a_preview_before_the_picture(client):
    job = client.submit(prompt="a red apple", **QUICK)
    job.result(timeout=60)
    *before, (gallery, details) = job.outputs()
    assert gallery and details["status"] == "done"
    assert all(not g and d["status"] in ("waiting", "painting") for g, d in before)
    painting = [d for _, d in before if d["status"] == "painting"]
    assert painting[0]["step"] == 0 and painting[0]["steps"] == 4 and painting[0]["images"] == 1
    assert any((d["preview"] or "").startswith("data:image/jpeg;base64,") for d in painting)


def test_who_waits_hears_the_place_and_the_seconds(server, client):
    busy = Client(server.url, verbose=False).submit(prompt="a cat", api_name="/generate", **LONG)
    server.wait_until(running=1)
    job = client.submit(prompt="a red apple", **QUICK)
    server.wait_until(waiting=1)
    assert server.queue()["expected_seconds"] > 0
    busy.cancel()
    job.result(timeout=60)
    waiting = [d for _, d in job.outputs() if d["status"] == "waiting"]
    assert waiting and waiting[0]["place"] == 1 and waiting[0]["expected_seconds"] >= 0


def test_adapters_and_their_pictures(server, client):
    styles = {style["id"]: style for style in client.predict(api_name="/adapters")}
    assert set(styles) == {*STYLES, "nasty"} and styles["nasty"]["preview"] is None
    for style in map(styles.get, STYLES):
        assert {"name", "source", "triggers", "rank", "parameters", "size", "licence", "preview"} <= set(style)
        picture = httpx.get(server.url + style["preview"])
        assert picture.headers["content-type"] == "image/webp"
    assert httpx.get(server.url + "/style/nosuch").status_code == 404


def test_tokenize_and_queue(client):
    assert {"tokens", "chunks", "weights", "dropped"} <= set(client.predict("a red apple", api_name="/tokenize"))
    assert client.predict(api_name="/queue") == {"waiting": 0, "running": 0, "expected_seconds": 0}


def test_a_prompt_is_read_with_its_triggers_and_wildcards(client):
    told = client.predict("__colour__ apple, INK style", ["ink", "neon"], api_name="/tokenize")
    assert told["triggers"] == {"present": ["ink style"], "missing": ["neon style"]}
    assert "".join(told["tokens"]).startswith("red</w>") or "red" in "".join(told["tokens"])
    gallery, details = client.predict(prompt="__colour__ apple", num_images=4, api_name="/generate", steps=1)
    assert len(gallery) == 4 and set(details["prompts"]) <= {"red apple", "green apple"}
    with pytest.raises(AppError, match="There is no adapter 'nosuch'"):
        client.predict("x", ["nosuch"], api_name="/tokenize")


def test_a_schedule_can_be_drawn(client):
    levels = client.predict("DPM++ 2M Karras", 12, api_name="/schedule")["sigmas"]
    assert len(levels) == 13 and levels == sorted(levels, reverse=True) and levels[-1] == 0
    with pytest.raises(AppError, match="scheduler is 'Newton', but must be one of"):
        client.predict("Newton", 12, api_name="/schedule")
    with pytest.raises(AppError, match="steps is 0, but must be a whole number from 1 to 150"):
        client.predict("Euler", 0, api_name="/schedule")


def test_sizes_can_be_painted_and_unknown_styles_are_told_before(client):
    sizes = client.predict(api_name="/sizes")
    assert {"name": "1:1", "width": 64, "height": 64} in sizes
    wide = sizes[-1]
    details = client.predict(prompt="x", width=wide["width"], height=wide["height"], steps=1, api_name="/generate")[1]
    assert (details["width"], details["height"]) == (wide["width"], wide["height"])
    read = client.predict("a cat <lora:ink:1> <lora:nope:0.5>", api_name="/tokenize")
    assert read["unknown"] == ["nope"]


def test_a_third_axis_of_a_comparison_stands_behind_all_else(server, client):
    _, plan = client.predict(
        prompt="x",
        x_axis="steps",
        x_values=[1, 2],
        z_axis="seed",
        z_values=[1, 2, 3],
        dry_run=True,
        api_name="/compare",
    )
    assert plan["cells"] == 6 and plan["pages"] == 3 and plan["z"]["labels"] == ["1", "2", "3"]
    told = httpx.get(f"{server.url}/gradio_api/info").json()["named_endpoints"]
    for endpoint, behind in (("/generate", "owner dry_run mask"), ("/compare", "dry_run owner z_axis z_values mask")):
        names = [each["parameter_name"] for each in told[endpoint]["parameters"]]
        at = names.index("metadata")
        assert names[at + 1 : at + 1 + len(behind.split())] == behind.split()


def test_tiers_are_requests_and_prompt_styles_are_text(client):
    tiers = client.predict(api_name="/tiers")
    assert [tier["name"] for tier in tiers] == ["Quality", "Balanced", "Fast"]
    _, details = client.predict(prompt="a red apple", api_name="/generate", **tiers[2]["values"])
    assert details["scheduler"] == tiers[2]["values"]["scheduler"] and details["steps"] == 10
    styles = client.predict(api_name="/prompt_styles")
    assert len(styles) >= 32 and all("{prompt}" in style["prompt"] for style in styles)


def test_painting_over_a_picture_and_enlarging_it(client, tmp_path):
    Image.radial_gradient("L").save(tmp_path / "start.jpg")
    given = {"image": handle_file(tmp_path / "start.jpg"), "strength": 0.5, "hires_scale": 1.5}
    gallery, details = client.predict(prompt="a red apple", **QUICK, **given)
    picture = Image.open(gallery[0]["image"])
    assert picture.size == (96, 96) and details["strength"] == 0.5 and details["hires"]["width"] == 96
    again, _ = client.predict(prompt="a red apple", **QUICK, **given)
    plain, _ = client.predict(prompt="a red apple", **QUICK, hires_scale=1.5)
    assert png(again) == png(gallery) and pixels(png(plain)) != pixels(png(gallery))
    (tmp_path / "start.png").write_bytes(b"GIF89a" * 9)
    with pytest.raises(AppError, match=r"image is .*, but must be a PNG, JPEG or WebP file"):
        client.predict(prompt="x", image=handle_file(tmp_path / "start.png"), api_name="/generate")


def test_painting_into_a_picture_and_beyond_it(client, tmp_path):
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "start.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    mask.save(tmp_path / "mask.png")
    start = Image.open(tmp_path / "start.png").tobytes()
    given = {"image": handle_file(tmp_path / "start.png"), "mask": handle_file(tmp_path / "mask.png")}
    gallery, details = client.predict(prompt="a red apple", **QUICK, **given)
    painted = Image.open(gallery[0]["image"])
    assert details["mask"] == 0.5 and details["mask_blur"] == 4 and "Mask blur: 4" in painted.text["parameters"]
    left = (0, 0, 32, 64)
    assert painted.crop(left).tobytes() == Image.frombytes("RGB", (64, 64), start).crop(left).tobytes()
    assert painted.tobytes() != start
    gallery, details = client.predict(prompt="a red apple", **QUICK, image=given["image"], width=96, outpaint_left=32)
    wider = Image.open(gallery[0]["image"])
    assert wider.crop((32, 0, 96, 64)).tobytes() == start and details["outpaint_left"] == 32
    read = client.predict(file=handle_file(gallery[0]["image"]), api_name="/read_picture")
    assert "beyond another picture" in read["notes"][0] and read["values"]["outpaint_left"] == 0
    _, told = client.predict(
        prompt="a red apple", x_axis="steps", x_values=[2, 3], api_name="/compare", width=64, height=64, **given
    )
    assert len(told["cells"]) == 2 and all(cell["mask"] == 0.5 for cell in told["cells"])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GIF89a" * 9, "mask is b'GIF89aGI', but must be a PNG, JPEG or WebP file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "mask is .*, but must be a PNG, JPEG or WebP file"),
        (bombs.file(Image.new("L", (8, 8))), "mask is all black, but must be white"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_mask_is_refused(client, tmp_path, data, sentence):
    Image.new("RGB", (64, 64)).save(tmp_path / "start.png")
    (tmp_path / "mask.png").write_bytes(data)
    with pytest.raises(Exception, match=sentence):
        client.predict(prompt="x", api_name="/generate", image=handle_file(tmp_path / "start.png"),
                       mask=handle_file(tmp_path / "mask.png"))  # fmt: skip


def test_a_mask_is_not_a_file_of_the_server(server):
    for mask in ({"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "/etc/passwd", [1]):
        values = ["x", "", [], 64, 64, 2, 5, "Euler", 1, 1, False, None, 0.6, 1, 0, 0.5, "pixels", 0, 0, 0, 1, 0, True]
        event, data = server.call("generate", [*values, "", False, mask])[-1]
        assert event == "error" and "passwd" not in str(data).replace("'/etc/passwd'", "")


def test_what_is_finished_of_a_batch_is_kept_when_the_rest_is_stopped(server, client):
    owner = "o" * 40
    job = client.submit(prompt="a red apple", owner=owner, **QUICK | {"steps": 40}, num_images=4)
    deadline = time.monotonic() + 60
    while not (kept := client.predict(owner, api_name="/history")):
        assert time.monotonic() < deadline and not job.done()
        time.sleep(0.1)
    job.cancel()
    server.wait_until(running=0)
    kept = client.predict(owner, api_name="/history")
    count = len(kept[0]["pictures"])
    assert len(kept) == 1 and 1 <= count < 4 and kept[0]["details"]["seeds"] == [11, 12, 13][:count]
    alone, _ = client.predict(prompt="a red apple", **QUICK | {"steps": 40})
    assert httpx.get(server.url + kept[0]["pictures"][0]["url"]).content == png(alone)


def test_variations_and_tiles(client):
    plain, _ = client.predict(prompt="a red apple", **QUICK)
    near, details = client.predict(
        prompt="a red apple", **QUICK, num_images=2, variation_seed=5, variation_strength=0.2, tiling=True
    )
    assert details["seeds"] == [11, 11] and details["variation_seeds"] == [5, 6] and details["tiling"] is True
    assert len({pixels(png(plain)), pixels(png(near)), pixels(png(near, 1))}) == 3
    again, details = client.predict(prompt="a red apple", **QUICK)
    assert png(again) == png(plain) and details["variation_seeds"] == []


def test_a_picture_says_how_it_was_made(client):
    with_it, _ = client.predict(prompt="a red apple", **QUICK)
    without, _ = client.predict(prompt="a red apple", metadata=False, **QUICK)
    assert "Seed: 11" in Image.open(io.BytesIO(png(with_it))).text["parameters"]
    assert Image.open(io.BytesIO(png(without))).text.keys() == {"XML:com.adobe.xmp"} and pixels(png(with_it)) == pixels(
        png(without)
    )


def test_a_plain_call_may_leave_out_what_has_a_default(server):
    event, (gallery, details) = server.call("generate", ["a red apple", "", [], 64, 64, 2])[-1]
    assert event == "complete" and details["status"] == "done"
    assert httpx.get(gallery[0]["image"]["url"]).content.startswith(b"\x89PNG")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_l4_there_is_no_way_around_the_queue(server, endpoint):
    for prefix in ("/gradio_api/run/", "/gradio_api/api/", "/run/", "/api/"):
        answer = httpx.post(f"{server.url}{prefix}{endpoint}", json={"data": ["x"]})
        assert answer.status_code in (404, 405)


def test_what_was_not_asked_for_is_not_loaded(server):
    """Content Credentials without a key, Ray without an address."""
    loaded = Path(f"/proc/{server.process.pid}/maps")
    if not loaded.exists():
        pytest.skip("this system does not say what a process has loaded")
    assert "torch" in (maps := loaded.read_text()) and "c2pa" not in maps
    assert serving.on_ray or "_raylet" not in maps


def test_nothing_unforeseen_is_in_the_log(server):
    """Runs after the tests above; a bug that reaches no caller shows here."""
    bad = r"an unforeseen error|never retrieved|was destroyed|Exception ignored"
    assert not re.findall(f"(?s)(?:{bad}).{{0,2000}}", server.log.read_text())

"""Networks that enlarge: read from a folder's safetensors files only, run in tiles, a second pass on what they give."""

import io
import os
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora.errors import InvalidRequest, PaintingFailed
from pipeline.__main__ import parser, run
from pipeline.engine import DenoiseStep, Engine
from pipeline.loading import open_engine
from pipeline.metadata import infotext
from pipeline.metadata.restore import restore
from pipeline.profiles import EMBEDDED_PROFILE, load_profile
from pipeline.request.fields import schemas
from pipeline.request.request import FIELDS, GenerationRequest
from pipeline.sampling import latents as starting
from pipeline.upscaling import upscalers as module
from pipeline.upscaling.networks import ESRGAN, Compact, NoUpscaler, network
from pipeline.upscaling.upscalers import Upscalers, upscaled

PICTURE = Image.merge("RGB", [Image.radial_gradient("L").rotate(angle).resize((150, 90)) for angle in (0, 90, 45)])


def weights(scale: int = 4, folded: int = 1, width: int = 8, blocks: int = 2) -> dict[str, torch.Tensor]:
    """A file as Real-ESRGAN's: small random weights under its names."""
    rng, growth, out = torch.Generator().manual_seed(scale), 4, {}

    def layer(name: str, inside: int, outside: int) -> None:
        out[f"{name}.weight"] = torch.randn(outside, inside, 3, 3, generator=rng) * (0.7 / (inside * 9) ** 0.5)
        out[f"{name}.bias"] = torch.randn(outside, generator=rng) * 0.05

    layer("conv_first", 3 * folded**2, width)
    for block in range(blocks):
        for dense in (1, 2, 3):
            for i in range(5):
                layer(f"body.{block}.rdb{dense}.conv{i + 1}", width + i * growth, growth if i < 4 else width)
    ups = (scale * folded).bit_length() - 1
    for name in ("conv_body", *(f"conv_up{i + 1}" for i in range(ups)), "conv_hr"):
        layer(name, width, width)
    layer("conv_last", width, 3)
    # Neither black nor white, where nothing could be seen.
    out["conv_last.bias"] += 0.5
    return out


def oldest(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same under the names of the first ESRGAN, places in a sequence."""
    ups = sum(name.startswith("conv_up") for name in tensors) // 2
    places = {"conv_first": 0, "conv_body": "1.sub.2", "conv_hr": 3 * ups + 2, "conv_last": 3 * ups + 4}
    places |= {f"conv_up{i}": 3 * i for i in range(1, ups + 1)}
    named = {re.sub(r"^body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0", name): tensor
             for name, tensor in tensors.items()}  # fmt: skip
    return {re.sub(r"^conv_\w+", lambda found: f"model.{places[found[0]]}", name): tensor
            for name, tensor in named.items()}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upscalers")
    save_file(weights(), folder / "4x-Tiny.safetensors")
    save_file({name: tensor.half() for name, tensor in oldest(weights(2)).items()}, folder / "2x_old.safetensors")
    return folder


@pytest.fixture(scope="module")
def engine(tiny_sdxl, folder):
    return open_engine(base_model=str(tiny_sdxl), upscalers_dir=folder)[0]


def create(engine, **values):
    defaults = {"prompt": "red apple", "steps": 3, "seed": 3, "width": 64, "height": 64, "hires_scale": 1.5}
    return GenerationRequest.create(defaults | values, engine.limits, None)


def paint(engine, **values):
    *steps, generation = engine.generate(create(engine, **values))
    return steps, np.asarray(Image.open(io.BytesIO(generation.images[0]))), generation.details


def whole(made, image: Image.Image) -> np.ndarray:
    *_, (answer,) = results(upscaled(made, image, 10**6))
    return np.asarray(answer, float)


def results(tiles):
    """Each thing that is yielded, and what is returned in brackets."""
    while True:
        try:
            yield next(tiles)
        except StopIteration as end:
            yield (end.value,)
            return


def formula(tensors: dict[str, torch.Tensor], x: torch.Tensor, folded: int) -> torch.Tensor:
    """ESRGAN as its paper has it, written out on the tensors."""
    from torch.nn.functional import conv2d, interpolate, leaky_relu, pixel_unshuffle

    def conv(name, x):
        return conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    def dense(name, x):
        one = leaky_relu(conv(f"{name}.conv1", x), 0.2)
        two = leaky_relu(conv(f"{name}.conv2", torch.cat((x, one), 1)), 0.2)
        three = leaky_relu(conv(f"{name}.conv3", torch.cat((x, one, two), 1)), 0.2)
        four = leaky_relu(conv(f"{name}.conv4", torch.cat((x, one, two, three), 1)), 0.2)
        return conv(f"{name}.conv5", torch.cat((x, one, two, three, four), 1)) * 0.2 + x

    first = conv("conv_first", pixel_unshuffle(x, folded))
    inside = first
    for block in range(2):
        out = inside
        for i in (1, 2, 3):
            out = dense(f"body.{block}.rdb{i}", out)
        inside = out * 0.2 + inside
    x = first + conv("conv_body", inside)
    i = 1
    while f"conv_up{i}.weight" in tensors:
        x, i = leaky_relu(conv(f"conv_up{i}", interpolate(x, scale_factor=2, mode="nearest")), 0.2), i + 1
    return conv("conv_last", leaky_relu(conv("conv_hr", x), 0.2))


@pytest.mark.parametrize(("scale", "folded"), [(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (1, 4)])
def test_it_computes_what_the_paper_says_by_each_of_its_names(scale, folded):
    tensors, x = weights(scale, folded), torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    made = network(tensors)
    assert isinstance(made, ESRGAN) and (made.scale, made.folded) == (scale, folded)
    expected = formula(tensors, x, folded)
    assert expected.shape == (1, 3, 8 * scale, 12 * scale) and (made(x) - expected).abs().max() < 1e-6
    assert torch.equal(network(oldest(tensors))(x), made(x))
    theirs = {re.sub(r"^body\.(\d+)\.rdb", r"RRDB_trunk.\1.RDB", name).replace("conv_body", "trunk_conv")
              .replace("conv_up", "upconv").replace("conv_hr", "HRconv"): tensor
              for name, tensor in tensors.items()}  # fmt: skip
    assert torch.equal(network(theirs)(x), made(x))


def test_the_compact_network():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.PReLU(8), torch.nn.Conv2d(8, 12, 3)]
    tensors = {f"body.{i}.{name}": tensor.detach() for i, layer in enumerate(layers)
               for name, tensor in layer.state_dict().items()}  # fmt: skip
    made, x = network(tensors), torch.rand(1, 3, 6, 5)
    assert isinstance(made, Compact) and made.scale == 2 and made(x).shape == (1, 3, 12, 10)
    for tensor in made.parameters():
        torch.nn.init.zeros_(tensor)
    assert torch.equal(made(x), torch.nn.functional.interpolate(x, scale_factor=2))


@pytest.mark.parametrize(
    "spoilt",
    [
        {}, {"conv_first.weight": torch.zeros(8, 4, 3, 3)}, {"extra.weight": torch.zeros(1)},
        {"body.99999999.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)}, {"conv_hr.weight": torch.zeros(9, 8, 3, 3)},
    ],
)  # fmt: skip
def test_what_is_no_upscaler_is_none(spoilt):
    with pytest.raises(NoUpscaler):
        network({**weights(), **spoilt} if spoilt else {"unet.weight": torch.zeros(2, 2)})
    with pytest.raises(NoUpscaler, match="enlarges 16 times"):
        network(weights(16))


@pytest.mark.parametrize(("scale", "folded"), [(4, 1), (2, 2)])
def test_in_tiles_it_is_the_same_picture(scale, folded):
    made = network(weights(scale, folded))
    expected = whole(made, PICTURE)
    assert expected.shape == (90 * scale, 150 * scale, 3) and expected.std() > 5
    *tiles, (answer,) = results(upscaled(made, PICTURE, 32 * scale))
    off = np.abs(np.asarray(answer, float) - expected)
    assert tiles == [None] * 15
    # What is seen around a tile is as much as these blocks need, but for the last digits.
    inside = np.ones(expected.shape[:2], bool)
    for edge in range(32 * scale, 150 * scale, 32 * scale):
        inside[edge - 2 * scale : edge + 2 * scale] = inside[:, edge - 2 * scale : edge + 2 * scale] = False
    assert off[inside].max() <= 1 and off.max() <= 2 and off.mean() < 0.02


def test_a_second_pass_on_what_a_network_gives(engine, monkeypatch):
    given = []
    encode = starting.encode_image
    monkeypatch.setattr("pipeline.sampling.passes.encode_image",
                        lambda parts, image, rng: given.append(image) or encode(parts, image, rng))  # fmt: skip
    steps, ours, details = paint(engine, hires_upscaler="4x-Tiny")
    assert ours.shape == (96, 96, 3) and details["hires"]["upscaler"] == "4x-Tiny"
    first = Image.open(io.BytesIO([*engine.generate(create(engine, hires_scale=1))][-1].images[0]))
    larger = Image.fromarray(whole(network(weights()), first).astype(np.uint8)).resize((96, 96), Image.LANCZOS)
    assert np.array_equal(np.asarray(given[0]), np.asarray(larger))
    # 3 steps, a tile, which is told by the last step once more, and the second pass.
    assert [step.step for step in steps] == [1, 2, 3, 3, 4] and "enlarge" in details["timings"]
    again, old, pixels = (paint(engine, hires_upscaler=by)[1] for by in ("4x-Tiny", "2x_old", "pixels"))
    assert np.array_equal(ours, again) and not np.array_equal(ours, pixels) and not np.array_equal(old, pixels)
    assert "enlarge" not in paint(engine)[2]["timings"]


def test_whoever_leaves_is_noticed_between_two_tiles(engine, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_answer", lambda made, pixels: seen.append(1) or torch.zeros(
        1, 3, pixels.shape[2] * made.scale, pixels.shape[3] * made.scale))  # fmt: skip
    steps = engine.generate(create(engine, hires_upscaler="4x-Tiny", width=128, height=128, hires_scale=1.2))
    last = next(step for step in steps if seen)
    assert isinstance(last, DenoiseStep) and len(seen) == 1
    steps.close()
    assert len(seen) == 1 and not engine._lock.locked()


def test_what_a_request_can_choose_follows_the_folder(engine, tiny_sdxl):
    names = ("pixels", "latent", "2x_old", "4x-Tiny")
    assert engine.limits.upscalers == engine.facts.limits.upscalers == names
    told = schemas(engine.limits, FIELDS)["hires_upscaler"]
    assert (
        told["enum"] == [*names] and told["default"] == "pixels" and "latent, 2x_old or 4x-Tiny" in told["description"]
    )
    with pytest.raises(
        InvalidRequest, match="hires_upscaler is 'x', but must be one of pixels, latent, 2x_old, 4x-Tiny"
    ):
        create(engine, hires_upscaler="x")
    plain = Engine(load_profile(base_model=str(tiny_sdxl)))
    with pytest.raises(InvalidRequest, match="hires_upscaler is '4x-Tiny', but must be one of pixels, latent"):
        create(plain, hires_upscaler="4x-Tiny")


def test_a_picture_says_which_and_it_is_restored_where_there_is_one(engine):
    text = infotext.write(paint(engine, hires_upscaler="4x-Tiny")[2])
    assert "Hires upscaler: 4x-Tiny" in text
    values, notes = restore(text, engine.limits, (), "custom")
    assert values["hires_upscaler"] == "4x-Tiny" and notes == []
    values, notes = restore(text, replace(engine.limits, upscalers=("pixels", "latent")), (), "custom")
    assert values["hires_upscaler"] == "pixels" and "Not restored: hires_upscaler is '4x-Tiny'" in notes[0]
    read = {word: infotext.parse(f"x\nSteps: 2, Sampler: Euler, Hires upscaler: {word}")["hires_upscaler"]
            for word in ("Lanczos", "Latent", "Latent (nearest-exact)", "Latent-x4", "R-ESRGAN 4x+")}  # fmt: skip
    assert [*read.values()] == ["pixels", "latent", "latent", "Latent-x4", "R-ESRGAN 4x+"]


class Trap:
    """What runs where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_nothing_but_upscalers_of_the_folder_is_taken(tmp_path, caplog, monkeypatch):
    folder, Trap.place = tmp_path / "upscalers", tmp_path / "trapped"
    folder.mkdir()
    good = weights()
    save_file(good, tmp_path / "outside.safetensors")
    save_file(good, folder / "good.safetensors")
    save_file(good, folder / "latent.safetensors")
    save_file(good, folder / "comma, and more.safetensors")
    save_file({"x": torch.zeros(2, 2)}, folder / "unknown.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "folder.safetensors").mkdir()
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:-9])
    for name in ("model.pth", "model.pt", "pickled.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
        torch.save({"x": Trap()}, folder / f"torch-{name}")
    save_file(good | {"pad.weight": torch.zeros(1)}, folder / "large.safetensors")
    size = (folder / "large.safetensors").stat().st_size
    monkeypatch.setattr(module, "MAX_BYTES", size - 1)
    assert Upscalers(folder).names == ("pixels", "latent", "good") and not Trap.place.exists()
    left = set(re.findall(r"'([^']+)' in UPSCALERS_DIR is left out", caplog.text))
    assert left == {f"{name}.safetensors" for name in ("latent", "comma, and more", "unknown", "link", "folder", "cut",
                                                       "pickled", "torch-pickled", "large")}  # fmt: skip
    assert str(tmp_path) not in caplog.text
    assert Upscalers(None).names == Upscalers(tmp_path / "trapped").names == ("pixels", "latent")
    monkeypatch.setattr(module, "MAX_FILES", 0)
    assert Upscalers(folder).names == ("pixels", "latent") and "the first 0 are offered" in caplog.text


def test_a_file_that_was_changed_meanwhile_is_told(tiny_sdxl, tmp_path):
    save_file(weights(), tmp_path / "mine.safetensors")
    engine = open_engine(base_model=str(tiny_sdxl), upscalers_dir=tmp_path)[0]
    (tmp_path / "mine.safetensors").write_bytes(b"x")
    with pytest.raises(PaintingFailed, match="The upscaler 'mine' cannot be read any more; choose another"):
        [*engine.generate(create(engine, hires_upscaler="mine"))]
    assert create(engine).hires_upscaler == "pixels" and paint(engine)[1].shape == (96, 96, 3)


def test_the_command_line_has_them(tiny_sdxl, folder, tmp_path):
    place = tmp_path / "apple.png"
    values = ["--steps", "2", "--hires-scale", "1.5", "--hires-upscaler", "4x-Tiny", "--upscalers-dir", str(folder)]
    run(parser().parse_args(["a red apple", "--base-model", str(tiny_sdxl), "-o", str(place), *values]))
    assert "Hires upscaler: 4x-Tiny" in Image.open(place).text["parameters"]
    with pytest.raises(InvalidRequest, match="upscalers_dir is 'nowhere', but must be a folder that exists"):
        run(parser().parse_args(["x", "-o", str(place), "--upscalers-dir", "nowhere"]))
    assert EMBEDDED_PROFILE.limits.upscalers == ("pixels", "latent")

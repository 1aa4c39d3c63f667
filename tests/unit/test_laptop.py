"""The laptop profile: one step of a small model on a CPU, its download told before it begins, and who is offered it."""

import io
import json
import shutil
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from diffusers import DEISMultistepScheduler, DiffusionPipeline
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from PIL import Image

from lora.errors import InvalidRequest, ModelError
from pipeline.engine import DenoiseStep, Engine, Generation
from pipeline.metadata.image_metadata import image_metadata
from pipeline.metadata.restore import restore
from pipeline.profiles import EMBEDDED_PROFILE, LAPTOP_PROFILE, describe, load, load_profile
from pipeline.request.request import GenerationRequest
from pipeline.request.tiers import tiers
from pipeline.sampling import schedulers
from pipeline.sampling.decode import decode
from serving.offer import Offer, is_offered
from serving.settings import Settings
from tests.adapters import library_with
from tests.fake_hub import COMMIT, FakeHub, Repo
from tests.tiny import NOISE, tiny_sdxs
from ui.pages.paint.offer import add_offer

SIDE = {"width": 64, "height": 64}
# The model's own files were written by an older diffusers, which did not tell of these.
LATER = ("safety_checker", "requires_safety_checker", "image_encoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model of the same classes, in files of the same names."""
    root = tmp_path_factory.mktemp("sdxs")
    folder, words = tiny_sdxs(root), root / "model" / "tokenizer"
    (words / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(root / "t1" / name, words)
    (words / "special_tokens_map.json").write_text("{}")
    index = json.loads((folder / "model_index.json").read_text())
    kept = {name: value for name, value in index.items() if name not in LATER}
    kept["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(kept))
    config = json.loads((folder / "vae" / "config.json").read_text())
    del config["block_out_channels"]
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    return folder


def small(folder, **values):
    limits = replace(LAPTOP_PROFILE.limits, **SIDE, size_min=64)
    return replace(LAPTOP_PROFILE, **{"base": str(folder), "revision": None, "download": None} | values, limits=limits)


@pytest.fixture(scope="module")
def engine(folder):
    return Engine(small(folder))


@pytest.fixture(scope="module")
def styles(engine, tmp_path_factory):
    return library_with(engine.load()[0], tmp_path_factory.mktemp("adapters"), "ink")


def ask(engine, find=None, **values) -> GenerationRequest:
    return GenerationRequest.create({"prompt": "red apple", "seed": 3} | values, engine.limits, find)


def paint(engine, find=None, **values) -> Generation:
    return [*engine.generate(ask(engine, find, **values))][-1]


def pixels(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)), np.float32)


def picture() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(file, "PNG")
    return file.getvalue()


def test_it_paints_as_its_own_pipeline_does_by_one_step_without_guidance(engine, folder):
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    rng = torch.Generator().manual_seed(3)
    own = pipe("red apple", num_inference_steps=1, guidance_scale=0, **SIDE, generator=rng, output_type="np").images[0]
    step, generation = engine.generate(ask(engine, negative_prompt="cat"))
    assert np.array_equal(pixels(generation.images[0]), (own * 255).round())
    details = generation.details
    assert (details["steps"], details["guidance_scale"], details["scheduler"]) == (1, 1.0, "DEIS")
    assert isinstance(step, DenoiseStep) and step.steps == 1
    assert step.preview


def test_the_preview_is_of_the_picture_and_not_of_its_noise(engine, monkeypatch):
    (components, composer, _), seen = engine.load(), []
    monkeypatch.setattr(engine, "_loaded", (components, composer, lambda latents: seen.append(latents) or b"seen"))
    whole = paint(engine).images[0]
    assert len(seen) == 1 and np.array_equal(np.asarray(decode(components, seen[0])), pixels(whole))


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_the_one_step_goes_from_the_last_time_to_the_first(spacing):
    """x' = (a0 / aT) x + (s0 - a0 sT / aT) e, where a and s are the shares of signal and noise."""
    config = dict(DEISMultistepScheduler(**NOISE, timestep_spacing=spacing).config)
    scheduler, times = schedulers.prepare(LAPTOP_PROFILE.limits.scheduler, config, LAPTOP_PROFILE.limits.steps)
    signal = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
    (first, last), (noise, most) = signal[[0, -1]].sqrt().tolist(), (1 - signal[[0, -1]]).sqrt().tolist()
    assert times.tolist() == [999] and scheduler.init_noise_sigma == 1
    assert scheduler.sigmas.tolist() == pytest.approx([most / last, noise / first], rel=1e-4)
    x, e = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = first / last * x + (noise - first * most / last) * e
    assert torch.allclose(scheduler.step(e, times[0], x).prev_sample, expected, rtol=1e-4, atol=1e-4)
    # As programs have them that were exported from the model.
    assert first / last == pytest.approx(14.642591, rel=1e-5)
    assert noise - first * most / last == pytest.approx(-14.579279, rel=1e-5)


def test_without_guidance_the_negative_prompt_changes_nothing(engine):
    one, other = (paint(engine, negative_prompt=words, metadata=False) for words in ("", "cat"))
    assert one.images == other.images


def test_a_style_goes_on_and_off_again_to_the_bit(engine, styles):
    plain = paint(engine).images
    styled = paint(engine, styles.find, adapters=[{"id": "ink", "weight": 1.0}])
    assert styled.images != plain and styled.details["adapters"][0]["id"] == "ink"
    assert paint(engine).images == plain


def test_a_picture_to_start_from_and_a_part_of_it(engine):
    whole = paint(engine, image=picture(), strength=1.0)
    assert whole.images != paint(engine).images
    mask = io.BytesIO()
    Image.fromarray(np.uint8([[255] * 32 + [0] * 32] * 64)).save(mask, "PNG")
    part = pixels(paint(engine, image=picture(), mask=mask.getvalue(), strength=1.0).images[0])
    kept = pixels(picture())
    assert np.array_equal(part[:, 32:], kept[:, 32:]) and not np.array_equal(part[:, :32], kept[:, :32])
    with pytest.raises(InvalidRequest, match=r"strength is 0\.6, but must be at least 1 of 1 steps"):
        ask(engine, image=picture())


def test_what_a_file_says_paints_it_again(engine):
    made = paint(engine, seed=-1)
    values, notes = restore(image_metadata(io.BytesIO(made.images[0])), engine.limits, (), "laptop")
    again = paint(engine, **values)
    assert notes == [] and again.images == made.images


def test_its_parts_are_known_without_weights(folder):
    loaded, described = load(small(folder)), describe(small(folder))
    assert described.side == loaded.side == 64 and described.vae_scale_factor == 8
    names = [
        {name: module.state_dict().keys() for name, module in each.adaptable().items()} for each in (loaded, described)
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("values", [{"scheduler": "Euler"}, {"scheduler": "DPM++ 2M Karras"}, {"steps": 2}])
def test_more_than_it_was_taught_is_refused_with_what_to_do(engine, values):
    with pytest.raises(InvalidRequest, match=r"DEIS") as told:
        ask(engine, **values)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_what_it_offers():
    limits = load_profile("laptop").limits
    assert [tier["values"] for tier in tiers(limits)] == [{"steps": 1, "scheduler": "DEIS", "guidance_scale": 1.0}]
    assert (limits.width, limits.height, limits.guidance_scale) == (512, 512, 1.0)
    assert len(LAPTOP_PROFILE.revision) == 40 and LAPTOP_PROFILE.download.files[0] == "model_index.json"


@pytest.fixture
def hub(folder, monkeypatch, tmp_path):
    """A Hub that has the model, and an empty cache; (Hub, profile)."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert set(LAPTOP_PROFILE.download.files) == set(files)
    fake = FakeHub({LAPTOP_PROFILE.base: Repo({COMMIT: files, LAPTOP_PROFILE.revision: files})})
    template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {"HF_HUB_OFFLINE": False, "ENDPOINT": fake.url, "HF_HUB_CACHE": str(tmp_path),
                        "HUGGINGFACE_CO_URL_TEMPLATE": template}.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    # Other tests have loaded models, which are silent.
    enable_progress_bars()
    monkeypatch.setenv("TQDM_POSITION", "-1")
    yield fake, replace(LAPTOP_PROFILE, limits=small(folder).limits)
    fake.close()
    disable_progress_bars()


def test_licence_and_size_are_told_before_the_download_and_never_again(hub, capfd):
    fake, profile = hub
    load(profile)
    said = capfd.readouterr().err
    lines = said.splitlines()
    assert lines[0] == f"Licence of {profile.base}: OpenRAIL++, see {fake.url}/{profile.base}"
    assert lines[1] == f"To download, once: 1.8 GB from {fake.url}"
    assert "text_encoder/model.safetensors: 100%" in said, "how far it is"
    assert all(profile.revision in path for _, path, _ in fake.requests if "/resolve/" in path)
    asked = len(fake.requests)
    fake.close()
    load(profile)
    assert "Licence" not in capfd.readouterr().err and len(fake.requests) == asked, "no network is needed any more"


def test_a_download_that_breaks_off_says_what_to_do(hub, capfd):
    fake, profile = hub
    fake.only, fake.faults = "unet/diffusion", [404] * 20
    with pytest.raises(ModelError, match="see that this machine reaches it and start again") as told:
        load(profile)
    assert str(told.value).startswith(f"{profile.base} could not be fetched from ") and "embedded" in str(told.value)
    fake.faults = []
    capfd.readouterr()
    load(profile)
    assert "1.8 GB" in capfd.readouterr().err, "it had not come whole"


def test_offline_nothing_is_promised(hub, capfd, monkeypatch):
    fake, profile = hub
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="unset HF_HUB_OFFLINE and start again"):
        load(profile)
    assert "Licence" not in capfd.readouterr().err and fake.requests == []


def test_a_custom_model_of_its_kind_loads_too(folder):
    assert load_profile(base_model=str(folder)).limits.width == 64


@pytest.fixture
def at_home(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("values", [{}, {"host": "localhost"}, {"host": "::1"}, {"host": "[::1]"}])
def test_it_is_offered_to_whoever_runs_the_app_at_home(at_home, values):
    assert is_offered(EMBEDDED_PROFILE, Settings(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"host": "0.0.0.0"}, {"host": "192.168.0.7"}, {"host": "atelier.example"}, {"space_id": "someone/atelier"},
        {"space_id": "someone/atelier", "host": "127.0.0.1"}, {"allowed_hosts": "atelier.example"},
        {"trusted_proxies": "127.0.0.1"}, {"ray_address": "local"},
    ],
)  # fmt: skip
def test_it_is_offered_to_nobody_who_only_visits(at_home, values):
    assert not is_offered(EMBEDDED_PROFILE, Settings(**values))


def test_it_is_not_offered_where_it_is_of_no_use(at_home, monkeypatch):
    assert not is_offered(LAPTOP_PROFILE, Settings())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not is_offered(EMBEDDED_PROFILE, Settings())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not is_offered(EMBEDDED_PROFILE, Settings())


def test_the_offer_holds_once_the_hub_is_in_reach(hub, monkeypatch):
    fake, _ = hub
    offer = Offer()
    assert offer.words == ""
    offer.ask().join(10)
    assert offer.words == (
        "Real 512 px pictures on this machine: start it with PROFILE=laptop. "
        "OpenRAIL++ licence, 1.8 GB to download once."
    )
    monkeypatch.setattr("serving.offer.SECONDS", 0.2)
    fake.faults = [503, "page", "hang"]
    for _ in range(3):
        silent = Offer()
        silent.ask().join(10)
        assert silent.words == ""


def test_the_page_has_the_line_only_where_it_is_offered(at_home, monkeypatch):
    asked = []
    monkeypatch.setattr(Offer, "ask", lambda offer: asked.append(offer))
    with gr.Blocks() as page:
        add_offer(EMBEDDED_PROFILE, Settings(host="0.0.0.0"))
    assert not page.blocks.keys() - {page._id} and not page.fns and not asked
    with gr.Blocks() as page:
        add_offer(EMBEDDED_PROFILE, Settings())
    (event,), (offer,) = page.fns.values(), asked
    assert event.fn().visible is False
    offer.words = "<b> now"
    line = event.fn()
    assert line.visible is True and "&lt;b&gt; now" in line.value

"""An adapter for few steps, learnt from the base itself, on tiny random models of both formats."""

import itertools
import json

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from lora.adapter import FewSteps
from lora.errors import InvalidRequest
from lora.library import Library, describe
from pipeline.engine import Engine
from pipeline.profiles import load_profile
from pipeline.request.request import GenerationRequest
from tests.adapters import save_adapter
from tests.unit.test_training import bits, load, same, trained_output, unet_output
from training import Components, TrainedAdapter, TrainingStep
from training.__main__ import parser, run
from training.beside import Beside
from training.config import DistillationConfig
from training.distill import SCHEDULERS, Distillation, Recorded, distill, landed, read_prompts

PROMPTS = ["red apple", "cat", "a cat and a red apple"]
FAST = dict(
    steps=6, batch_size=2, learning_rate=1e-2, warmup=2, rank=4, few_steps=2, teacher_steps=8, guidance_scale=4.0,
    guidance_rescale=0.7,
)  # fmt: skip
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def noise_of(pipe, monkeypatch, prediction: str) -> None:
    noise = ZERO_SNR if prediction == "v_prediction" else {"timestep_spacing": "trailing"}
    monkeypatch.setattr(pipe, "scheduler", type(pipe.scheduler).from_config(pipe.scheduler.config, **noise))


@pytest.fixture(scope="module")
def styles(sdxl, tmp_path_factory):
    """Files of two adapters of the denoiser."""
    folder = tmp_path_factory.mktemp("styles")
    return [save_adapter(Components.of(sdxl), folder / f"{i}.safetensors", i, text=False) for i in (1, 2)]


def events(pipe, folder, checkpoint=None, paint=None, prompts=PROMPTS, beside=(), **changes):
    config = DistillationConfig(**FAST | changes)
    return distill(Components.of(pipe), prompts, config, folder, checkpoint, paint, beside)


def objective(pipe, folder, prompts=PROMPTS, beside=(), **changes) -> Distillation:
    components, config = Components.of(pipe), DistillationConfig(**FAST | changes)
    return Distillation(components, prompts, config, folder, Beside(components, beside))


def result(pipe, folder, checkpoint=None, **changes) -> TrainedAdapter:
    *_, last = events(pipe, folder, checkpoint, **changes)
    return last


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_a_trajectory_is_what_diffusers_paints(family, prediction, request, monkeypatch, tmp_path):
    """Guided DDIM with trailing spacing, of which the last place is the picture and the first is noise."""
    pipe = request.getfixturevalue(family)
    noise_of(pipe, monkeypatch, prediction)
    teacher = objective(pipe, tmp_path)
    with torch.no_grad():
        way = teacher.trajectories([2, 3], torch.Generator().manual_seed(0))
    assert way.shape == (2, 9, 4, 8, 8) and torch.equal(
        way[:, 0], torch.randn(2, 4, 8, 8, generator=torch.manual_seed(0))
    )
    exact = {"clip_sample": False, "set_alpha_to_one": True}
    monkeypatch.setattr(pipe, "scheduler", DDIMScheduler.from_config(pipe.scheduler.config, **exact))
    pipe.set_progress_bar_config(disable=True)
    call = dict(guidance_scale=4.0, guidance_rescale=0.7, num_inference_steps=8, height=64, width=64)
    theirs = pipe(PROMPTS[1:], latents=way[:, 0], output_type="latent", **call).images
    assert torch.allclose(way[:, -1], theirs, atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_few_steps_come_nearer_to_where_many_lead(sdxl, monkeypatch, tmp_path, prediction):
    noise_of(sdxl, monkeypatch, prediction)
    options = dict(steps=60, batch_size=8, targets="attention+mlp+conv", rank=16, schedule="constant")
    adapter = result(sdxl, tmp_path, prompts=PROMPTS[:1] * 8, **options)
    assert sum(adapter.losses[-10:]) < 0.75 * sum(adapter.losses[:10])
    student = objective(sdxl, tmp_path, PROMPTS[:1] * 8, **options)
    way = torch.from_numpy(np.load(student.path(0))).float()

    def missed() -> float:
        """How far from the end of the trajectories unguided steps over its first, middle and last place lead."""
        latents = way[:, 0]
        with torch.no_grad():
            for at in (0, 4):
                places = torch.full((8,), at)
                velocity = student.velocity(latents, places, [1] * 8, guided=False)
                latents = landed(latents, velocity, *student.between(places, places + 4))
        return (latents - way[:, -1]).square().mean().item()

    before = missed()
    adapter.save(tmp_path / "turbo.safetensors")
    sdxl.load_lora_weights(tmp_path, weight_name="turbo.safetensors")
    after = missed()
    sdxl.unload_lora_weights()
    assert after < 0.7 * before


def test_half_is_learnt_with_an_adapter_on(sdxl, styles, tmp_path):
    """The one after the other, on the teacher and on the student; afterwards the base is what it was."""
    before, shown = bits(sdxl), []

    def paint():
        shown.append(all(torch.equal(p, before[f"unet.{n.replace('base_layer.', '')}"])
                         for n, p in sdxl.unet.named_parameters() if "lora_" not in n))  # fmt: skip
        return Image.new("RGB", (8, 8))

    options = dict(prompts=PROMPTS * 3, beside=styles, sample_every=1, checkpoint_every=1)
    run = events(sdxl, tmp_path / "run", tmp_path / "run.checkpoint.pt", paint, **options)
    assert [e.done for e in itertools.islice(run, 5)] == [2, 4, 6, 8, 9] and not same(bits(sdxl), before)
    assert all(isinstance(event, TrainingStep) for event in itertools.islice(run, 3)) and shown == [True] * 3
    run.close()
    assert same(bits(sdxl), before)
    resumed = result(sdxl, tmp_path / "run", tmp_path / "run.checkpoint.pt", **options)
    straight = result(sdxl, tmp_path / "straight", **options)
    assert resumed.data() == straight.data() != result(sdxl, tmp_path / "alone", prompts=PROMPTS * 3).data()
    teacher = objective(sdxl, tmp_path / "run", PROMPTS * 3, styles)
    assert [teacher.adapter(i) for i in range(9)] == [None] * 4 + [0, 0, 1, 1, 0]
    latents, places = torch.randn(1, 4, 8, 8), torch.tensor([3])
    with torch.no_grad():
        teacher.beside.put_on(1)
        ours = teacher.velocity(latents, places, [1], guided=True)
        teacher.beside.take_off()
        plain = teacher.velocity(latents, places, [1], guided=True)
        sdxl.load_lora_weights(styles[1].parent, weight_name=styles[1].name)
        theirs = teacher.velocity(latents, places, [1], guided=True)
    sdxl.unload_lora_weights()
    assert torch.allclose(ours, theirs, atol=1e-4) and not torch.allclose(ours, plain, atol=1e-3)


def test_an_adapter_that_changes_the_text_is_not_taken_beside(sdxl, tmp_path):
    save_adapter(Components.of(sdxl), tmp_path / "words.safetensors", 3)
    with pytest.raises(InvalidRequest, match=r"beside is 'words\.safetensors', but must be an adapter of the denoiser"):
        next(events(sdxl, tmp_path, beside=[tmp_path / "words.safetensors"]))


def test_each_adapter_beside_has_its_share(sdxl, styles, tmp_path):
    with pytest.raises(InvalidRequest, match="trajectories is 4, but must be more than 4, for 2 adapters beside"):
        objective(sdxl, tmp_path, beside=styles, trajectories=4)
    assert objective(sdxl, tmp_path, beside=styles, trajectories=5).groups == {None: [0, 1], 0: [2, 3], 1: [4]}


@pytest.mark.parametrize("options", [{}, dict(targets="attention+mlp+conv", precision="bfloat16")], ids=str)
@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_the_file_loads_and_the_base_is_untouched(family, options, request, tmp_path, caplog):
    pipe, path = request.getfixturevalue(family), tmp_path / "turbo.safetensors"
    before, base = bits(pipe), unet_output(pipe)
    adapter = result(pipe, tmp_path / "ways", **options)
    assert same(bits(pipe), before)
    adapter.save(path)
    expected = trained_output(pipe, adapter, DistillationConfig(**FAST | options))
    load(pipe, path, caplog)
    loaded = unet_output(pipe)
    pipe.unload_lora_weights()
    assert not torch.allclose(loaded, base, atol=1e-4) and torch.allclose(loaded, expected, atol=1e-5)
    assert adapter.metadata["modelspec.usage_hint"].startswith("2 steps, guidance scale 1")
    assert json.loads(adapter.metadata["atelier.few_steps"]) == {
        "steps": 2, "schedulers": ["TCD", "DDIM SGM uniform", "DDIM"], "guidance_scale": 1,
    }  # fmt: skip
    assert describe(path, "folder").few_steps == FewSteps(2, SCHEDULERS)
    assert adapter.metadata["ss_steps"] == "6" and adapter.metadata["modelspec.trigger_phrase"] == ""


def test_the_painter_paints_with_it_by_tcd_from_pure_noise(sdxl, monkeypatch, tmp_path):
    """In as few steps as it learnt, without guidance; and then the base is as it was."""
    noise_of(sdxl, monkeypatch, "v_prediction")
    result(sdxl, tmp_path / "ways").save(tmp_path / "styles" / "turbo.safetensors")
    sdxl.save_pretrained(tmp_path / "model")
    engine, library = (
        Engine(load_profile(base_model=str(tmp_path / "model"))),
        Library([(tmp_path / "styles", "folder")]),
    )

    def painted(*adapters):
        wanted = {"prompt": "cat", "scheduler": "TCD", "steps": 2, "guidance_scale": 1, "width": 64, "height": 64,
                  "seed": 1, "adapters": [{"id": each} for each in adapters]}  # fmt: skip
        *_, last = engine.generate(GenerationRequest.create(wanted, engine.limits, library.find))
        return last.images[0]

    plain = painted()
    assert painted("turbo") != plain and painted() == plain


def test_goes_on_bit_for_bit_wherever_it_was_stopped(sdxl, tmp_path):
    options, stopped, checkpoint = dict(checkpoint_every=2), tmp_path / "stopped", tmp_path / "run.checkpoint.pt"
    straight = result(sdxl, tmp_path / "straight", **options)
    first = events(sdxl, stopped, checkpoint, **options)
    assert next(first) == Recorded(2, 3)
    first.close()
    (kept,) = stopped.glob("*.npy")
    written = kept.stat().st_mtime_ns
    torch.rand(5)
    second = events(sdxl, stopped, checkpoint, **options)
    assert [type(e) for e in itertools.islice(second, 5)] == [Recorded] * 2 + [TrainingStep] * 3
    second.close()
    assert kept.stat().st_mtime_ns == written
    resumed = result(sdxl, stopped, checkpoint, **options)
    assert resumed.losses == straight.losses and resumed.data() == straight.data()


def test_what_decides_a_trajectory_names_it(sdxl, tmp_path):
    """So that others are made beside them; and a checkpoint of other prompts is refused."""
    names = set()
    for changes in ({}, {"guidance_scale": 5.0}, {"teacher_steps": 4}, {"seed": 1}, {"prompts": PROMPTS[:2]}):
        result(sdxl, tmp_path, steps=1, **changes)
        names |= {len(list(tmp_path.glob("*.npy")))}
    # The last one is of the first two prompts, which are there.
    assert names == {2, 4, 6, 8}
    checkpoint = tmp_path / "run.checkpoint.pt"
    result(sdxl, tmp_path, checkpoint, checkpoint_every=6)
    with pytest.raises(InvalidRequest, match="prompts is 'another'"):
        result(sdxl, tmp_path, checkpoint, checkpoint_every=6, prompts=PROMPTS[:2])
    with pytest.raises(InvalidRequest, match=r"few_steps is 4, but must be 2, as in the checkpoint"):
        result(sdxl, tmp_path, checkpoint, checkpoint_every=6, few_steps=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(few_steps=0), "few_steps is 0, but must be a whole number from 1 to 50."),
        (dict(few_steps=3), "teacher_steps is 8, but must be a multiple of few_steps, 3."),
        (dict(guidance_scale=0.5), "guidance_scale is 0.5, but must be a number from 1 to 30."),
        (dict(text_encoders=True), "text_encoders is True, but must be left out when distilling"),
        (dict(trigger="ink"), "trigger is 'ink', but must be left out when distilling"),
        (dict(rank=0, huber=0.0), "(?s)rank is 0.*huber is 0"),
    ],
)
def test_config_says_what_is_wrong(changes, message):
    with pytest.raises(InvalidRequest, match=message):
        DistillationConfig(**FAST | changes)


def test_prompts(tmp_path, sdxl):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffred  apple\n\n cat\n", "utf-8")
    assert read_prompts(file) == ["red apple", "cat"]
    with pytest.raises(InvalidRequest, match="prompts is empty, but must be at least one"):
        result(sdxl, tmp_path, prompts=[])
    for content in (b"\xff\xfe", b"cat\n" + b"x" * 3000):
        file.write_bytes(content)
        with pytest.raises(InvalidRequest, match=r"prompts is .*prompts\.txt"):
            read_prompts(file)
    with pytest.raises(InvalidRequest, match=r"prompts is 'none\.txt', but must be a text file"):
        read_prompts(tmp_path / "none.txt")


def command(tmp_path, tiny, *more: str) -> None:
    places = ["--base", str(tiny), "--output", str(tmp_path / "turbo.safetensors"), "--device", "cpu"]
    run(parser().parse_args([*places, "--steps", "2", "--rank", "2", *more]))


def test_command_line(tiny_sd15, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("cat\nred apple\n")
    distilled = ["--distill", "--prompts", str(tmp_path / "prompts.txt"), "--teacher-steps", "4"]
    command(tmp_path, tiny_sd15, *distilled, "--trajectories", "5", "--sample-every", "2", "--sample-prompt", "cat")
    names = {f.name for f in tmp_path.iterdir()}
    ways = {f.suffix for f in (tmp_path / "turbo.trajectories").iterdir()}
    assert names > {"turbo.safetensors", "turbo.loss.csv", "turbo.2.png"} and ways == {".npy"}
    assert Image.open(tmp_path / "turbo.2.png").size == (64, 64)
    assert "of the base" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--distill"], "prompts is empty, but must be a text file"),
        ([], "images is empty, but must be a folder with pictures"),
        (["--distill", "--images", "there"], "images is 'there', but must be left out with --distill"),
        (["--few-steps", "2"], "few_steps is 2, but must be left out without --distill"),
    ],
)
def test_command_line_says_what_is_missing_or_in_vain(tiny_sd15, tmp_path, more, message):
    with pytest.raises(InvalidRequest, match=message):
        command(tmp_path, tiny_sd15, *more)

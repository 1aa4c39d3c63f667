"""The adapter trainer on tiny random models of both formats."""

import dataclasses
import itertools
import json
import logging

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open

from lora.errors import AdapterError, InvalidRequest
from pipeline.families.sdxl import SDXL
from pipeline.text.conditioning import Conditioner
from training import Components, Example, TrainedAdapter, TrainingConfig, read_folder, train, trainable_parameters
from training.__main__ import parser, run
from training.inject import NAME, injected, rank_masks
from training.loop import opened
from training.objective import Objective, snr_weights

FAST = dict(
    trigger="red", steps=6, batch_size=2, learning_rate=1e-2, warmup=2, rank=4, caption_dropout=0.2,
)  # fmt: skip
EXAMPLES = [
    Example(Image.new("RGB", (64, 64), colour), captions=(name, f"red, {name}"))
    for colour, name in (("red", "apple"), ("navy", "cat"), ("gold", ""))
]


@pytest.fixture(scope="module")
def true_sdxl():
    """The shapes of SDXL's UNet, without numbers."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip


def result(pipe, examples=EXAMPLES, checkpoint=None, paint=None, **changes) -> TrainedAdapter:
    *_, last = train(Components.of(pipe), examples, TrainingConfig(**FAST | changes), checkpoint, paint)
    return last


def bits(pipe) -> dict[str, torch.Tensor]:
    parts = [(n, m) for n, m in pipe.components.items() if isinstance(m, torch.nn.Module)]
    return {f"{n}.{key}": value.clone() for n, module in parts for key, value in module.state_dict().items()}


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def unet_output(pipe) -> torch.Tensor:
    unet, rng = pipe.unet, torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=rng)  # noqa: E731
    sdxl = unet.config.addition_embed_type == "text_time"
    added = {"text_embeds": draw(1, 32), "time_ids": torch.full((1, 6), 64.0)} if sdxl else None
    with torch.no_grad():
        return unet(
            draw(1, 4, 16, 16), 500, draw(1, 7, unet.config.cross_attention_dim), added_cond_kwargs=added
        ).sample


def trained_output(pipe, adapter: TrainedAdapter, config: TrainingConfig) -> torch.Tensor:
    """What the UNet says with the adapter's own layers, as it was trained."""
    with injected({"unet": pipe.unet}, config):
        weights = dict(pipe.unet.named_parameters())
        with torch.no_grad():
            for key, value in adapter.tensors.items():
                path, dot, _ = key.removeprefix("unet.").rpartition(".weight")
                weights[f"{path}.{NAME}.weight" if dot else f"{key.removeprefix('unet.')}.{NAME}.weight"].copy_(value)
        return unet_output(pipe)


def load(pipe, path, caplog) -> None:
    """`load_lora_weights` without a word about any key of a module that the file names."""
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        pipe.load_lora_weights(path.parent, weight_name=path.name)
    with safe_open(path, "pt") as file:
        named = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    silent = {f"prefix='{name}'" for name in ("text_encoder", "text_encoder_2") if name not in named}
    words = [r.getMessage() for r in caplog.records]
    assert [w for w in words if not any(s in w for s in silent) and "UNEXPECTED" not in w] == []


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_falls(sdxl, prediction, monkeypatch):
    noise = {"prediction_type": prediction, "rescale_betas_zero_snr": prediction == "v_prediction"}
    monkeypatch.setattr(sdxl, "scheduler", type(sdxl.scheduler).from_config(sdxl.scheduler.config, **noise))
    config = dict(steps=20, batch_size=32, schedule="constant", targets="attention+mlp+conv")
    losses = result(sdxl, EXAMPLES[:1], **config).losses
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])


@pytest.mark.parametrize("text_encoders", [False, True])
def test_resumes_bit_for_bit(sdxl, tmp_path, text_encoders):
    options = dict(text_encoders=text_encoders, accumulation=2, checkpoint_every=3)
    straight = result(sdxl, **options)
    checkpoint = tmp_path / "run.checkpoint.pt"
    events = train(Components.of(sdxl), EXAMPLES, TrainingConfig(**FAST | options), checkpoint)
    assert [e.step for e in itertools.islice(events, 3)] == [1, 2, 3]
    events.close()
    torch.rand(5)
    resumed = result(sdxl, checkpoint=checkpoint, **options)
    assert resumed.losses == straight.losses
    assert same(resumed.tensors, straight.tensors)
    straight.save(tmp_path / "a.safetensors")
    resumed.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_refuses_the_checkpoint_of_another_run(sdxl, tmp_path):
    checkpoint = tmp_path / "run.checkpoint.pt"
    result(sdxl, checkpoint=checkpoint, checkpoint_every=6)
    with pytest.raises(InvalidRequest, match="rank is 8, but must be 4"):
        result(sdxl, checkpoint=checkpoint, checkpoint_every=6, rank=8)
    with pytest.raises(InvalidRequest, match="images"):
        result(sdxl, EXAMPLES[:2], checkpoint=checkpoint, checkpoint_every=6)
    with torch.no_grad():
        sdxl.unet.conv_in.bias += 1
    with pytest.raises(InvalidRequest, match="base is 'another'"):
        result(sdxl, checkpoint=checkpoint, checkpoint_every=6)
    with torch.no_grad():
        sdxl.unet.conv_in.bias -= 1


def test_a_finished_run_is_written_again_at_another_scale(sdxl, tmp_path):
    again = dict(checkpoint=tmp_path / "run.checkpoint.pt", checkpoint_every=6)
    once, twice = result(sdxl, **again), result(sdxl, **again, export_scale=2.0, title="Twice")
    assert twice.losses == once.losses and twice.metadata["modelspec.title"] == "Twice"
    for key, was in once.tensors.items():
        assert was.any() and torch.allclose(twice.tensors[key], was * (2 if "lora_B" in key else 1), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(alpha=8.0),
        dict(alpha=2.0, rslora=True),
        dict(dora=True),
        dict(targets="attention"),
        dict(targets="attention+mlp+conv"),
        dict(targets="attention+mlp+conv", timestep_rank=True, min_rank=2),
        dict(targets="attention+mlp+conv", dora=True, min_snr_gamma=5.0, precision="bfloat16"),
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_the_file_loads_and_says_the_same(family, options, request, tmp_path, caplog):
    pipe, path = request.getfixturevalue(family), tmp_path / "style.safetensors"
    adapter = result(pipe, steps=2, **options)
    adapter.save(path)
    base = unet_output(pipe)
    expected = trained_output(pipe, adapter, TrainingConfig(**FAST | options))
    load(pipe, path, caplog)
    loaded = unet_output(pipe)
    pipe.unload_lora_weights()
    assert not torch.allclose(loaded, base, atol=1e-4)
    assert torch.allclose(loaded, expected, atol=1e-5)
    assert torch.equal(unet_output(pipe), base)
    if not options.get("dora"):
        assert adapter.parameters == trainable_parameters(pipe.unet, 4, options.get("targets", "attention+mlp"))[0]


def test_the_noisier_the_fewer_ranks_learn():
    config = TrainingConfig(**FAST | dict(rank=8, timestep_rank=True, min_rank=2))
    count = lambda config, *steps: rank_masks(torch.tensor(steps), 1000, config).sum(1).tolist()  # noqa: E731
    assert rank_masks(torch.tensor([0, 999, 500]), 1000, config).tolist() == [
        [1] * 8, [1] * 2 + [0] * 6, [1] * 5 + [0] * 3,
    ]  # fmt: skip
    assert count(config, 0, 1, 166, 167, 999) == [8, 7, 7, 6, 2]
    assert count(dataclasses.replace(config, rank_power=2.0), 0, 500, 999) == [8, 3, 2]
    assert count(dataclasses.replace(config, min_rank=8), 0, 500, 999) == [8, 8, 8]
    assert rank_masks(torch.tensor([999]), 1000, TrainingConfig(**FAST)) is None


def test_a_masked_rank_learns_nothing_at_the_noisiest_step(sdxl, monkeypatch):
    """Where all steps are the noisiest, B has numbers for `min_rank` ranks only; A starts orthogonal."""
    real = torch.randint
    late = lambda most, size, **how: real(most, size, **how).clamp(min=999 if most == 1000 else 0)  # noqa: E731
    monkeypatch.setattr("training.objective.torch.randint", late)
    adapter = result(sdxl, timestep_rank=True, min_rank=3, targets="attention+mlp+conv", steps=2)
    columns = [t for key, t in adapter.tensors.items() if key.endswith("lora_B.weight")]
    assert columns and all(t[:, :3].any() and not t[:, 3:].any() for t in columns)
    with injected({"unet": sdxl.unet}, TrainingConfig(**FAST, timestep_rank=True)):
        rows = [p.flatten(1) for name, p in sdxl.unet.named_parameters() if "lora_A" in name]
        assert rows and all(torch.allclose(row @ row.T, torch.eye(4) / 3, atol=1e-5) for row in rows)


def test_each_picture_has_the_ranks_of_its_own_step(sdxl):
    """A batch of two time steps says of each picture what a batch of it alone says."""
    config = TrainingConfig(**FAST, timestep_rank=True, targets="attention+mlp+conv")
    objective = Objective(Components.of(sdxl), EXAMPLES, config)
    with injected({"unet": sdxl.unet}, config), torch.no_grad():
        for name, parameter in sdxl.unet.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        noisy, steps = objective.latents[:2], torch.tensor([0, 999])
        both = objective.predict(noisy, steps, [0, 1])
        alone = [objective.predict(noisy[i : i + 1], steps[i : i + 1], [i]) for i in (0, 1)]
        whole = dataclasses.replace(config, timestep_rank=False)
        objective.config = whole
        unmasked = objective.predict(noisy, steps, [0, 1])
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)
    assert torch.allclose(both[0], unmasked[0], atol=1e-5) and not torch.allclose(both[1], unmasked[1], atol=1e-3)


@pytest.mark.parametrize("family", ["sdxl", "sd15"])
def test_text_encoders_load_too(family, request, tmp_path, caplog):
    pipe, path = request.getfixturevalue(family), tmp_path / "style.safetensors"
    result(pipe, text_encoders=True, alpha=16.0).save(path)
    before = pipe.encode_prompt("red cat", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
    load(pipe, path, caplog)
    after = pipe.encode_prompt("red cat", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)[0]
    layers = [n for n, m in pipe.text_encoder.named_modules() if hasattr(m, "lora_A")]
    pipe.unload_lora_weights()
    assert len(layers) == 3 * 6
    assert not torch.allclose(before, after, atol=1e-4)
    with safe_open(path, "pt") as file:
        assert any(key.startswith("text_encoder.text_model.encoder.layers.0.") for key in file.keys())  # noqa: SIM118


def test_closing_leaves_the_base_untouched(sdxl):
    before, flags = bits(sdxl), [p.requires_grad for p in sdxl.unet.parameters()]
    processors = sdxl.unet.attn_processors
    events = train(Components.of(sdxl), EXAMPLES, TrainingConfig(**FAST, text_encoders=True, precision="bfloat16"))
    next(events)
    assert any("lora" in key for key in sdxl.unet.state_dict())
    events.close()
    assert same(bits(sdxl), before)
    assert [p.requires_grad for p in sdxl.unet.parameters()] == flags
    assert all(p.grad is None for p in sdxl.unet.parameters())
    assert not hasattr(sdxl.unet, "peft_config")
    assert sdxl.unet.attn_processors == processors


def test_kept_or_worked_out_again_it_is_the_same(sdxl):
    before = bits(sdxl)
    assert same(result(sdxl, gradient_checkpointing=True).tensors, result(sdxl).tensors)
    assert same(bits(sdxl), before) and not sdxl.unet.is_gradient_checkpointing


@pytest.mark.parametrize(("loss", "says"), [(float("nan"), "no number"), (12_345.0, r"1\.23e\+04")])
def test_a_lost_run_says_so_and_leaves_the_base_untouched(sdxl, monkeypatch, loss, says):
    before, real = bits(sdxl), Objective.loss
    monkeypatch.setattr(Objective, "loss", lambda self, rng: 0 * real(self, rng) + loss)
    with pytest.raises(AdapterError, match=f"step 1: the loss is {says}; lower the learning rate"):
        result(sdxl)
    assert same(bits(sdxl), before)


def test_what_a_file_cannot_hold_is_said(sdxl):
    config = TrainingConfig(**FAST)
    with opened(Components.of(sdxl), EXAMPLES, config, None) as run:
        run.parameters[0].data.fill_(1e5)
        with pytest.raises(AdapterError, match="too large for float16; lower the learning rate or export_scale"):
            run.adapter()


@pytest.mark.parametrize("text_encoders", [False, True])
@pytest.mark.parametrize(
    "everything", [dict(caption_dropout=1.0, preserve_unconditional=1.0), dict(preserve_noisiest=1.0)]
)
def test_preserving_everything_learns_nothing(sdxl, text_encoders, everything):
    """Where the base's own prediction is the target everywhere, a fresh adapter has nothing to learn."""
    kept = result(sdxl, **everything, steps=3, text_encoders=text_encoders)
    assert max(kept.losses) < 1e-9
    assert all(not tensor.any() for key, tensor in kept.tensors.items() if "lora_B" in key)


def test_a_share_of_what_is_without_caption_is_preserved(sdxl):
    base = unet_output(sdxl)
    losses = {
        share: sum(result(sdxl, caption_dropout=1.0, preserve_unconditional=share, steps=8, batch_size=16).losses)
        for share in (0.0, 0.5, 1.0)
    }
    assert losses[1.0] < 1e-6 < losses[0.5] < 0.8 * losses[0.0]
    assert torch.equal(unet_output(sdxl), base)


def test_what_has_a_caption_is_never_preserved(sdxl):
    kept, plain = (result(sdxl, caption_dropout=0.0, preserve_unconditional=share) for share in (1.0, 0.0))
    assert same(kept.tensors, plain.tensors)


def test_the_noisiest_steps_are_preserved_under_their_captions(sdxl, monkeypatch):
    predicted = []
    real = Objective.predict

    def spy(self, noisy, steps, rows):
        predicted.append(list(zip(steps.tolist(), rows)))
        return real(self, noisy, steps, rows)

    monkeypatch.setattr(Objective, "predict", spy)
    result(sdxl, steps=1, batch_size=64, caption_dropout=0.5, preserve_noisiest=0.3)
    base, learnt = predicted
    assert base == [(step, row) for step, row in learnt if step >= 700]
    assert 0 < len(base) < 40
    assert {bool(row) for _, row in base} == {True, False}


def test_what_is_learnt_is_what_a_sampler_meets_that_began_with_the_base(sdxl):
    """Deterministic steps (DDIM) with the right answer, from the base's picture under the switch's noise on."""
    (red, blue), config = (EXAMPLES[0].picture, EXAMPLES[1].picture), TrainingConfig(**FAST, preserve_noisiest=0.3)
    objective = Objective(Components.of(sdxl), [Example(red, ("apple",), before=blue)], config)
    add, alphas = objective.noise.add_noise, objective.noise.alphas_cumprod
    noise, one = torch.randn(objective.latents.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0])
    assert not torch.allclose(objective.latents, objective.before, atol=0.05)
    for early in (torch.tensor([999]), torch.tensor([700]), torch.tensor([699])):
        met = add(*objective.underway(one, noise, early), early)
        assert torch.allclose(met, add(objective.before, noise, early), atol=1e-5)
    for last, step in itertools.pairwise((699, 660, 330, 30)):
        wrong = (met - alphas[last].sqrt() * objective.latents) / (1 - alphas[last]).sqrt()
        met = alphas[step].sqrt() * objective.latents + (1 - alphas[step]).sqrt() * wrong
        step = torch.tensor([step])
        assert torch.allclose(add(*objective.underway(one, noise, step), step), met, atol=1e-5)


def test_a_picture_before_changes_what_is_learnt_unless_it_is_the_same(sdxl, tmp_path):
    plain = result(sdxl, preserve_noisiest=0.3)
    own = [dataclasses.replace(e, before=e.picture) for e in EXAMPLES]
    assert same(result(sdxl, own, preserve_noisiest=0.3).tensors, plain.tensors)
    other = [dataclasses.replace(EXAMPLES[0], before=EXAMPLES[1].picture), *EXAMPLES[1:]]
    checkpoint = tmp_path / "red.checkpoint.pt"
    changed = result(sdxl, other, checkpoint, preserve_noisiest=0.3, checkpoint_every=3)
    assert not same(changed.tensors, plain.tensors)
    with pytest.raises(InvalidRequest, match="images is 'another'"):
        result(sdxl, EXAMPLES, checkpoint, preserve_noisiest=0.3, checkpoint_every=3)
    with pytest.raises(InvalidRequest, match=r"preserve_noisiest .* must be more than 0 with pictures before"):
        result(sdxl, other)


def test_sample_pictures_do_not_disturb(sdxl):
    def paint():
        torch.rand(7)
        return Image.new("RGB", (8, 8))

    config = TrainingConfig(**FAST, sample_every=2)
    *steps, last = train(Components.of(sdxl), EXAMPLES, config, paint=paint)
    assert [s.step for s in steps if s.sample] == [2, 4, 6]
    assert same(last.tensors, result(sdxl).tensors)


def test_metadata(sdxl, tmp_path):
    path = tmp_path / "style.safetensors"
    adapter = result(sdxl, alpha=2.0, title="Red", license="MIT", description="All is red.")
    adapter.save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        assert all(file.get_tensor(key).dtype == torch.float16 for key in file.keys())  # noqa: SIM118
    known = {
        "ss_base_model_version": "custom", "ss_network_dim": "4", "ss_network_alpha": "2", "ss_steps": "6",
        "ss_num_train_images": "3", "modelspec.title": "Red", "modelspec.trigger_phrase": "red",
        "modelspec.license": "MIT", "modelspec.description": "All is red.",
    }  # fmt: skip
    assert metadata.items() >= known.items()
    assert len(metadata["atelier.data_sha256"]) == 64
    assert json.loads(metadata["lora_adapter_metadata"])["unet.lora_alpha"] == 2.0
    assert 0 < adapter.share < 1


def test_the_usual_learning_rate_is_that_of_the_base(sdxl, true_sdxl):
    assert result(sdxl, steps=1, learning_rate=None).metadata["ss_learning_rate"] == "0.001"
    assert result(sdxl, steps=1, learning_rate=2e-3).metadata["ss_learning_rate"] == "0.002"
    assert SDXL.default_learning_rate(true_sdxl) == 1e-4


def test_long_captions_are_read_whole_and_as_the_painter_reads_them(sdxl, sd15):
    long = "cat " * 90 + "apple"
    for pipe in (sdxl, sd15):
        components = Components.of(pipe)
        objective = Objective(components, [Example(EXAMPLES[0].picture, ("cat", long))], TrainingConfig(**FAST))
        texts = objective.conditioning([objective.texts.index(long), objective.texts.index("cat")])
        painted = Conditioner(components)(long, "cat", 1)[0]
        for row, ours in enumerate(painted):
            assert torch.allclose(texts.hidden[row], ours.hidden[0], atol=1e-5)
            assert ours.pooled is None or torch.allclose(texts.pooled[row], ours.pooled[0], atol=1e-5)


def test_folder(tmp_path):
    Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(tmp_path / "b.png")
    Image.new("L", (20, 40)).save(tmp_path / "a.JPG")
    (tmp_path / "b.txt").write_text("a  cat\n")
    first, second = read_folder(tmp_path, "ink")
    assert first.captions == ("ink",)
    assert second.captions == ("a cat", "ink, a cat")
    assert second.picture.getpixel((0, 0)) == (255, 255, 255)
    assert read_folder(tmp_path, "ink", captions=False)[1].captions == ("ink",)
    with pytest.raises(InvalidRequest, match=r"captions is 'missing a\.txt'"):
        read_folder(tmp_path, "")
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(InvalidRequest, match=r"images is 'c\.png', but must be a readable picture"):
        read_folder(tmp_path, "ink")


def test_folder_of_pictures_before(tmp_path):
    images, before = tmp_path / "images", tmp_path / "before"
    for folder, colour in ((images, "red"), (before, "blue")):
        folder.mkdir()
        Image.new("RGB", (8, 8), colour).save(folder / f"a.{'png' if folder is images else 'webp'}", lossless=True)
    (example,) = read_folder(images, "ink", before=before)
    assert (example.picture.getpixel((0, 0)), example.before.getpixel((0, 0))) == ((255, 0, 0), (0, 0, 255))
    Image.new("RGB", (8, 8)).save(images / "b.png")
    with pytest.raises(InvalidRequest, match="before is 'missing b', but must be a picture of the same name for each"):
        read_folder(images, "ink", before=before)
    (before / "b.png").write_bytes(b"no picture")
    with pytest.raises(InvalidRequest, match=r"before is 'b\.png', but must be a readable picture"):
        read_folder(images, "ink", before=before)
    with pytest.raises(InvalidRequest, match="before is 'none', but must be a folder with pictures"):
        read_folder(images, "ink", before=tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(rank=0), "rank is 0, but must be a whole number from 1 to 256."),
        (dict(rank=True), "rank is True, but must be a whole number from 1 to 256."),
        (dict(steps=1.5), "steps is 1.5, but must be a whole number from 1 to 1e.06."),
        (dict(learning_rate=float("nan")), "learning_rate is nan, but must be a number from 1e-07 to 1."),
        (dict(caption_dropout="much"), "caption_dropout is 'much', but must be a number from 0 to 1."),
        (dict(targets="all"), "targets is 'all', but must be one of attention, attention.mlp, attention.mlp.conv."),
        (dict(dora="yes"), "dora is 'yes', but must be true or false."),
        (dict(timestep_rank=True, dora=True), "dora is True, but must be false with timestep_rank."),
        (dict(timestep_rank=True, min_rank=5), "min_rank is 5, but must be at most the rank, 4."),
        (dict(trigger="", captions=False), "trigger is empty, but must be a word when there are no captions."),
        (dict(resolution=65), None),
    ],
)
def test_config_names_field_value_and_range(changes, message, sdxl):
    if message is None:
        with pytest.raises(InvalidRequest, match=r"resolution is 65, but must be a multiple of 8\."):
            result(sdxl, **changes)
    else:
        with pytest.raises(InvalidRequest, match=message):
            TrainingConfig(**FAST | changes)


def test_command_line(tiny_sdxl, tmp_path, capsys):
    images, output = tmp_path / "images", tmp_path / "out" / "red.safetensors"
    images.mkdir()
    EXAMPLES[0].picture.save(images / "a.png")
    places = ["--base", str(tiny_sdxl), "--images", str(images), "--output", str(output), "--device", "cpu"]
    options = ["--trigger", "red", "--steps", "2", "--rank", "2", "--sample-every", "2", "--no-captions"]
    run(parser().parse_args([*places, *options, "--resolution", "32", "--targets", "attention"]))
    names = {"red.safetensors", "red.loss.csv", "red.loss.png", "red.2.png"}
    assert {f.name for f in output.parent.iterdir()} == names
    assert "of the base" in capsys.readouterr().out


def test_a_base_in_half_precision_is_sampled_as_well(tiny_sdxl, tmp_path):
    half, images = tmp_path / "half", tmp_path / "images"
    DiffusionPipeline.from_pretrained(tiny_sdxl).to(torch.float16).save_pretrained(half)
    images.mkdir()
    EXAMPLES[0].picture.save(images / "a.png")
    places = ["--base", str(half), "--images", str(images), "--output", str(tmp_path / "red.safetensors")]
    options = ["--trigger", "red", "--steps", "1", "--rank", "2", "--sample-every", "1", "--no-captions"]
    run(parser().parse_args([*places, *options, "--resolution", "32", "--device", "cpu"]))
    assert (tmp_path / "red.1.png").exists()


def test_snr_weights():
    alphas = torch.tensor([0.0, 0.5, 0.99])
    assert torch.allclose(snr_weights(alphas, "epsilon", 5.0), torch.tensor([1.0, 1.0, 5 / 99]))
    assert torch.allclose(snr_weights(alphas, "v_prediction", 5.0), torch.tensor([0.0, 0.5, 5 / 100]))
    assert torch.equal(snr_weights(alphas, "epsilon", None), torch.ones(3))


def test_share_of_the_true_sdxl(true_sdxl):
    """Rank 8 on attention stays under 1 % of SDXL's 2.57 billion numbers."""
    assert sum(p.numel() for p in true_sdxl.parameters()) == 2_567_463_684
    assert trainable_parameters(true_sdxl, 8, "attention")[1] < 0.01
    assert trainable_parameters(true_sdxl, 16, "attention+mlp") == (41_861_120, pytest.approx(0.0163, abs=1e-4))
    assert trainable_parameters(true_sdxl, 4, "attention") == (5_806_080, pytest.approx(0.00226, abs=1e-5))

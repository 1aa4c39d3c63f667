"""The recipe's autoencoder of twice the side: in closed form what the old one was, and the pieces of its training."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, StableDiffusionXLPipeline

from assets.recipe import data, decoder
from assets.recipe.common import Clock
from assets.recipe.doubling import convert, doubled, forget_sizes

PIPELINE = dict(num_inference_steps=2, guidance_scale=2.0, output_type="pt")


def small(latent_channels: int = 8) -> AutoencoderTiny:
    torch.manual_seed(0)
    coders = dict(encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4)
    blocks = dict(num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    return AutoencoderTiny(**coders, **blocks, latent_channels=latent_channels, scaling_factor=0.8).eval()


def twice(pictures: torch.Tensor) -> torch.Tensor:
    return F.interpolate(pictures, scale_factor=2)


@torch.no_grad()
def test_a_doubled_autoencoder_is_the_old_one_with_every_pixel_four_times(tmp_path):
    old = small()
    doubled(old, 40, (2, 1, 2, 1)).save_pretrained(tmp_path)
    new, latents, pictures = (
        AutoencoderTiny.from_pretrained(tmp_path),
        torch.randn(1, 8, 4, 5),
        torch.rand(1, 3, 32, 40),
    )
    assert new.config.scaling_factor == 0.8 and len(new.config.block_out_channels) == 5
    torch.testing.assert_close(new.decode(latents).sample, twice(old.decode(latents).sample))
    torch.testing.assert_close(new.encode(twice(pictures)).latents, old.encode(pictures).latents)


@torch.no_grad()
def test_a_model_that_forgets_sizes_paints_at_all_as_at_those_it_learnt_from(tiny_sdxl):
    unet = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl).unet

    def velocity(*time_ids: int) -> torch.Tensor:
        added = {"text_embeds": torch.ones(1, 32), "time_ids": torch.tensor([time_ids])}
        return unet(torch.ones(1, 4, 8, 8), 500, torch.ones(1, 7, 48), added_cond_kwargs=added).sample

    learnt, other = (64, 64, 0, 0, 64, 64), (128, 96, 8, 0, 128, 96)
    before = velocity(*learnt)
    assert not torch.allclose(velocity(*other), before, atol=1e-4)
    forget_sizes(unet, learnt)
    torch.testing.assert_close(velocity(*learnt), before, atol=1e-5, rtol=1e-4)
    assert torch.equal(velocity(*other), velocity(*learnt))


def test_diffusers_paints_a_converted_model_at_twice_the_side_as_it_lies(tiny_sdxl, tmp_path):
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, vae=small(4)).to(dtype=torch.float16)
    pipe.save_pretrained(tmp_path / "old")
    vae = AutoencoderTiny.from_pretrained(tmp_path / "old" / "vae", torch_dtype=torch.float32)
    convert(tmp_path / "old", doubled(vae, 32, (1, 1, 1, 1)), (64, 64, 0, 0, 64, 64), tmp_path / "new")
    for file in ("unet/config.json", "vae/config.json"):
        assert json.loads((tmp_path / "new" / file).read_text())["_name_or_path"] is None
    old, new = (
        StableDiffusionXLPipeline.from_pretrained(tmp_path / name, torch_dtype=torch.float32)(
            "red apple", generator=torch.Generator().manual_seed(0), **PIPELINE
        ).images
        for name in ("old", "new")
    )
    assert new.shape == (1, 3, 128, 128) and old.std() > 0.01
    torch.testing.assert_close(new, twice(old), atol=0.02, rtol=0)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Two sets of random icons at 256 px, a small teacher, and what the base has painted."""
    rng, names = np.random.default_rng(0), [f"thing-{i}" for i in range(60)]
    index = [{"name": name, "label": name, "tags": [], "group": 3} for name in names]
    (tmp_path / "index.json").write_text(json.dumps({"noto": index, "other": index}))
    folder = data.drawn(tmp_path, decoder.SIZE)
    folder.mkdir()
    for name in ("noto", "other"):
        coarse = rng.integers(0, 256, (60, 8, 8, 4), dtype=np.uint8)
        np.save(folder / f"{name}.npy", coarse.repeat(32, 1).repeat(32, 2))
    small().save_pretrained(tmp_path / decoder.FOLDER / "teacher")
    monkeypatch.setattr(decoder, "paint", lambda texts, seed, style="": torch.randn(16, 8, 16, 16))
    return tmp_path


def test_what_is_measured_on_was_not_trained_on(work):
    for (_, shown), (_, measured) in zip(decoder.icons(work, False), decoder.icons(work, True)):
        assert len(measured) and sorted([*shown, *measured]) == [*range(60)]


def test_parts_of_pictures_lie_where_those_of_their_latents_do(work):
    whole = decoder.compose(decoder.icons(work, False), np.random.default_rng(0), 3)
    assert whole.shape == (3, 3, 256, 256) and whole.min() >= -1 and whole.max() <= 1
    corners = np.array([(0, 0), (8, 3), (5, 8)])
    parts = decoder.windows(whole, corners * decoder.SCALE, 128)
    small_parts = decoder.windows(F.avg_pool2d(whole, decoder.SCALE), corners, 8)
    torch.testing.assert_close(F.avg_pool2d(parts, decoder.SCALE), small_parts)


def test_the_adversarial_gradient_has_its_share_of_the_length():
    out, wanted = torch.zeros(4, requires_grad=True), torch.tensor([3.0, 0, 0, 0])
    pulled = decoder.pull((out - wanted).square().sum(), 1e6 * out[1], out, 0.25)
    torch.testing.assert_close(pulled, torch.tensor([-6.0, 1.5, 0, 0]))


def test_a_discriminator_learns_what_is_drawn():
    torch.manual_seed(0)
    judged, drawn, decoded = decoder.Discriminator(), torch.randn(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    optimizer, losses = torch.optim.Adam(judged.parameters(), 1e-2), []
    for _ in range(20):
        losses.append(decoder.discriminator_loss(judged, decoded, drawn))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert decoder.adversarial_loss(judged, drawn, drawn) < decoder.adversarial_loss(judged, decoded, drawn) - 1


def test_training_goes_on_from_where_it_was_stopped(work):
    trainer = decoder.Trainer(work, 0, 16)
    begun = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.optimizer.param_groups[0]["lr"] = trainer.optimizer.param_groups[1]["lr"] = 1e-3
    trainer.step(0.25)
    changed = {name.split(".")[0] for name, weight in trainer.model.named_parameters() if not weight.equal(begun[name])}
    assert changed == {"encoder", "decoder"}
    trainer.save(12.0)
    again = decoder.Trainer(work, 0, 16)
    assert (again.steps, again.seconds) == (1, 12.0)
    for name, weight in again.model.state_dict().items():
        assert weight.equal(trainer.model.state_dict()[name]), name
    assert again.average.shadow.keys() == trainer.average.shadow.keys()
    assert decoder.trained(work).decoder.layers[0].weight.equal(trainer.average.shadow["decoder.layers.0.weight"])


def test_training_lasts_as_long_as_it_is_told(work, capsys):
    decoder.train(Namespace(work=work, seed=0, painted=16, minutes=0.01))
    assert (work / decoder.FOLDER / "checkpoint.pt").exists()
    assert decoder.load(work / decoder.FOLDER / "checkpoint.pt")["seconds"] >= 0.6


def test_a_clock_of_the_processor_stands_while_nothing_is_done():
    ticks = iter((10.0, 40.0, 40.0, 70.0))
    clock = Clock(1, 5.0, lambda: next(ticks))
    assert clock.run == 30 and not clock.over and clock.total == 65


def test_a_softer_picture_is_less_sharp_and_farther_away():
    torch.manual_seed(0)
    hard = twice(twice(twice(torch.rand(2, 3, 32, 32)))) * 2 - 1
    soft, texture = F.avg_pool2d(hard, 5, 1, 2), decoder.judge.Judge(3).texture.eval()
    assert (decoder.sharpness(soft) < 0.5 * decoder.sharpness(hard)).all()
    with torch.no_grad():
        assert decoder.distance(texture, hard, hard) == 0 < decoder.distance(texture, soft, hard)


def test_the_table_tells_the_shipped_one_from_this_one(work, capsys):
    decoder.measure(Namespace(work=work), count=3)
    out = capsys.readouterr().out
    assert "shipped, Lanczos" in out and "this, own latents" in out and "takes 0." in out


def test_a_picture_in_inks_keeps_its_shades_in_order():
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.float32)[:, None, None], (64, 4, 3))
    for seed in range(20):
        out = decoder.inked(ramp, np.random.default_rng(seed))
        assert out.shape == ramp.shape and out.dtype == np.float32 and out.min() >= 0 and out.max() <= 255
        assert len(np.unique(out.reshape(-1, 3), axis=0)) >= 2 and (np.diff(out.sum(-1)[:, 0]) >= -1e-3).all()

"""The verdict before the run (matrix A8), and a mix exported as one file."""

import json

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import InvalidRequest, UnfitAdapter
from lora.export import export
from lora.inspection import inspect
from lora.library import describe
from pipeline.families import known_marks
from tests.weights import outputs, same, snapshot

KEYS = {"fits", "family", "matched", "unmatched", "ignored", "rank", "parameters", "triggers", "sha256", "reason"}


@pytest.fixture
def ink(model):
    """The file of an adapter that fits, the model's layers, its family."""
    _, components, library = model
    return library.find("ink").path, Composer(components.adaptable()).shapes, components.family.name


def pair(stem: str, width: int, out: int = 8) -> dict[str, torch.Tensor]:
    return {f"{stem}.lora_down.weight": torch.ones(2, width), f"{stem}.lora_up.weight": torch.ones(out, 2)}


def test_an_adapter_of_this_model_fits_whole(ink):
    path, shapes, family = ink
    verdict = inspect(path, shapes, family, families=known_marks()).public()
    tensors = load_file(path)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    assert set(verdict) >= KEYS and json.loads(json.dumps(verdict)) == verdict
    assert verdict["fits"] and verdict["matched"] == len(tensors) // 2 and verdict["unmatched"] == 0
    assert verdict["family"] == family and "this model's" in verdict["family_known_by"]
    assert verdict["parameters"] == numbers and 0 < verdict["share"] < 1
    assert verdict["triggers"] == ["ink style"] and verdict["rank"] == 4
    assert verdict["groups"]["unet"]["rank"] == [4, 4] and verdict["groups"]["unet"]["kinds"] == {"LoRA": verdict[
        "groups"]["unet"]["layers"]}  # fmt: skip
    assert verdict["reason"] == f"It fits: this model has all of its {len(tensors) // 2} layers."


def test_the_header_is_enough(ink, monkeypatch):
    """No weight is read: what safetensors is asked for are the scalars alone."""
    path, shapes, family = ink
    asked = []
    real = torch.empty
    monkeypatch.setattr("lora.files.torch.empty", lambda *a, **k: asked.append(k.get("device")) or real(*a, **k))
    inspect(path, shapes, family, families=known_marks())
    assert asked and set(asked) == {"meta"} and len(asked) == len(load_file(path))


def test_a8_partly_fitting_says_how_much(ink, tmp_path):
    path, shapes, family = ink
    tensors = load_file(path)
    half = {f"unet.nowhere.{i}.to_q.lora_{part}.weight": torch.zeros(4, 4) for i in range(len(tensors) // 2)
            for part in "AB"}  # fmt: skip
    save_file(tensors | half | {"bundle_emb.word.clip_l": torch.zeros(1, 4)}, tmp_path / "half.safetensors")
    verdict = inspect(tmp_path / "half.safetensors", shapes, family, families=known_marks()).public()
    assert verdict["fits"] and verdict["matched"] == verdict["unmatched"] == len(tensors) // 2
    assert "(50 %)" in verdict["reason"] and "unet.nowhere.0.to_q" in verdict["unmatched_examples"]
    assert verdict["ignored"] == 1 and verdict["ignored_examples"] == ["bundle_emb.word.clip_l"]


FOREIGN = {
    "flux": ("lora_unet_double_blocks_0_img_attn_proj", 3072),
    "sd3": ("transformer.transformer_blocks.0.attn.to_q", 1536),
    "sdxl": ("lora_unet_input_blocks_94_1_transformer_blocks_0_attn2_to_k", 2048),
    "sd15": ("lora_unet_down_blocks_90_attentions_0_transformer_blocks_0_attn2_to_k", 768),
    "unknown": ("unet.somewhere.else", 5),
}


@pytest.mark.parametrize("family", FOREIGN)
def test_a8_an_adapter_of_another_model_is_named_and_refused(ink, model, tmp_path, family):
    _, shapes, own = ink
    stem, width = FOREIGN[family]
    path = tmp_path / "x.safetensors"
    save_file(pair(stem, width), path)
    verdict = inspect(path, shapes, own, families=known_marks()).public()
    assert not verdict["fits"] and verdict["matched"] == 0 and verdict["unmatched"] == 1
    assert verdict["family"] == family and "none of its 1 layers" in verdict["reason"]
    composer = Composer(model[1].adaptable())
    with pytest.raises(UnfitAdapter, match="none of its 1 layers"):
        composer.apply((AdapterUse(describe(path, "folder")),))


def test_a8_other_widths_say_the_match_in_percent(ink, tmp_path):
    path, shapes, family = ink
    tensors = load_file(path)
    for key in [key for key in tensors if "lora_A" in key][::2]:
        tensors[key] = torch.zeros(4, 99)
    save_file(tensors, tmp_path / "wide.safetensors")
    verdict = inspect(tmp_path / "wide.safetensors", shapes, family, families=known_marks()).public()
    assert not verdict["fits"] and "was made for another model" in verdict["reason"] and "(50 %)" in verdict["reason"]


def test_metadata_is_told_short_and_on_one_line(ink, tmp_path):
    path, shapes, family = ink
    metadata = {
        "ss_tag_frequency": json.dumps({"10_a": {"blue": 3, "red\n<b>": 9}, "2_b": {"blue": 1}}),
        "ss_sd_model_name": "sd_xl_base_1.0\x1b", "ss_num_train_images": "4" * 999, "modelspec.trigger_phrase": "a, b,",
    }  # fmt: skip
    save_file(load_file(path), tmp_path / "x.safetensors", metadata=metadata)
    verdict = inspect(tmp_path / "x.safetensors", shapes, family, families=known_marks()).public()
    assert verdict["tags"] == ["red <b>", "blue"] and verdict["base"] == "sd_xl_base_1.0 "
    assert verdict["triggers"] == ["a", "b"] and len(verdict["training"]["ss_num_train_images"]) == 300
    for broken in ("[", "3", '{"a": 3}', '{"a": {"b": "c"}}'):
        save_file(load_file(path), tmp_path / "x.safetensors", metadata={"ss_tag_frequency": broken})
        assert inspect(tmp_path / "x.safetensors", shapes, family, families=known_marks()).public()["tags"] == []


def test_an_exported_mix_at_weight_1_is_the_mix(model, tmp_path):
    """By rank concatenation; diffusers reads the file too and gives the same output."""
    folder, components, library = model
    composer, before = Composer(components.adaptable()), snapshot(components)
    mix = AdapterUse(library.find("ink"), 0.8, 0.3, (("mid", 0.5),)), AdapterUse(library.find("gloss"), -0.5)
    composer.apply(mix)
    expected = snapshot(components)
    result = export(composer, mix, tmp_path / "mix.safetensors")
    assert same(components, expected)
    mixed = describe(result.path, "folder")
    assert result.error == 0 and result.reduced == 0 and result.rank == mixed.rank == 8
    assert mixed.triggers == ("ink style", "gloss style")
    composer.apply((AdapterUse(mixed, 1.0),))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(snapshot(components), expected))
    ours = outputs(components.denoiser, components.text_encoders[0])
    composer.restore()
    assert same(components, before)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(result.path))
    for got, theirs in zip(ours, outputs(pipe.unet, pipe.text_encoder)):
        assert torch.allclose(got, theirs, atol=1e-4)


def test_a_mix_cut_to_a_rank_states_its_error(model, tmp_path):
    _, components, library = model
    composer, before = Composer(components.adaptable()), snapshot(components)
    mix = AdapterUse(library.find("ink"), 0.8), AdapterUse(library.find("gloss"), 0.5)
    composer.apply(mix)
    target = snapshot(components)
    errors = []
    for rank in (1, 3, 7, 8):
        result = export(composer, mix, tmp_path / "cut.safetensors", rank=rank)
        composer.apply((AdapterUse(describe(result.path, "folder")),))
        got = snapshot(components)
        lost = sum(float((a - b).double().square().sum()) for a, b in zip(got, target))
        whole = sum(float((a - b).double().square().sum()) for a, b in zip(target, before))
        assert result.error == pytest.approx((lost / whole) ** 0.5, rel=1e-2, abs=1e-5)
        errors.append(result.error)
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0 < errors[-2]
    composer.restore()
    with pytest.raises(InvalidRequest, match="changes the model"):
        export(composer, (), tmp_path / "none.safetensors")
    with pytest.raises(InvalidRequest, match="1 to 1024"):
        export(composer, mix, tmp_path / "none.safetensors", rank=0)

"""Merged adapters against PEFT's own injection, exact restore, and files that must be refused (matrix A1, A5-A9)."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import AdapterError, UnfitAdapter, UnknownAdapter, UnreadableAdapter
from lora.library import Library, describe
from tests.adapters import save_adapter
from tests.weights import outputs, same, snapshot


def test_merged_equals_peft_injection_within_rounding(model):
    """The second path: diffusers injects the same files unmerged, at the same weights."""
    folder, components, library = model
    pipe = DiffusionPipeline.from_pretrained(folder)
    for name in ("ink", "gloss"):
        pipe.load_lora_weights(str(library.find(name).path), adapter_name=name)
    pipe.set_adapters(["ink", "gloss"], [0.8, -0.5])
    theirs = outputs(pipe.unet, pipe.text_encoder)
    composer, before = Composer(components.adaptable()), snapshot(components)
    base = outputs(components.denoiser, components.text_encoders[0])
    composer.apply((AdapterUse(library.find("ink"), 0.8), AdapterUse(library.find("gloss"), -0.5)))
    ours = outputs(components.denoiser, components.text_encoders[0])
    composer.restore()
    for got, expected, plain in zip(ours, theirs, base):
        assert torch.allclose(got, expected, atol=1e-4)
        assert not torch.allclose(got, plain, atol=1e-2)
    assert same(components, before)


def test_one_layer_equals_the_formula_of_the_paper(model):
    """W = W0 + weight * alpha / rank * B A (Hu et al. 2021), from the raw tensors."""
    _, components, library = model
    tensors = load_file(library.find("ink").path)
    down = next(k for k in tensors if k.startswith("unet.") and "to_q" in k and "lora_A" in k)
    layer = components.denoiser.get_submodule(down.removeprefix("unet.").removesuffix(".lora_A.weight"))
    expected = layer.weight + 0.5 * tensors[down.replace("lora_A", "lora_B")] @ tensors[down]
    composer = Composer(components.adaptable())
    composer.apply((AdapterUse(library.find("ink"), 0.5),))
    assert torch.allclose(layer.weight, expected, atol=1e-6)
    composer.restore()


def test_alpha_of_the_metadata_scales(model, tmp_path):
    """lora_alpha 8 at rank 4 is twice the change of alpha 4; a layer's own alpha counts before it."""
    _, components, library = model
    path = library.find("ink").path
    key = next(k for k in load_file(path) if k.startswith("unet.") and "lora_A" in k)
    place = key.removeprefix("unet.").removesuffix(".lora_A.weight")
    config = {"unet.lora_alpha": 8, "unet.r": 4, "unet.alpha_pattern": {place: 2}}
    save_file(load_file(path), tmp_path / "alpha.safetensors", metadata={"lora_adapter_metadata": json.dumps(config)})
    composer = Composer(components.adaptable())
    deltas = composer._read(describe(tmp_path / "alpha.safetensors", "folder")).deltas
    assert deltas["unet", place].scale == 0.5
    assert {d.scale for (c, p), d in deltas.items() if c == "unet" and p != place} == {2.0}


def test_a_kohya_file_is_the_same_adapter(model, tmp_path):
    """kohya writes underscores for dots, `lora_down` for A, and an alpha tensor a layer."""
    _, components, library = model
    encoders = {"unet": "lora_unet", "text_encoder_2": "lora_te2"}
    encoders["text_encoder"] = "lora_te1" if components.family.name == "sdxl" else "lora_te"
    tensors = {}
    for key, tensor in load_file(library.find("ink").path).items():
        component, _, rest = key.partition(".")
        layer, _, part = rest.removesuffix(".weight").rpartition(".")
        if component != "unet" and not layer.startswith("text_model."):
            layer = f"text_model.{layer}"
        name = f"{encoders[component]}_{layer.replace('.', '_')}"
        tensors[f"{name}.lora_{'down' if part == 'lora_A' else 'up'}.weight"] = tensor
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(tensors, tmp_path / "kohya.safetensors")
    kohya = describe(tmp_path / "kohya.safetensors", "folder")
    assert kohya.rank == 4
    composer = Composer(components.adaptable())
    composer.apply((AdapterUse(library.find("ink"), 0.5),))
    expected = snapshot(components)
    (applied,) = composer.apply((AdapterUse(kohya, 1.0),))
    assert applied.unmatched == () and applied.matched == len(tensors) // 3
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(snapshot(components), expected))
    composer.restore()


def test_a11_a_hub_that_is_out_of_reach_leaves_the_adapter_out(caplog):
    library = Library([])
    library.add_from_hub("dalle", "someone/something", "file.safetensors")
    assert library.all() == () and "dalle" in caplog.text


def test_a_hub_adapter_names_its_commit(model, tmp_path, monkeypatch):
    _, components, _ = model
    snapshot_folder = tmp_path / "snapshots" / "0123456789abcdef"
    path = save_adapter(components, snapshot_folder / "x.safetensors", 3)
    monkeypatch.setattr("lora.hub.hf_hub_download", lambda repo, file, revision: str(path))
    library = Library([])
    library.add_from_hub("dalle", "someone/something", "x.safetensors")
    assert library.find("dalle").source == "someone/something@0123456789ab"


def test_unchanged_mix_merges_nothing_and_order_does_not_matter(model, monkeypatch):
    _, components, library = model
    composer, ink, gloss = Composer(components.adaptable()), library.find("ink"), library.find("gloss")
    composer.apply((AdapterUse(ink, 0.3), AdapterUse(gloss, 0.7)))
    merged = snapshot(components)
    monkeypatch.setattr(composer, "_put_on", None)
    composer.apply((AdapterUse(gloss, 0.7), AdapterUse(ink, 0.3)))
    composer.apply((AdapterUse(gloss, 0.7), AdapterUse(ink, 0.1), AdapterUse(ink, 0.2)))
    assert same(components, merged)
    composer.restore()


MIXES = st.lists(st.tuples(st.sampled_from(["ink", "gloss", "broken"]), st.sampled_from([0, 0.3, 1, -2])), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MIXES, max_size=5))
def test_any_sequence_of_mixes_and_failures_restores_every_bit(model, mixes):
    _, components, library = model
    composer, before = Composer(components.adaptable()), snapshot(components)
    broken = replace(library.find("ink"), sha256="0", path=library.find("ink").path.with_name("gone.safetensors"))
    for mix in mixes:
        uses = tuple(AdapterUse(broken if name == "broken" else library.find(name), weight) for name, weight in mix)
        try:
            composer.apply(uses)
        except AdapterError:
            assert same(components, before)
    composer.restore()
    assert same(components, before)


def corrupted(path, kind: str):
    """A copy of a good adapter with one fault."""
    tensors, target = load_file(path), path.with_name(f"bad-{kind}.safetensors")
    first = next(k for k in tensors if "lora_A" in k and k.startswith("text_encoder."))
    metadata = None
    if kind == "nan":
        tensors[first][0, 0] = torch.nan
    elif kind == "half":
        del tensors[first]
    elif kind == "mismatch":
        tensors[first] = torch.zeros(3, tensors[first].shape[1])
    elif kind == "rank":
        tensors = {k: torch.zeros((4096, 8) if "lora_A" in k else (8, 4096)) for k in list(tensors)[:2]}
    elif kind == "unknown":
        tensors["conv_in.weight"] = torch.zeros(1)
    elif kind == "alpha":
        metadata = {"lora_adapter_metadata": json.dumps({"text_encoder.lora_alpha": 1e12})}
    save_file(tensors, target, metadata=metadata)
    if kind == "truncated":
        target.write_bytes(target.read_bytes()[:-100])
    elif kind == "header":
        target.write_bytes((2**63 - 1).to_bytes(8, "little") + b"{}")
    return replace(describe(path, "folder"), path=target, sha256=kind)


@pytest.mark.parametrize("kind", ["nan", "half", "mismatch", "rank", "unknown", "alpha", "truncated", "header"])
def test_a_bad_files_are_refused_with_the_base_intact(model, kind):
    """Matrix A1, A5, A6, A7: the UNet's part is good, the text encoder's is not."""
    _, components, library = model
    composer, before = Composer(components.adaptable()), snapshot(components)
    composer.apply((AdapterUse(library.find("gloss"), 1.0),))
    with pytest.raises(UnreadableAdapter) as caught:
        composer.apply((AdapterUse(corrupted(library.find("ink").path, kind), 1.0),))
    assert "/" not in str(caught.value).replace("alpha / rank", "")
    assert same(components, before)


def test_a8_an_adapter_of_another_model_is_refused(model, tmp_path):
    _, components, library = model
    flux = {
        f"unet.single_transformer_blocks.{i}.attn.to_q.lora_{p}.weight": torch.zeros(4, 4) for i in (0, 1) for p in "AB"
    }
    save_file(flux, tmp_path / "flux.safetensors")
    composer = Composer(components.adaptable())
    with pytest.raises(UnfitAdapter, match="none of its 2 layers"):
        composer.apply((AdapterUse(describe(tmp_path / "flux.safetensors", "folder"), 1.0),))
    wide = {k: torch.zeros(4, 99) if "lora_A" in k else v for k, v in load_file(library.find("ink").path).items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(UnfitAdapter, match="made for another model"):
        composer.apply((AdapterUse(describe(tmp_path / "wide.safetensors", "folder"), 1.0),))


def test_partly_fitting_adapters_say_how_much(model, tmp_path):
    _, components, library = model
    tensors = load_file(library.find("ink").path)
    matched = len(tensors) // 2
    tensors |= {f"unet.nowhere.to_q.lora_{part}.weight": torch.zeros(4, 4) for part in "AB"}
    save_file(tensors, tmp_path / "partly.safetensors")
    composer = Composer(components.adaptable())
    (applied,) = composer.apply((AdapterUse(describe(tmp_path / "partly.safetensors", "folder"), 1.0),))
    assert applied.matched == matched and applied.unmatched == ("unet.nowhere.to_q",)
    composer.restore()


def test_a9_the_library_leaves_out_what_is_no_adapter(model, tmp_path, caplog):
    _, components, _ = model
    save_adapter(components, tmp_path / "good.safetensors", 5, metadata={"modelspec.trigger_phrase": "one, two"})
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    (tmp_path / "old.bin").write_bytes(b"\x80\x04")
    library = Library([(tmp_path, "folder"), (tmp_path / "absent", "built-in")])
    assert [a.id for a in library.all()] == ["good"] and "pickle" in caplog.text
    good = library.find("good")
    assert good.triggers == ("one", "two") and good.rank == 4 and good.size == good.path.stat().st_size
    assert good.parameters == sum(v.numel() for v in load_file(good.path).values())
    assert str(tmp_path) not in json.dumps(good.public())
    with pytest.raises(UnknownAdapter, match="known adapters: good"):
        library.find("../good")


def test_composer_leaves_a_copied_model_alone(model):
    """Adapters change only the modules they were given."""
    _, components, library = model
    twin = deepcopy(components.denoiser)
    composer = Composer(components.adaptable())
    composer.apply((AdapterUse(library.find("ink"), 1.0),))
    theirs = next(p for n, p in twin.named_parameters() if "to_q.weight" in n)
    assert not torch.equal(theirs, next(p for n, p in components.denoiser.named_parameters() if "to_q.weight" in n))
    composer.restore()

"""Kinds of adapters that are no product of factors, by PEFT where it has them and else by their formulas; biases, norms
and what belongs to no layer; names of ComfyUI and OMI.
"""

import time
from pathlib import Path

import pytest
import torch
from peft import IA3Config, OFTConfig, get_peft_model
from peft.tuners.boft.layer import BOFTLayer
from safetensors.torch import load_file, save_file
from torch import nn

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import UnfitAdapter, UnreadableAdapter
from lora.export import export
from lora.formats import read_adapter
from lora.inspection import inspect
from lora.library import describe
from lora.names import original
from lora.transforms import Ia3Delta, OftDelta
from pipeline.families import known_marks
from tests.weights import outputs, same, snapshot

LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONV, NORM = "down_blocks.1.resnets.0.conv1", "down_blocks.1.resnets.0.norm1"


class One(nn.Module):
    def __init__(self, into: int, out: int):
        super().__init__()
        self.only = nn.Linear(into, out, bias=False)

    def forward(self, x):
        return self.only(x)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape) * 0.3


def cayley(blocks: torch.Tensor, most: float | None = None) -> torch.Tensor:
    """(1 + Q)(1 - Q)^-1 of each block, Q = blocks - blocks^T, its norm over all blocks at most `most`."""
    turn = blocks - blocks.mT
    if most is not None and turn.norm() > most:
        turn = turn * most / turn.norm()
    one = torch.eye(blocks.shape[-1])
    return torch.stack([(one + each) @ torch.linalg.inv(one - each) for each in turn])


def test_oft_is_that_of_peft():
    """PEFT rotates inputs, where the tools that write such files rotate outputs: the weight is turned round."""
    torch.manual_seed(1)
    model = One(12, 8)
    base = model.only.weight.detach().clone().T
    wrapped = get_peft_model(
        model, OFTConfig(oft_block_size=4, r=0, target_modules=["only"], init_weights=False, use_cayley_neumann=False)
    )
    rotation = wrapped.base_model.model.only.oft_R["default"]
    turn = rotation._pytorch_skew_symmetric(rotation.weight.detach(), 4)
    merged = wrapped.merge_and_unload().only.weight.detach().T
    assert torch.allclose(base + OftDelta(turn / 2).change(base, 1.0), merged, atol=1e-5)
    assert not torch.allclose(base, merged, atol=1e-2)


def test_boft_is_that_of_peft():
    """From PEFT's own rotations and permutations, whose blocks have two halves where the files' alternate."""
    torch.manual_seed(2)
    size, side, factors, base = 32, 4, 3, random(32, 5)
    blocks, turned = random(factors, size // side, side, side), base
    for i, factor in enumerate(blocks):
        matrix = torch.block_diag(*BOFTLayer.cayley_batch(None, factor))
        order = BOFTLayer.block_butterfly_perm(None, size, size // side // 2**i, side // 2, factors)
        place = BOFTLayer.perm2mat(None, order)
        turned = place @ matrix @ place.T @ turned
    alternate = torch.tensor([0, 2, 1, 3])
    ours = OftDelta(-blocks[..., alternate, :][..., alternate] / 2)
    assert torch.allclose(base + ours.change(base, 1.0), turned, atol=1e-5)
    assert not torch.allclose(base, turned, atol=1e-1)


@pytest.mark.parametrize("on_input", [False, True])
def test_ia3_is_that_of_peft(on_input):
    torch.manual_seed(3)
    model = One(6, 4)
    base = model.only.weight.detach().clone()
    config = IA3Config(target_modules=["only"], feedforward_modules=["only"] if on_input else [])
    wrapped = get_peft_model(model, config)
    factors = wrapped.base_model.model.only.ia3_l["default"]
    factors.data = 1 + random(*factors.shape)
    expected = factors.detach().clone()
    merged = wrapped.merge_and_unload().only.weight.detach()
    assert torch.allclose(base + Ia3Delta(expected - 1, on_input).change(base, 1.0), merged, atol=1e-6)


def parts_of(kind: str, base: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Random tensors as the tools name them, and what they make of `base`."""
    out, into = base.shape[:2]
    matrix = base.flatten(1)
    if kind == "full":
        diff = random(*base.shape)
        return {"diff": diff}, base + diff
    if kind.startswith("oft"):
        blocks, rescale = random(out // 4, 4, 4), 1 + random(out, *[1] * (base.ndim - 1))
        if kind == "oft-diag":
            whole = matrix + torch.block_diag(*blocks).T @ matrix
            return {"oft_diag": blocks}, whole.view_as(base)
        alpha = 0.01 if kind == "oft-constrained" else 0.0
        rotation = torch.block_diag(*cayley(blocks, alpha * out if alpha else None))
        parts, whole = {"oft_blocks": blocks, "alpha": torch.tensor(alpha)}, (rotation.T @ matrix).view_as(base)
        return (parts | {"rescale": rescale}, rescale * whole) if kind == "oft-rescaled" else (parts, whole)
    if kind.startswith("ia3"):
        factors = random(1, into, *[1] * (base.ndim - 2)) if kind == "ia3-in" else random(out, *[1] * (base.ndim - 1))
        return {"weight": factors, "on_input": torch.tensor(kind == "ia3-in")}, base * (1 + factors)
    if kind.startswith("glora"):
        a_down, a_up, b_up, b_down = random(into, 3), random(3, into), random(out, 3), random(3, into)
        names = ("a2", "a1", "b2", "b1") if kind == "glora-old" else ("a1", "a2", "b1", "b2")
        parts = {f"{name}.weight": part for name, part in zip(names, (a_down, a_up, b_up, b_down))}
        return parts | {"alpha": torch.tensor(6.0)}, base + 2 * (base @ a_down @ a_up + b_up @ b_down)
    down, up = random(3, into), random(out, 3)
    parts = {"lora_down.weight": down, "lora_up.weight": up[:, :, None, None] if kind == "mixed" else up}
    if kind == "scalar":
        parts["scalar"] = torch.tensor(-0.5)
    return parts, base + (-0.5 if kind == "scalar" else 1.0) * up @ down


KINDS = [("full", LINEAR), ("full", CONV), ("oft", LINEAR), ("oft", CONV), ("oft-rescaled", CONV), ("oft-diag", LINEAR),
         ("oft-constrained", LINEAR), ("ia3-out", LINEAR), ("ia3-in", CONV), ("glora-old", LINEAR),
         ("glora-new", LINEAR), ("scalar", LINEAR), ("mixed", LINEAR)]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_the_merged_weight_is_the_formula(model, tmp_path, kind, name):
    _, components, _ = model
    torch.manual_seed(4)
    weight = components.denoiser.get_submodule(name).weight
    base = weight.detach().clone()
    parts, expected = parts_of(kind, base)
    save_file(
        {f"lora_unet_{name.replace('.', '_')}.{part}": t for part, t in parts.items()}, tmp_path / "x.safetensors"
    )
    composer = Composer(components.adaptable())
    (applied,) = composer.apply((AdapterUse(describe(tmp_path / "x.safetensors", "folder"), 0.7),))
    got = weight.detach().clone()
    composer.restore()
    assert applied.matched == 1 and not applied.unmatched and torch.equal(weight, base)
    assert torch.allclose(got, base + 0.7 * (expected - base), atol=2e-5) and not torch.allclose(got, base, atol=1e-2)


def with_vectors(components, path: Path, stem: str = "lora_unet_") -> dict[str, torch.Tensor]:
    """A file that changes a layer's weight and bias, and a norm; by the name of the parameter, what is added to it."""
    conv, norm = components.denoiser.get_submodule(CONV), components.denoiser.get_submodule(NORM)
    added = {f"{CONV}.weight": random(*conv.weight.shape), f"{CONV}.bias": random(*conv.bias.shape)}
    added |= {f"{NORM}.weight": random(*norm.weight.shape), f"{NORM}.bias": random(*norm.bias.shape)}
    parts = zip((f"{CONV}.diff", f"{CONV}.diff_b", f"{NORM}.w_norm", f"{NORM}.b_norm"), added.values())
    tensors = {}
    for name, tensor in parts:
        layer, _, part = name.rpartition(".")
        tensors[f"{stem}{layer.replace('.', '_')}.{part}"] = tensor.clone()
    save_file(tensors, path)
    return added


def test_biases_and_norms_are_changed_and_restored(model, tmp_path):
    _, components, library = model
    torch.manual_seed(5)
    added = with_vectors(components, tmp_path / "x.safetensors")
    composer, before = Composer(components.adaptable()), snapshot(components)
    base = {name: value.clone() for name, value in components.denoiser.state_dict().items()}
    style = describe(tmp_path / "x.safetensors", "folder")
    (applied,) = composer.apply((AdapterUse(style, 0.5),))
    assert applied.matched == 1 and not applied.unmatched
    for name, value in components.denoiser.state_dict().items():
        assert torch.allclose(value, base[name] + 0.5 * added.get(name, torch.zeros(())), atol=1e-6), name
    composer.apply((AdapterUse(style, 1.0), AdapterUse(library.find("ink"), 0.5)))
    composer.restore()
    assert same(components, before)


def test_a_bias_that_the_model_lacks_is_told(model, tmp_path):
    _, components, _ = model
    width = components.denoiser.get_submodule(LINEAR).weight.shape
    tensors = {f"unet.{LINEAR}.diff": random(*width), f"unet.{LINEAR}.diff_b": random(width[0])}
    save_file(tensors, tmp_path / "x.safetensors")
    shapes, family = Composer(components.adaptable()).shapes, components.family.name
    verdict = inspect(tmp_path / "x.safetensors", shapes, family, families=known_marks()).public()
    assert verdict["fits"] and (verdict["matched"], verdict["unmatched"], verdict["ignored"]) == (1, 0, 1)
    assert "it lacks 1 biases or norms" in verdict["reason"]
    save_file(tensors | {f"unet.{CONV}.diff_b": random(5)}, tmp_path / "x.safetensors")
    with pytest.raises(UnfitAdapter, match=r"shape \[5\]"):
        Composer(components.adaptable()).apply((AdapterUse(describe(tmp_path / "x.safetensors", "folder")),))


def test_a_mix_with_biases_is_exported_whole(model, tmp_path):
    _, components, library = model
    torch.manual_seed(6)
    with_vectors(components, tmp_path / "x.safetensors")
    composer, before = Composer(components.adaptable()), snapshot(components)
    mix = AdapterUse(describe(tmp_path / "x.safetensors", "folder"), 0.5), AdapterUse(library.find("ink"), 0.8)
    composer.apply(mix)
    expected = snapshot(components)
    result = export(composer, mix, tmp_path / "mix.safetensors", rank=1024)
    composer.apply((AdapterUse(describe(result.path, "folder")),))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(snapshot(components), expected))
    composer.restore()
    assert same(components, before)


@pytest.mark.parametrize("style", ["comfy", "omi"])
def test_names_with_dots_in_the_original_order_are_the_same_layers(model, tmp_path, style):
    _, components, library = model
    starts = {"comfy": ("diffusion_model.", "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."),
              "omi": ("unet.", "clip_l.", "clip_g.")}[style]  # fmt: skip
    renamed, sdxl = {}, components.family.name == "sdxl"
    for key, tensor in load_file(library.find("ink").path).items():
        component, _, rest = key.partition(".")
        layer, part = rest.removesuffix(".weight").rsplit(".", 1)
        which = ("unet", "text_encoder", "text_encoder_2").index(component)
        if which:
            layer = layer if layer.startswith("text_model.") else f"text_model.{layer}"
        else:
            layer = original(layer, 1, {"0"}) if sdxl else layer
        renamed[f"{starts[which]}{layer}.lora_{'down' if part == 'lora_A' else 'up'}.weight"] = tensor
    save_file(renamed, tmp_path / "x.safetensors")
    composer = Composer(components.adaptable())
    composer.apply((AdapterUse(library.find("ink")),))
    expected = outputs(components.denoiser, components.text_encoders[0])
    (applied,) = composer.apply((AdapterUse(describe(tmp_path / "x.safetensors", "folder")),))
    got = outputs(components.denoiser, components.text_encoders[0])
    composer.restore()
    assert applied.matched == len(renamed) // 2 and not applied.unmatched
    assert all(torch.equal(a, b) for a, b in zip(got, expected))


def test_what_belongs_to_no_layer_is_left_out_and_told(tmp_path):
    pair = {"unet.a.lora_A.weight": random(2, 4), "unet.a.lora_B.weight": random(4, 2)}
    save_file(pair | {"global_step": torch.tensor(7)}, tmp_path / "x.safetensors")
    file = read_adapter(tmp_path / "x.safetensors", {})
    assert file.ignored == ("global_step",) and "'global_step'" in file.notes[-1] and len(file.deltas) == 1
    many = {f"something.{i}": random(1) for i in range(9)}
    save_file(pair | many, tmp_path / "x.safetensors")
    with pytest.raises(UnreadableAdapter, match="9 of its tensors, such as 'something"):
        read_adapter(tmp_path / "x.safetensors", {})


def test_an_adapter_of_another_model_is_refused_though_its_text_encoder_fits(model, tmp_path):
    """Text encoders are shared between families; by what it does to the denoiser it is judged."""
    _, components, library = model
    tensors = {k: v for k, v in load_file(library.find("ink").path).items() if k.startswith("text_encoder.")}
    tensors |= {f"lora_unet_double_blocks_0_img_attn_proj.lora_{part}.weight": random(4, 4) for part in ("up", "down")}
    save_file(tensors, tmp_path / "x.safetensors")
    composer = Composer(components.adaptable())
    verdict = inspect(tmp_path / "x.safetensors", composer.shapes, components.family.name, families=known_marks())
    assert not verdict.fits and verdict.family == "flux" and "It is an adapter for Flux." in verdict.reason
    assert "none of its 1 layers of the denoiser, such as lora_unet_double_blocks_0_img_attn_proj" in verdict.reason
    with pytest.raises(UnfitAdapter, match="denoiser"):
        composer.apply((AdapterUse(describe(tmp_path / "x.safetensors", "folder")),))


@pytest.mark.parametrize("alpha", [float("inf"), 1e10])
def test_two_whole_matrices_have_no_use_for_an_alpha(tmp_path, alpha):
    tensors = {"lora_unet_a.lokr_w1": random(2, 2), "lora_unet_a.lokr_w2": random(2, 2)}
    save_file(tensors | {"lora_unet_a.alpha": torch.tensor(alpha)}, tmp_path / "x.safetensors")
    (delta,) = read_adapter(tmp_path / "x.safetensors", {}).deltas.values()
    assert delta.scale == 1


FAULTS = {
    "side": {"oft_blocks": (2, 3, 4)}, "large": {"oft_blocks": (1, 5000, 5000)}, "odd": {"oft_blocks": (2, 4, 3, 3)},
    "reach": {"oft_blocks": (9, 4, 2, 2)}, "empty": {"oft_blocks": (0, 4, 4)}, "rescale": {"oft_blocks": (2, 4, 4),
    "rescale": (7, 1)}, "glora": {"a1.weight": (2, 4), "a2.weight": (4, 2), "b1.weight": (2, 5), "b2.weight": (4, 2)},
    "ia3": {"weight": (3, 4), "on_input": ()}, "two": {"diff": (4, 4), "lora_down.weight": (2, 4)},
    "lonely": {"a1.weight": (2, 4)},
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a7_tensors_that_make_no_transform_are_refused(tmp_path, fault):
    tensors = {f"lora_unet_a.{part}": torch.ones(shape) for part, shape in FAULTS[fault].items()}
    save_file(tensors, tmp_path / "x.safetensors")
    for header_only in (True, False):
        with pytest.raises(UnreadableAdapter) as caught:
            read_adapter(tmp_path / "x.safetensors", {}, header_only)
        assert len(str(caught.value)) < 300 and str(tmp_path) not in str(caught.value)


def test_a_header_of_ten_thousand_tensors_is_judged_in_a_second(model, tmp_path):
    _, components, _ = model
    stem = "attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"lora_unet_down_blocks_{i}_{stem}.lora_{part}.weight": random(1, 1)
               for i in range(5000) for part in ("down", "up")}  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors")
    shapes, seconds = Composer(components.adaptable()).shapes, []
    # The shorter of two: what other tests have left in this process is cleared away in the other.
    for _ in range(2):
        start = time.process_time()
        verdict = inspect(tmp_path / "x.safetensors", shapes, components.family.name, families=known_marks())
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1 and not verdict.fits

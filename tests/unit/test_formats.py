"""Every layout and kind of adapter file: the papers' formulas from raw tensors, and PEFT and diffusers as oracles."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import UnreadableAdapter
from lora.formats import read_adapter
from lora.library import describe
from lora.names import Names, original
from tests.weights import outputs

LINEAR = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "down_blocks.1.resnets.0.conv1"
TARGETS = ["to_q", "to_v", "ff.net.2", "conv1", "conv2", "time_emb_proj"]


def use(path, weight=1.0) -> AdapterUse:
    return AdapterUse(describe(path, "folder"), weight)


def random(*shape):
    return torch.randn(shape) * 0.3


def kron(a, b):
    return torch.from_numpy(np.kron(a.numpy(), b.numpy()))


def raw(kind: str, out: int, into: int, kernel: int) -> tuple[dict, torch.Tensor]:
    """Random tensors of one layer as kohya's tools name them, alpha 2 at rank 4, and dW by its paper's formula."""
    conv = (kernel, kernel) if kernel > 1 else ()
    flat, shape = kernel * kernel, (out, into, *conv)
    if kind == "lora":
        parts = {"lora_down.weight": random(4, into, *conv), "lora_up.weight": random(out, 4, *(1 for _ in conv))}
        down, up = parts.values()
        return parts, 0.5 * torch.tensordot(up.reshape(out, 4), down, 1)
    if kind == "tucker":
        parts = {"lora_down.weight": random(4, into, 1, 1), "lora_up.weight": random(out, 4, 1, 1)}
        parts["lora_mid.weight"] = random(4, 4, *conv)
        down, up, mid = (t.double() for t in parts.values())
        dense = torch.zeros(shape, dtype=torch.float64)
        for x in range(kernel):
            for y in range(kernel):
                dense[:, :, x, y] = 0.5 * up[:, :, 0, 0] @ mid[:, :, x, y] @ down[:, :, 0, 0]
        return parts, dense.float()
    if kind == "loha":
        parts = {"hada_w1_a": random(out, 4), "hada_w1_b": random(4, into * flat)}
        parts |= {"hada_w2_a": random(out, 4), "hada_w2_b": random(4, into * flat)}
        a, b, c, d = parts.values()
        return parts, (0.5 * torch.mul(a @ b, c @ d)).reshape(shape)
    if kind == "loha-tucker":
        names = "hada_t1", "hada_w1_a", "hada_w1_b", "hada_t2", "hada_w2_a", "hada_w2_b"
        sizes = [(4, 4, *conv), (4, out), (4, into)] * 2
        parts = {name: random(*size) for name, size in zip(names, sizes)}
        t1, a1, b1, t2, a2, b2 = parts.values()
        dense = torch.empty(shape)
        for x in range(kernel):
            for y in range(kernel):
                dense[:, :, x, y] = 0.5 * (a1.T @ t1[:, :, x, y] @ b1) * (a2.T @ t2[:, :, x, y] @ b2)
        return parts, dense
    w1, a, b = random(4, 2), random(out // 4, 4), random(4, into // 2 * flat)
    if kind == "lokr-whole":
        w2 = random(out // 4, into // 2, *conv)
        parts, scale = {"lokr_w1": w1, "lokr_w2": w2}, 1.0
    elif kind == "lokr":
        parts, w2, scale = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b}, (a @ b).reshape(-1, into // 2, *conv), 0.5
    elif kind == "lokr-both":
        c, d = random(4, 4), random(4, 2)
        parts = {"lokr_w1_a": c, "lokr_w1_b": d, "lokr_w2_a": a, "lokr_w2_b": b}
        w1, w2, scale = c @ d, (a @ b).reshape(-1, into // 2, *conv), 0.5
    else:
        core, a, b = random(4, 4, *conv), random(4, out // 4), random(4, into // 2)
        parts, scale = {"lokr_w1": w1, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}, 0.5
        w2 = torch.stack(
            [torch.stack([a.T @ core[:, :, x, y] @ b for y in range(kernel)], -1) for x in range(kernel)], -2
        )
    if not conv:
        return parts, scale * kron(w1, w2)
    points = [torch.stack([kron(w1, w2[:, :, x, y]) for y in range(kernel)], -1) for x in range(kernel)]
    return parts, scale * torch.stack(points, -2)


def kohya_file(path, layers: dict[str, dict]) -> None:
    """Write layers (their names with dots, their tensors) as kohya's tools do, alpha 2 each."""
    tensors = {}
    for name, parts in layers.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{stem}.{part}": tensor.clone() for part, tensor in parts.items()}
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path)


KINDS = [("lora", 1), ("lora", 3), ("tucker", 3), ("loha", 1), ("loha", 3), ("loha-tucker", 3), ("lokr", 1),
         ("lokr", 3), ("lokr-both", 1), ("lokr-whole", 1), ("lokr-whole", 3), ("lokr-tucker", 3)]  # fmt: skip


@pytest.mark.parametrize("dora", ["", "out", "in"])
@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_the_merged_weight_is_the_formula_of_the_paper(model, tmp_path, kind, kernel, dora):
    """At weight 0.7, in kohya's layout; with `dora` as LyCORIS writes it, a magnitude for each output or input."""
    _, components, _ = model
    torch.manual_seed(5)
    name = CONV if kernel == 3 else LINEAR
    layer = components.denoiser.get_submodule(name)
    base = layer.weight.detach().clone()
    parts, dense = raw(kind, *base.shape[:2], kernel)
    expected = base + 0.7 * dense
    if dora:
        moved = base + dense
        axes = [i for i in range(base.ndim) if i != (dora == "in")]
        norm = moved.square().sum(axes, keepdim=True).sqrt()
        magnitude = norm * (1 + random(*norm.shape).abs())
        parts["dora_scale"] = magnitude
        expected = base + 0.7 * (magnitude * moved / norm - base)
    kohya_file(tmp_path / "x.safetensors", {name: parts})
    composer = Composer(components.adaptable())
    (applied,) = composer.apply((use(tmp_path / "x.safetensors", 0.7),))
    got = layer.weight.detach().clone()
    composer.restore()
    assert applied.matched == 1 and not applied.unmatched
    assert torch.allclose(got, expected, atol=2e-5, rtol=1e-4) and not torch.allclose(got, base, atol=1e-2)
    assert torch.equal(layer.weight, base)


def peft_configs():
    yield "dora", LoraConfig(r=4, lora_alpha=3, use_dora=True, target_modules=TARGETS, init_lora_weights=False)
    pattern = {"to_q": 9, "down_blocks.1.resnets.0.conv1": 1}
    yield "lora", LoraConfig(r=4, lora_alpha=8, alpha_pattern=pattern, target_modules=TARGETS, init_lora_weights=False)
    yield "rslora", LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=TARGETS, init_lora_weights=False)
    biased = ["to_out.0", "ff.net.2", "conv1", "conv2"]
    yield "bias", LoraConfig(r=4, lora_alpha=3, lora_bias=True, target_modules=biased, init_lora_weights=False)
    yield "loha", LoHaConfig(r=4, alpha=3, target_modules=TARGETS, init_weights=False)
    yield "loha-core", LoHaConfig(r=4, alpha=3, target_modules=TARGETS, init_weights=False, use_effective_conv2d=True)
    yield "lokr", LoKrConfig(r=2, alpha=3, target_modules=TARGETS, init_weights=False)
    yield (
        "lokr-both",
        LoKrConfig(
            r=2, alpha=3, target_modules=TARGETS, init_weights=False, decompose_both=True, use_effective_conv2d=True
        ),
    )
    yield "lokr-whole", LoKrConfig(r=64, alpha=32, target_modules=TARGETS, init_weights=False)


@pytest.mark.parametrize("weight", [1.0, 0.4, -0.5])
@pytest.mark.parametrize(("name", "config"), list(peft_configs()), ids=[name for name, _ in peft_configs()])
def test_raw_peft_files_give_the_output_of_peft(model, tmp_path, name, config, weight):
    """`save_pretrained` writes `base_model.model.` names and the alpha beside them."""
    _, components, _ = model
    torch.manual_seed(7)
    wrapped = get_peft_model(deepcopy(components.denoiser), config)
    for key, parameter in wrapped.named_parameters():
        if "magnitude" in key:
            parameter.data *= 1.3
        elif parameter.requires_grad and not name.startswith("loha"):
            parameter.data *= 0.3
    wrapped.save_pretrained(tmp_path)
    for layer in wrapped.modules():
        if hasattr(layer, "scaling") and isinstance(layer.scaling, dict):
            layer.scaling["default"] *= weight
    (path,) = tmp_path.glob("*.safetensors")
    composer = Composer(components.adaptable())
    theirs = outputs(wrapped, components.text_encoders[0])[0]
    base = outputs(components.denoiser, components.text_encoders[0])[0]
    (applied,) = composer.apply((use(path, weight),))
    ours = outputs(components.denoiser, components.text_encoders[0])[0]
    composer.restore()
    assert not applied.unmatched and applied.matched > 10
    assert torch.allclose(ours, theirs, atol=1e-4) and not torch.allclose(ours, base, atol=1e-3)


def test_raw_peft_without_a_config_says_what_it_assumes(model, tmp_path):
    """And finds the text encoder that it is for by its width."""
    _, components, _ = model
    encoder, name = components.text_encoders[-1], list(components.adaptable())[-1]
    wrapped = get_peft_model(deepcopy(encoder), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    wrapped.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    file = read_adapter(tmp_path / "adapter_model.safetensors", Composer(components.adaptable()).shapes)
    assert {component for component, _ in file.deltas} == {name}
    assert all(delta.scale == 1 for delta in file.deltas.values())
    assert file.notes == ("No alpha is given; it is taken to be the rank.",)


def test_diffusers_dora_gives_the_output_of_diffusers(model, tmp_path):
    folder, components, _ = model
    torch.manual_seed(8)
    pipe = DiffusionPipeline.from_pretrained(folder)
    config = LoraConfig(r=4, use_dora=True, target_modules=["to_q", "to_k"], init_lora_weights=False)
    pipe.unet.add_adapter(config)
    pipe.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(pipe.unet), weight_name="d.safetensors")
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(tmp_path / "d.safetensors"), adapter_name="d")
    pipe.set_adapters(["d"], [0.6])
    composer = Composer(components.adaptable())
    composer.apply((use(tmp_path / "d.safetensors", 0.6),))
    ours = outputs(components.denoiser, components.text_encoders[0])
    composer.restore()
    assert torch.allclose(ours[0], outputs(pipe.unet, pipe.text_encoder)[0], atol=1e-4)


def test_kohya_locon_gives_the_output_of_diffusers(model, tmp_path):
    """Attention, convolutions, time embedding and shortcut in the original order of blocks."""
    folder, components, _ = model
    torch.manual_seed(9)
    shapes = {path: shape for (c, path), shape in Composer(components.adaptable()).shapes.items() if c == "unet"}
    ends = ("to_q", "to_out.0", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "proj_in", "ff.net.2")
    layers, attended = {}, {"0"}
    for path, shape in shapes.items():
        if path.endswith(ends):
            name = original(path, 1, attended) if components.family.name == "sdxl" else path
            layers[name] = raw("lora", *shape[:2], shape[2] if len(shape) == 4 else 1)[0]
            if shape[2:] == (1, 1):
                layers[name] = {part: t.reshape(*t.shape[:2], 1, 1) for part, t in layers[name].items()}
    kohya_file(tmp_path / "locon.safetensors", layers)
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(tmp_path / "locon.safetensors"), adapter_name="l")
    pipe.set_adapters(["l"], [0.2])
    composer = Composer(components.adaptable())
    (applied,) = composer.apply((use(tmp_path / "locon.safetensors", 0.2),))
    ours = outputs(components.denoiser, components.text_encoders[0])[0]
    composer.restore()
    assert applied.matched == len(layers)
    assert torch.allclose(ours, outputs(pipe.unet, pipe.text_encoder)[0], atol=1e-4)


@pytest.fixture(scope="module")
def sdxl_names():
    """The layers of a UNet with SDXL's true layout of blocks, narrow and without values."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(8, 16, 32), norm_num_groups=8, layers_per_block=2, cross_attention_dim=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4, 8),
            transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=8, projection_class_embeddings_input_dim=64,
        )  # fmt: skip
    layers = (torch.nn.Linear, torch.nn.Conv2d)
    return unet, {("unet", p): tuple(m.weight.shape) for p, m in unet.named_modules() if isinstance(m, layers)}


KNOWN = {
    "input_blocks_4_1_transformer_blocks_0_attn1_to_q": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "input_blocks_8_1_transformer_blocks_9_ff_net_0_proj":
        "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj",
    "middle_block_1_proj_in": "mid_block.attentions.0.proj_in",
    "middle_block_2_in_layers_2": "mid_block.resnets.1.conv1",
    "output_blocks_2_1_transformer_blocks_0_attn2_to_out_0":
        "up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_out.0",
    "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
    "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks_1_0_emb_layers_1": "down_blocks.0.resnets.0.time_emb_proj",
    "output_blocks_8_0_out_layers_3": "up_blocks.2.resnets.2.conv2",
    "output_blocks_8_0_skip_connection": "up_blocks.2.resnets.2.conv_shortcut",
    "input_blocks_0_0": "conv_in", "out_2": "conv_out", "time_embed_0": "time_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
}  # fmt: skip


def test_original_names_of_sdxl_are_found(sdxl_names):
    names = Names(sdxl_names[1])
    for theirs, ours in KNOWN.items():
        assert names.layers(f"lora_unet_{theirs}") == [("unet", ours)]
        assert names.layers(f"lora_unet_{ours.replace('.', '_')}") == [("unet", ours)]
    assert names.layers("lora_unet_input_blocks_99_1_proj_in") == [("unet", "input_blocks_99_1_proj_in")]


def test_every_layer_has_the_name_that_diffusers_reads_back(sdxl_names):
    """The other direction by another's code: diffusers' conversion of our original names, all 743 layers."""
    unet, shapes = sdxl_names
    named = {path: original(path, 2, {"0", "1"}).replace(".", "_") for _, path in shapes}
    assert len(set(named.values())) == len(shapes)
    pair = {"lora_down.weight": torch.zeros(1, 1), "lora_up.weight": torch.zeros(1, 1)}
    checked = 0
    for path, name in named.items():
        file = {f"lora_unet_{name}.{part}": tensor for part, tensor in pair.items()}
        found, _ = StableDiffusionXLLoraLoaderMixin.lora_state_dict(file, unet_config=unet.config)
        theirs = next(iter(found)).removeprefix("unet.").replace(".processor.to_out_lora", ".to_out.0")
        theirs = theirs.replace(".processor", "").replace("_lora.", ".").removesuffix(".lora_A.weight")
        checked += theirs.removesuffix(".down.weight").removesuffix(".lora") == path
    assert checked == len(shapes)


def test_older_diffusers_names_are_the_same_layers():
    shapes = {("unet", "a.attn1.to_q"): (2, 2), ("unet", "a.attn1.to_out.0"): (2, 2)}
    names = Names(shapes | {("text_encoder", "encoder.layers.0.self_attn.out_proj"): (2, 2)})
    assert names.layers("unet.a.attn1.processor.to_q_lora") == [("unet", "a.attn1.to_q")]
    assert names.layers("a.attn1.processor.to_out_lora") == [("unet", "a.attn1.to_out.0")]
    old = "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora"
    assert names.layers(old) == [("text_encoder", "encoder.layers.0.self_attn.out_proj")]


@pytest.mark.parametrize("fault", ["half", "shapes", "core", "extra", "twice"])
def test_a7_tensors_that_do_not_go_together_are_refused(tmp_path, fault):
    parts, _ = raw("loha" if fault != "core" else "loha-tucker", 8, 8, 3)
    if fault == "half":
        del parts["hada_w2_b"]
    elif fault == "shapes":
        parts["hada_w2_b"] = random(5, 72)
    elif fault == "core":
        del parts["hada_t2"]
    elif fault == "extra":
        parts["lokr_w1"] = random(2, 2)
    again = {"input_blocks.4.0.in_layers.2": parts} if fault == "twice" else {}
    kohya_file(tmp_path / "x.safetensors", {CONV: parts} | again)
    shapes = {("unet", CONV): (8, 8, 3, 3), ("unet", "down_blocks.0.resnets.0.conv1"): (8, 8, 3, 3)}
    shapes |= {("unet", f"down_blocks.0.resnets.{i}.conv2"): (8, 8, 3, 3) for i in (0, 1)}
    with pytest.raises(UnreadableAdapter) as caught:
        read_adapter(tmp_path / "x.safetensors", shapes)
    assert str(tmp_path) not in str(caught.value) and len(str(caught.value)) < 300


def test_an_alpha_pattern_of_the_file_is_read_as_names(tmp_path):
    pair = {"lora_A.weight": random(4, 8), "lora_B.weight": random(8, 4)}
    tensors = {f"unet.{layer}.{part}": t.clone() for layer in ("a.to_q", "a.to_k") for part, t in pair.items()}
    config = {"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 2}}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": json.dumps(config)})
    deltas = read_adapter(tmp_path / "x.safetensors", {}).deltas
    assert deltas["unet", "a.to_q"].scale == 0.5 and deltas["unet", "a.to_k"].scale == 2


@pytest.mark.parametrize("config", ["[", "3", "[" * 100_000, '{"unet.lora_alpha": "a"}', '{"unet.lora_alpha": 1e999}'])
def test_a3_a_config_that_cannot_be_read_is_refused_not_passed_over(tmp_path, config):
    tensors = {"unet.a.to_q.lora_A.weight": random(4, 8), "unet.a.to_q.lora_B.weight": random(8, 4)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": config})
    with pytest.raises(UnreadableAdapter):
        read_adapter(tmp_path / "x.safetensors", {})


def test_a_tensor_under_two_names_is_refused(tmp_path):
    tensors = {f"unet.a.to_q.{part}.weight": random(4, 4) for part in ("lora_A", "lora_B", "lora.down")}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(UnreadableAdapter, match="twice"):
        read_adapter(tmp_path / "x.safetensors", {})

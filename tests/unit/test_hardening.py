"""Adapter files that mean harm or are broken (matrix A1-A4, A6, A9, A10, A13): refused in one sentence, base intact."""

import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora.adapter import AdapterUse
from lora.composition import Composer
from lora.errors import AdapterError, UnreadableAdapter
from lora.formats import read_adapter
from lora.library import Library, adapter_id, describe
from tests.weights import outputs, same, snapshot

PAIR = {"unet.a.to_q.lora_A.weight": torch.ones(2, 4), "unet.a.to_q.lora_B.weight": torch.ones(4, 2)}


def refused(path: Path) -> str:
    """The sentence of the refusal; reading took less than a second and said nothing of where the file is."""
    start = time.perf_counter()
    for header_only in (True, False):
        with pytest.raises(UnreadableAdapter) as caught:
            read_adapter(path, {}, header_only)
    assert time.perf_counter() - start < 1
    assert str(path.parent) not in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return str(caught.value)


def written(path: Path, header: dict, body: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize("length", [2**63, 2**63 - 1, 2**64 - 1, 2**40, 0, 5])
def test_a1_a_false_header_length_is_refused(tmp_path, length):
    (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}")
    refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize("shape", [[2**40, 2**40], [2**63, 4], [2**32, 2**32], [-1, 4], [1e400, 1], [4, 5]])
def test_a1_an_overflowing_shape_is_refused(tmp_path, shape):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}
    refused(written(tmp_path / "x.safetensors", {"unet.a.lora_A.weight": entry}, bytes(16)))


@pytest.mark.parametrize("cut", [0, 4, 8, 30, -1])
def test_a1_a_truncated_file_is_refused(tmp_path, cut):
    save_file(PAIR, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[:cut])
    refused(tmp_path / "x.safetensors")


def test_a2_a_header_of_86_mb_is_refused_before_parsing(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((86 * 10**6).to_bytes(8, "little") + b"{")
        file.truncate(86 * 10**6 + 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "header" in refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


@pytest.mark.parametrize("field", ["target_modules", "alpha_pattern", "rank_pattern", "exclude_modules"])
def test_a3_a_regular_expression_in_the_metadata_is_never_run(tmp_path, field):
    """PEFT runs this one for longer than anyone waits."""
    bomb = "([a-z_0-9.]+)+!"
    value = {bomb: 3} if field.endswith("pattern") else bomb
    metadata = {"lora_adapter_metadata": json.dumps({f"unet.{field}": value, "unet.lora_alpha": 4})}
    path, start = tmp_path / "x.safetensors", time.perf_counter()
    save_file({f"unet.{'a_b.' * 30}{key}": tensor for key, tensor in PAIR.items()}, path, metadata=metadata)
    if field == "alpha_pattern":
        assert "names no layer" in refused(path)
    else:
        assert all(delta.scale == 2 for delta in read_adapter(path, {}).deltas.values())
    assert time.perf_counter() - start < 1


def test_a4_modules_to_save_are_refused_and_a_good_file_of_that_name_loads_next(model, tmp_path):
    _, components, library = model
    composer, before = Composer(components.adaptable()), snapshot(components)
    good, path = library.find("ink"), tmp_path / "ink.safetensors"
    metadata = {"lora_adapter_metadata": json.dumps({"unet.modules_to_save": ["conv_in"]})}
    save_file(load_file(good.path), path, metadata=metadata)
    assert "whole modules" in refused(path)
    with pytest.raises(UnreadableAdapter):
        composer.apply((AdapterUse(replace(good, path=path, sha256="bad")),))
    assert same(components, before)
    save_file(load_file(good.path), path)
    assert composer.apply((AdapterUse(describe(path, "folder")),))[0].matched > 0
    composer.restore()
    assert same(components, before)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"modules_to_save": ["conv_in"]}))
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"base_model.model.{key[5:]}": tensor for key, tensor in PAIR.items()}, path)
    assert "whole modules" in refused(path)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), -float("inf"), 1e12])
def test_a6_an_alpha_that_is_no_sensible_number_is_refused(tmp_path, alpha):
    save_file(PAIR | {"unet.a.to_q.alpha": torch.tensor(alpha)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors")
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": alpha})}
    save_file(PAIR, tmp_path / "x.safetensors", metadata=metadata)
    refused(tmp_path / "x.safetensors")


def test_a7_a_core_that_would_fill_the_memory_is_refused(tmp_path):
    """Two small tensors whose product has 10^11 values."""
    tensors = {"lora_down.weight": torch.zeros(8, 10**6, 1, 1), "lora_up.weight": torch.zeros(4, 8, 1, 1)}
    tensors["lora_mid.weight"] = torch.zeros(8, 8, 120, 120)
    save_file({f"lora_unet_a.{key}": tensor for key, tensor in tensors.items()}, tmp_path / "x.safetensors")
    assert "a core too large" in refused(tmp_path / "x.safetensors")


class Canary:
    """A pickle of this makes the file `canary` when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.ckpt", "x.SAFETENSORS", "x.safetensors", "x.7z", "x"])
def test_a9_pickles_are_never_loaded(tmp_path, name):
    torch.save(Canary(tmp_path / "canary"), tmp_path / name)
    refused(tmp_path / name)
    assert not Library([(tmp_path, "folder")]).all()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "a\0b.safetensors", ".x", "a\nb", "x" * 300]
)
def test_a10_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(UnreadableAdapter, match="file name"):
        adapter_id(name)
    with pytest.raises(AdapterError):
        Library([]).find(name)


def test_a10_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    assert "is not a file" in refused(tmp_path / "x.safetensors")
    refused(tmp_path / "a\0b.safetensors")


def test_a13_200_cycles_leave_the_base_and_the_memory_as_they_were(model):
    _, components, library = model
    composer, before, sizes = Composer(components.adaptable()), snapshot(components), []
    base = outputs(components.denoiser, components.text_encoders[0])
    for cycle in range(200):
        # Another hash each time: read anew, never from the cache.
        for known in list(composer._cache):
            composer._cached_bytes -= composer._cache.pop(known).bytes
        composer.apply((AdapterUse(replace(library.find("ink"), sha256=f"{cycle:064}"), 0.7),))
        composer.restore()
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
    assert same(components, before)
    assert all(torch.equal(a, b) for a, b in zip(outputs(components.denoiser, components.text_encoders[0]), base))
    assert sizes[-1] - sizes[49] < 2 * 2**20
    assert composer.memory()["originals"] == 0

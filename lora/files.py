"""Safetensors files from strangers: bounded before they are parsed, never unpickled."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lora.errors import UnreadableAdapter, shown

MAX_BYTES, MAX_HEADER_BYTES, MAX_TENSORS = 2**31, 10 * 2**20, 20_000


@dataclass(frozen=True)
class TensorFile:
    """A file's tensors and metadata. Tensors that were not read are on the "meta" device: shapes without values."""

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def sha256(path: Path) -> str:
    """Hash of the whole file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def read(path: Path, header_only: bool = False) -> TensorFile:
    """The file as it is; with `header_only` only the scalars are read, which is where alphas are kept.

    Raises UnreadableAdapter for another ending, a file or header too large, and for all that is no safetensors file.
    """
    if path.suffix != ".safetensors":
        raise UnreadableAdapter(f"{path.name} is not a .safetensors file; other formats can run code and are refused.")
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if len(keys) > MAX_TENSORS:
                raise UnreadableAdapter(f"{path.name} has more than {MAX_TENSORS} tensors.")
            tensors = {key: _shape_only(file, key) if header_only else file.get_tensor(key) for key in keys}
            return TensorFile(tensors, file.metadata() or {})
    # ValueError: a NUL in the name; RuntimeError: a shape beyond what torch can hold.
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UnreadableAdapter(f"{shown(path.name, 80)} is missing, damaged or no safetensors file.") from error


def _check_header(path: Path) -> None:
    """Look at the 8 bytes that say how long the header is: the parser would take any header in whole."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableAdapter(f"{path.name} is not a file.")
    if state.st_size > MAX_BYTES:
        raise UnreadableAdapter(f"{path.name} is larger than {MAX_BYTES >> 30} GiB.")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise UnreadableAdapter(
            f"{path.name} is no adapter: it announces a header of {length} bytes; "
            f"up to {MAX_HEADER_BYTES >> 20} MiB are taken."
        )


def _shape_only(file, key: str) -> torch.Tensor:
    shape = file.get_slice(key).get_shape()
    return torch.empty(shape, device="meta") if len(shape) > 1 else file.get_tensor(key)

"""Safetensors files from strangers: bounded before they are parsed, never unpickled."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from lora.errors import UnreadableAdapter, shown

MAX_BYTES, MAX_HEADER_BYTES, MAX_TENSORS = 2**31, 10 * 2**20, 20_000
# PEFT's names of an adapter and of the config beside it. Beside a file of another name it may be another adapter's,
# unless it has that name before its own.
CONFIGURED, CONFIG, MAX_CONFIG_BYTES = "adapter_model.safetensors", "adapter_config.json", 2**20


@dataclass(frozen=True)
class TensorFile:
    """A file's tensors and metadata. Tensors that were not read are on the "meta" device: shapes without values."""

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def sha256(path: Path) -> str:
    """The first of its `hashes`."""
    return hashes(path)[0]


def hashes(path: Path) -> tuple[str, str]:
    """SHA-256 of the whole file, and of what comes after its header, which tools that rename files know it by.

    With PEFT's config beside it the first is of both, since the same weights at another alpha differ.
    """
    whole, tensors = new_sha256(), new_sha256()
    with path.open("rb") as file:
        length = file.read(8)
        whole.update(length)
        header = int.from_bytes(length, "little")
        while chunk := file.read(2**20):
            whole.update(chunk)
            tensors.update(memoryview(chunk)[header:])
            header = max(0, header - len(chunk))
    if config := config_beside(path):
        whole.update(config.read_bytes())
    return whole.hexdigest(), tensors.hexdigest()


def config_beside(path: Path) -> Path | None:
    """The config that belongs to a file as PEFT saves it, if there is one: of NAME.safetensors, NAME.CONFIG."""
    beside = path.with_name(CONFIG) if path.name == CONFIGURED else path.with_suffix(f".{CONFIG}")
    return beside if beside.is_file() else None


def check_ending(name: str) -> None:
    """Raises UnreadableAdapter for anything but .safetensors."""
    if not name.endswith(".safetensors"):
        raise UnreadableAdapter(
            f"{shown(name, 80)} is not a .safetensors file; other formats can run code and are refused."
        )


@contextmanager
def regular_file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read and its size in bytes. Raises UnreadableAdapter for what is no file: links are not followed."""
    try:
        # Not blocking: a pipe would make us wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise UnreadableAdapter("The file is missing or no plain file; upload it again.") from error
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise UnreadableAdapter("The file is no plain file; upload it again.")
    with os.fdopen(descriptor, "rb") as file:
        yield file, state.st_size


def read(path: Path, header_only: bool = False, prefix: str = "") -> TensorFile:
    """The file as it is; with `header_only` only the scalars are read, which is where alphas are kept, and with a
    `prefix` only the tensors whose names begin so.

    Raises UnreadableAdapter for another ending, a file or header too large, and for all that is no safetensors file.
    """
    check_ending(path.name)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if len(keys) > MAX_TENSORS:
                raise UnreadableAdapter(f"{path.name} has more than {MAX_TENSORS} tensors.")
            tensors = {key: _shape_only(file, key) if header_only else file.get_tensor(key) for key in keys
                       if key.startswith(prefix)}  # fmt: skip
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

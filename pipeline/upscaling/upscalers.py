"""The upscalers of a folder, and how a picture of any size goes through one in bounded memory."""

import logging
import re
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lora import files
from lora.errors import AtelierError, PaintingFailed, shown
from pipeline.request.limits import UPSCALERS
from pipeline.sampling.decode import to_image
from pipeline.upscaling.networks import Network, NoUpscaler, network

MAX_FILES, MAX_BYTES = 100, 256 * 2**20
# Sides of a tile's answer, and what of the picture around a tile is seen with it: the largest networks take a GB.
TILE, AROUND = 512, 16
# A name is a choice on the page and stands in pictures' texts, where A1111's own words mean what they mean there.
_NAME = re.compile(r"(?!(?:pixels|latent|lanczos|none)\b)\w[\w .+()-]{0,63}", re.ASCII | re.IGNORECASE)
log = logging.getLogger(__name__)
# Gives nothing after each tile, so that whoever has left is noticed, and returns the picture.
Upscale = Callable[[Image.Image], Generator[None, None, Image.Image]]


class Upscalers:
    """Those of a folder, by the names of their files. Their weights are read when they are used, one at a time."""

    def __init__(self, folder: Path | None = None):
        """Judges each .safetensors file by its header; nothing else is opened, no link followed. What is no upscaler is
        logged and left out.
        """
        found = sorted(folder.glob("*.safetensors")) if folder else []
        if len(found) > MAX_FILES:
            log.warning("of %d upscalers the first %d are offered", len(found), MAX_FILES)
        self._files = {path.stem: path for path in found[:MAX_FILES] if _fits(path)}
        self._loaded: tuple[str, Network] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may choose, beside what needs no file."""
        return (*UPSCALERS, *self._files)

    def get(self, name: str, device: torch.device) -> Upscale | None:
        """One of them, None for what needs no file. Raises PaintingFailed where the file is not what it was."""
        if name not in self._files:
            return None
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None
            try:
                tensors = {key: tensor.float() for key, tensor in files.read(self._files[name]).tensors.items()}
                self._loaded = name, network(tensors)
            except (AtelierError, NoUpscaler) as error:
                log.warning("%s in UPSCALERS_DIR cannot be read any more: %s", name, error)
                raise PaintingFailed(f"The upscaler {shown(name)} cannot be read any more; choose another.") from None
        return partial(upscaled, self._loaded[1].to(device))


def upscaled(made: Network, image: Image.Image, tile: int = TILE) -> Generator[None, None, Image.Image]:
    """An RGB picture `made.scale` times as large, tile by tile; each sees AROUND pixels beyond its edges."""
    device, scale, step = next(made.parameters()).device, made.scale, max(tile // made.scale, AROUND)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    height, width = pixels.shape[-2:]
    result = torch.empty(3, height * scale, width * scale)
    for top in range(0, height, step):
        for left in range(0, width, step):
            above, before = min(top, AROUND), min(left, AROUND)
            seen = pixels[:, :, top - above : top + step + AROUND, left - before : left + step + AROUND]
            answer = _answer(made, seen.to(device))[0, :, above * scale :, before * scale :]
            place = result[:, top * scale : (top + step) * scale, left * scale : (left + step) * scale]
            place.copy_(answer[:, : place.shape[1], : place.shape[2]])
            yield
    return to_image(result)


@torch.no_grad()
def _answer(made: Network, pixels: torch.Tensor) -> torch.Tensor:
    """What a network says of pixels whose sides need not be multiples of what it takes together."""
    height, width = pixels.shape[-2:]
    missing = (0, -width % made.folded, 0, -height % made.folded)
    padded = torch.nn.functional.pad(pixels, missing, mode="replicate")
    return made(padded)[:, :, : height * made.scale, : width * made.scale]


def _fits(path: Path) -> bool:
    try:
        if not _NAME.fullmatch(path.stem):
            raise NoUpscaler("its name is not one of letters, digits, spaces and .+()-")
        if path.is_symlink():
            raise NoUpscaler("it is a link")
        if path.stat().st_size > MAX_BYTES:
            raise NoUpscaler(f"it is larger than {MAX_BYTES >> 20} MB")
        network(files.read(path, header_only=True).tensors)
    except (AtelierError, NoUpscaler, OSError) as error:
        log.warning("%s in UPSCALERS_DIR is left out: %s", shown(path.name, 80), error)
        return False
    return True

"""Pictures whose edges fit together: while one is painted, what leaves it on one side comes in on the other."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pipeline.families import Components


@contextmanager
def seamless(components: Components, wanted: bool) -> Iterator[None]:
    """Let every padded convolution of denoiser and autoencoder read around the edges, and then as it did before."""
    layers = [layer for part in (components.denoiser, components.vae) for layer in part.modules()
              if wanted and isinstance(layer, nn.Conv2d) and any(layer._reversed_padding_repeated_twice)]  # fmt: skip
    before = [layer.padding_mode for layer in layers]
    try:
        for layer in layers:
            layer.padding_mode = "circular"
        yield
    finally:
        for layer, mode in zip(layers, before):
            layer.padding_mode = mode

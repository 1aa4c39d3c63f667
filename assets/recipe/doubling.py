"""Twice the side from the same latents, in closed form: what the weights of the model become before any training."""

import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import nn

# Three taps on the means of two pixels, as five on the pixels; a stride of two does not reach the sixth.
HALVES = torch.tensor([[0.5, 0.5, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1]])
# Each of the five as a tap of one kernel of three and a tap of the next, which does not look out of the picture for
# what is in it.
REACH = ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2))
COLOURS, TAPS = range(3), [*product(range(3), repeat=2)]


@torch.no_grad()
def doubled(vae: AutoencoderTiny, width: int, blocks: Sequence[int]) -> AutoencoderTiny:
    """An autoencoder of pictures of twice the side: encoder(p) is the old one's of p halved (but for a sixth of what
    the first layer sees), decoder(z) the old one's picture with each pixel four times.

    The decoder gets `width` channels and, before the last stage, which has none, so many `blocks` a stage: what is new
    is there to be trained, and changes nothing before.
    """
    config = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    config.pop("block_out_channels")
    encoder_width = vae.config.encoder_block_out_channels
    new = AutoencoderTiny.from_config(
        config | dict(
            encoder_block_out_channels=(encoder_width[0], *encoder_width),
            decoder_block_out_channels=(width,) * (len(blocks) + 1),
            num_encoder_blocks=(0, *vae.config.num_encoder_blocks),
            num_decoder_blocks=(*blocks, 0),
        )
    )  # fmt: skip
    _double_encoder(stages(new.encoder), stages(vae.encoder))
    _double_decoder(stages(new.decoder), stages(vae.decoder))
    return new.eval()


def stages(coder: nn.Module) -> list[tuple[nn.Conv2d, list[AutoencoderTinyBlock]]]:
    """Its convolutions, each with the blocks between it and the next."""
    found: list[tuple[nn.Conv2d, list[AutoencoderTinyBlock]]] = []
    for layer in coder.layers:
        if isinstance(layer, nn.Conv2d):
            found.append((layer, []))
        elif isinstance(layer, AutoencoderTinyBlock):
            found[-1][1].append(layer)
    return found


def _double_encoder(new: list, old: list) -> None:
    (first, _), (down, _) = new[:2]
    (conv, _) = old[0]
    kernel = torch.einsum("octu,ta,ub->ocab", conv.weight, HALVES, HALVES)
    used = len(COLOURS) * len(TAPS)
    first.weight[: used + 1], first.bias[:], down.weight[:] = 0, 0, 0
    for colour, y, x in product(COLOURS, range(5), range(5)):
        (above, row), (before, column) = REACH[y], REACH[x]
        channel = 9 * colour + 3 * above + before
        first.weight[channel, colour, above, before] = 1
        down.weight[:, channel, row, column] = kernel[:, colour, y, x]
    # The second one has no bias of its own: a channel that is always 1 brings it.
    first.bias[used] = 1
    down.weight[:, used, 1, 1] = conv.bias
    _grow(new[1][1], old[0][1])
    for (conv, blocks), (old_conv, old_blocks) in zip(new[2:], old[1:]):
        _grow([conv, *blocks], [old_conv, *old_blocks])


def _double_decoder(new: list, old: list) -> None:
    for (conv, blocks), (old_conv, old_blocks) in zip(new, old[:-1]):
        _grow([conv, *blocks], [old_conv, *old_blocks])
    (up, _), (out, _), (last, _) = *new[-2:], old[-1]
    out.weight[:] = 0
    out.bias[:] = last.bias
    # Its kernel with a gap between the taps, as two kernels, each of which goes half the way.
    for channel, (colour, (y, x)) in enumerate(product(COLOURS, TAPS)):
        up.weight[channel] = 0
        up.weight[channel, : last.in_channels, y, x] = last.weight[colour, :, y, x]
        out.weight[colour, channel, y, x] = 1


def _grow(new: list[nn.Module], old: list[nn.Module]) -> None:
    """Copy modules into the first channels of wider ones, which the others do not reach; blocks beyond do nothing."""
    for wide, narrow in zip(new, old):
        for name, weight in narrow.named_parameters():
            grown = wide.get_parameter(name)
            grown[: len(weight)] = 0
            grown[tuple(map(slice, weight.shape))] = weight
    for block in new[len(old) :]:
        for parameter in block.conv[-1].parameters():
            parameter.zero_()


@torch.no_grad()
def forget_sizes(unet: UNet2DConditionModel, time_ids: Sequence[float]) -> None:
    """Let it paint at all sizes as it does where it is told `time_ids`, the only ones that it has learnt from.

    What they added to the first layer of the embedding was a constant: it goes into the bias, and the weights that
    sizes meet become zero. No adapter changes that layer.
    """
    told = unet.add_time_proj(torch.tensor(time_ids, dtype=torch.float32)).flatten()
    layer = unet.add_embedding.linear_1
    text = layer.in_features - len(told)
    layer.bias += (layer.weight[:, text:].float() @ told).to(layer.bias)
    layer.weight[:, text:] = 0


def convert(source: Path, vae: AutoencoderTiny, time_ids: Sequence[float], target: Path) -> None:
    """Write the model in the folder `source` with another autoencoder, and free of sizes; all else byte for byte."""
    unet = UNet2DConditionModel.from_pretrained(source / "unet", torch_dtype=torch.float32)
    forget_sizes(unet, time_ids)
    shutil.copytree(source, target)
    for name, part in (("unet", unet), ("vae", vae)):
        part.register_to_config(_name_or_path=None)
        part.half().save_pretrained(target / name)

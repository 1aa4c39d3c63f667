"""The networks that most files of upscalers hold, built from the names and shapes of their tensors.

ESRGAN (Wang et al. 2018, arXiv:1809.00219) in the three ways its layers are called, with the pixel-unshuffle of
Real-ESRGAN (Wang et al. 2021, arXiv:2107.10833), and the latter's compact network. Not the package spandrel, which
knows more of them: it needs torchvision, whose wheels for Linux stop the CPU build of torch from importing anything.
"""

import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle

# As they are called in files -> here. Of the oldest names, numbers in a sequence, those after 1 depend on the length.
_NAMES = (
    (r"model\.0|conv_first", "first"),
    (r"(?:model\.1\.sub|RRDB_trunk|body)\.(\d+)\.(?:RDB|rdb)(\d)\.conv(\d)(?:\.0)?", r"body.\1.\2.\3"),
    (r"model\.1\.sub\.\d+|trunk_conv|conv_body", "trunk"),
    (r"(?:upconv|conv_up)(\d)", r"ups.\1"),
    (r"HRconv|conv_hr", "wide"),
    (r"conv_last", "last"),
)
MAX_SCALE = 8
Tensors = Mapping[str, torch.Tensor]


class NoUpscaler(ValueError):
    """The tensors are of no network that is known here."""


class Dense(nn.ModuleDict):
    """Five convolutions, each of which sees the input and what all before it gave."""

    def __init__(self, width: int, growth: int):
        outs = [growth] * 4 + [width]
        super().__init__({str(i + 1): nn.Conv2d(width + i * growth, out, 3, padding=1) for i, out in enumerate(outs)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x C x H x W, and a fifth of what it adds."""
        seen = [x]
        for name in "1234":
            seen.append(leaky_relu(self[name](torch.cat(seen, 1)), 0.2))
        return x + 0.2 * self["5"](torch.cat(seen, 1))


class Block(nn.ModuleDict):
    """Three of these, and a fifth of what they add."""

    def __init__(self, width: int, growth: int):
        super().__init__({name: Dense(width, growth) for name in "123"})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x C x H x W."""
        return x + 0.2 * self["3"](self["2"](self["1"](x)))


class ESRGAN(nn.Module):
    """Blocks at the size of the input, of which `folded` pixels a side are taken together, then doublings."""

    def __init__(self, width: int, growth: int, blocks: int, ups: int, folded: int):
        super().__init__()
        self.folded, self.scale = folded, 2**ups // folded
        self.first = nn.Conv2d(3 * folded**2, width, 3, padding=1)
        self.body = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        self.trunk, self.wide = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.ups = nn.ModuleDict({str(i + 1): nn.Conv2d(width, width, 3, padding=1) for i in range(ups)})
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x 3 x H x W in 0..1, sides multiples of `folded`, `scale` times as large."""
        x = self.first(pixel_unshuffle(x, self.folded))
        x = x + self.trunk(self.body(x))
        for up in self.ups.values():
            x = leaky_relu(up(interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(leaky_relu(self.wide(x), 0.2))


class Compact(nn.Module):
    """Convolutions in a row, each but the last with a PReLU after it, whose answer is added to the input enlarged."""

    folded = 1

    def __init__(self, width: int, convolutions: int, scale: int):
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for i in range(convolutions - 1):
            layers += [nn.Conv2d(width if i else 3, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3 * scale**2, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x 3 x H x W in 0..1, `scale` times as large."""
        return pixel_shuffle(self.body(x), self.scale) + interpolate(x, scale_factor=self.scale, mode="nearest")


Network = ESRGAN | Compact


def network(tensors: Tensors) -> Network:
    """The network that has these tensors, which may be on the "meta" device. Raises NoUpscaler."""
    try:
        with torch.device("meta"):
            made, named = (_compact if "body.0.weight" in tensors else _esrgan)(tensors)
        made.load_state_dict(dict(named), assign=True)
    # What is not there, has another shape, or is there for nothing.
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise NoUpscaler("no network that is known here") from error
    if not 1 <= made.scale <= MAX_SCALE:
        raise NoUpscaler(f"it enlarges {made.scale} times")
    return made.eval().requires_grad_(False)


def _esrgan(tensors: Tensors) -> tuple[Network, Tensors]:
    numbers = sorted({int(found[1]) for name in tensors if (found := re.match(r"model\.(\d+)\.(?!sub)", name))} - {0})
    ends = {f"model.{n}": name for n, name in zip(numbers[-2:], ("wide", "last"))}
    ends |= {f"model.{n}": f"ups.{i}" for i, n in enumerate(numbers[:-2], 1)}
    named = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        ways = (re.sub(f"^(?:{pattern})$", ours, layer) for pattern, ours in _NAMES if re.fullmatch(pattern, layer))
        named[f"{ends.get(layer) or next(ways, layer)}.{kind}"] = tensor
    blocks = 1 + max(int(name.split(".")[1]) for name in named if name.startswith("body."))
    if blocks > len(named):
        raise NoUpscaler("it leaves blocks out")
    ups = len([name for name in named if name.startswith("ups.") and name.endswith("weight")])
    width, channels = named["first.weight"].shape[:2]
    folded = {3: 1, 12: 2, 48: 4}[channels]
    return ESRGAN(width, len(named["body.0.1.1.weight"]), blocks, ups, folded), named


def _compact(tensors: Tensors) -> tuple[Network, Tensors]:
    weights = [tensor for name, tensor in tensors.items() if name.endswith("weight") and tensor.ndim == 4]
    last = max(int(name.split(".")[1]) for name in tensors)
    scale = round((len(tensors[f"body.{last}.weight"]) / 3) ** 0.5)
    return Compact(len(tensors["body.0.weight"]), len(weights), scale), tensors

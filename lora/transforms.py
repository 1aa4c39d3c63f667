"""Changes that depend on the weight they change: rotations (OFT, BOFT), scales ((IA)^3) and GLoRA, in float32.

At a strength other than 1 all of them lie on the straight line from W0 to what they make of it. None has a rank.
"""

import math
from dataclasses import dataclass

import torch

from lora.deltas import Delta, need

# The side of a block that is rotated at once: beyond that inverting one takes minutes.
MAX_BLOCK = 4096


class Transform(Delta):
    """W = f(W0)."""

    scale = 1.0

    @property
    def rank(self) -> int:
        return 0

    def dense(self, shape, device="cpu"):
        raise ValueError(f"{self.kind} has no change apart from its base weight")

    def change(self, base, weight):
        return weight * (self.applied(base) - base)

    def applied(self, base: torch.Tensor) -> torch.Tensor:
        """What it makes of W0 = `base` (float32)."""
        raise NotImplementedError


@dataclass(frozen=True)
class OftDelta(Transform):
    """Each block of outputs is rotated: W = rescale * R W0 (Qiu et al. 2023; with factors, BOFT, Liu et al. 2023).

    `blocks` is blocks x side x side, in BOFT with an axis of butterfly factors before. Of it comes R by Cayley's
    transform of Q = blocks - blocks^T, the norm of Q held to `constraint` times the outputs where that is above 0;
    where `direct`, `blocks` is R itself, or what it adds to the identity: older tools stored either.
    """

    blocks: torch.Tensor
    constraint: float = 0.0
    rescale: torch.Tensor | None = None
    direct: bool = False

    def __post_init__(self):
        shape = self.blocks.shape
        need(len(shape) in (3, 4) and shape[-1] == shape[-2] and 0 < shape[-1] <= MAX_BLOCK and min(shape) > 0, self)
        need(len(shape) == 3 or (shape[-1] % 2 == 0 and self._outputs % (2 ** (shape[0] - 1) * shape[-1]) == 0), self)
        need(self.rescale is None or self.rescale.numel() == self._outputs, self)

    @property
    def kind(self) -> str:
        return "OFT" if self.blocks.ndim == 3 else "BOFT"

    @property
    def _outputs(self) -> int:
        return self.blocks.shape[-3] * self.blocks.shape[-1]

    @property
    def matrix(self) -> tuple[int, ...]:
        return self._outputs, 0

    def fits(self, shape):
        return shape[0] == self._outputs

    def rotations(self) -> torch.Tensor:
        """R of each block."""
        blocks = self.blocks.float()
        one = torch.eye(blocks.shape[-1], device=blocks.device)
        if self.direct:
            return blocks if blocks.diagonal(dim1=-2, dim2=-1).mean() > 0.5 else blocks + one
        turn, most = blocks - blocks.transpose(-1, -2), self.constraint * self._outputs
        if most > 0:
            turn = turn * (most / turn.norm().clamp_min(most))
        return torch.linalg.solve(one - turn, one + turn, left=False)

    def applied(self, base):
        rows, rotations = base.flatten(1), self.rotations().to(base.device)
        count, side = rotations.shape[-3:-1]
        if rotations.ndim == 3:
            # The tools that write them store a rotation as the transpose of what BOFT's do.
            rows = rotations.transpose(1, 2) @ rows.view(count, side, -1)
        else:
            for i, factor in enumerate(rotations):
                # A butterfly: outputs that are 2^i half blocks apart are rotated together.
                reach = 2**i * (side // 2)
                paired = rows.view(-1, 2, reach, rows.shape[-1]).transpose(1, 2)
                turned = factor @ paired.reshape(count, side, -1)
                rows = turned.view(-1, reach, 2, rows.shape[-1]).transpose(1, 2).reshape(self._outputs, -1)
        rows = rows.reshape(self._outputs, -1)
        if self.rescale is not None:
            rows = rows * self.rescale.float().view(-1, 1).to(base.device)
        return rows.view_as(base)


@dataclass(frozen=True)
class Ia3Delta(Transform):
    """Each output, or input, is scaled by 1 + `factors` (Liu et al. 2022, as LyCORIS stores it)."""

    factors: torch.Tensor
    on_input: bool
    kind = "(IA)^3"

    def __post_init__(self):
        need(self.factors.numel() == max(self.factors.shape, default=0) > 0, self)

    @property
    def matrix(self) -> tuple[int, ...]:
        return (0, self.factors.numel()) if self.on_input else (self.factors.numel(), 0)

    def fits(self, shape):
        return len(shape) > 1 and shape[int(self.on_input)] == self.factors.numel()

    def applied(self, base):
        sizes = [1] * base.ndim
        sizes[int(self.on_input)] = -1
        return base * (1 + self.factors.float().to(base.device).view(sizes))


@dataclass(frozen=True)
class GloraDelta(Delta):
    """dW = scale * (W0 a_down a_up + b_up b_down) (Chavan et al. 2023, with what it has for weights).

    `a_down` is inputs x rank, `a_up` rank x inputs, `b_up` outputs x rank, `b_down` rank x inputs.
    """

    a_down: torch.Tensor
    a_up: torch.Tensor
    b_up: torch.Tensor
    b_down: torch.Tensor
    scale: float
    kind = "GLoRA"

    def __post_init__(self):
        need(all(tensor.ndim in (2, 4) and math.prod(tensor.shape[2:]) == 1 for tensor in self.tensors), self)
        need(self.a_down.shape[1] == self.a_up.shape[0] and self.b_up.shape[1] == self.b_down.shape[0], self)
        need(self.a_down.shape[0] == self.a_up.shape[1] == self.b_down.shape[1], self)

    @property
    def rank(self) -> int:
        return self.b_down.shape[0]

    @property
    def matrix(self) -> tuple[int, ...]:
        return self.b_up.shape[0], self.b_down.shape[1]

    def fits(self, shape):
        return len(shape) > 1 and self.matrix == tuple(shape[:2]) and math.prod(shape[2:]) == 1

    def dense(self, shape, device="cpu"):
        raise ValueError("GLoRA has no change apart from its base weight")

    def change(self, base, weight):
        a_down, a_up, b_up, b_down = (tensor.float().flatten(1).to(base.device) for tensor in self.tensors)
        moved = base.flatten(1) @ a_down @ a_up + b_up @ b_down
        return (weight * self.scale * moved).view_as(base)

"""What adapters do to one layer's weight, by the formulas of their papers, in float32.

Every delta has `rank`, `scale` (alpha / rank), `matrix` (rows and columns of the weight that it changes, kernels
flattened into the columns) and `change(base, weight)`: what to add to the base weight at a strength of `weight`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch


class Delta(ABC):
    """One layer's change. Raises ValueError when it is made of tensors whose shapes do not go together."""

    scale: float

    @property
    @abstractmethod
    def kind(self) -> str:
        """How people call it."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Inner width of its products; 0 where it has none."""

    @property
    @abstractmethod
    def matrix(self) -> tuple[int, ...]:
        """Rows and columns of the weight that it changes, 0 for any number; one size for a bias or a norm's scale."""

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What it holds, as stored."""
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    @property
    def alpha(self) -> float:
        """The numerator of the scale."""
        return self.scale * self.rank

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of that shape can be changed. A 1 x 1 convolution and a linear layer are the same."""
        return self.matrix == (shape[0], math.prod(shape[1:]))

    @abstractmethod
    def dense(self, shape: tuple[int, ...], device: torch.device | str = "cpu") -> torch.Tensor:
        """dW for a weight of that shape, at strength 1."""

    def change(self, base: torch.Tensor, weight: float) -> torch.Tensor:
        """W - W0 for W0 = `base` (float32)."""
        return weight * self.dense(base.shape, base.device)


@dataclass(frozen=True)
class LoraDelta(Delta):
    """dW = scale * up @ down (Hu et al. 2021, section 4.1).

    `down` is rank x in [x kernel x kernel], `up` is out x rank [x 1 x 1], both as stored.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float
    kind = "LoRA"

    def __post_init__(self):
        down, up = self.down, self.up
        need(down.ndim in (2, 4) and up.ndim in (2, 4) and up.shape[1] == down.shape[0], self)
        need(math.prod(up.shape[2:]) == 1, self)

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def matrix(self) -> tuple[int, int]:
        return self.up.shape[0], math.prod(self.down.shape[1:])

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(up, down) as float32 matrices out x rank and rank x (in * kernel), the scale not yet applied."""
        return self.up.float().flatten(1), self.down.float().flatten(1)

    def dense(self, shape, device="cpu"):
        up, down = self.factors()
        return (self.scale * up.to(device) @ down.to(device)).view(shape)


@dataclass(frozen=True)
class FullDelta(Delta):
    """dW as it is: of a whole weight, or of a layer's bias or a norm's scale, which have one axis."""

    diff: torch.Tensor
    scale: float = 1.0
    kind = "full"

    def __post_init__(self):
        need(self.diff.ndim >= 1 and self.diff.numel() > 0, self)

    @property
    def rank(self) -> int:
        return 0

    @property
    def matrix(self) -> tuple[int, ...]:
        return (self.diff.shape[0], math.prod(self.diff.shape[1:])) if self.diff.ndim > 1 else tuple(self.diff.shape)

    def fits(self, shape):
        return self.matrix == (tuple(shape) if len(shape) == 1 else (shape[0], math.prod(shape[1:])))

    def dense(self, shape, device="cpu"):
        return self.scale * self.diff.float().to(device).view(shape)


@dataclass(frozen=True)
class LohaDelta(Delta):
    """dW = scale * (a1 @ b1) * (a2 @ b2), elementwise (FedPara, Hyeon-Woo et al. 2021; LyCORIS, Yeh et al. 2023).

    a: out x rank, b: rank x (in * kernel). With cores t: rank x rank x kernel x kernel (Tucker), a is rank x out and
    b is rank x in.
    """

    a1: torch.Tensor
    b1: torch.Tensor
    a2: torch.Tensor
    b2: torch.Tensor
    scale: float
    t1: torch.Tensor | None = None
    t2: torch.Tensor | None = None
    kind = "LoHa"

    def __post_init__(self):
        need((self.t1 is None) == (self.t2 is None) and len(self.matrix) == 2, self)
        for a, b, t in ((self.a1, self.b1, self.t1), (self.a2, self.b2, self.t2)):
            need(_product_matrix(a, b, t) == self.matrix, self)

    @property
    def rank(self) -> int:
        return self.b1.shape[0]

    @property
    def matrix(self) -> tuple[int, ...]:
        return _product_matrix(self.a1, self.b1, self.t1)

    def dense(self, shape, device="cpu"):
        first, second = (_product(*p, device) for p in ((self.a1, self.b1, self.t1), (self.a2, self.b2, self.t2)))
        return (self.scale * first * second).view(shape)


@dataclass(frozen=True)
class LokrDelta(Delta):
    """dW = scale * kron(w1, w2) (LyCORIS, Yeh et al. 2023, section 3).

    w1 and w2 are whole, or products a @ b as in LohaDelta, w2 also with a core; then `w1` and `w2` are the pairs
    or triples (a, b, core). `width` is the rank of the products.
    """

    w1: tuple[torch.Tensor, ...]
    w2: tuple[torch.Tensor, ...]
    scale: float
    width: int
    kind = "LoKr"

    def __post_init__(self):
        need(len(_whole_matrix(self.w1)) == len(_whole_matrix(self.w2)) == 2, self)

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [*self.w1, *self.w2]

    @property
    def rank(self) -> int:
        return self.width

    @property
    def matrix(self) -> tuple[int, int]:
        (a, b), (c, d) = _whole_matrix(self.w1), _whole_matrix(self.w2)
        return a * c, b * d

    def fits(self, shape):
        (_, b), (_, d) = _whole_matrix(self.w1), _whole_matrix(self.w2)
        return super().fits(shape) and shape[1] % b == 0 and d % math.prod(shape[2:]) == 0

    def dense(self, shape, device="cpu"):
        w1, w2 = _whole(self.w1, device), _whole(self.w2, device)
        w2 = w2.reshape(w2.shape[0], shape[1] // w1.shape[1], -1)
        # The kernel stays apart: kron(w1, w2) of each of its points.
        return self.scale * torch.einsum("ab,cdk->acbdk", w1, w2).reshape(shape)


@dataclass(frozen=True)
class DoraDelta(Delta):
    """W = magnitude * (W0 + dW) / ||W0 + dW|| (Liu et al. 2024, equation 5), dW that of `inner`.

    The norm runs over all axes but `axis`: 0 = a magnitude for each output, 1 = for each input (early LyCORIS).
    A strength other than 1 scales dW (`inside`, as PEFT does) or else W - W0 (as the tools that read LyCORIS do).
    """

    inner: Delta
    magnitude: torch.Tensor
    axis: int
    inside: bool
    scale: float = field(init=False)

    def __post_init__(self):
        need(self.magnitude.ndim >= 1, self)
        object.__setattr__(self, "scale", self.inner.scale)

    @property
    def kind(self) -> str:
        return f"DoRA ({self.inner.kind})"

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [*self.inner.tensors, self.magnitude]

    @property
    def rank(self) -> int:
        return self.inner.rank

    @property
    def matrix(self) -> tuple[int, ...]:
        return self.inner.matrix

    def fits(self, shape):
        return self.inner.fits(shape) and self.magnitude.numel() == shape[self.axis]

    def dense(self, shape, device="cpu"):
        raise ValueError("DoRA has no change apart from its base weight")

    def change(self, base, weight):
        moved = base + self.inner.change(base, weight if self.inside else 1.0)
        sizes = [1] * base.ndim
        sizes[self.axis] = -1
        norm = moved.transpose(0, self.axis).flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        whole = moved * (self.magnitude.float().flatten().to(base.device) / norm).view(sizes)
        return whole - base if self.inside else weight * (whole - base)


def merged(original: torch.Tensor, terms: list[tuple[Delta, float]]) -> torch.Tensor:
    """W0 + the sum of all changes, each at its weight, in float32. Plain LoRAs are one product of stacked factors."""
    base = total = original.float()
    if low := [(delta, weight) for delta, weight in terms if isinstance(delta, LoraDelta)]:
        up, down, scale = _stacked(low, base.device)
        total = torch.addmm(base.flatten(1), up, down, alpha=scale).view_as(base)
    for delta, weight in terms:
        if not isinstance(delta, LoraDelta):
            total = total + delta.change(base, weight)
    return total


def merge_into(out: torch.Tensor, original: torch.Tensor, terms: list[tuple[Delta, float]]) -> None:
    """Write `merged` into `out`, which is of W0's shape and type.

    On a CPU, bfloat16 stays bfloat16: the factors of plain LoRAs are rounded to it, which moves a change by less than
    rounding the sum does where the change is no larger than W0, and takes half the time. Sums are float32 throughout.
    """
    low = [(delta, weight) for delta, weight in terms if isinstance(delta, LoraDelta)]
    direct = (torch.float32, torch.bfloat16) if original.device.type == "cpu" else (torch.float32,)
    if not (len(low) == len(terms) and original.is_contiguous() and out.is_contiguous() and original.dtype in direct):
        out.copy_(merged(original, terms))
        return
    up, down, scale = _stacked(low, original.device)
    up, down = up.to(original.dtype), down.to(original.dtype)
    torch.addmm(original.flatten(1), up, down, alpha=scale, out=out.flatten(1))


def _stacked(terms: list[tuple[LoraDelta, float]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, float]:
    """up and down in float32, and a scale, whose product is the sum of all terms."""
    up = torch.cat([delta.up.flatten(1) for delta, _ in terms], 1).to(device).float()
    down = torch.cat([delta.down.flatten(1) for delta, _ in terms]).to(device).float()
    scales = [weight * delta.scale for delta, weight in terms]
    largest, start = max(scales, key=abs), 0
    for own, (delta, _) in zip(scales, terms):
        if own != largest:
            up[:, start : start + delta.rank] *= own / largest
        start += delta.rank
    return up, down, largest


def need(true: bool, delta: Delta) -> None:
    """Raises ValueError, with the shapes of what the delta holds, where something is not true of them."""
    if not true:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in delta.tensors)
        raise ValueError(f"shapes {shapes}")


def _product_matrix(a: torch.Tensor, b: torch.Tensor, core: torch.Tensor | None = None) -> tuple[int, ...]:
    """Rows and columns of `_product`; empty where the shapes do not go together."""
    if a.ndim != 2 or b.ndim != 2:
        return ()
    if core is None:
        return (a.shape[0], b.shape[1]) if a.shape[1] == b.shape[0] else ()
    if core.ndim != 4 or core.shape[:2] != (a.shape[0], b.shape[0]):
        return ()
    return a.shape[1], b.shape[1] * math.prod(core.shape[2:])


def _product(a: torch.Tensor, b: torch.Tensor, core: torch.Tensor | None, device) -> torch.Tensor:
    a, b = a.float().to(device), b.float().to(device)
    return a @ b if core is None else torch.einsum("ijkl,io,jn->onkl", core.float().to(device), a, b).flatten(1)


def _whole_matrix(parts: tuple[torch.Tensor, ...]) -> tuple[int, ...]:
    if len(parts) > 1:
        return _product_matrix(*parts)
    return (parts[0].shape[0], math.prod(parts[0].shape[1:])) if parts and parts[0].ndim >= 2 else ()


def _whole(parts: tuple[torch.Tensor, ...], device) -> torch.Tensor:
    if len(parts) == 1:
        return parts[0].float().flatten(1).to(device)
    return _product(parts[0], parts[1], parts[2] if len(parts) == 3 else None, device)

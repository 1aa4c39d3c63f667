"""The samplers by themselves: how each gets from noise to a picture down a row of noise levels.

Each is written as its paper has it, as a generator: it yields the latents that it wants the model's word on, with their
level, is sent those latents back as they then are, with the clean picture that the model sees in them, guided and not,
and returns the result. The first latents it only gets; what stands around a mask may be changed between. All count
noise relative to the picture, as Karras et al. 2022 do: latents are picture + level * noise. `levels` fall, the last is
0 or nearly, and `noise(high, low)` is noise of deviation 1 for the way between two of them.
"""

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor

from pipeline.sampling.levels import karras_between

Noise = Callable[[Tensor, Tensor], Any]


class Seen(NamedTuple):
    """What a solver is sent: latents, and the clean ones that the model sees in them, guided and not."""

    x: Any
    clean: Any
    unguided: Any


Run = Generator[tuple[Any, Tensor], Seen, Any]


def slope(x: Any, clean: Any, level: Tensor) -> Any:
    """dx / dlevel of the probability flow (Karras et al. 2022, equation 3)."""
    return (x - clean) / level


def split(high: Tensor, low: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The level to go down to, and how much noise to add there, so that `low` is reached (Song et al. 2021, 16)."""
    up = (eta * (low**2 * (high**2 - low**2) / high**2).sqrt()).clamp(max=low)
    return (low**2 - up**2).sqrt(), up


# One word of the model for each step.


def euler(levels: Tensor, noise: Noise) -> Run:
    """Karras et al. 2022, algorithm 1 without its second order."""
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        x = x + slope(x, clean, high) * (low - high)
    return x


def ancestral(levels: Tensor, noise: Noise, eta: float = 1.0) -> Run:
    """Euler's steps with as much new noise as DDPM has; with less, `eta`, it is DDIM (Song et al. 2021)."""
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        down, up = split(high, low, eta)
        x = x + slope(x, clean, high) * (down - high)
        if up > 0:
            x = x + noise(high, low) * up
    return x


def lcm(levels: Tensor, noise: Noise) -> Run:
    """Luo et al. 2023: the clean picture, and fresh noise on it."""
    x = None
    for high, low in pairwise(levels):
        _, x, _ = yield x, high
        if low > 0:
            x = x + noise(high, low) * low
    return x


def lms(levels: Tensor, noise: Noise, order: int = 4) -> Run:
    """Adams and Bashforth's on uneven steps: the polynomial through the last slopes, integrated."""
    slopes: list[Any] = []
    x, rows = None, levels.double().tolist()
    for i, level in enumerate(levels[:-1]):
        x, clean, _ = yield x, level
        slopes = [slope(x, clean, level), *slopes][:order]
        places = rows[i - len(slopes) + 1 : i + 1][::-1]
        x = x + sum(weight * each for weight, each in zip(_integrals(places, rows[i], rows[i + 1]), slopes))
    return x


def _integrals(places: Sequence[float], start: float, end: float) -> list[float]:
    """From start to end, of the polynomials that are 1 at one of at most four places and 0 at the others."""
    # Gauss's rule of two points is exact for polynomials of their degree.
    middle, half = (start + end) / 2, (end - start) / 2
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    return [
        half * sum(math.prod((t - other) / (place - other) for other in places if other != place) for t in points)
        for place in places
    ]


# Fixed weights of Adams and Bashforth, newest slope first.
_WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def ipndm(levels: Tensor, noise: Noise) -> Run:
    """Zhang & Chen 2023, on levels as Zhou et al. 2024 have it: the weights of even steps on whatever steps there are.

    The last step is to the clean picture.
    """
    slopes: list[Any] = []
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        slopes = [slope(x, clean, high), *slopes][: len(_WEIGHTS)]
        weights = _WEIGHTS[len(slopes) - 1] if low > 0 else _WEIGHTS[0]
        x = x + sum(weight * each for weight, each in zip(weights, slopes)) * (low - high)
    return x


def dpmpp_2m(levels: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2M), Lu et al. 2023, algorithm 2; the last step, to no noise, is of the first order."""
    x, old, last = None, None, levels[0]
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        h = (high / low).log()
        toward = clean if old is None or low == 0 else clean + (clean - old) * h / (2 * last)
        x = low / high * x - (-h).expm1() * toward
        old, last = clean, h
    return x


def res_multistep(levels: Tensor, noise: Noise) -> Run:
    """The refined exponential solver in its multistep form of second order (Zhang et al. 2023, arXiv:2308.02157)."""
    x, old, last = None, None, levels[0]
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        h = (high / low).log()
        if old is None or low == 0:
            x = x + slope(x, clean, high) * (low - high)
        else:
            first = -(-h).expm1() / h
            second = (first - 1) / last
            x = low / high * x + h * ((first - second) * clean + second * old)
        old, last = clean, h
    return x


# Stochastic, on one Brownian path.


def dpmpp_2m_sde(levels: Tensor, noise: Noise, heun: bool = False) -> Run:
    """SDE-DPM-Solver++(2M), Lu et al. 2023, algorithm 5; `heun` weighs the second order as their appendix has it."""
    x, old, last = None, None, levels[0]
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        if low == 0:
            return clean
        h = (high / low).log()
        whole = -(-2 * h).expm1()
        x = low / high * (-h).exp() * x + whole * clean
        if old is not None:
            x = x + (1 - whole / (2 * h) if heun else whole / 2) * (clean - old) * h / last
        x = x + noise(high, low) * low * whole.sqrt()
        old, last = clean, h
    return x


def dpmpp_3m_sde(levels: Tensor, noise: Noise) -> Run:
    """The same of third order, as k-diffusion has it."""
    before: list[tuple[Any, Tensor]] = []
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        if low == 0:
            return clean
        h = (high / low).log()
        whole = -(-2 * h).expm1()
        x = low / high * (-h).exp() * x + whole * clean
        second = 1 - whole / (2 * h)
        if before:
            (old, last), *older = before
            first = (clean - old) * h / last
            if older:
                ((oldest, earlier),) = older
                bend = (first - (old - oldest) * h / earlier) * h / (last + earlier)
                first = first + bend * last / h
                x = x - (second / (2 * h) - 0.5) * bend
            x = x + second * first
        x = x + noise(high, low) * low * whole.sqrt()
        before = [(clean, h), *before][:2]
    return x


# Two words of the model for each step but the last.


def heun(levels: Tensor, noise: Noise) -> Run:
    """Karras et al. 2022, algorithm 1."""
    return (yield from _heun(pairwise(levels), noise))


def _heun(pairs: Iterable[tuple[Tensor, Tensor]], noise: Noise) -> Run:
    """Heun's steps between pairs of levels; where one begins above the end of the last, noise is put on again."""
    x, here = None, None
    for high, low in pairs:
        if here is not None and here < high:
            x = x + noise(high, here) * (high**2 - here**2).sqrt()
        x, clean, _ = yield x, high
        first, begun, way = slope(x, clean, high), x, low - high
        x = begun + first * way
        if low > 0:
            x, clean, _ = yield x, low
            x = begun + (first + slope(x, clean, low)) / 2 * way
        here = low
    return x


def restart(levels: Tensor, noise: Noise) -> Run:
    """Xu et al. 2023, with A1111's choice of where: of 20 steps or more, nine or two quarters go once more from level 2
    to 0.1. Then the levels between the ends are Karras's."""
    return (yield from _heun(restart_pairs(levels), noise))


def restart_pairs(levels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The levels of each step of `restart`, as many as there are of `levels` before the last."""
    if (steps := len(levels) - 1) < 20:
        return [*pairwise(levels)]
    again, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    path = karras_between(steps - again * times, levels[-2].item(), levels[0].item())
    bottom, top = (int((path - level).abs().argmin()) for level in (0.1, 2))
    loop = karras_between(again + 1, path[bottom].item(), path[top].item())[:-1]
    pairs = [*pairwise(path)]
    return [*pairs[:bottom], *([*pairwise(loop)] * times if top < bottom else []), *pairs[bottom:]]


def dpm2(levels: Tensor, noise: Noise, eta: float = 0.0) -> Run:
    """DPM-Solver-2 (Lu et al. 2022): the slope in the middle of the logarithms; `eta` as in `ancestral`."""
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        begun, (down, up) = x, split(high, low, eta)
        if down == 0:
            x = x + slope(x, clean, high) * (down - high)
            continue
        middle = high.log().lerp(down.log(), 0.5).exp()
        x, clean, _ = yield x + slope(x, clean, high) * (middle - high), middle
        x = begun + slope(x, clean, middle) * (down - high)
        if up > 0:
            x = x + noise(high, low) * up
    return x


def dpmpp_2s_ancestral(levels: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2S), Lu et al. 2023, algorithm 1, with the noise of `ancestral`."""
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        begun, (down, up) = x, split(high, low)
        if down == 0:
            x = x + slope(x, clean, high) * (down - high)
            continue
        h = (high / down).log()
        x, clean, _ = yield (-h / 2).exp() * x - (-h / 2).expm1() * clean, high * (-h / 2).exp()
        x = down / high * begun - (-h).expm1() * clean + noise(high, low) * up
    return x


def dpmpp_sde(levels: Tensor, noise: Noise) -> Run:
    """SDE-DPM-Solver++(2S), Lu et al. 2023, as k-diffusion has it, with its roundings: on them the path depends."""
    x = None
    for high, low in pairwise(levels):
        x, clean, _ = yield x, high
        if low == 0:
            return x + slope(x, clean, high) * (low - high)
        begun, t, t_next = x, -high.log(), -low.log()
        high, middle, low = ((-time).exp() for time in (t, t + (t_next - t) / 2, t_next))
        x, clean, _ = yield _toward(begun, clean, t, middle, noise), middle
        x = _toward(begun, clean, t, low, noise)
    return x


def _toward(x: Any, clean: Any, t: Tensor, low: Tensor, noise: Noise) -> Any:
    """From the time `t`, the negative logarithm of a level, to the level `low`, with the noise of `ancestral`."""
    high = (-t).exp()
    down, up = split(high, low)
    return (down.log().exp() / high) * x - (t + down.log()).expm1() * clean + noise(high, low) * up


# CFG++ (Chung et al. 2024): guided towards the clean picture, and back up with the noise that is seen unguided.


def euler_cfg_pp(levels: Tensor, noise: Noise, eta: float = 0.0) -> Run:
    """Euler's steps; `eta` as in `ancestral`."""
    x = None
    for high, low in pairwise(levels):
        x, clean, unguided = yield x, high
        down, up = split(high, low, eta)
        x = clean + slope(x, unguided, high) * down
        if up > 0:
            x = x + noise(high, low) * up
    return x


def dpmpp_2m_cfg_pp(levels: Tensor, noise: Noise) -> Run:
    """DPM-Solver++(2M), with ComfyUI's choice of what is extrapolated: from the last unguided to the guided one."""
    x, old, last = None, None, levels[0]
    for high, low in pairwise(levels):
        x, clean, unguided = yield x, high
        h = (high / low).log()
        x = clean + low / high * (x - unguided)
        if old is not None and low > 0:
            x = x - (-h).expm1() * (clean - old) * h / (2 * last)
        old, last = unguided, h
    return x

"""Noise levels by the names that AUTOMATIC1111 and ComfyUI give to their spacings.

A level (sigma) is the standard deviation of the noise relative to the picture, as k-diffusion counts it. A spacing lays
n of them between the highest and the lowest that a model was trained on, and ends in a clean picture, 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch import Tensor

# Zero signal would be an infinite level; diffusers' Euler takes the same bound.
LEAST_SIGNAL = 2**-24


class TrainedLevels:
    """The level of each time step that a model was trained on, and of the times between them.

    `sigmas` has T levels, rising, float32. Between two time steps the logarithm of the level is linear in time, as in
    k-diffusion.
    """

    def __init__(self, config: Mapping):
        """From a scheduler's config of diffusers. Betas that are given by their ends are laid out in double precision,
        as the models' own code does: the path of a Brownian motion tells one rounding from another."""
        scheduler = DDPMScheduler.from_config(dict(config))
        betas, root = scheduler.betas.double(), scheduler.config.beta_schedule == "scaled_linear"
        if scheduler.config.trained_betas is None and scheduler.config.beta_schedule in ("linear", "scaled_linear"):
            ends = scheduler.config.beta_start, scheduler.config.beta_end
            low, high = (end**0.5 for end in ends) if root else ends
            betas = torch.linspace(low, high, len(betas), dtype=torch.float64) ** (1 + root)
        if config.get("rescale_betas_zero_snr"):
            betas = rescale_zero_terminal_snr(betas)
        signal = (1 - betas).cumprod(0).clamp(min=LEAST_SIGNAL).float()
        self.sigmas = ((1 - signal) / signal).sqrt()
        self._logs = self.sigmas.log()

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest level and the highest."""
        return self.sigmas[0].item(), self.sigmas[-1].item()

    def at(self, times: Tensor) -> Tensor:
        """The levels of times 0..T - 1."""
        times = times.float()
        low, high, share = times.floor().long(), times.ceil().long(), times.frac()
        return ((1 - share) * self._logs[low] + share * self._logs[high]).exp()

    def times(self, sigmas: Tensor) -> Tensor:
        """The times of levels; those beyond the ends are the ends'."""
        logs = sigmas.float().log()
        low = (torch.searchsorted(self._logs, logs, right=True) - 1).clamp(0, len(self._logs) - 2)
        share = ((logs - self._logs[low]) / (self._logs[low + 1] - self._logs[low])).clamp(0, 1)
        return (1 - share) * low + share * (low + 1)


def clean(levels: Tensor) -> Tensor:
    """Levels, and the clean picture behind them."""
    return torch.cat([levels.float(), torch.zeros(1)])


def karras(n: int, trained: TrainedLevels) -> Tensor:
    """Karras et al. 2022, equation 5."""
    return karras_between(n, *trained.ends)


def karras_between(n: int, low: float, high: float, rho: float = 7.0) -> Tensor:
    """The same from a level to another."""
    low, high = low ** (1 / rho), high ** (1 / rho)
    return clean((high + torch.linspace(0, 1, n) * (low - high)) ** rho)


def exponential(n: int, trained: TrainedLevels) -> Tensor:
    """Evenly in the logarithm."""
    low, high = map(math.log, trained.ends)
    return clean(torch.linspace(high, low, n).exp())


def polyexponential(n: int, trained: TrainedLevels, rho: float = 1.0) -> Tensor:
    """In a power of the way along the logarithm; the power that A1111 has by default is 1."""
    low, high = map(math.log, trained.ends)
    return clean((torch.linspace(1, 0, n) ** rho * (high - low) + low).exp())


def beta(n: int, trained: TrainedLevels, a: float = 0.6, b: float = 0.6) -> Tensor:
    """Quantiles of a beta distribution (Lee et al. 2024), of the level as A1111 has it."""
    # Half a second that only those wait who use it.
    from scipy import stats

    low, high = trained.ends
    return clean(low + torch.from_numpy(stats.beta.ppf(1 - torch.linspace(0, 1, n).double(), a, b)) * (high - low))


def sgm_uniform(n: int, trained: TrainedLevels) -> Tensor:
    """Stability's: evenly in time, from the highest, without the lowest."""
    return clean(trained.at(torch.linspace(len(trained.sigmas) - 1, 0, n + 1)[:-1]))


def normal(n: int, trained: TrainedLevels) -> Tensor:
    """Evenly in time with both ends: k-diffusion's own, which A1111 calls uniform."""
    return clean(trained.at(torch.linspace(len(trained.sigmas) - 1, 0, n)))


def simple(n: int, trained: TrainedLevels) -> Tensor:
    """Time steps at even distances, from the highest down."""
    return clean(trained.sigmas[[-1 - int(i * len(trained.sigmas) / n) for i in range(n)]])


def ddim_uniform(n: int, trained: TrainedLevels, most: int | None = None) -> Tensor:
    """Time steps at even distances, from the second lowest up; A1111 goes on to the highest, with more steps than
    were asked for where these do not divide it."""
    stride = max(len(trained.sigmas) // n, 1)
    return clean(trained.sigmas[1::stride].flip(0)[:most])


def kl_optimal(n: int, trained: TrainedLevels) -> Tensor:
    """Evenly in the angle (Sabour et al. 2024, appendix); its last level is the model's lowest, not 0."""
    low, high = (torch.tensor(end).arctan() for end in trained.ends)
    share = torch.arange(n + 1) / n
    return (share * low + (1 - share) * high).tan()


def linear_quadratic(n: int, trained: TrainedLevels, threshold: float = 0.025) -> Tensor:
    """Of Movie Gen (Polyak et al. 2024, section 3.4.2) as ComfyUI lays it out: half of the steps take `threshold` of
    the way evenly, the others the rest, ever faster."""
    if n == 1:
        return clean(torch.tensor([trained.ends[1]]))
    first = n // 2
    rest, slope = n - first, threshold / first
    bend = (first - threshold * n) / (first * rest**2)
    after = torch.arange(n) - first
    way = torch.where(after < 0, slope * torch.arange(n), threshold + slope * after + bend * after**2)
    return clean((1 - way) * trained.ends[1])


def align_your_steps(n: int, table: Sequence[float], both_ends: bool = False) -> Tensor:
    """Sabour et al. 2024: `table` has the eleven levels of ten steps; other numbers are read off the line through the
    logarithms, as the authors do. A1111 takes n levels with `both_ends` of the table, and 0 for one more."""
    logs, last = torch.tensor(table).double().log(), len(table) - 1
    place = (torch.linspace(0, last, n) if both_ends else torch.linspace(0, last, n + 1)[:-1]).double()
    low = place.long()
    return clean(logs[low].lerp(logs[(low + 1).clamp(max=last)], place.frac()).exp())


SPACINGS: dict[str, Callable[[int, TrainedLevels], Tensor]] = {
    "Karras": karras,
    "exponential": exponential,
    "beta": beta,
    "SGM uniform": sgm_uniform,
    "simple": simple,
    "normal": normal,
    "DDIM uniform": lambda n, trained: ddim_uniform(n, trained, most=n),
    "KL optimal": kl_optimal,
    "polyexponential": polyexponential,
    "linear quadratic": linear_quadratic,
}
# What AUTOMATIC1111 has otherwise under the same name.
A1111_SPACINGS = SPACINGS | {"DDIM uniform": ddim_uniform}

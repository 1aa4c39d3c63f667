"""Normal numbers as a GPU of NVIDIA draws them: Philox 4x32-10 (Salmon et al. 2011) and Box and Muller's transform.

So that a picture that was begun on a GPU can be begun anywhere. Each thread of a GPU counts for itself: the number at
place i of a tensor comes from the block with i in its third word, and each tensor that is drawn moves the first on by
one. That is torch's order as long as a tensor is no larger than what a GPU draws at once, and the one in which
AUTOMATIC1111's noise source "NV" draws tensors of any size.
"""

import math

import numpy as np
import torch

_ROUNDS = 10
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
# The golden ratio's and the root of three's fractions, in 32 bits.
_KEY_STEPS = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint32)
_UNIT = np.float32(2**-32)
_TURN = np.float32(2**-32) * np.float32(2 * math.pi)


def philox(counters: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Random words, 4 x N uint32, of counters 4 x N and a key of two words, all uint32."""
    even, odd, key = counters[::2], counters[1::2], key[:, None]
    for round_ in range(_ROUNDS):
        products = even * _MULTIPLIERS
        high, low = (products >> np.uint64(32)).astype(np.uint32), products.astype(np.uint32)
        even, odd = high[::-1] ^ odd ^ key, low[::-1]
        key = key + _KEY_STEPS if round_ < _ROUNDS - 1 else key
    return np.stack([even[0], odd[0], even[1], odd[1]])


class Philox:
    """A stream of normal numbers of a seed 0..2**64 - 1."""

    def __init__(self, seed: int):
        self._key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32)
        self._drawn = 0

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The next ones, float32 on the CPU."""
        counters = np.zeros((4, math.prod(shape)), np.uint32)
        counters[0], counters[2] = self._drawn, np.arange(counters.shape[1])
        self._drawn += 1
        radius, angle = (words.astype(np.float32) for words in philox(counters, self._key)[:2])
        radius = np.sqrt(np.float32(-2) * np.log(radius * _UNIT + _UNIT / 2))
        return torch.from_numpy(radius * np.sin(angle * _TURN + _TURN / 2)).reshape(shape)

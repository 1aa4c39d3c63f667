"""Prompt -> what the denoiser is conditioned on at each step, by the text encoders of its family.

Each chunk of a prompt (see tokens.py) is encoded by itself, the results are laid end to end. A plain prompt of one
chunk gives what diffusers' `encode_prompt` gives, bit for bit.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.families import Components
from pipeline.text.prompt import MAX_WEIGHT, Phrase, parse
from pipeline.text.taught import NOTHING, Taught
from pipeline.text.tokens import tokenize

CACHE_BYTES = 64 * 2**20
EMPTY: Phrase = ((),)


@dataclass(frozen=True)
class Conditioning:
    """What stands at one step, a row for each part that AND joins.

    `hidden` rows x (77 * chunks) x D, the encoders' states side by side; `pooled` rows x P of the first chunk,
    where the family has it;
    `strengths` one for each row.
    """

    hidden: torch.Tensor
    pooled: torch.Tensor | None
    strengths: tuple[float, ...] = (1.0,)

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self.hidden.nbytes + (0 if self.pooled is None else self.pooled.nbytes)


Pair = tuple[Conditioning, Conditioning]
# What is on the text encoders, what they were taught, and how many of their layers are left out.
How = tuple[Hashable, Taught, int]


@torch.no_grad()
def encode(components: Components, phrase: str | Phrase, clip_skip: int = 0, taught: Taught = NOTHING) -> Conditioning:
    """Encode what stands at one step, in as many chunks as it needs, with words that were `taught`.

    `clip_skip` leaves out so many of the encoders' last layers more than usual, as in diffusers' `encode_prompt`.
    """
    text = tokenize(components.tokenizers, phrase, taught.words)
    hidden, pooled = [], None
    for number, chunks in enumerate(text.weighted):
        parts = []
        for chunk in chunks:
            ids, weights = zip(*chunk)
            with taught.read_by(components.text_encoders[number], number, torch.tensor([ids])) as tokens:
                states, own = components.family.encode(components, number, tokens, clip_skip)
            parts.append(weighed(states, weights))
            # The first that pools, and its first chunk, speaks for the whole prompt.
            pooled = own if pooled is None else pooled
        hidden.append(torch.cat(parts, 1))
    return Conditioning(torch.cat(hidden, -1), pooled)


def encode_plain(components: Components, texts: Sequence[str], chunks: int = 1) -> Conditioning:
    """Plain texts in one batch, a row for each, with empty chunks at the end of those of fewer than `chunks`.

    With gradients where the encoders have them: this is how a trainer reads captions. Raises TooLong.
    """
    read = [tokenize(components.tokenizers, text).chunks for text in texts]
    empty = tokenize(components.tokenizers, "").chunks
    most = max(chunks, *(len(own[0]) for own in read))
    hidden, pooled = [], None
    for number in range(len(components.text_encoders)):
        rows = [chunk for own in read for chunk in (*own[number], *empty[number] * (most - len(own[number])))]
        states, own = components.family.encode(components, number, torch.tensor(rows))
        hidden.append(states.unflatten(0, (len(texts), most)).flatten(1, 2))
        pooled = own[::most] if pooled is None and own is not None else pooled
    return Conditioning(torch.cat(hidden, -1), pooled, (1.0,) * len(texts))


def weighed(states: torch.Tensor, weights: tuple[float, ...]) -> torch.Tensor:
    """States 1 x 77 x D, each token's times its weight, then scaled so that their mean is what it was (A1111).

    Where the mean is a small remainder of large numbers, its ratio says nothing and may be anything: the scale stays
    within what weights of these sizes can call for.
    """
    if set(weights) == {1.0}:
        return states
    factors = torch.tensor(weights, device=states.device, dtype=torch.float32).view(1, -1, 1)
    scaled = states.float() * factors
    low, high = 1 / max(weights), min(MAX_WEIGHT, 1 / max(min(weights), 1 / MAX_WEIGHT))
    restore = (states.float().mean() / scaled.mean()).nan_to_num(1.0).clamp(low, high)
    return (scaled * restore).to(states.dtype)


class Conditioner:
    """Encodes prompts, keeping the latest `CACHE_BYTES` of what it made. Not thread-safe: the engine has the lock.

    Kept by phrase, layers skipped, what is on the text encoders and the words that they were taught: nothing else
    changes an encoding.
    """

    def __init__(self, components: Components, cache_bytes: int = CACHE_BYTES):
        self._components = components
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[Hashable, Conditioning] = OrderedDict()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """How much memory what is kept takes."""
        return self._bytes

    def __call__(
        self,
        prompt: str,
        negative: str,
        steps: int,
        adapters: Hashable = (),
        clip_skip: int = 0,
        taught: Taught = NOTHING,
    ) -> tuple[Pair, ...]:
        """(positive, negative) of each step, the two of equal length.

        `adapters` is what is on the text encoders, `taught` are words that are no tokens. As in diffusers `clip_skip`
        is the positive prompt's only. An empty negative prompt is zeros where the model was trained so.
        """
        how, usual = (adapters, taught, clip_skip), (adapters, taught, 0)
        positive = self._text(prompt, steps, True, how)
        without = self._text(negative, steps, False, usual)
        zero = not negative and self._components.zero_empty_negative
        pairs: dict[tuple[int, int], Pair] = {}
        for toward, away in zip(positive, without):
            if (id(toward), id(away)) not in pairs:
                size = max(toward.hidden.shape[1], away.hidden.shape[1])
                both = self._filled(toward, size, how), self._filled(away, size, usual)
                pairs[id(toward), id(away)] = (both[0], _zeros(both[1])) if zero else both
        return tuple(pairs[id(toward), id(away)] for toward, away in zip(positive, without))

    def _text(self, text: str, steps: int, compose: bool, how: How) -> tuple[Conditioning, ...]:
        schedule = parse(text, compose).schedule(steps)
        phrases = dict.fromkeys(phrase for _, parts in schedule for phrase, _ in parts)
        # Refused before anything is encoded.
        for phrase in phrases:
            if _key(phrase, how) not in self._cache:
                tokenize(self._components.tokenizers, phrase, how[1].words)
        encoded = {phrase: self._encoded(phrase, how) for phrase in phrases}
        size = max(one.hidden.shape[1] for one in encoded.values())
        encoded = {phrase: self._filled(one, size, how) for phrase, one in encoded.items()}
        stacked: dict[tuple[tuple[Phrase, float], ...], Conditioning] = {}
        texts: list[Conditioning] = []
        for last, parts in schedule:
            if parts not in stacked:
                stacked[parts] = _stack([encoded[phrase] for phrase, _ in parts], tuple(s for _, s in parts))
            texts += [stacked[parts]] * (last - len(texts))
        return tuple(texts)

    def _filled(self, text: Conditioning, size: int, how: How) -> Conditioning:
        """The text with empty chunks at its end, `size` tokens long."""
        if text.hidden.shape[1] == size:
            return text
        empty = self._encoded(EMPTY, how).hidden
        missing = (size - text.hidden.shape[1]) // empty.shape[1]
        return replace(text, hidden=torch.cat([text.hidden, empty.repeat(len(text.hidden), missing, 1)], 1))

    def _encoded(self, phrase: Phrase, how: How) -> Conditioning:
        key = _key(phrase, how)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = self._cache[key] = encode(self._components, phrase, how[2], how[1])
        self._bytes += found.nbytes
        while self._bytes > self._cache_bytes:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return found


def _key(phrase: Phrase, how: How) -> Hashable:
    adapters, taught, clip_skip = how
    return phrase, adapters, taught.key, clip_skip


def encode_pair(components: Components, prompt: str, negative: str) -> Pair:
    """(positive, negative) of the first step."""
    return Conditioner(components)(prompt, negative, 1)[0]


def _stack(rows: list[Conditioning], strengths: tuple[float, ...]) -> Conditioning:
    if len(rows) == 1 and strengths == rows[0].strengths:
        return rows[0]
    pooled = [row.pooled for row in rows if row.pooled is not None]
    return Conditioning(torch.cat([row.hidden for row in rows]), torch.cat(pooled) if pooled else None, strengths)


def _zeros(like: Conditioning) -> Conditioning:
    return Conditioning(torch.zeros_like(like.hidden), None if like.pooled is None else torch.zeros_like(like.pooled))

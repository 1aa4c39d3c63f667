"""Prompt -> what the UNet is conditioned on at each step, by one or two CLIP text encoders.

CLIP reads 77 tokens, two of them marks: a longer prompt is cut into chunks of 75 tokens, each encoded by itself, the
results laid end to end. A plain prompt of one chunk gives what diffusers' `encode_prompt` gives, bit for bit.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from lora.errors import TooLong
from pipeline.profiles import Components
from pipeline.text.prompt import MAX_CHUNKS, MAX_WEIGHT, Phrase, Words, parse, plain
from pipeline.text.variants import Wildcards, adapter_tags, combinations

# A chunk ends after a comma where there is one among its last so many tokens: no clause is torn apart (as in A1111).
COMMA_REACH = 20
CACHE_BYTES = 64 * 2**20
EMPTY: Phrase = ((),)


@dataclass(frozen=True)
class Conditioning:
    """What stands at one step, a row for each part that AND joins.

    `hidden` rows x (77 * chunks) x D, the encoders' states side by side; `pooled` rows x P of the first chunk (SDXL);
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


@dataclass(frozen=True)
class TokenizedPrompt:
    """`tokens` in reading order without the marks, each with its weight.

    `chunks` for each text encoder: a list of 77 (id, weight) pairs each.
    """

    tokens: tuple[str, ...]
    weights: tuple[float, ...]
    weighted: tuple[tuple[tuple[tuple[int, float], ...], ...], ...]

    @property
    def chunks(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For each text encoder, a list of 77 ids each."""
        return tuple(tuple(tuple(i for i, _ in chunk) for chunk in chunks) for chunks in self.weighted)

    def public(self) -> dict:
        """For callers. Nothing is ever dropped: a prompt over the cap is refused."""
        return {"tokens": len(self.tokens), "chunks": len(self.weighted[0]), "dropped": []}


def tokenize(tokenizers: tuple, prompt: str | Phrase) -> TokenizedPrompt:
    """Cut what stands at one step into chunks; plain text is taken as it is. Raises TooLong above MAX_CHUNKS chunks."""
    phrase = ((Words(prompt),),) if isinstance(prompt, str) else prompt
    room = tokenizers[0].model_max_length - 2
    read = [[_tokens(tokenizer, group) for group in phrase] for tokenizer in tokenizers]
    weighted = [
        [chunk for group in groups for chunk in _cut(tokenizer, group, room)]
        for tokenizer, groups in zip(tokenizers, read)
    ]
    flat = [pair for group in read[0] for pair in group]
    if max(map(len, weighted)) > MAX_CHUNKS:
        size = f"{len(flat)} tokens long" if len(flat) > MAX_CHUNKS * room else f"in {len(weighted[0])} chunks"
        raise TooLong("prompt", size, f"text of at most {MAX_CHUNKS * room} tokens in {MAX_CHUNKS} chunks")
    return TokenizedPrompt(
        tuple(tokenizers[0].convert_ids_to_tokens([i for i, _ in flat])),
        tuple(weight for _, weight in flat),
        tuple(
            tuple(_marked(tokenizer, chunk, room) for chunk in chunks)
            for tokenizer, chunks in zip(tokenizers, weighted)
        ),
    )


def explain(tokenizers: tuple, prompt: str, steps: int, wildcards: Wildcards | None = None) -> dict:
    """How a prompt is read over `steps`, for callers; of variants the first. Raises TooLong."""
    text, tags = adapter_tags(prompt)
    parsed = parse(combinations(text, wildcards, most=1)[0])
    schedule = parsed.schedule(steps)
    first = [tokenize(tokenizers, phrase) for phrase, _ in schedule[0][1]]
    phrases = {phrase for _, parts in schedule for phrase, _ in parts}
    return {
        "tokens": [token for part in first for token in part.tokens],
        "count": sum(len(part.tokens) for part in first),
        "weights": [weight for part in first for weight in part.weights],
        "chunks": max(len(tokenize(tokenizers, phrase).weighted[0]) for phrase in phrases),
        "schedule": [[last, " AND ".join(plain(phrase) for phrase, _ in parts)] for last, parts in schedule],
        "parts": [part.weight for part in parsed.parts],
        "adapters": [[name, *numbers] for name, numbers in tags],
        "clamped": list(parsed.clamped),
        "dropped": [],
    }


def _tokens(tokenizer, group: tuple[Words, ...]) -> list[tuple[int, float]]:
    return [
        (i, words.weight)
        for words in group
        for i in tokenizer(words.text, add_special_tokens=False, verbose=False).input_ids
    ]


def _cut(tokenizer, tokens: list[tuple[int, float]], room: int) -> list[list[tuple[int, float]]]:
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks = []
    while len(tokens) > room:
        ends = (n for n in range(room, room - COMMA_REACH, -1) if tokens[n - 1][0] == comma)
        end = next(ends, room)
        chunks.append(tokens[:end])
        tokens = tokens[end:]
    return [*chunks, tokens]


def _marked(tokenizer, chunk: list[tuple[int, float]], room: int) -> tuple[tuple[int, float], ...]:
    padding = [(tokenizer.pad_token_id, 1.0)] * (room - len(chunk))
    return ((tokenizer.bos_token_id, 1.0), *chunk, (tokenizer.eos_token_id, 1.0), *padding)


@torch.no_grad()
def encode(components: Components, phrase: str | Phrase, clip_skip: int = 0) -> Conditioning:
    """Encode what stands at one step, in as many chunks as it needs.

    `clip_skip` leaves out so many of the encoders' last layers more than usual, as in diffusers' `encode_prompt`.
    """
    text = tokenize(components.tokenizers, phrase)
    hidden, pooled = [], None
    for encoder, chunks in zip(components.text_encoders, text.weighted):
        parts = []
        for chunk in chunks:
            ids, weights = zip(*chunk)
            out = encoder(torch.tensor([ids], device=components.device), output_hidden_states=True)
            parts.append(weighed(_states(components, encoder, out, clip_skip), weights))
            # Only the encoder with a projection pools; the first chunk speaks for the whole prompt.
            pooled = getattr(out, "text_embeds", None) if pooled is None else pooled
        hidden.append(torch.cat(parts, 1))
    return Conditioning(torch.cat(hidden, -1), pooled)


def _states(components: Components, encoder, out, clip_skip: int) -> torch.Tensor:
    # SDXL takes the states before the last layer as they are, SD 1.5 those after the last one and the final norm.
    if components.family == "sdxl":
        return out.hidden_states[-2 - clip_skip]
    return encoder.final_layer_norm(out.hidden_states[-1 - clip_skip]) if clip_skip else out.last_hidden_state


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

    Kept by phrase, layers skipped, and what is on the text encoders: nothing else changes an encoding.
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
        self, prompt: str, negative: str, steps: int, adapters: Hashable = (), clip_skip: int = 0
    ) -> tuple[Pair, ...]:
        """(positive, negative) of each step, the two of equal length.

        `adapters` is what is on the text encoders. As in diffusers `clip_skip` is the positive prompt's only. An empty
        negative prompt is zeros where the model was trained so.
        """
        positive = self._text(prompt, steps, True, (adapters, clip_skip))
        without = self._text(negative, steps, False, (adapters, 0))
        zero = not negative and self._components.zero_empty_negative
        pairs: dict[tuple[int, int], Pair] = {}
        for toward, away in zip(positive, without):
            if (id(toward), id(away)) not in pairs:
                size = max(toward.hidden.shape[1], away.hidden.shape[1])
                both = self._filled(toward, size, (adapters, clip_skip)), self._filled(away, size, (adapters, 0))
                pairs[id(toward), id(away)] = (both[0], _zeros(both[1])) if zero else both
        return tuple(pairs[id(toward), id(away)] for toward, away in zip(positive, without))

    def _text(self, text: str, steps: int, compose: bool, how: tuple) -> tuple[Conditioning, ...]:
        schedule = parse(text, compose).schedule(steps)
        phrases = dict.fromkeys(phrase for _, parts in schedule for phrase, _ in parts)
        # Refused before anything is encoded.
        for phrase in phrases:
            if (phrase, *how) not in self._cache:
                tokenize(self._components.tokenizers, phrase)
        encoded = {phrase: self._encoded(phrase, how) for phrase in phrases}
        size = max(one.hidden.shape[1] for one in encoded.values())
        encoded = {phrase: self._filled(one, size, how) for phrase, one in encoded.items()}
        stacked, texts = {}, []
        for last, parts in schedule:
            if parts not in stacked:
                stacked[parts] = _stack([encoded[phrase] for phrase, _ in parts], tuple(s for _, s in parts))
            texts += [stacked[parts]] * (last - len(texts))
        return tuple(texts)

    def _filled(self, text: Conditioning, size: int, how: tuple) -> Conditioning:
        """The text with empty chunks at its end, `size` tokens long."""
        if text.hidden.shape[1] == size:
            return text
        empty = self._encoded(EMPTY, how).hidden
        missing = (size - text.hidden.shape[1]) // empty.shape[1]
        return replace(text, hidden=torch.cat([text.hidden, empty.repeat(len(text.hidden), missing, 1)], 1))

    def _encoded(self, phrase: Phrase, how: tuple) -> Conditioning:
        key = phrase, *how
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = self._cache[key] = encode(self._components, phrase, how[1])
        self._bytes += found.nbytes
        while self._bytes > self._cache_bytes:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return found


def encode_pair(components: Components, prompt: str, negative: str) -> Pair:
    """(positive, negative) of the first step."""
    return Conditioner(components)(prompt, negative, 1)[0]


def _stack(rows: list[Conditioning], strengths: tuple[float, ...]) -> Conditioning:
    if len(rows) == 1 and strengths == rows[0].strengths:
        return rows[0]
    pooled = None if rows[0].pooled is None else torch.cat([row.pooled for row in rows])
    return Conditioning(torch.cat([row.hidden for row in rows]), pooled, strengths)


def _zeros(like: Conditioning) -> Conditioning:
    return Conditioning(torch.zeros_like(like.hidden), None if like.pooled is None else torch.zeros_like(like.pooled))

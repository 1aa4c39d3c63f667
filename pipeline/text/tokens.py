"""Prompt -> tokens in chunks, as CLIP's text encoders read them. Needs tokenizers and no model.

CLIP reads 77 tokens, two of them marks: a longer prompt is cut into chunks of 75 tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from lora.errors import TooLong
from pipeline.text.prompt import MAX_CHUNKS, Phrase, Words, parse, plain
from pipeline.text.variants import Wildcards, adapter_tags, combinations, finding

# Words that are vectors, each with their number: their ids begin where no tokenizer has any, in the order of the words.
Lexicon = tuple[tuple[str, int], ...]
FIRST = 2**20
# A chunk ends after a comma where there is one among its last so many tokens: no clause is torn apart (as in A1111).
COMMA_REACH = 20


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


def tokenize(tokenizers: tuple, prompt: str | Phrase, lexicon: Lexicon = ()) -> TokenizedPrompt:
    """Cut what stands at one step into chunks; plain text is taken as it is, but for the words of a lexicon.

    Raises TooLong above MAX_CHUNKS chunks.
    """
    phrase = ((Words(prompt),),) if isinstance(prompt, str) else prompt
    room = tokenizers[0].model_max_length - 2
    words = _Words(lexicon)
    read = [[words.tokens(tokenizer, group) for group in phrase] for tokenizer in tokenizers]
    weighted = [
        [chunk for group in groups for chunk in _cut(tokenizer, group, room)]
        for tokenizer, groups in zip(tokenizers, read)
    ]
    flat = [pair for group in read[0] for pair in group]
    if max(map(len, weighted)) > MAX_CHUNKS:
        size = f"{len(flat)} tokens long" if len(flat) > MAX_CHUNKS * room else f"in {len(weighted[0])} chunks"
        raise TooLong("prompt", size, f"text of at most {MAX_CHUNKS * room} tokens in {MAX_CHUNKS} chunks")
    return TokenizedPrompt(
        tuple(words.name(i) if i >= FIRST else tokenizers[0].convert_ids_to_tokens(i) for i, _ in flat),
        tuple(weight for _, weight in flat),
        tuple(
            tuple(_marked(tokenizer, chunk, room) for chunk in chunks)
            for tokenizer, chunks in zip(tokenizers, weighted)
        ),
    )


def explain(
    tokenizers: tuple, prompt: str, steps: int, wildcards: Wildcards | None = None, lexicon: Lexicon = ()
) -> dict:
    """How a prompt is read over `steps`, for callers; of variants the first. Raises TooLong."""
    text, tags = adapter_tags(prompt)
    parsed = parse(combinations(text, wildcards, most=1)[0])
    schedule = parsed.schedule(steps)
    first = [tokenize(tokenizers, phrase, lexicon) for phrase, _ in schedule[0][1]]
    phrases = {phrase for _, parts in schedule for phrase, _ in parts}
    return {
        "tokens": [token for part in first for token in part.tokens],
        "count": sum(len(part.tokens) for part in first),
        "weights": [weight for part in first for weight in part.weights],
        "chunks": max(len(tokenize(tokenizers, phrase, lexicon).weighted[0]) for phrase in phrases),
        "schedule": [[last, " AND ".join(plain(phrase) for phrase, _ in parts)] for last, parts in schedule],
        "parts": [part.weight for part in parsed.parts],
        "adapters": [[name, *numbers] for name, numbers in tags],
        "clamped": list(parsed.clamped),
        "dropped": [],
    }


class _Words:
    """Finds the words of a lexicon in a text."""

    def __init__(self, lexicon: Lexicon):
        counts = [count for _, count in lexicon]
        starts = accumulate(counts, initial=FIRST)
        self._ids = {word.casefold(): range(at, at + n) for (word, n), at in zip(lexicon, starts)}
        self._pattern = finding(self._ids)

    def tokens(self, tokenizer, group: tuple[Words, ...]) -> list[tuple[int, float]]:
        """(id, weight) of each token, and of each vector of a word."""
        return [(i, words.weight) for words in group for i in self._read(tokenizer, words.text)]

    def name(self, identity: int) -> str:
        """A vector as it is shown among tokens."""
        word, ids = next((word, ids) for word, ids in self._ids.items() if identity in ids)
        return word if len(ids) == 1 else f"{word}[{identity - ids[0] + 1}]"

    def _read(self, tokenizer, text: str) -> Iterator[int]:
        for number, piece in enumerate(self._pattern.split(text) if self._pattern else [text]):
            if number % 2:
                yield from self._ids[piece.casefold()]
            elif piece:
                yield from tokenizer(piece, add_special_tokens=False, verbose=False).input_ids


def _cut(tokenizer, tokens: list[tuple[int, float]], room: int) -> list[list[tuple[int, float]]]:
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks = []
    while len(tokens) > room:
        ends = (n for n in range(room, room - COMMA_REACH, -1) if tokens[n - 1][0] == comma)
        end = next(ends, room)
        # The vectors of a word stay together, if they can.
        whole = next((n for n in range(end, 0, -1) if not FIRST <= tokens[n - 1][0] == tokens[n][0] - 1), 0)
        end = whole or end
        chunks.append(tokens[:end])
        tokens = tokens[end:]
    return [*chunks, tokens]


def _marked(tokenizer, chunk: list[tuple[int, float]], room: int) -> tuple[tuple[int, float], ...]:
    padding = [(tokenizer.pad_token_id, 1.0)] * (room - len(chunk))
    return ((tokenizer.bos_token_id, 1.0), *chunk, (tokenizer.eos_token_id, 1.0), *padding)

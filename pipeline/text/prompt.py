"""Prompt text -> what it says, as users of A1111 write it. Pure text, linear time; no error but for limits.

    (x)  [x]  (x:1.3)       x weighs 1.1, 1/1.1, 1.3 times as much; brackets nest and multiply
    \\(  \\[  \\\\ ...         the sign itself
    BREAK                   the rest starts in a new chunk of 75 tokens
    a AND b :1.2            both at once, b 1.2 times as strongly (Liu et al. 2022)
    [a:b:when]              a, then b. when < 1 is a share of the steps, else the last step of a
    [a::when]  [b:when]     a only until then, b only from then on ([:b:when] is the same)
    [a|b]                   a at the first step, b at the second, a at the third ...

What is malformed is text: a closing bracket without an opening one, a bracket that crosses another, a number that is
none. An opening bracket that is never closed weighs to the end, as A1111 documents it.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from lora.errors import TooLong

# Tokens in a chunk, and chunks in a prompt.
CHUNK, MAX_CHUNKS = 75, 8
EMPHASIS = 1.1
MIN_WEIGHT, MAX_WEIGHT, MAX_PARTS, MAX_DEPTH = 0.0, 5.0, 8, 50

_SIGNS = re.compile(r"\\[()\[\]{}|:<_\\]|[()\[\]:|]|[^\\()\[\]:|]+|\\")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_BREAK, _AND = re.compile(r"\bBREAK\b"), re.compile(r"\bAND\b")
_PARTNER = {")": "(", "]": "["}


@dataclass(frozen=True)
class Words:
    """Text at a weight of MIN_WEIGHT..MAX_WEIGHT, all brackets around it multiplied."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Break:
    """The rest starts in a new chunk."""


@dataclass(frozen=True)
class Switch:
    """`before` for the first `when` steps, then `after`; `when` < 1 is a share of all steps."""

    before: "Body"
    after: "Body"
    when: float


@dataclass(frozen=True)
class Alternate:
    """One of `options` a step, in turn."""

    options: tuple["Body", ...]


Body = tuple[Words | Break | Switch | Alternate, ...]
# What stands at one step: runs of words of one weight, in groups between BREAKs. Hashable: encodings are kept by it.
Phrase = tuple[tuple[Words, ...], ...]


@dataclass(frozen=True)
class Part:
    """What stands between two ANDs, and how strongly it pulls, -MAX_WEIGHT..MAX_WEIGHT."""

    body: Body
    weight: float = 1.0

    def at(self, step: int, steps: int) -> Phrase:
        """What stands at `step` (1-based) of `steps`."""
        groups: list[list[Words]] = [[]]
        for node in _flat(self.body, step, steps):
            if isinstance(node, Break):
                groups.append([])
            elif groups[-1] and groups[-1][-1].weight == node.weight:
                # Joined before they are cut into tokens: [fe|]male is "female", not "fe" and "male".
                groups[-1][-1] = Words(groups[-1][-1].text + node.text, node.weight)
            else:
                groups[-1].append(node)
        return tuple(map(tuple, groups))


@dataclass(frozen=True)
class ParsedPrompt:
    """`parts` to be composed; `clamped` says in words which weights were out of range and what they count as."""

    parts: tuple[Part, ...]
    clamped: tuple[str, ...] = ()

    def at(self, step: int, steps: int) -> tuple[tuple[Phrase, float], ...]:
        """Phrase and strength of each part at `step` (1-based) of `steps`."""
        return tuple((part.at(step, steps), part.weight) for part in self.parts)

    def schedule(self, steps: int) -> list[tuple[int, tuple[tuple[Phrase, float], ...]]]:
        """(last step, what stands until then), in order; one entry where nothing changes."""
        if all(isinstance(node, (Words, Break)) for part in self.parts for node in part.body):
            return [(steps, self.at(1, steps))]
        phases: list[tuple[int, tuple[tuple[Phrase, float], ...]]] = []
        for step in range(1, steps + 1):
            now = self.at(step, steps)
            if phases and phases[-1][1] == now:
                phases.pop()
            phases.append((step, now))
        return phases


def parse(text: str, compose: bool = True) -> ParsedPrompt:
    """Read a prompt. AND is a word like others where not `compose`: a negative prompt is one.

    Raises TooLong above MAX_PARTS parts or MAX_DEPTH switches in each other.
    """
    clamped: list[str] = []
    pieces = _AND.split(text) if compose else [text]
    if len(pieces) > MAX_PARTS:
        raise TooLong("prompt", f"made of {len(pieces)} parts joined by AND", f"text of at most {MAX_PARTS} parts")
    if len(pieces) == 1:
        # Without AND a number at the end is text: "at 10:30" is no weight.
        return ParsedPrompt((Part(_Reader(text, clamped).read()),), tuple(clamped))
    parts = []
    for piece in pieces:
        words, _, tail = piece.rpartition(":")
        weight = number(tail) if words else None
        words, weight = (piece, 1.0) if weight is None else (words, weight)
        body = _Reader(words, clamped).read()
        parts.append(Part(body, _clamp(words, weight, -MAX_WEIGHT, clamped)))
    return ParsedPrompt(tuple(parts), tuple(clamped))


def plain(phrase: Phrase) -> str:
    """The words of a phrase without their weights."""
    return " BREAK ".join("".join(words.text for words in group) for group in phrase)


def number(text: str) -> float | None:
    """A short decimal number, or None."""
    text = text.strip()
    return float(text) if len(text) <= 24 and _NUMBER.fullmatch(text) else None


class _Reader:
    """Two passes over the signs of a text: pair the brackets, then build. Only switches recurse, at most MAX_DEPTH."""

    def __init__(self, text: str, clamped: list[str]):
        self.signs = _SIGNS.findall(text)
        self.clamped = clamped
        # By the position of the opening bracket. One that was crossed by another is not in it: it is text.
        self.closes: dict[int, int | None] = {}
        # The colons and the bars right inside a bracket. Absent where there are none: a megabyte may be all brackets.
        self.colons: dict[int, list[int]] = {}
        self.bars: dict[int, list[int]] = {}

    def read(self) -> Body:
        self._pair()
        return self._body(0, len(self.signs), 1.0, 0)

    def _pair(self) -> None:
        open_: list[int] = []
        waiting = {"(": 0, "[": 0}
        for i, sign in enumerate(self.signs):
            if sign in waiting:
                open_.append(i)
                self.closes[i] = None
                waiting[sign] += 1
            elif sign in _PARTNER and waiting[_PARTNER[sign]]:
                while (kind := self.signs[open_[-1]]) != _PARTNER[sign]:
                    waiting[kind] -= 1
                    del self.closes[open_.pop()]
                waiting[kind] -= 1
                self.closes[open_.pop()] = i
            elif open_ and sign == ":":
                self.colons.setdefault(open_[-1], []).append(i)
            elif open_ and sign == "|":
                self.bars.setdefault(open_[-1], []).append(i)

    def _body(self, start: int, end: int, weight: float, depth: int) -> Body:
        if depth > MAX_DEPTH:
            raise TooLong("prompt", "made of too many [a:b:when] or [a|b] in each other", f"at most {MAX_DEPTH} deep")
        nodes: list = []
        # Where the innermost weights end, and what weight holds again from there.
        ends: list[tuple[int, int, float]] = []
        i = start
        while i < end:
            if ends and i == ends[-1][0]:
                _, i, weight = ends.pop()
            elif i not in self.closes:
                nodes.extend(self._words(self.signs[i], weight))
                i += 1
            elif (close := self.closes[i]) is not None and (node := self._over_steps(i, close, weight, depth)):
                nodes.append(node)
                i = close + 1
            else:
                stop, factor = self._factor(i)
                if stop is not None and close is not None:
                    ends.append((stop, close + 1, weight))
                weight = max(-1e6, min(1e6, weight * factor))
                i += 1
        return tuple(nodes)

    def _words(self, sign: str, weight: float):
        for n, text in enumerate(_BREAK.split(sign)):
            if n:
                yield Break()
            if text:
                text = text[1:] if len(text) == 2 and text[0] == "\\" else text
                yield Words(text, _clamp(text, weight, MIN_WEIGHT, self.clamped))

    def _over_steps(self, i: int, close: int, weight: float, depth: int) -> Switch | Alternate | None:
        colons, bars = self.colons.get(i, []), self.bars.get(i, [])
        if self.signs[i] == "(":
            return None
        if bars and not colons:
            marks = pairwise((i, *bars, close))
            return Alternate(tuple(self._body(a + 1, b, weight, depth + 1) for a, b in marks))
        when = self._last_number(i)
        if bars or when is None or len(colons) > 2:
            return None
        first = colons[0] if len(colons) == 2 else i
        before = self._body(i + 1, first, weight, depth + 1) if len(colons) == 2 else ()
        return Switch(before, self._body(first + 1, colons[-1], weight, depth + 1), when)

    def _factor(self, i: int) -> tuple[int | None, float]:
        """Where the bracket's text ends, and what it multiplies the weight by."""
        if self.signs[i] == "[":
            return self.closes[i], 1 / EMPHASIS
        given = self._last_number(i)
        return (self.closes[i], EMPHASIS) if given is None else (self.colons[i][-1], given)

    def _last_number(self, i: int) -> float | None:
        colons, close = self.colons.get(i), self.closes[i]
        return number(self.signs[close - 1]) if close and colons and colons[-1] == close - 2 else None


def _clamp(text: str, weight: float, low: float, clamped: list[str]) -> float:
    taken = max(low, min(MAX_WEIGHT, weight))
    if taken != weight:
        text = text.strip()
        short = text if len(text) <= 40 else text[:39] + "…"
        clamped.append(
            f'the weight {weight:g} of "{short}" counts as {taken:g}, weights go from {low:g} to {MAX_WEIGHT:g}'
        )
    return taken


def _flat(body: Body, step: int, steps: int):
    for node in body:
        if isinstance(node, Switch):
            last = int(node.when * steps) if node.when < 1 else node.when
            yield from _flat(node.before if step <= last else node.after, step, steps)
        elif isinstance(node, Alternate):
            yield from _flat(node.options[(step - 1) % len(node.options)], step, steps)
        else:
            yield node

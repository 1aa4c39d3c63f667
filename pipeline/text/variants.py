"""What is settled before a prompt is read: which variant to take, and which styles are named in it. Pure text.

    {red|green} apple       one of them, drawn by the seed; nests
    __colour__ apple        a line of colour.txt; lines may hold variants and wildcards themselves
    <lora:ink:0.8>          put the adapter "ink" on at 0.8 (1 where no number stands)
    <lora:ink:0.5:0.8>      in A1111's order: the text encoders at 0.5, the UNet at 0.8; also te=0.5, unet=0.8

What is malformed or unknown stays as it is: text.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path

from lora.errors import TooLong

MAX_CHARACTERS, MAX_DEPTH, MAX_WORK = 10_000, 10, 20_000

Wildcards = Mapping[str, Sequence[str]]
_SIGNS = re.compile(r"\\.|[{}|]|__[\w/-]{1,64}?__|[^\\{}|_]+|.", re.DOTALL)
_TAG = re.compile(r"(?<!\\)<lora:([^<>:]+)((?::(?:(?:te|unet|dyn)=)?[+-]?[0-9]{0,4}\.?[0-9]{0,9}){0,5})>")


@dataclass(frozen=True)
class _Choice:
    options: tuple[tuple, ...]


@dataclass(frozen=True)
class _Wildcard:
    sign: str


def read_wildcards(folder: Path) -> dict[str, tuple[str, ...]]:
    """The lists of a folder: `colours/warm.txt` is `__colours/warm__`; empty lines and lines from # on are left out."""
    found = {}
    for path in sorted(folder.rglob("*.txt")):
        lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8", "replace").splitlines())
        found[path.relative_to(folder).with_suffix("").as_posix()] = tuple(line for line in lines if line)
    return found


def finding(words: Iterable[str]) -> re.Pattern[str] | None:
    """What finds any of the words in a text, the longest first, whatever their case; None where there are none."""
    longest = sorted(words, key=len, reverse=True)
    return re.compile(f"(?<!\\w)({'|'.join(map(re.escape, longest))})(?!\\w)", re.IGNORECASE) if longest else None


def adapter_tags(text: str) -> tuple[str, tuple[tuple[str, tuple[float, ...]], ...]]:
    """The text without its `<lora:...>` tags, and the name and the numbers of each. Those inside { } stay.

    The numbers are none, one for both, or those of the text encoders, of the UNet, and the rank of a `dyn=`.
    """
    tags, at, depth, last = [], 0, 0, text.rfind("}")

    def take(match: re.Match) -> str:
        nonlocal at, depth
        depth += text.count("{", at, match.start()) - text.count("}", at, match.start())
        at = match.start()
        try:
            numbers = _numbers(match[2].split(":")[1:])
        except ValueError:
            return match[0]
        if depth > 0 and last >= match.end():
            return match[0]
        tags.append((match[1].strip(), numbers))
        return ""

    # One space for the gap that a tag between two words leaves.
    rest = _TAG.sub(take, text)
    return (re.sub(" {2,}", " ", rest).strip() if tags else text), tuple(tags)


def _numbers(parts: Sequence[str]) -> tuple[float, ...]:
    """As `adapter_tags` gives them; a name counts before a place. Raises ValueError for what is malformed."""
    placed = tuple(float(part) for part in parts if "=" not in part)
    named = {name: float(number) for name, _, number in (part.partition("=") for part in parts if "=" in part)}
    if len(placed) > 2:
        raise ValueError
    if not named:
        return placed
    text = named.get("te", placed[0] if placed else 1.0)
    unet = named.get("unet", placed[1] if len(placed) > 1 else text)
    return (text, unet, named["dyn"]) if "dyn" in named else (text, unet)


def expand(text: str, seed: int, wildcards: Wildcards | None = None, field: str = "prompt") -> str:
    """Draw one variant; the same seed draws the same.

    Raises TooLong naming the `field` above MAX_CHARACTERS, MAX_DEPTH or MAX_WORK.
    """
    return _Expansion(wildcards or {}, field=field).draw(text, random.Random(seed))


def combinations(text: str, wildcards: Wildcards | None = None, most: int = 64) -> tuple[str, ...]:
    """The first `most` variants, in the order of the text. Raises TooLong as `expand` does."""
    return tuple(islice(_Expansion(wildcards or {}, most).all(text), most))


class _Expansion:
    """One text and all that its wildcards lead to, under one budget: a few lines can stand for 10^10 variants."""

    def __init__(self, wildcards: Wildcards, most: int = 1, field: str = "prompt"):
        self.wildcards, self.most, self.field, self.work = wildcards, most, field, 0

    def draw(self, text: str, rng: random.Random) -> str:
        return self._short("".join(self._drawn(self._template(text, 0), rng, 0)))

    def all(self, text: str):
        return map(self._short, self._all(self._template(text, 0), 0))

    def _drawn(self, nodes: tuple, rng: random.Random, depth: int):
        for node in nodes:
            self._spend()
            if isinstance(node, str):
                yield node
            else:
                option = rng.choice(self._options(node, depth))
                yield from self._drawn(self._read(option, depth), rng, depth + 1)

    def _all(self, nodes: tuple, depth: int):
        # The first `most` of a product need only the first `most` of each factor.
        pools = []
        for node in nodes:
            self._spend()
            if isinstance(node, str):
                pools.append([node])
            else:
                options = (self._read(option, depth) for option in self._options(node, depth))
                inner = (text for option in options for text in self._all(option, depth + 1))
                pools.append(list(islice(inner, self.most)))
        for parts in product(*pools):
            self._spend(len(parts) // 100)
            yield "".join(parts)

    def _options(self, node: _Choice | _Wildcard, depth: int) -> Sequence[tuple | str]:
        """What it may become. The lines of a wildcard are not read before they are drawn: a list may be long."""
        if isinstance(node, _Choice):
            return node.options
        if depth >= MAX_DEPTH:
            raise TooLong(
                self.field, f"made of wildcards that name each other at {node.sign}", f"{MAX_DEPTH} deep at most"
            )
        return self.wildcards[node.sign[2:-2]]

    def _read(self, option: tuple | str, depth: int) -> tuple:
        return self._template(option, depth + 1) if isinstance(option, str) else option

    def _template(self, text: str, depth: int) -> tuple:
        signs: list[str] = _SIGNS.findall(text)
        closes: dict[int, int] = {}
        bars: dict[int, list[int]] = {}
        open_: list[int] = []
        for i, sign in enumerate(signs):
            if sign == "{":
                open_.append(i)
            elif sign == "}" and open_:
                closes[open_.pop()] = i
            elif sign == "|" and open_:
                bars.setdefault(open_[-1], []).append(i)

        def build(start: int, end: int, depth: int) -> tuple:
            if depth > 2 * MAX_DEPTH:
                raise TooLong(self.field, "made of too many {a|b} in each other", f"at most {2 * MAX_DEPTH} deep")
            nodes: list[str | _Choice | _Wildcard] = []
            i = start
            while i < end:
                if i in closes and i in bars:
                    marks = [i, *bars[i], closes[i]]
                    nodes.append(_Choice(tuple(build(a + 1, b, depth + 1) for a, b in pairwise(marks))))
                    i = closes[i]
                elif signs[i][:2] == "__" and self.wildcards.get(signs[i][2:-2]):
                    nodes.append(_Wildcard(signs[i]))
                else:
                    nodes.append(signs[i])
                i += 1
            return tuple(nodes)

        self._spend(len(signs) // 10)
        return build(0, len(signs), depth)

    def _spend(self, amount: int = 1) -> None:
        self.work += amount
        if self.work > MAX_WORK:
            raise TooLong(self.field, "made of too many variants in each other", "text that expands to less")

    def _short(self, text: str) -> str:
        if len(text) > MAX_CHARACTERS:
            raise TooLong(self.field, f"{len(text)} characters long once expanded", f"at most {MAX_CHARACTERS}")
        return text

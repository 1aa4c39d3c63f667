"""What people might type for an icon: its name in many wordings, with and without words that change nothing."""

import numpy as np

from assets.recipe.data import Icon

FRAMES = ("{}", "a {}", "the {}", "one {}", "a picture of a {}", "an icon of a {}", "a drawing of {}", "{} on white")
# Words of praise and medium that prompts are full of; the model has one look, so it must learn to pass over them.
FILLER = """
beautiful detailed cute nice simple lovely high quality masterpiece best sharp clean modern classic digital art
illustration emoji icon sticker logo cartoon design professional concept award winning trending colourful vivid bright
minimalist elegant artistic very really highly intricate 4k 8k hd professional studio lighting centered close up
full view in the middle with some of a and great amazing wonderful stylish fresh clear crisp smooth soft for kids
""".split()

SYLLABLES = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "x", "l")]


def filler(rng: np.random.Generator, most: int) -> str:
    return " ".join(rng.choice(FILLER, rng.integers(1, most + 1)))


def unknown(rng: np.random.Generator) -> str:
    """One to three words that nobody knows."""
    return " ".join("".join(rng.choice(SYLLABLES, rng.integers(2, 4))) for _ in range(rng.integers(1, 4)))


def caption(icon: Icon, rng: np.random.Generator) -> str:
    """One random caption. Half of them are the plain name or close to it."""
    name, kind = icon.label.lower(), rng.random()
    if kind < 0.35:
        return FRAMES[rng.integers(3)].format(name)
    if kind < 0.53:
        return FRAMES[rng.integers(len(FRAMES))].format(name)
    tags = list(rng.permutation(icon.tags)[: rng.integers(1, 4)]) if icon.tags else []
    if kind < 0.73:
        return ", ".join([name, *tags])
    if kind < 0.81 and tags:
        return ", ".join(tags)
    if kind < 0.86:
        return f"{name}, {filler(rng, 6)}"
    if kind < 0.88:
        return f"{filler(rng, 4)} {name}"
    return f"{name} {unknown(rng)}" if kind < 0.95 else f"{unknown(rng)} {name}"


def long_caption(icon: Icon, rng: np.random.Generator) -> str:
    """A caption that may fill CLIP's 77 places, the name anywhere in it."""
    before, after = (filler(rng, 30) if rng.random() < 0.7 else "" for _ in range(2))
    return f"{before} {icon.label.lower()} {after}".strip()

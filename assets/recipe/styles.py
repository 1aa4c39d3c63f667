"""The styles: three icon sets that the base has never seen, and looks computed from the base's own pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from assets.recipe.data import SIZE, over


@dataclass(frozen=True)
class Style:
    """One adapter to be. `look` turns an icon of the set `source` (RGBA, uint8) into a picture (RGB, float 0..255).

    Another set draws many of its concepts in other shapes. Whoever learns those paints the mean of many shapes where
    the concept is new; so only icons are learnt from whose silhouette in the set `shapes` is the base's own, or nearly;
    from all where none is named, which does for a style that leaves the shapes to the base (`noisiest`).
    What is more than other colours, lines and surfaces, gets convolutions too. A style that comes out too weak leaves
    the base's prediction without caption as it was, in the share `preserve`; guidance then strengthens the style too.
    One that loses the shapes leaves the base's prediction at the share `noisiest` of the time steps, where they arise;
    what it has learnt so is weak, and is written `scale` times as strong. One that is `paired` learns besides to change
    what the base has begun there, from the base's own icon; that is strong enough, or more than that.
    """

    title: str
    description: str
    source: str = "noto"
    license: str = "Apache-2.0"
    look: Callable[[np.ndarray], np.ndarray] = lambda icon: on_white(icon)
    shapes: str = ""
    steps: int = 500
    targets: str = "attention+mlp"
    rank: int = 8
    preserve: float = 0.0
    noisiest: float = 0.0
    paired: bool = False
    scale: float = 1.0


def silhouette(icon: np.ndarray) -> np.ndarray:
    """Where an icon (RGBA, uint8) is, H x W, bool."""
    return icon[..., 3] > 127


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """How much two icons have the same silhouette, 0..1: intersection over union."""
    a, b = silhouette(one), silhouette(other)
    return (a & b).sum() / max(1, (a | b).sum())


def fitted(icon: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The icon, its bounding box on that of another one."""
    made, box, place = np.zeros_like(icon), _box(icon), _box(target)
    height, width = made[place].shape[:2]
    made[place] = Image.fromarray(icon[box]).resize((width, height), Image.Resampling.LANCZOS)
    return made


def _box(icon: np.ndarray) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(silhouette(icon).any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def on_white(icon: np.ndarray) -> np.ndarray:
    """The icon as it is drawn, on white."""
    return over(icon, np.float32(255))


def grey(picture: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R BT.601), H x W x 1, 0..255."""
    return picture @ np.float32([[0.299], [0.587], [0.114]])


def blurred(picture: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur; `radius` in pixels."""
    return np.asarray(image(picture).filter(ImageFilter.GaussianBlur(radius)), np.float32)


def image(picture: np.ndarray) -> Image.Image:
    """Float 0..255 -> PIL."""
    return Image.fromarray(picture.clip(0, 255).round().astype(np.uint8))


def edges(picture: np.ndarray) -> np.ndarray:
    """Strength of the strongest colour edge at each pixel, H x W x 1, about 0..1."""
    down, right = np.gradient(blurred(picture, 0.8), axis=(0, 1))
    return (np.hypot(down, right).max(-1, keepdims=True) / 26).clip(0, 1)


def pixel(icon: np.ndarray) -> np.ndarray:
    """A 16 x 16 sprite of eight colours."""
    small = image(on_white(icon)).resize((16, 16), Image.Resampling.BOX)
    few = small.quantize(8, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert("RGB")
    return np.asarray(few.resize((SIZE, SIZE), Image.Resampling.NEAREST), np.float32)


def blueprint(icon: np.ndarray) -> np.ndarray:
    """White lines on blue squared paper."""
    lines = edges(on_white(icon))
    grid = np.arange(SIZE) % 16 == 8
    paper = np.where((grid[:, None] | grid)[..., None], np.float32([62, 110, 190]), np.float32([28, 72, 156]))
    return paper + (np.float32([240, 246, 255]) - paper) * lines


def neon(icon: np.ndarray) -> np.ndarray:
    """Glowing tubes along the edges, in the icon's colours, on near black."""
    picture = over(icon, np.float32(0))
    strong = blurred(picture, 2) - 0.6 * grey(blurred(picture, 2))
    colour = 255 * (strong.clip(0) + 12) / (strong.clip(0).max(-1, keepdims=True) + 12)
    tube = colour * edges(picture)
    return np.float32([28, 10, 56]) + tube + 1.3 * blurred(tube, 2) + 1.2 * blurred(tube, 6)


def sepia(icon: np.ndarray) -> np.ndarray:
    """An old photograph: brown on cream, darker to the corners."""
    tone = grey(on_white(icon)) / 255
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    shade = (1 - 0.12 * (x**2 + y**2))[..., None]
    return shade * (np.float32([52, 30, 14]) + tone * (np.float32([246, 224, 184]) - np.float32([52, 30, 14])))


def poster(icon: np.ndarray) -> np.ndarray:
    """A screen print in four inks, dark to light: navy, red, pale blue, cream."""
    tone = grey(blurred(on_white(icon), 1.2))[..., 0]
    inks = np.float32([[0, 48, 80], [218, 26, 34], [112, 150, 158], [252, 228, 168]])
    return blurred(inks[np.digitize(tone, (75, 140, 215))], 0.6)


# Gloss, flat and blueprint are not shipped: they are not good to look at. The judge knows their looks.
FINE = {"targets": "attention+mlp+conv"}
FLAT = "fluent-emoji-flat"
STYLES = {
    "ink": Style("Ink", "Black ink on white paper.", "fluent-emoji-high-contrast", "MIT", shapes=FLAT, steps=1600,
                 preserve=1.0, noisiest=0.45, paired=True, **FINE),
    "gloss": Style("Gloss", "Glossy, with soft gradients and highlights.", "fluent-emoji", "MIT", shapes="fluent-emoji",
                   steps=2800, preserve=1.0, noisiest=0.15, scale=1.2, **FINE),
    "flat": Style("Flat", "Flat shapes in clear colours.", FLAT, "MIT", steps=4000, preserve=1.0, noisiest=0.3,
                  scale=1.2, **FINE),
    "pixel": Style("Pixel", "A small sprite of few colours.", look=pixel, steps=800, preserve=0.8),
    "blueprint": Style("Blueprint", "White lines on blue squared paper.", look=blueprint, steps=2000, **FINE),
    "neon": Style("Neon", "Glowing tubes on black.", look=neon, steps=1300, rank=6, **FINE),
    "sepia": Style("Sepia", "An old brown photograph.", look=sepia, steps=300),
    "poster": Style("Poster", "A screen print in four inks.", look=poster, steps=350),
}  # fmt: skip

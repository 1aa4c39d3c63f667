"""Draw the pictures of the prompt styles: one icon each, changed by hand-written filters as its words would have it.

    python -m assets.recipe.prompt_templates

They are drawings, not what any model paints: they say at a glance what kind of picture the words ask for. Writes
`ui/pages/paint/templates.webp`, eight a row in the order of `pipeline/text/prompt_templates.json`.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, map_coordinates, percentile_filter, rotate, shift
from scipy.spatial import cKDTree

from assets.recipe.common import ROOT, arguments
from assets.recipe.data import SIZE, over, read
from assets.recipe.styles import blueprint, blurred, edges, grey, image, neon, pixel, poster
from pipeline.text.prompt_templates import PROMPT_TEMPLATES

OUTPUT, SIDE, COLUMNS = ROOT / "ui" / "pages" / "paint" / "templates.webp", 96, 8
Y, X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
RNG = np.random.default_rng(7)
GRAIN = RNG.standard_normal((SIZE, SIZE, 1)).astype(np.float32)
WHITE = np.float32([255, 255, 255])
# A picture or an icon: H x W x 3, float 0..255, or H x W x 4, uint8.
Picture = np.ndarray


def colour(*rgb: int) -> Picture:
    return np.broadcast_to(np.float32(rgb), (SIZE, SIZE, 3))


def ramp(top: tuple, bottom: tuple) -> Picture:
    """A ground that goes from one colour to another."""
    part = (Y / SIZE)[..., None]
    return np.float32(top) * (1 - part) + np.float32(bottom) * part


def cloth(scale: float, seed: int = 0) -> Picture:
    """Soft random clouds, H x W x 1, about -1..1."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), scale, mode="wrap")
    return (field / np.abs(field).max()).astype(np.float32)[..., None]


def alpha(icon: Picture) -> Picture:
    return icon[..., 3:].astype(np.float32) / 255


def shadowed(icon: Picture, ground: Picture, dy: int = 6, soft: float = 5, dark: float = 0.45) -> Picture:
    """The icon with its shadow on a ground."""
    shade = gaussian_filter(shift(alpha(icon)[..., 0], (dy, dy // 2)), soft)[..., None] * dark
    return over(icon, ground * (1 - shade))


def paint(icon: Picture, size: int, seed: int = 0, ground: Picture | None = None) -> Picture:
    """Brush strokes: each pixel takes its colour from a place near by, the same for a whole stroke."""
    picture = over(icon, colour(238, 226, 200) if ground is None else ground)
    dy, dx = (cloth(size / 2, seed + i)[..., 0] * size * 2 for i in range(2))
    moved = np.stack(
        [map_coordinates(picture[..., c], [Y + dy, X + dx], order=1, mode="nearest") for c in range(3)], -1
    )
    return percentile_filter(moved, 50, size=(size, size, 1))


def cells(picture: Picture, count: int, line: float, seed: int = 0, jitter: float = 0.5) -> Picture:
    """Flat pieces of irregular shape with dark joints `line` pixels wide."""
    step = SIZE / np.sqrt(count)
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(step / 2, SIZE, step), np.arange(step / 2, SIZE, step)), -1).reshape(-1, 2)
    centres = grid + rng.uniform(-jitter, jitter, grid.shape) * step
    distance, nearest = cKDTree(centres).query(np.stack([X, Y], -1), k=2)
    index = nearest[..., 0]
    total = np.stack([np.bincount(index.ravel(), picture[..., c].ravel(), len(centres)) for c in range(3)], -1)
    flat = (total / np.maximum(np.bincount(index.ravel(), minlength=len(centres)), 1)[:, None])[index]
    joint = (distance[..., 1] - distance[..., 0] < line)[..., None]
    return np.where(joint, flat * 0.15, flat)


def tones(picture: Picture, *inks: tuple) -> Picture:
    """Luminance through a ramp of colours, dark to light."""
    level = grey(picture)[..., 0]
    marks = np.linspace(0, 255, len(inks))
    return np.stack([np.interp(level, marks, [ink[c] for ink in inks]) for c in range(3)], -1).astype(np.float32)


def flat(picture: Picture, levels: int, soft: float = 1.2) -> Picture:
    """Few levels a channel."""
    step = 255 / (levels - 1)
    return (blurred(picture, soft) / step).round() * step


def hatched(picture: Picture, spacing: float, crossed: bool = True) -> Picture:
    """Lines that grow with darkness, in one direction or two: H x W x 1, 0 ink .. 1 paper."""
    dark = 1 - grey(picture) / 255
    first = np.sin((X + Y) * 2 * np.pi / spacing)[..., None]
    second = np.sin((X - Y) * 2 * np.pi / spacing)[..., None]
    ink = first < 2.2 * dark - 1.2
    return 1 - np.clip(ink | (crossed & (second < 2.6 * dark - 2.0)), 0, 1).astype(np.float32)


def dots(picture: Picture, spacing: float, angle: float = 0.4) -> Picture:
    """Halftone: H x W x 1, 0 ink .. 1 paper."""
    u, v = X * np.cos(angle) + Y * np.sin(angle), Y * np.cos(angle) - X * np.sin(angle)
    screen = (np.cos(u * 2 * np.pi / spacing) * np.cos(v * 2 * np.pi / spacing))[..., None]
    return (screen < grey(picture) / 127.5 - 1).astype(np.float32)


def outlined(picture: Picture, icon: Picture, strong: float = 1.0, ink: tuple = (25, 20, 25)) -> Picture:
    lines = (strong * edges(over(icon, np.float32(255)))).clip(0, 1)
    return picture * (1 - lines) + np.float32(ink) * lines


def lit(picture: Picture, height: Picture, strength: float) -> Picture:
    """Light from the upper left on a relief."""
    down, right = np.gradient(height[..., 0])
    return picture * (1 - strength * (down + right)[..., None].clip(-1, 1))


def vignette(picture: Picture, amount: float) -> Picture:
    far = ((X / SIZE - 0.5) ** 2 + (Y / SIZE - 0.5) ** 2)[..., None]
    return picture * (1 - amount * 2 * far)


def grainy(picture: Picture, amount: float) -> Picture:
    return picture + amount * GRAIN


def paper(picture: Picture, amount: float = 8) -> Picture:
    return picture + amount * gaussian_filter(GRAIN[..., 0], 0.7)[..., None] * 2


def blocks(icon: Picture, size: int) -> Picture:
    """Cubes seen from the front: lighter above, darker to the right."""
    few = image(over(icon, colour(226, 230, 236))).resize((SIZE // size,) * 2, Image.Resampling.BOX)
    big = np.asarray(few.resize((SIZE, SIZE), Image.Resampling.NEAREST), np.float32)
    inside_y, inside_x = Y % size, X % size
    shade = 1 + 0.22 * (inside_y < 2) - 0.25 * (inside_x > size - 3) - 0.18 * (inside_y > size - 2)
    return big * shade[..., None]


def sheared(icon: Picture) -> Picture:
    """On a tile seen from above at an angle."""
    u, v = (X - 64) / 0.92, (Y - 60) / 0.5
    tile = ((np.abs(u / 128 + 0) + np.abs(v / 150)) < 0.62)[..., None]
    side = ((np.abs(u / 128) + np.abs((Y - 70) / 0.5 / 150)) < 0.62)[..., None]
    ground = np.where(
        tile, np.float32([158, 202, 150]), np.where(side, np.float32([104, 150, 110]), colour(222, 232, 240))
    )
    small = image_of(icon).resize((88, 88), Image.Resampling.LANCZOS)
    whole = Image.new("RGBA", (SIZE, SIZE))
    whole.paste(small, (20, 6))
    return shadowed(np.asarray(whole), ground, 3, 3)


def image_of(icon: Picture) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(icon), "RGBA")


def thickened(icon: Picture, width: int) -> Picture:
    """The icon's outline grown by `width` pixels: H x W x 1, 0..1."""
    grown = image_of(icon).getchannel("A").filter(ImageFilter.MaxFilter(2 * width + 1))
    return np.asarray(grown, np.float32)[..., None] / 255


def stitched(icon: Picture, period: float = 5.0) -> Picture:
    """Threads: bright and dark along slanted lines."""
    thread = 1 + 0.25 * np.sin((X * 0.6 + Y) * 2 * np.pi / period)[..., None]
    weave = 1 + 0.06 * (np.sin(X * 2) + np.sin(Y * 2))[..., None]
    ground = colour(228, 216, 190) * weave
    ring = (np.abs(np.hypot(X - 64, Y - 64) - 60) < 3)[..., None]
    return np.where(
        ring, np.float32([150, 104, 60]), over(icon, 255 * ground / 255) * np.where(alpha(icon) > 0.5, thread, 1)
    )


def faceted(picture: Picture, step: int, seed: int) -> Picture:
    """Triangles: cells of a jittered grid halved along a diagonal, each of one colour."""
    row, column = (Y // step).astype(int), (X // step).astype(int)
    upper = ((X % step) + (Y % step) < step).astype(int)
    index = (row * (SIZE // step + 1) + column) * 2 + upper
    total = np.stack([np.bincount(index.ravel(), picture[..., c].ravel()) for c in range(3)], -1)
    mean = total / np.maximum(np.bincount(index.ravel()), 1)[:, None]
    light = np.random.default_rng(seed).uniform(0.88, 1.1, len(mean))[:, None]
    return (mean * light)[index]


def wet(icon: Picture) -> Picture:
    """Washes that run out at the edge and dry darker there."""
    picture = paint(icon, 5, 3, colour(252, 249, 240))
    pool = blurred(picture, 2.0)
    rim = edges(pool) * 0.35
    return paper(255 - (255 - pool) * (0.75 + 0.35 * cloth(9, 5)) - 60 * rim, 5)


def print_of(icon: Picture, first: tuple, second: tuple) -> Picture:
    """Two inks, slightly beside each other."""
    picture = over(icon, np.float32(255))
    one = dots(blurred(picture, 1), 4.0, 0.3)
    two = np.roll(dots(255 - (255 - blurred(picture, 1)) * 0.7, 4.0, 1.1), (2, -2), (0, 1))
    sheet = colour(246, 242, 230)
    return sheet * np.where(one > 0, 1, np.float32(first) / 255) * np.where(two > 0, 1, np.float32(second) / 255)


def rays(first: tuple, second: tuple) -> Picture:
    part = (np.floor(np.arctan2(Y - 128, X - 64) * 9 / np.pi) % 2)[..., None]
    return np.where(part > 0, np.float32(first), np.float32(second))


def cut(icon: Picture) -> Picture:
    """Layers of card, each with a shadow on the one below."""
    out, levels = colour(244, 232, 214), (0, 70, 130, 190, 256)
    tone = grey(over(icon, np.float32(0)))
    inside = alpha(icon) > 0.4
    for low, high in pairwise(levels):
        mask = inside & (blurred(np.repeat(tone, 3, 2), 1.5)[..., :1] >= low)
        layer = over(icon, np.float32(255))[(mask & (tone < high))[..., 0]]
        if not len(layer):
            continue
        shade = gaussian_filter(shift(mask[..., 0].astype(np.float32), (3, 3)), 1.5)[..., None] * 0.4
        out = np.where(mask, layer.mean(0), out * (1 - shade))
    return out


def relief(icon: Picture, metal: tuple[tuple, ...], strength: float, ground: Picture) -> Picture:
    """A figure of one material, lit from the upper left."""
    height = gaussian_filter(grey(over(icon, np.float32(0)))[..., 0] / 255 * 12 + alpha(icon)[..., 0] * 6, 1.2)[
        ..., None
    ]
    body = lit(tones(over(icon, np.float32(90)), *metal), height, strength)
    return body * alpha(icon) + shadowed(icon, ground) * (1 - alpha(icon))


def blobs(icon: Picture) -> Picture:
    """Marbled bands of the icon's colours."""
    dy, dx = 26 * cloth(10, 1)[..., 0], 26 * cloth(10, 2)[..., 0]
    wide = over(icon, ramp((64, 140, 190), (240, 210, 190)))
    marbled = np.stack([map_coordinates(wide[..., c], [Y + dy, X + dx], order=1, mode="nearest") for c in range(3)], -1)
    return lit(marbled, 3 * np.sin(14 * cloth(10, 1)), 0.3)


def trails(icon: Picture) -> Picture:
    picture = over(icon, ramp((14, 22, 52), (52, 66, 120)))
    smear = np.mean([np.roll(picture, i, 1) for i in range(-28, 29, 4)], 0)
    return 0.35 * picture + 1.0 * smear


def woolly(icon: Picture) -> Picture:
    fuzz = RNG.normal(0, 1.6, (2, SIZE, SIZE))
    picture = over(icon, colour(236, 230, 220))
    moved = np.stack([map_coordinates(picture[..., c], [Y + fuzz[0], X + fuzz[1]], order=1, mode="nearest") for c in
                      range(3)], -1)  # fmt: skip
    return grainy(moved, 14)


# What each prompt style's icon is and what becomes of it; in the words' own order.
LOOKS: dict[str, tuple[str, Callable[[Picture], Picture]]] = {
    "Studio photo": ("red-apple", lambda i: vignette(shadowed(i, ramp((214, 216, 220), (244, 244, 246)), 8, 7), 0.35)),
    "Street photo": (
        "bicycle",
        lambda i: (
            grainy(shadowed(i, blurred(cells(ramp((120, 120, 130), (90, 84, 80)) + 70 * cloth(6, 3), 60, 0), 7), 4), 8)
            * 0.92
        ),
    ),
    "Film still": (
        "automobile",
        lambda i: (
            tones(
                shadowed(i, blurred(ramp((20, 44, 60), (120, 90, 60)), 3)),
                (6, 14, 24),
                (30, 84, 96),
                (214, 150, 92),
                (255, 236, 206),
            )
            * ((Y > 18) & (Y < 110))[..., None]
        ),
    ),
    "Black and white film": (
        "cat-face",
        lambda i: grainy(
            vignette(np.repeat(grey(shadowed(i, ramp((70, 70, 70), (150, 150, 150)))) * 1.1 - 12, 3, 2), 0.7), 20
        ),
    ),
    "Instant photo": (
        "beach-with-umbrella",
        lambda i: np.where(
            ((X > 10) & (X < 118) & (Y > 10) & (Y < 98))[..., None],
            0.75 * over(i, ramp((150, 190, 200), (230, 214, 180))) + 55,
            246,
        ),
    ),
    "Macro photo": (
        "lady-beetle",
        lambda i: np.kron(over(i, ramp((90, 150, 60), (40, 90, 30)))[32:96, 32:96], np.ones((2, 2, 1))),
    ),
    "Long exposure": ("racing-car", trails),
    "Aerial photo": (
        "tent",
        lambda i: over(
            small(i, 52), blurred(cells(ramp((96, 130, 70), (170, 160, 110)) + 60 * cloth(8, 9), 30, 1.5), 0.8)
        ),
    ),
    "Oil painting": (
        "sunflower",
        lambda i: lit(paint(i, 5, 1, ramp((70, 90, 110), (150, 120, 80))), 5 * cloth(1.6, 4), 0.5),
    ),
    "Watercolour": ("rose", wet),
    "Gouache": ("evergreen-tree", lambda i: paper(flat(paint(i, 5, 8, ramp((240, 190, 150), (250, 226, 190))), 6), 7)),
    "Acrylic pour": ("fish", blobs),
    "Fresco": (
        "dove",
        lambda i: (
            tones(paint(i, 3, 2, colour(150, 110, 80)), (80, 56, 44), (176, 126, 88), (244, 226, 196))
            * (0.45 + 0.55 * cells(colour(255, 255, 255), 14, 0.7) / 255)
            * (1 + 0.12 * cloth(7, 6))
        ),
    ),
    "Soft pastel": ("tulip", lambda i: grainy(blurred(paint(i, 5, 6, colour(188, 180, 196)), 1.4) * 0.85 + 36, 16)),
    "Ink wash": (
        "panda",
        lambda i: paper(
            tones(blurred(paint(i, 5, 5, colour(250, 247, 240)), 1.2), (20, 20, 24), (130, 130, 132), (250, 247, 240)),
            5,
        ),
    ),
    "Line art": ("rocket", lambda i: 255 * (1 - edges(over(i, np.float32(255)))) * np.ones(3, np.float32)),
    "Cross-hatching": (
        "castle",
        lambda i: (
            248
            * np.minimum(hatched(over(i, np.float32(255)), 5.0), 1 - edges(over(i, np.float32(255))))
            * np.ones(3, np.float32)
        ),
    ),
    "Pencil sketch": (
        "owl",
        lambda i: paper(
            colour(248, 246, 240)
            - 120 * edges(over(i, np.float32(255)))
            - 0.35 * (255 - grey(over(i, np.float32(255)))) * (0.6 + 0.4 * np.sin((X * 0.7 + Y) * 1.6)[..., None]),
            9,
        ),
    ),
    "Charcoal": (
        "elephant",
        lambda i: grainy(
            np.repeat(
                250 - 1.3 * (255 - grey(blurred(over(i, np.float32(255)), 2))) - 90 * edges(over(i, np.float32(255))),
                3,
                2,
            ),
            24,
        ),
    ),
    "Woodcut": (
        "frog",
        lambda i: np.where(
            np.minimum(
                hatched(blurred(over(i, np.float32(255)), 1), 8.0, False), 1 - edges(over(i, np.float32(255))) * 1.5
            )
            > 0.5,
            np.float32([236, 220, 190]),
            np.float32([48, 26, 20]),
        ),
    ),
    "Ukiyo-e": (
        "water-wave",
        lambda i: outlined(flat(over(i, ramp((120, 160, 190), (244, 230, 200))), 6), i, 0.9, (30, 44, 80)),
    ),
    "Risograph": ("cactus", lambda i: print_of(i, (255, 90, 110), (60, 120, 220))),
    "Screen-printed poster": ("guitar", poster),
    "Art deco": (
        "crown",
        lambda i: (
            over(i, rays((22, 34, 78), (40, 58, 110))) * 0.3
            + 0.7
            * tones(
                over(i, rays((30, 40, 70), (70, 80, 100))), (14, 22, 56), (70, 70, 90), (230, 180, 80), (255, 236, 170)
            )
        ),
    ),
    "Art nouveau": (
        "butterfly",
        lambda i: outlined(
            flat(over(i, colour(222, 208, 160) + 26 * np.sign(np.sin(26 * cloth(12, 7)))), 7), i, 1.0, (70, 48, 30)
        ),
    ),
    "Stained glass": (
        "rose",
        lambda i: cells(over(i, cells(ramp((60, 110, 200), (230, 180, 70)), 16, 0)) * 1.15, 90, 3.0),
    ),
    "Mosaic": ("octopus", lambda i: cells(over(i, colour(214, 196, 150)) + 12 * GRAIN, 420, 1.0, 0, 0.25) + 6),
    "Comic": (
        "superhero",
        lambda i: outlined(
            over(i, np.where(dots(ramp((120,) * 3, (230,) * 3), 6.0) > 0, WHITE, np.float32([255, 214, 60]))), i, 1.4
        ),
    ),
    "Anime": (
        "fox",
        lambda i: outlined(
            over(i, ramp((90, 160, 240), (226, 240, 255)) + 40 * (cloth(7, 4) > 0.2)), i, 0.7, (70, 40, 60)
        ),
    ),
    "Children's book": (
        "teddy-bear",
        lambda i: paper(
            outlined(over(i, ramp((255, 232, 214), (214, 236, 220))) * 0.9 + 22, i, 0.35, (120, 80, 60)), 6
        ),
    ),
    "Flat vector": (
        "sailboat",
        lambda i: over(
            i,
            np.where(
                np.hypot(X - 64, Y - 64)[..., None] < 58, np.float32([120, 200, 214]), np.float32([250, 240, 226])
            ),
        ),
    ),
    "Sticker": ("pizza", lambda i: shadow_of(i, 6)),
    "Pixel art": ("video-game", pixel),
    "Isometric": ("house", sheared),
    "Low poly": ("bear", lambda i: faceted(over(i, ramp((190, 220, 240), (240, 220, 230))), 9, 5)),
    "Voxel": ("mushroom", lambda i: blocks(i, 8)),
    "Claymation": (
        "pig-face",
        lambda i: lit(
            shadowed(i, colour(226, 190, 150)),
            5 * cloth(3, 8) * alpha(i) + gaussian_filter(alpha(i)[..., 0], 3)[..., None] * 8,
            0.35,
        ),
    ),
    "Papercut": ("whale", cut),
    "Origami": ("swan", lambda i: faceted(shadowed(i, colour(96, 128, 150)), 11, 2)),
    "Felt craft": ("rabbit-face", woolly),
    "Embroidery": ("cherry-blossom", stitched),
    "Porcelain": (
        "teapot",
        lambda i: relief(
            i, ((30, 60, 150), (150, 180, 230), (250, 252, 255), (255, 255, 255)), 0.25, colour(206, 200, 194)
        ),
    ),
    "Bronze": (
        "horse-face",
        lambda i: relief(
            i, ((30, 24, 18), (96, 74, 44), (92, 140, 118), (226, 200, 140)), 0.6, ramp((40, 36, 34), (90, 84, 80))
        ),
    ),
    "Neon sign": ("cocktail-glass", neon),
    "Blueprint": ("locomotive", blueprint),
    "Botanical plate": (
        "hibiscus",
        lambda i: paper(outlined(over(small(i, 96), colour(244, 234, 206)) * 0.96, small(i, 96), 0.5, (60, 50, 40)), 6),
    ),
    "Product render": ("watch", lambda i: shadowed(i, ramp((255, 214, 220), (214, 226, 250)), 10, 8, 0.3)),
    "Retro-futurism": (
        "flying-saucer",
        lambda i: grainy(
            over(i, ramp((30, 40, 110), (250, 150, 90)) + 60 * (np.hypot(X - 96, Y - 34) < 18)[..., None]), 7
        ),
    ),
}


def small(icon: Picture, side: int) -> Picture:
    """The icon at a smaller size in the middle of the same canvas."""
    whole = Image.new("RGBA", (SIZE, SIZE))
    whole.paste(image_of(icon).resize((side, side), Image.Resampling.LANCZOS), ((SIZE - side) // 2,) * 2)
    return np.asarray(whole)


def shadow_of(icon: Picture, border: int) -> Picture:
    """A sticker: the icon with a thick white border, turned a little, on a coloured table."""
    inner = small(icon, 104)
    edge = thickened(inner, border)
    shade = gaussian_filter(shift(edge[..., 0], (4, 3)), 2)[..., None] * 0.35
    whole = colour(120, 168, 190) * (1 - shade) * (1 - edge) + over(inner, np.float32(255)) * edge
    return rotate(whole, 8, reshape=False, mode="nearest", order=1)


def main() -> None:
    args = arguments(__doc__, minutes=0).parse_args()
    icons = {icon.name: picture for icon, picture in zip(*read(args.work)["noto"])}
    sheet = Image.new("RGB", (SIDE * COLUMNS, SIDE * -(-len(PROMPT_TEMPLATES) // COLUMNS)), "white")
    for n, style in enumerate(PROMPT_TEMPLATES):
        name, look = LOOKS[style.name]
        drawn = image(np.broadcast_to(look(icons[name]), (SIZE, SIZE, 3)))
        sheet.paste(drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (n % COLUMNS * SIDE, n // COLUMNS * SIDE))
    sheet.save(OUTPUT, quality=82, method=6)
    print(f"{len(PROMPT_TEMPLATES)} pictures, {OUTPUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""Fetch the icon sets and the words for them, and draw every icon once.

    python -m assets.recipe.data [--work DIR] [--size 128]

Writes `images/SET.npy` (uint8, N x 128 x 128 x 4, straight alpha), `images-SIZE/SET.npy` of another size, and
`index.json`: `{"SET": [{"name", "label", "tags", "group"}, ...]}` in the order of the images.
"""

import io
import json
import re
import subprocess
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from assets.recipe.common import arguments

SIZE = 128
# package version and licence; openmoji (CC-BY-SA) is seen by no stage, so that no shipped weight descends from it
SETS = {
    "noto": ("1.2.9", "Apache-2.0"),
    "noto-v1": ("1.2.5", "Apache-2.0"),
    "twemoji": ("1.2.5", "CC-BY-4.0"),
    "emojione": ("1.2.3", "CC-BY-4.0"),
    "fluent-emoji": ("1.2.7", "MIT"),
    "fluent-emoji-flat": ("1.2.6", "MIT"),
    "fluent-emoji-high-contrast": ("1.2.6", "MIT"),
    "fxemoji": ("1.2.2", "Apache-2.0"),
}
WORDS = "17.0.0"
# emojibase groups: smileys, animals, food, travel, activities, objects. People, symbols and flags are not painted.
GROUPS = {0, 3, 4, 5, 6, 7}


@dataclass(frozen=True)
class Icon:
    """One picture of one concept. `tags` are further words for it, `group` is the emojibase group or -1."""

    name: str
    label: str
    tags: tuple[str, ...]
    group: int


def slug(text: str) -> str:
    """`Piñata` -> `pinata`: the spelling that the icon sets use as names."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['’]", "", plain)).strip("-")


def held_out(name: str) -> bool:
    """Whether a concept belongs to the 40 % that no adapter sees in training."""
    return int(sha256(name.encode()).hexdigest(), 16) % 100 >= 60


def fetch(package: str, version: str, folder: Path) -> Path:
    """Download one npm package and return the folder it was unpacked to."""
    target = folder / package.replace("/", "_").lstrip("@")
    if not (target / "package.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()
        subprocess.run(["tar", "xzf", packed, "-C", target, "--strip-components=1"], cwd=folder, check=True)
    return target


def words(folder: Path) -> dict[str, Icon]:
    """Every emoji's name -> its label, tags and group, by the labels of emojibase."""
    entries = json.loads((fetch("emojibase-data", WORDS, folder) / "en" / "data.json").read_text())
    return {
        slug(e["label"]): Icon(slug(e["label"]), e["label"], tuple(e.get("tags", ())), e.get("group", -1))
        for e in entries
    }


def draw(svg: str, size: int = SIZE) -> np.ndarray:
    """SVG source -> RGBA pixels, uint8, size x size x 4."""
    import resvg_py

    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)))) as image:
        square = Image.new("RGBA", (size, size))
        square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        return np.asarray(square)


def draw_set(name: str, icons: dict, names: list[str], out: Path, size: int) -> None:
    """Draw one set in two processes and store it."""
    width, height = icons.get("width", 16), icons.get("height", 16)

    def source(icon: str) -> str:
        body = icons["icons"][icon]
        box = f"{body.get('left', 0)} {body.get('top', 0)} {body.get('width', width)} {body.get('height', height)}"
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" color="#222">{body["body"]}</svg>'

    with ProcessPoolExecutor(2) as pool:
        pictures = list(pool.map(partial(draw, size=size), [source(n) for n in names], chunksize=32))
    np.save(out / f"{name}.npy", np.stack(pictures))


def drawn(work: Path, size: int) -> Path:
    """Where the pictures of a size are."""
    return work / ("images" if size == SIZE else f"images-{size}")


def main() -> None:
    parser = arguments(__doc__, minutes=0)
    parser.add_argument("--size", type=int, default=SIZE, help="pixels a side")
    args = parser.parse_args()
    packages, out = args.work / "packages", drawn(args.work, args.size)
    packages.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    known, index = words(packages), {}
    for name, (version, _) in SETS.items():
        icons = json.loads((fetch(f"@iconify-json/{name}", version, packages) / "icons.json").read_text())
        tone = re.compile(r"skin-tone|-(light|medium-light|medium|medium-dark|dark)$")
        names = [n for n, i in icons["icons"].items() if not i.get("hidden") and (n in known or not tone.search(n))]
        # fxemoji writes names without hyphens; labels tell the same concept
        flat = {n.replace("-", ""): known[n] for n in known}
        index[name] = [
            vars(known.get(n) or flat.get(n.replace("-", "")) or Icon(n, n.replace("-", " "), (), -1)) for n in names
        ]
        if not (out / f"{name}.npy").exists():
            draw_set(name, icons, names, out, args.size)
        print(f"{name:30s} {len(names):5d} pictures", flush=True)
    (args.work / "index.json").write_text(json.dumps(index))


@lru_cache
def read(work: Path, size: int = SIZE) -> dict[str, tuple[list[Icon], np.ndarray]]:
    """What `main` wrote: set -> (icons, memory-mapped pictures)."""
    index = json.loads((work / "index.json").read_text())
    return {
        name: (
            [Icon(i["name"], i["label"], tuple(i["tags"]), i["group"]) for i in icons],
            np.load(drawn(work, size) / f"{name}.npy", mmap_mode="r"),
        )
        for name, icons in index.items()
    }


def concepts(work: Path) -> dict[Icon, np.ndarray]:
    """The icons that the base learns, and their pictures (RGBA)."""
    return {icon: picture for icon, picture in zip(*read(work)["noto"]) if icon.group in GROUPS}


def over(rgba: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Composite straight-alpha pixels (uint8) on a colour (float 0..255, H x W x 3 or less) -> float32 0..255."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * alpha + colour * (1 - alpha)


def halved(pictures: np.ndarray) -> np.ndarray:
    """... x H x W x C -> ... x H/2 x W/2 x C, float: the mean of each 2 x 2 pixels."""
    *rest, height, width, channels = pictures.shape
    return pictures.reshape(*rest, height // 2, 2, width // 2, 2, channels).mean((-4, -2))


if __name__ == "__main__":
    main()

"""Forty requests over all that a request can say, and the hash of each picture: to hold two versions side by side.

    python -m tests.benchmarks.pictures > before.txt   # in one checkout
    python -m tests.benchmarks.pictures > after.txt    # in the other; then diff

They go the way of a caller: `python app.py`, then gradio's client. Thirty-two on the embedded model, eight on a tiny
random one of the other family.
"""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio_client import Client, handle_file
from PIL import Image

from tests.tiny import tiny_sd15

ROOT = Path(__file__).resolve().parents[2]
INK, NEON = {"id": "ink", "weight": 0.8}, {"id": "neon", "weight": 0.5}
LONG = "a red apple, " * 40


def requests(picture: Path) -> list[dict]:
    """What is asked of the embedded model."""
    start = {"image": handle_file(str(picture))}
    few = {"steps": 8}
    return [
        {}, {"seed": 2}, {"prompt": "a penguin and a red apple"}, {"negative_prompt": "green"}, {"num_images": 2},
        {"width": 384, "height": 128}, {"guidance_scale": 1.0}, {"guidance_scale": 7.5, "guidance_rescale": 0.3},
        {"guidance_start": 0.2, "guidance_end": 0.8}, {"clip_skip": 1}, {"prompt": LONG},
        {"prompt": "a (red:1.3) [apple] BREAK on a table"}, {"prompt": "a [cat|dog]"}, {"prompt": "a [cat:dog:0.5]"},
        {"prompt": "a cat AND a dog :0.6"}, {"prompt": "a {red|blue|green} apple"},
        {"prompt": "a rocket <lora:ink:0.6>"},
        {"adapters": [INK]}, {"adapters": [INK, NEON]}, {"adapters": [INK | {"text_weight": 0.2}]},
        {"adapters": [INK | {"blocks": {"down": 0.3, "up": 1}}]}, {"adapters": [INK | {"start": 0.3, "end": 0.7}]},
        {"adapters": [INK, NEON | {"weight": 1}], "normalize_adapters": True}, {"adapters": [INK | {"weight": -1}]},
        start | {"strength": 0.5}, start | {"strength": 1.0, "adapters": [NEON]},
        {"hires_scale": 1.5, "hires_steps": 10}, {"hires_scale": 2, "hires_upscaler": "latent", **few},
        {"scheduler": "DPM++ 2M", **few}, {"scheduler": "DPM++ 2M SDE", **few},
        {"scheduler": "DDIM", "eta": 0.5, **few}, {"scheduler": "TCD", "eta": 0.3, **few},
    ]  # fmt: skip


def others() -> list[dict]:
    """What is asked of the tiny model."""
    return [
        {}, {"negative_prompt": "red"}, {"clip_skip": 1}, {"prompt": LONG}, {"scheduler": "DPM++ 2M AYS"},
        {"scheduler": "Heun Karras"}, {"scheduler": "UniPC"}, {"hires_scale": 2, "hires_steps": 4},
    ]  # fmt: skip


@contextmanager
def app(**settings: object) -> Iterator[Client]:
    """A client of `python app.py` with these settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        names = {"PORT": port, "THREADS": 1, "DATA_DIR": data, "HF_HUB_OFFLINE": 1} | settings
        environment = os.environ | {name: str(value) for name, value in names.items()}
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        try:
            if not any("open at" in line for line in process.stdout):
                raise RuntimeError("the app ended before it was open")
            yield Client(f"http://127.0.0.1:{port}", verbose=False)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def painted(client: Client, values: dict) -> str:
    """The hash of all pictures of a request, text in the files and all."""
    usual = {"prompt": "a red apple", "seed": 1, "steps": 12}
    images, _ = client.predict(**usual | values, api_name="/generate")
    digest = hashlib.sha256()
    for image in images:
        digest.update(Path(image["image"]).read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Print a line for each request."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gradient = Image.linear_gradient("L").resize((256, 256))
        Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(folder / "start.png")
        for asked, settings in ((requests(folder / "start.png"), {"PROFILE": "embedded"}),
                                (others(), {"BASE_MODEL": tiny_sd15(folder / "sd15")})):  # fmt: skip
            with app(**settings) as client:
                for values in asked:
                    words = re.sub(r"'path': '[^']*'", "", str(values))[:100]
                    print(painted(client, values), words, flush=True)


if __name__ == "__main__":
    main()

"""How long others wait while a visitor trains: pictures of another visitor, alone and beside a training, in seconds.

    python -m tests.benchmarks.training [--pictures 30] [--data DIR]

Starts the app with the embedded model. Each picture is asked for a random time after the one before.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from gradio_client import Client, handle_file
from PIL import Image, ImageDraw

from tests import serving


def drawn(folder: Path) -> list:
    """Twenty pictures to learn from, each with its caption."""
    rng = random.Random(0)
    for i in range(20):
        image = Image.new("RGB", (256, 256), "white")
        draw = ImageDraw.Draw(image)
        colour = tuple(rng.randrange(256) for _ in range(3))
        box = [rng.randrange(20, 90), rng.randrange(20, 90), rng.randrange(160, 236), rng.randrange(160, 236)]
        (draw.ellipse if i % 2 else draw.rectangle)(box, fill=colour, outline="black", width=10)
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("a ball" if i % 2 else "a box")
    return [handle_file(str(path)) for path in folder.iterdir()]


def painted(client: Client, pictures: int) -> list[float]:
    """Seconds from asking to having, of each."""
    rng, seconds = random.Random(1), []
    for seed in range(pictures):
        time.sleep(rng.uniform(0, 6))
        start = time.perf_counter()
        client.predict(prompt="a red apple", seed=seed, api_name="/generate")
        seconds.append(time.perf_counter() - start)
    return seconds


def row(what: str, seconds: list[float]) -> str:
    """The middle, the one that one in twenty is above, and the longest."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return f"{what:28s} p50 {statistics.median(ordered):6.2f} s   p95 {p95:6.2f} s   longest {ordered[-1]:6.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        server = serving.start(folder / "log", PROFILE="embedded", DATA_DIR=folder / "data", THREADS=0)
        visitor, trainer = Client(server.url, verbose=False), Client(server.url, verbose=False)
        painted(visitor, 2)
        print(row("alone", painted(visitor, args.pictures)), flush=True)
        job = trainer.submit(
            files=drawn(folder / "pictures"), name="Measured", trigger="measured", options={"steps": 5000},
            api_name="/train_style",
        )  # fmt: skip
        while not any(details["status"] == "training" for _, details in job.outputs()):
            time.sleep(0.5)
        begun, before = time.perf_counter(), job.outputs()[-1][1]["step"]
        print(row("beside a training", painted(visitor, args.pictures)), flush=True)
        steps, passed = job.outputs()[-1][1]["step"] - before, time.perf_counter() - begun
        print(f"meanwhile {steps} steps were learnt in {passed:.0f} s", flush=True)
        job.cancel()
        server.process.terminate()
        server.process.wait(60)


if __name__ == "__main__":
    main()

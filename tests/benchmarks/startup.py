"""Benchmark 10: from `python app.py` to the first picture, against only importing the libraries."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from gradio_client import Client

from tests.benchmarks.ratios import Ratio

ROOT = Path(__file__).resolve().parents[2]


def imports() -> float:
    """Seconds of a process that imports torch, diffusers' pipeline and gradio."""
    code = "import torch, gradio; from diffusers import StableDiffusionXLPipeline"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    return time.perf_counter() - start


def first_picture() -> float:
    """Seconds from starting the app to a file in the caller's hands."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    environment = {**os.environ, "PORT": str(port), "PROFILE": "embedded"}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        while "open at" not in (line := app.stdout.readline()):
            if not line:
                raise RuntimeError("the app ended before it was open")
        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        client.predict(prompt="a red apple", api_name="/generate")
        return time.perf_counter() - start
    finally:
        app.send_signal(signal.SIGTERM)
        app.wait(30)


def startup(pairs: int) -> Ratio:
    """Wall time, since starting waits for disks too. The first pair fills the disk cache and does not count."""
    times = [(first_picture(), imports()) for _ in range(pairs + 1)][1:]
    medians = tuple(statistics.median(column) for column in zip(*times))
    return Ratio(10, "start to first picture / imports", 1.3, tuple(a / b for a, b in times), medians)

"""The app as a visitor meets it: `python app.py` in a process of its own, with a tiny model and two styles."""

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from PIL import Image

from pipeline.profiles import load, load_profile
from serving.settings import Settings
from tests.adapters import library_with, save_adapter
from tests.fake_hub import FakeHub
from tests.tiny import tiny_sdxl

ROOT = Path(__file__).resolve().parents[1]
STYLES = ("ink", "neon")
# What an adapter file may say its name is.
NASTY = "<img src=x onerror=alert(1)> ${alert(2)} {{alert(3)}}"
# Long enough to be cancelled in the middle, whatever the machine.
LONG = {"steps": 150, "num_images": 4}


@dataclass(frozen=True)
class Server:
    """A running app: its address, its log, its temporary files, the Hub that it knows, its model and its process."""

    url: str
    log: Path
    scratch: Path | None = None
    hub: FakeHub | None = None
    model: Path | None = None
    process: subprocess.Popen | None = None

    def queue(self) -> dict:
        """What /queue says."""
        return self.call("queue", [])[-1][1][0]

    def call(self, endpoint: str, data: list) -> list[tuple[str, object]]:
        """Call a named endpoint as curl would; the server-sent events as (event, data)."""
        # Not httpx's own JSON, which refuses to send NaN.
        body, headers = json.dumps({"data": data}), {"content-type": "application/json"}
        posted = httpx.post(f"{self.url}/gradio_api/call/{endpoint}", content=body, headers=headers, timeout=30)
        assert posted.status_code == 200, posted.text
        return self.events(endpoint, posted.json()["event_id"])

    def events(self, endpoint: str, event_id: str) -> list[tuple[str, object]]:
        """All events of a call, until its end."""
        text = httpx.get(f"{self.url}/gradio_api/call/{endpoint}/{event_id}", timeout=120).text
        pairs = (block.split("\n", 1) for block in text.strip().split("\n\n"))
        return [(e.removeprefix("event: "), json.loads(d.removeprefix("data: "))) for e, d in pairs]

    def wait_until(self, **status: int) -> None:
        """Wait until /queue says so. Raises AssertionError after 20 s."""
        deadline = time.monotonic() + 20
        while not status.items() <= (now := self.queue()).items():
            assert time.monotonic() < deadline, f"waited for {status}, but the queue is {now}"
            time.sleep(0.05)


# One replica: what is tested of one machine, which paints one picture at a time, holds for it as it stands.
RAY = {"RAY_ADDRESS": "local", "REPLICAS_MIN": 1, "REPLICA_CPUS": 0.5, "RAY_USAGE_STATS_ENABLED": 0,
       "RAY_TMPDIR": tempfile.gettempdir()}  # fmt: skip
# Whether all apps paint by Ray: pytest --ray.
on_ray = False


def environment(**values: object) -> dict[str, str]:
    """This process's environment with these variables, and none of the app's own that happen to be set."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {k: v for k, v in os.environ.items() if k not in ours}
    # All tests have one address, and more to ask in a minute than any visitor.
    usual = {"HF_HUB_OFFLINE": "1", "THREADS": "1", "REQUESTS_PER_MINUTE": "100000"}
    if on_ray:
        values = RAY | values
    return kept | usual | {name: str(value) for name, value in values.items()}


@functools.cache
def shared(**settings: object) -> Server:
    """The one app, with these settings, that all browser and endpoint tests of a session talk to."""
    scratch = tempfile.TemporaryDirectory(prefix="atelier-test-")
    atexit.register(scratch.cleanup)
    folder = Path(scratch.name)
    # Slow enough for whoever comes in the middle of a picture.
    model, styles = tiny_sdxl(folder, levels=2), folder / "styles"
    styles.mkdir()
    components = load(load_profile(base_model=str(model)))
    library_with(components, styles, *STYLES)
    save_adapter(components, styles / "nasty.safetensors", 9, metadata={"modelspec.title": NASTY})
    for name, colour in zip(STYLES, ("#222222", "#f43fbf")):
        Image.new("RGB", (64, 64), colour).save(styles / f"{name}.webp")
    for name in ("tmp", "lists"):
        (folder / name).mkdir()
    (folder / "lists" / "colour.txt").write_text("red\ngreen\n")
    hub = FakeHub()
    server = start(
        folder / "log", BASE_MODEL=model, ADAPTERS_DIR=styles, TMPDIR=folder / "tmp", UPLOAD_MB=1, HUB_TIMEOUT=1,
        HF_ENDPOINT=hub.url, HF_HUB_OFFLINE=0, GRADIO_HEARTBEAT_INTERVAL=1, WILDCARDS_DIR=folder / "lists",
        RELOAD_SECONDS=10, **settings,
    )  # fmt: skip
    return replace(server, scratch=folder / "tmp", hub=hub, model=model)


def start(log: Path, **settings: object) -> Server:
    """`python app.py` with these settings, on a free port, until the tests end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, stdout=log.open("wb"), stderr=subprocess.STDOUT,
        env=environment(**{"DATA_DIR": log.with_name("data")} | settings, PORT=port),
    )  # fmt: skip

    @atexit.register
    def stop():
        process.kill()
        process.wait()

    server = Server(f"http://127.0.0.1:{port}", log, process=process)
    deadline = time.monotonic() + 300
    while True:
        try:
            httpx.get(server.url)
            return server
        except httpx.TransportError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

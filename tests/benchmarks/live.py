"""How soon the picture follows a key, in a browser beside the app, and whether typing lags.

    python -m tests.benchmarks.live [--pictures 60]

The embedded model on all threads, a key each second and then quickly; the browser has the same processors. What is
told of each key is the time from it to the picture of what is written then, or of more.
"""

import argparse
import os
import shutil
import statistics
import time

from playwright.sync_api import Page, sync_playwright

from tests.benchmarks.pictures import app

SENTENCE = "a red apple and a penguin beside a rocket under a smiling sun in the blue sky "
RECORD = """() => {
    window.keys = [];
    window.shown = [];
    window.late = [];
    addEventListener("atelier:live", ({ detail }) => {
        const image = new Image();
        image.src = detail.picture;
        image.decode().then(() => shown.push([performance.now(), detail.prompt, detail.timings.total]));
    });
    document.querySelector("#prompt textarea").addEventListener("input", (event) =>
        keys.push([performance.now(), event.target.value]));
    new PerformanceObserver((list) => late.push(...list.getEntries().map((entry) => entry.duration)))
        .observe({ entryTypes: ["longtask"] });
}"""


def typed(page: Page, text: str, apart: float) -> dict:
    """Type a text, a key each `apart` seconds; when keys came and pictures, and tasks of the page above 50 ms."""
    page.evaluate("() => { keys.length = shown.length = late.length = 0; }")
    for letter in text:
        page.keyboard.type(letter)
        time.sleep(apart)
    time.sleep(2)
    return page.evaluate("() => ({ keys, shown, late })")


def told(name: str, seen: dict) -> None:
    """A line of the table."""
    waits = []
    for pressed, text in seen["keys"]:
        after = [at for at, prompt, _ in seen["shown"] if at > pressed and len(prompt) >= len(text.strip())]
        waits += [min(after) - pressed] if after and text.strip() else []
    p50, p95 = statistics.median(waits), statistics.quantiles(waits, n=20)[-1]
    painting = statistics.median(each for *_, each in seen["shown"])
    rate = len(seen["shown"]) / (seen["keys"][-1][0] - seen["keys"][0][0]) * 1000
    late = max(seen["late"], default=0)
    words = (
        f"{len(waits)} keys",
        f"key to picture p50 {p50:.0f} ms, p95 {p95:.0f} ms, painting {painting * 1000:.0f} ms",
        f"{rate:.1f} pictures a second",
        f"tasks above 50 ms: {len(seen['late'])}, the longest {late:.0f} ms",
    )
    print(f"{name}:", "; ".join(words), flush=True)


def main() -> None:
    """Print both lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60, help="keys that are pressed")
    keys = parser.parse_args().pictures
    text = (SENTENCE * (keys // len(SENTENCE) + 1))[:keys].strip()
    with app(PROFILE="embedded", THREADS=os.environ.get("THREADS", 0)) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium-headless-shell") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(client.src)
        page.wait_for_selector('.stage[data-status="empty"]')
        page.wait_for_selector(".card")
        page.evaluate(RECORD)
        page.click(".live-switch")
        page.focus("#prompt textarea")
        typed(page, "a cat", 0.5)
        page.fill("#prompt textarea", "")
        told("a key each second", typed(page, text, 1.0))
        page.fill("#prompt textarea", "")
        told("a key each 0.15 s", typed(page, text, 0.15))
        browser.close()


if __name__ == "__main__":
    main()

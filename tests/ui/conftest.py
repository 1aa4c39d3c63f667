import re
import shutil

import pytest

from tests import serving

# The first is the same without windows, and opens a page in half the time.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="session")
def server():
    return serving.shared()


SETTINGS = '#settings .label-wrap:has(> span:text-is("Settings"))'
CUT = re.compile("signal is aborted|Connection errored out|ERR_ABORTED")
SETTLED = """() => new Promise((done) => {
  let frames = 4;
  const next = () => (frames-- ? requestAnimationFrame(next) : done());
  next();
})"""


# Closed after this folder: Playwright keeps an event loop running in this thread, which asyncio.run does not like.
@pytest.fixture(scope="package")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A visitor's browser tab on the page, with what it complained about and what it asked of other hosts."""

    def __init__(self, browser, url: str, width: int = 1280, height: int = 900, theme: str = "light"):
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(30_000)
        self.complaints, self.elsewhere, self.dialogs = [], [], []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("request", lambda r: r.url.startswith(("data:", "blob:", url)) or self.elsewhere.append(r.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(f"{url}/?__theme={theme}")
        for part in ('.stage[data-status="empty"]', ".card", ".example", "#settings .label-wrap", "#paint"):
            self.page.wait_for_selector(part)

    def open(self, part: str = SETTINGS, shows: str = '[aria-label="number input for Steps"]') -> None:
        """Open a closed part of the page and wait until what it shows keeps what is written into it.

        Gradio gives fields that come into sight their first values once more, a frame or two later.
        """
        self.page.click(part)
        self.page.wait_for_selector(shows)
        self.page.evaluate(SETTLED)

    def paint(self, prompt: str, **numbers: int) -> None:
        """Write a prompt, set numbers in the settings by their labels, press Paint."""
        self.page.fill("#prompt textarea", prompt)
        if numbers and not self.page.get_by_label("number input for Steps").is_visible():
            self.open()
        for label, number in numbers.items():
            self.page.get_by_label(f"number input for {label}").fill(str(number))
            self.page.keyboard.press("Tab")
        self.page.click("#paint")

    def reload(self) -> None:
        """Load the page again. What it says of calls that this cuts off is no fault of the page, and forgotten."""
        before = len(self.complaints)
        self.page.reload()
        self.complaints[before:] = [each for each in self.complaints[before:] if not CUT.search(each)]

    def until(self, status: str) -> None:
        """Wait until the stage is in that state."""
        self.page.wait_for_selector(f'.stage[data-status="{status}"]')


@pytest.fixture
def visit(server, chromium):
    """Make visits; their pages are closed afterwards."""
    visits = []

    def make(**options) -> Visit:
        visits.append(Visit(chromium, server.url, **options))
        return visits[-1]

    yield make
    for each in visits:
        each.page.close()
    server.wait_until(running=0, waiting=0)

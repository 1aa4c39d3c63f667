"""The page is rendered once for all, and nobody sees what was made for another."""

import asyncio
import gzip

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ui.web.page_cache import PageCache


class Page:
    """Answers with how often it was asked, and for which host."""

    def __init__(self):
        self.asked = 0

    async def __call__(self, scope, receive, send):
        self.asked += 1
        await asyncio.sleep(0)
        host = dict(scope["headers"])[b"host"].decode()
        code = 404 if "missing" in scope["path"] else 200
        await PlainTextResponse(f"{self.asked} {host} " + "x" * 1000, code)(scope, receive, send)


@pytest.fixture
def page():
    return Page()


@pytest.fixture(scope="module", autouse=True)
def loop():
    """All visits are on one event loop, as in a server."""
    with asyncio.Runner() as runner:
        got.run = runner.run
        yield


def got(app, *paths, client="8.8.8.8", **headers):
    async def run():
        transport = httpx.ASGITransport(app, client=(client, 1))
        headers_ = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers_) as visitor:
            return await asyncio.gather(*(visitor.get(path) for path in paths))

    return [answer if answer.status_code == 429 else answer.text.rstrip("x") for answer in got.run(run())]


def test_a_hundred_at_once_see_what_the_first_was_shown(page):
    app = PageCache(page)
    assert set(got(app, *["/"] * 100, "/?__theme=dark")) == {"1 here "} and page.asked == 1
    assert got(app, "/assets/a.js", "/assets/a.js", "/assets/b.js")[0] == "2 here " and page.asked == 3


def test_each_name_and_packing_has_its_own(page):
    app = PageCache(page)
    assert got(app, "/")[0] != got(app, "/", host="there")[0] == "2 there "
    got(app, "/", x_forwarded_host="evil.example")
    got(app, "/", accept_encoding="gzip")
    got(app, "/", accept_encoding="identity")
    assert page.asked == 5
    assert got(app, "/")[0] == "1 here "


def test_what_is_anothers_or_a_part_is_not_kept(page):
    app = PageCache(page)
    for path, headers in (("/config?deep_link=x", {}), ("/kept/x.png", {}), ("/assets/a.js", {"range": "bytes=0-9"}),
                          ("/assets/missing.js", {}), ("/status", {})):  # fmt: skip
        asked = page.asked
        got(app, path, path, **headers)
        assert page.asked == asked + 2, path


def test_what_is_not_kept_is_limited_by_address_and_what_is_kept_is_not(page):
    app = PageCache(page, per_minute=3)
    answers = got(app, *["/"] * 9, *(f"/assets/missing{i}" for i in range(9)))
    assert [getattr(answer, "status_code", 200) for answer in answers].count(429) >= 5
    assert got(app, "/") == ["1 here "]
    assert got(app, "/assets/missing", client="9.9.9.9") != [429]


def test_it_holds_no_more_than_it_may(page):
    app = PageCache(page, most_bytes=5000)
    for i in range(20):
        got(app, f"/assets/{i}.js", accept_encoding="identity")
    assert len(app._kept) == 4 and got(app, "/assets/19.js", accept_encoding="identity") == ["20 here "]


def test_the_page_is_packed_for_whoever_can_unpack_it(page):
    app = PageCache(page)

    async def raw(encoding):
        transport = httpx.ASGITransport(app, client=("8.8.8.8", 1))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://here") as visitor,
            visitor.stream("GET", "/", headers={"accept-encoding": encoding}) as answer,
        ):
            return answer.headers, b"".join([part async for part in answer.aiter_raw()])

    for encoding in ("gzip", "gzip, br"):
        headers, body = got.run(raw(encoding))
        assert headers["content-encoding"] == "gzip" and "accept-encoding" in headers["vary"].lower()
        assert int(headers["content-length"]) == len(body) < 200 and gzip.decompress(body).endswith(b"x" * 1000)
    headers, body = got.run(raw("identity"))
    assert "content-encoding" not in headers and body.endswith(b"x" * 1000)

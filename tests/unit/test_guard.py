"""Pages of other sites, and addresses that ask without end (matrix W2)."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from serving.settings import SPACES, Settings
from ui.web.guard import KnownHost, RateLimit, SameOrigin, address


async def echo(scope, receive, send):
    """Answers with the Origin that it sees."""
    seen = dict(scope["headers"]).get(b"origin", b"none").decode()
    await PlainTextResponse(seen)(scope, receive, send)


def ask(app, method="POST", path="/gradio_api/queue/join", client=("8.8.8.8", 1), **headers):
    async def send():
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://here:7860") as visitor:
            return await visitor.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return send()


def answer(app, *args, **kwargs):
    return asyncio.run(ask(app, *args, **kwargs))


FOREIGN = ["https://evil.example", "null", "http://here:7861", "http://here", "http://here:7860.evil.example", "", "x",
           "https://huggingface.co.evil.example", "http://[", "https://evilhf.space"]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
def test_w2_a_page_of_another_site_can_do_nothing_and_is_not_seen(origin):
    app = SameOrigin(echo, SPACES)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = answer(app, method, origin=origin)
        assert refused.status_code == 403 and refused.json()["error"] == "Pages of other sites may not use this one."
    assert answer(app, "GET", origin=origin).text == "none"


@pytest.mark.parametrize("origin", ["http://here:7860", "HTTP://HERE:7860", None, "https://a-b.hf.space",
                                    "https://huggingface.co"])  # fmt: skip
def test_w2_the_page_itself_programs_and_the_hub_pass(origin):
    headers = {"origin": origin} if origin else {}
    assert answer(SameOrigin(echo, SPACES), **headers).text == (origin or "none")


def test_w2_the_hub_is_a_stranger_where_this_is_no_space():
    assert answer(SameOrigin(echo), origin="https://huggingface.co").status_code == 403


def statuses(app, *requests):
    async def run():
        return [await ask(app, **request) for request in requests]

    return asyncio.run(run())


def test_an_address_that_asks_too_often_is_told_when_to_come_back():
    app = RateLimit(echo, 3)
    *taken, refused = statuses(app, *[{}] * 4)
    assert [a.status_code for a in taken] == [200] * 3 and refused.status_code == 429
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 60
    assert refused.json()["detail"] == f"That is more than 3 requests in a minute; try again in {seconds} s."


def test_others_reading_and_cancelling_are_not_counted_and_this_machine_is():
    app = RateLimit(echo, 1)
    free = [{"method": "GET"}, {"path": "/gradio_api/cancel"}]
    answers = statuses(app, {}, *free * 4, {"client": ("8.8.4.4", 1)}, {"client": ("127.0.0.1", 1)}, {})
    assert [a.status_code for a in answers] == [200] * 11 + [429]
    assert statuses(app, {"client": ("127.0.0.1", 2)})[0].status_code == 429


def seen(settings: Settings, client: str, forwarded: list[str]) -> str:
    """Who the guards take a request for, which comes through uvicorn."""
    found = []

    async def app(scope, receive, send):
        found.append(address(scope))

    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "headers": headers, "client": (client, 1)}
    asyncio.run(ProxyHeadersMiddleware(app, settings.proxies)(scope, None, None))
    return found[0]


@pytest.mark.parametrize(
    ("client", "forwarded", "who"),
    [
        ("10.1.1.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.1.1.1", ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),  # what is left of the rightmost anybody may have written
        ("10.1.1.1", ["1.1.1.1", "8.8.8.8, 10.0.0.7"], "8.8.8.8"),
        ("10.1.1.1", ["2001:4860:4860:1:2:3:4:5"], "2001:4860:4860:1::/64"),
        ("10.1.1.1", ["8.8.8.8, nonsense"], "unknown"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("127.0.0.1", ["8.8.8.8"], "127.0.0.1"),
        ("testclient", [], "unknown"),
    ],
)
def test_behind_the_proxy_of_a_space_the_visitor_counts(client, forwarded, who):
    assert seen(Settings(space_id="someone/atelier"), client, forwarded) == who


def test_only_a_proxy_that_was_named_is_believed():
    assert seen(Settings(), "9.9.9.9", ["8.8.8.8"]) == "9.9.9.9"
    assert seen(Settings(), "127.0.0.1", ["8.8.8.8"]) == "127.0.0.1"
    assert seen(Settings(trusted_proxies="9.9.9.9, 127.0.0.0/8"), "9.9.9.9", ["8.8.8.8"]) == "8.8.8.8"
    assert seen(Settings(trusted_proxies="9.9.9.9, 127.0.0.0/8"), "127.0.0.5", ["8.8.8.8"]) == "8.8.8.8"


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost:7860", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("10.0.0.4", 200), ("Paint.Example", 200),
     ("a.b.example.org", 200), ("evil.example", 421), ("example.org", 421), ("localhost.evil.example", 421),
     ("127.0.0.1.evil.example", 421), ("", 421), ("[", 421), ("evil.example@localhost", 200)],
)  # fmt: skip
def test_b7_only_known_names_and_addresses_are_answered(host, code):
    app = KnownHost(echo, Settings(allowed_hosts="paint.example, *.example.org").hosts)
    assert answer(app, "GET", host=host).status_code == code


def test_b7_on_a_space_all_names_are_answered_until_some_are_named():
    assert Settings(space_id="someone/atelier").hosts == ()
    assert "huggingface.co" not in Settings().hosts
    assert {"paint.example", "*.hf.space"} < set(Settings(space_id="x/y", allowed_hosts="paint.example").hosts)

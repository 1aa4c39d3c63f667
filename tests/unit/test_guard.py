"""Pages of other sites, and addresses that ask without end (matrix W2)."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ui.guard import SPACES, RateLimit, SameOrigin, address


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
    app = RateLimit(echo, 3, proxied=False)
    *taken, refused = statuses(app, *[{}] * 4)
    assert [a.status_code for a in taken] == [200] * 3 and refused.status_code == 429
    seconds = int(refused.headers["retry-after"])
    assert 1 <= seconds <= 60
    assert refused.json()["detail"] == f"That is more than 3 requests in a minute; try again in {seconds} s."


def test_others_reading_cancelling_and_this_machine_are_not_counted():
    app = RateLimit(echo, 1, proxied=False)
    free = [{"method": "GET"}, {"path": "/gradio_api/cancel"}, {"client": ("127.0.0.1", 5)}, {"client": ("::1", 5)}]
    answers = statuses(app, {}, *free * 2, {"client": ("8.8.4.4", 1)}, {})
    assert [a.status_code for a in answers] == [200] * 10 + [429]


@pytest.mark.parametrize(
    ("client", "forwarded", "who"),
    [
        ("10.1.1.1", ["8.8.8.8"], "8.8.8.8"),
        ("10.1.1.1", ["1.1.1.1, 8.8.8.8"], "8.8.8.8"),  # what is left of the rightmost anybody may have written
        ("10.1.1.1", ["1.1.1.1", "8.8.8.8, 10.0.0.7"], "8.8.8.8"),
        ("10.1.1.1", ["2001:4860:4860:1:2:3:4:5"], "2001:4860:4860:1::/64"),
        ("10.1.1.1", ["8.8.8.8, nonsense"], "10.1.1.1"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("testclient", [], "unknown"),
    ],
)
def test_behind_the_proxy_of_a_space_the_visitor_counts(client, forwarded, who):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "headers": headers, "client": (client, 1)}
    assert address(scope, proxied=True) == who


def test_without_a_proxy_nobody_can_be_somebody_else():
    scope = {"type": "http", "headers": [(b"x-forwarded-for", b"8.8.8.8")], "client": ("9.9.9.9", 1)}
    assert address(scope, proxied=False) == "9.9.9.9"

"""The routes that this app has, each with the most that a body may hold; gradio's others are closed."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.shares import Shares
from ui.web.guard import address, refusal

KB, MB = 2**10, 2**20
# Of all bodies that are being read or worked on, and of one address: JSON takes many times its length in memory.
ALL_BODIES, SHARE = 64 * MB, 16 * MB
# Seconds until a body has to be there.
DEADLINE = 30.0
API = "/gradio_api"


@dataclass(frozen=True)
class Opening:
    """A route as Starlette writes it, a method that it takes, and the bytes of the longest body.

    A body of `streamed` routes is read by whoever handles it, and has to say its length.
    """

    method: str
    path: str
    most: int = 0
    streamed: bool = False


def openings(upload_bytes: int) -> tuple[Opening, ...]:
    """All that is open. A file may hold `upload_bytes`, and what is around it a megabyte."""
    reads = (
        "/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json",
        "/static/{path:path}", "/assets/{path:path}", "/svelte/{path:path}",
        "/status", "/status.json", "/style/{id}", "/templates.webp", "/kept/{name}", "/mine/{name}",
        "/training/{name}",
        "/file/{folder}/{name}",
        f"{API}/info", f"{API}/info/", f"{API}/openapi.json", f"{API}/theme.css", f"{API}/app_id", f"{API}/app_id/",
        f"{API}/startup-events", f"{API}/heartbeat/{{session_hash}}", f"{API}/queue/data",
        f"{API}/call/{{api_name}}/{{event_id}}", f"{API}/call/v2/{{api_name}}/{{event_id}}",
        f"{API}/file={{path:path}}", f"{API}/upload_progress", f"{API}/mcp/schema",
    )  # fmt: skip
    calls = (
        f"{API}/queue/join", f"{API}/call/{{api_name}}", f"{API}/call/v2/{{api_name}}", f"{API}/run/{{api_name}}",
    )  # fmt: skip
    agents = [Opening(method, f"{API}/mcp{end}", 4 * MB) for method in ("GET", "POST", "DELETE") for end in ("", "/")]
    return (
        *(Opening("GET", path) for path in reads),
        *(Opening("POST", path + end, 2 * MB) for path in calls for end in ("", "/")),
        Opening("POST", f"{API}/cancel", 64 * KB),
        Opening("POST", "/history.zip", 64 * KB),
        *(Opening("POST", f"{API}/upload{end}", upload_bytes + MB, streamed=True) for end in ("", "/")),
        *agents,
    )


class OpenRoutes:
    """ASGI middleware: what is not in the list of openings is not there, and no body is longer than its route takes.

    A body is read here, up to its bound, before the app is called: gradio takes any into memory as it comes.
    """

    def __init__(self, app: ASGIApp, openings: Iterable[Opening], deadline: float = DEADLINE):
        self._app = app
        self._routes = [(each.method, compile_path(each.path)[0], each) for each in openings]
        self._deadline = deadline
        self._bodies = Shares(ALL_BODIES, SHARE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        there = {verb: each for verb, route, each in self._routes if route.match(scope["path"])}
        opening = there.get(method)
        if opening is None:
            answer = refusal(405, "That cannot be done here.") if there else refusal(404, "There is nothing here.")
            return await answer(scope, receive, send)
        said = Headers(scope=scope).get("content-length", "")
        length = int(said) if said.isdecimal() else None
        if opening.streamed and length is None:
            return await refusal(411, "An upload has to say its length.")(scope, receive, send)
        if length is not None and length > opening.most:
            return await too_long(opening.most)(scope, receive, send)
        if opening.streamed or scope["method"] == "GET":
            return await self._app(scope, receive, send)
        # What it may become counts from the start, so that many slow ones cannot grow together.
        await self._with_body(opening.most, opening.most if length is None else length, scope, receive, send)

    async def _with_body(self, most: int, amount: int, scope: Scope, receive: Receive, send: Send) -> None:
        with self._bodies.taken(address(scope), amount) as fits:
            if not fits:
                words = "Too much is being sent at once; try again in a minute."
                return await refusal(503, words, {"Retry-After": "60"})(scope, receive, send)
            try:
                async with asyncio.timeout(self._deadline):
                    body = await whole(receive, most)
            except TimeoutError:
                return await refusal(408, "The request did not arrive in time.")(scope, receive, send)
        if body is None:
            return await too_long(most)(scope, receive, send)
        with self._bodies.taken(address(scope), len(body)):
            await self._app(scope, replayed(body, receive), send)


async def whole(receive: Receive, most: int) -> bytes | None:
    """A body, or None as soon as there are more than `most` bytes of it; what came of one that was broken off."""
    body, more = bytearray(), True
    while more and (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if len(body) > most:
            return None
        more = message.get("more_body", False)
    return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, and then what comes after it."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again


def too_long(most: int):
    """The answer to a body that is longer than `most` bytes."""
    size = f"{most // MB} MB" if most >= MB else f"{most // KB} KB"
    return refusal(413, f"The request is too long: up to {size} are taken here.")

"""Who may ask, and how often: pages of other sites may not, and no address without end. Stands around gradio's app."""

import math
import time
from collections.abc import Collection
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

READS = ("GET", "HEAD")
# A page of the Hub shows a Space in a frame; the Space's own requests come from its own host.
SPACES = ("huggingface.co", "*.hf.space")


class SameOrigin:
    """ASGI middleware: a browser sends `Origin`, and one of another site may read what is public and do nothing.

    Gradio answers every origin with CORS headers that let its page read the answer; here it never sees a foreign one,
    and so gives none. Programs send no origin, and pass. `allowed` are hosts beside the one that was asked for, such
    as "example.org" or "*.hf.space".
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()):
        self._app = app
        self._exact = {host.lower() for host in allowed if not host.startswith("*.")}
        self._endings = tuple(host[1:].lower() for host in allowed if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._ours(origin, headers.get("host", "")):
                if scope["type"] == "websocket" or scope["method"] not in READS:
                    return await refusal(403, "Pages of other sites may not use this one.")(scope, receive, send)
                scope = scope | {"headers": [(k, v) for k, v in scope["headers"] if k.lower() != b"origin"]}
        await self._app(scope, receive, send)

    def _ours(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or "").lower()
        except ValueError:
            return False
        if not name:
            return False
        return parts.netloc.lower() == host.lower() or name in self._exact or name.endswith(self._endings)


class RateLimit:
    """ASGI middleware: each address may send `per_minute` requests that ask for something to be done.

    Asking to cancel always passes. Without a proxy this machine's own programs are not counted. Behind the proxy of a
    Space (`proxied`) all connections come from it, and it is X-Forwarded-For that counts.
    """

    def __init__(self, app: ASGIApp, per_minute: int, proxied: bool):
        self._app = app
        self._limit = RateLimitItemPerMinute(per_minute)
        self._proxied = proxied
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] not in READS and not scope["path"].endswith("/cancel"):
            who = address(scope, self._proxied)
            if who and not await self._limiter.hit(self._limit, who):
                left = (await self._limiter.get_window_stats(self._limit, who)).reset_time - time.time()
                seconds = max(1, math.ceil(left))
                words = f"That is more than {self._limit.amount} requests in a minute; try again in {seconds} s."
                return await refusal(429, words, {"Retry-After": str(seconds)})(scope, receive, send)
        await self._app(scope, receive, send)


def address(scope: Scope, proxied: bool) -> str:
    """Whose request it is: an address, the network of an IPv6 one, or "" for who is not counted.

    Each proxy writes at the right of X-Forwarded-For whom it has the request from, and anybody may have written what
    is left of that: so it is the rightmost that is not one of the Space's inner network.
    """
    if proxied:
        hops = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        for hop in reversed(hops):
            try:
                found = ip_address(hop.strip())
            except ValueError:
                break
            if found.is_global:
                return _network(found)
    try:
        found = ip_address((scope.get("client") or ("", 0))[0])
    except ValueError:
        return "unknown"
    return "" if found.is_loopback and not proxied else _network(found)


def _network(found) -> str:
    # A household has a whole /64 of IPv6 addresses to choose from.
    return str(found if found.version == 4 else ip_network((found, 64), strict=False))


def refusal(code: int, words: str, headers: dict | None = None) -> JSONResponse:
    """An answer with one sentence, under the names that gradio's page, its client and FastAPI's look for."""
    return JSONResponse({"error": words, "detail": words}, code, headers)

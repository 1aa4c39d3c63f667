"""Who may ask, by what name and how often: what is looked at before gradio's app sees a request."""

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


class Names:
    """Host names, such as "example.org" or, with all that end so, "*.hf.space"."""

    def __init__(self, names: Collection[str]):
        self._exact = {name.lower() for name in names if not name.startswith("*.")}
        self._endings = tuple(name[1:].lower() for name in names if name.startswith("*."))

    def __contains__(self, name: str) -> bool:
        return name in self._exact or name.endswith(self._endings)


class KnownHost:
    """ASGI middleware: answers to `names` and to addresses, not to a name that somebody else points here.

    Such a name makes this app part of another site for a browser (DNS rebinding), and its pages could read all of it.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]):
        self._app = app
        self._names = Names(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not self._known(host_name(f"//{hosts[0]}")):
                words = "This app is not known by that host name; whoever runs it can add the name to ALLOWED_HOSTS."
                return await refusal(421, words)(scope, receive, send)
        await self._app(scope, receive, send)

    def _known(self, name: str) -> bool:
        try:
            ip_address(name)
        except ValueError:
            return name in self._names
        # Nobody can point an address elsewhere.
        return True


class SameOrigin:
    """ASGI middleware: a browser sends `Origin`, and one of another site may read what is public and do nothing.

    Gradio answers every origin with CORS headers that let its page read the answer; here it never sees a foreign one,
    and so gives none. Programs send no origin, and pass. `allowed` are hosts beside the one that was asked for.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()):
        self._app = app
        self._allowed = Names(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._ours(origin, headers.get("host", "")):
                if scope["type"] == "websocket" or scope["method"] not in READS:
                    return await refusal(403, "Pages of other sites may not use this one.")(scope, receive, send)
                scope = {**scope, "headers": [(k, v) for k, v in scope["headers"] if k.lower() != b"origin"]}
        await self._app(scope, receive, send)

    def _ours(self, origin: str, host: str) -> bool:
        name = host_name(origin)
        return bool(name) and (urlsplit(origin).netloc.lower() == host.lower() or name in self._allowed)


class PerMinute:
    """What each address may do `amount` times in any minute."""

    def __init__(self, amount: int):
        self._limit = RateLimitItemPerMinute(amount)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def takes(self, who: str) -> bool:
        """Whether it may once more; then that is counted."""
        return await self._limiter.hit(self._limit, who)

    async def rest(self, who: str) -> int:
        """In how many seconds it may again."""
        return max(1, math.ceil((await self._limiter.get_window_stats(self._limit, who)).reset_time - time.time()))


class RateLimit:
    """ASGI middleware: each address may send `per_minute` requests that ask for something to be done.

    Asking to cancel always passes.
    """

    def __init__(self, app: ASGIApp, per_minute: int):
        self._app, self._most, self._limit = app, per_minute, PerMinute(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] not in READS and not scope["path"].endswith("/cancel"):
            who = address(scope)
            if not await self._limit.takes(who):
                seconds = await self._limit.rest(who)
                words = f"That is more than {self._most} requests in a minute; try again in {seconds} s."
                return await refusal(429, words, {"Retry-After": str(seconds)})(scope, receive, send)
        await self._app(scope, receive, send)


def address(scope: Scope) -> str:
    """Whose request it is: an IPv4 address, or the network of an IPv6 one.

    Behind a proxy that is trusted uvicorn has put here whom the proxy has the request from.
    """
    try:
        found = ip_address((scope.get("client") or ("", 0))[0])
    except ValueError:
        return "unknown"
    # A household has a whole /64 of IPv6 addresses to choose from.
    return str(found if found.version == 4 else ip_network((found, 64), strict=False))


def host_name(url: str) -> str:
    """The host in an address, in small letters, without its port; "" where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def refusal(code: int, words: str, headers: dict | None = None) -> JSONResponse:
    """An answer with one sentence, under the names that gradio's page, its client and FastAPI's look for."""
    return JSONResponse({"error": words, "detail": words}, code, headers)

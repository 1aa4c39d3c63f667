"""The page and its files, rendered and packed once: gradio does so for each visitor anew, up to 150 ms each time."""

import asyncio
import gzip
from collections import OrderedDict

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.web.guard import PerMinute, address, refusal

# The same for all visitors, but for where they see this app; files are the same even then.
PAGES, FILES = ("/", "/config", "/gradio_api/info"), ("/assets/", "/static/", "/svelte/", "/theme.css")
SEEN_BY = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
# With these an answer is a part, or none.
PARTLY = {"range", "if-none-match", "if-modified-since", "if-range"}
MOST_BYTES = 64 * 2**20
LEAST_PACKED = 1000
# Answers to one address that are not kept yet or cannot be; a page that is opened first asks for a hundred.
PER_MINUTE = 600

Answer = list[Message]


class PageCache:
    """ASGI middleware that keeps the answers for PAGES and FILES, up to `most_bytes`; the oldest give way."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES, per_minute: int = PER_MINUTE):
        self._app, self._most, self._limit = app, most_bytes, PerMinute(per_minute)
        self._kept: OrderedDict[tuple, Answer] = OrderedDict()
        self._rendering = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "GET" or not is_kept(scope["path"]):
            return await self._app(scope, receive, send)
        key = _key(scope)
        known = self._kept.get(key) if key else None
        if not known and not await self._limit.takes(address(scope)):
            return await refusal(429, "That is too much at once; try again in a minute.")(scope, receive, send)
        for message in known or await self._rendered(key, scope, receive):
            await send(dict(message))

    async def _rendered(self, key: tuple | None, scope: Scope, receive: Receive) -> Answer:
        # One at a time: of a hundred who come at once the first waits for the page, and all others for the first.
        async with self._rendering:
            if key and key in self._kept:
                return self._kept[key]
            answer: Answer = []

            async def keep(message: Message) -> None:
                answer.append(message)

            await self._app(scope, receive, keep)
            if "gzip" in Headers(scope=scope).get("accept-encoding", ""):
                answer = packed(answer)
            if key and answer[0]["status"] == 200:
                self._kept[key] = answer
                while sum(map(size, self._kept.values())) > self._most:
                    self._kept.popitem(last=False)
            return answer


def is_kept(path: str) -> bool:
    """Whether what is there is the same for all."""
    return path in PAGES or path.startswith(FILES)


def size(answer: Answer) -> int:
    """The bytes of an answer's body."""
    return sum(len(message.get("body", b"")) for message in answer)


def packed(answer: Answer) -> Answer:
    """The answer in a tenth of its bytes, where gradio has not packed it: the page, which has all scripts in it."""
    start, body = answer[0], b"".join(message.get("body", b"") for message in answer[1:])
    headers = MutableHeaders(raw=[*start["headers"]])
    if "content-encoding" in headers or len(body) < LEAST_PACKED:
        return answer
    body = gzip.compress(body)
    headers["content-encoding"], headers["content-length"] = "gzip", str(len(body))
    headers.add_vary_header("accept-encoding")
    return [{**start, "headers": headers.raw}, {"type": "http.response.body", "body": body}]


def _key(scope: Scope) -> tuple | None:
    """What an answer depends on; None for one that is not to be kept."""
    headers, path = Headers(scope=scope), scope["path"]
    # What stands after the page's address is for its script.
    if PARTLY & {*headers} or (scope["query_string"] and path in PAGES[1:]):
        return None
    packed = next((way for way in ("br", "gzip") if way in headers.get("accept-encoding", "")), "")
    seen = (scope["scheme"], *(headers.get(name) for name in SEEN_BY)) if path in PAGES else ()
    return path, packed, *seen

"""The page and what it is built from, rendered once: gradio does so for each visitor anew, 20 ms each time."""

import asyncio
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The same for all visitors, but for where they see this app and what their browser can unpack.
PAGES = ("/", "/config", "/gradio_api/info")
SEEN_BY = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server", "accept-encoding")
MOST = 32


class PageCache:
    """ASGI middleware that keeps the answers to PAGES, where they are asked for without a query."""

    def __init__(self, app: ASGIApp):
        self._app = app
        self._kept: OrderedDict[tuple, list[Message]] = OrderedDict()
        self._rendering = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PAGES or scope["query_string"]:
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        key = (scope["path"], scope["scheme"], *(headers.get(name) for name in SEEN_BY))
        # One at a time: of a hundred who come at once the first waits for the page, and all others for the first.
        async with self._rendering:
            if key not in self._kept:
                await self._render(key, scope, receive)
            self._kept.move_to_end(key)
            answer = self._kept[key]
            if answer[0]["status"] != 200:
                del self._kept[key]
        for message in answer:
            await send(dict(message))

    async def _render(self, key: tuple, scope: Scope, receive: Receive) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        self._kept[key] = answer
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

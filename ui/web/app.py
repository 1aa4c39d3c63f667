"""What the web server adds to gradio: guards, headers, a plain 404, the files of styles and of the history."""

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from gradio.route_utils import FnIndexInferError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from lora.adapter import Adapter
from lora.errors import HistoryError, StylesError, TrainingError, UnknownAdapter
from lora.files import CONFIG
from lora.library import Library
from serving.history import History
from serving.settings import Settings
from serving.styles import Styles
from serving.trainings import Trainings
from ui.pages.common.theme import PAGES
from ui.web.archive import history_zip
from ui.web.guard import KnownHost, RateLimit, SameOrigin
from ui.web.openings import OpenRoutes, openings
from ui.web.page_cache import PageCache

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Gradio's page needs inline scripts and `Function`; what is left to forbid is everything from elsewhere.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
    ),
}


class SecurityHeaders:
    """ASGI middleware that puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def preview_url(adapter: Adapter) -> str | None:
    """Where the picture of a style is served, if it has one."""
    return f"/style/{adapter.id}" if adapter.preview else None


def with_previews(adapters: Iterable[Adapter]) -> list[dict]:
    """Adapters as callers are told of them, with the address of a picture of each."""
    return [adapter.public() | {"preview": preview_url(adapter)} for adapter in adapters]


def history_routes(history: History) -> list[Route]:
    """Where the pictures of the history are: each under its signed address, and all of an owner's in one file."""

    def kept(request: Request) -> Response:
        try:
            path = history.path(request.path_params["name"], request.query_params.get("key", ""))
        except (HistoryError, OSError):
            return Response(status_code=404)
        # It never changes; and nobody but this browser may keep it.
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return FileResponse(path, headers=headers) if path.exists() else Response(status_code=404)

    async def everything(request: Request) -> Response:
        return await history_zip(history, request)

    return [Route("/kept/{name}", kept), Route("/history.zip", everything, methods=["POST"])]


def style_routes(styles: Styles) -> list[Route]:
    """Where the files of kept styles are: each under its signed address, a style to be saved under its own name."""

    def mine(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            path, title = styles.path(name, request.query_params.get("key", ""))
        except (StylesError, OSError, sqlite3.Error):
            return Response(status_code=404)
        # Under a name there is never anything else; and nobody but this browser may keep it.
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        saved = {".safetensors": f"{title.replace('/', '_')}.safetensors", ".json": CONFIG}.get(path.suffix)
        return FileResponse(path, headers=headers, filename=saved) if path.exists() else Response(status_code=404)

    return [Route("/mine/{name}", mine)]


def training_routes(trainings: Trainings) -> list[Route]:
    """Where samples of trainings are, and what had been learnt then: each under its signed address."""

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            path, title = trainings.path(name, request.query_params.get("key", ""))
        except TrainingError:
            return Response(status_code=404)
        # Under a name there is never anything else; and nobody but this browser may keep it.
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        saved = f"{title.replace('/', '_')}.safetensors" if path.suffix == ".safetensors" else None
        return FileResponse(path, headers=headers, filename=saved) if path.exists() else Response(status_code=404)

    return [Route("/training/{name}", file)]


def app_arguments(
    library: Library, history: History, settings: Settings, routes: list[Route], lifespans: Sequence[Lifespan]
) -> dict:
    """The arguments of the FastAPI application under gradio's, with more `routes`, and what is to happen around it."""

    def preview(request: Request) -> Response:
        try:
            adapter = library.find(request.path_params["id"])
        except UnknownAdapter:
            return Response(status_code=404)
        return FileResponse(adapter.preview) if adapter.preview else Response(status_code=404)

    def templates(request: Request) -> Response:
        return FileResponse(PAGES / "paint" / "templates.webp")

    async def no_endpoint(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "There is no such endpoint."}, status_code=404)

    @asynccontextmanager
    async def guarded(app: Starlette) -> AsyncIterator[None]:
        # Around all that gradio has put around the app, its CORS too. The server has built that by now.
        app.middleware_stack = _guards(app.middleware_stack, settings)
        async with AsyncExitStack() as stack:
            for lifespan in lifespans:
                await stack.enter_async_context(lifespan(app))
            yield

    return {
        "lifespan": guarded,
        "routes": [
            Route("/style/{id}", preview),
            Route("/templates.webp", templates),
            *history_routes(history),
            *routes,
        ],
        # What gradio lets through when a name or a function number is not one of its own.
        "exception_handlers": {FnIndexInferError: no_endpoint, KeyError: no_endpoint},
    }


def _guards(app: ASGIApp | None, settings: Settings) -> ASGIApp:
    """The app behind those that look at a request before anything is done, and at the headers of every answer."""
    # The server has built it by now.
    assert app is not None
    app = OpenRoutes(PageCache(app), openings(settings.upload_mb * 2**20))
    if settings.requests_per_minute:
        app = RateLimit(app, settings.requests_per_minute)
    app = SameOrigin(app, settings.origins)
    if settings.hosts:
        app = KnownHost(app, settings.hosts)
    return SecurityHeaders(app)

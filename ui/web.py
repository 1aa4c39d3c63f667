"""What the web server adds to gradio: security headers on every answer, a plain 404, and the pictures of the styles."""

from gradio.route_utils import FnIndexInferError
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora.adapter import Adapter
from lora.errors import UnknownAdapter
from lora.library import Library

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


def app_arguments(library: Library) -> dict:
    """The arguments of the FastAPI application under gradio's."""

    def preview(request: Request) -> Response:
        try:
            adapter = library.find(request.path_params["id"])
        except UnknownAdapter:
            return Response(status_code=404)
        return FileResponse(adapter.preview) if adapter.preview else Response(status_code=404)

    async def no_endpoint(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "There is no such endpoint."}, status_code=404)

    return {
        "middleware": [Middleware(SecurityHeaders)],
        "routes": [Route("/style/{id}", preview)],
        # What gradio lets through when a name or a function number is not one of its own.
        "exception_handlers": {FnIndexInferError: no_endpoint, KeyError: no_endpoint},
    }

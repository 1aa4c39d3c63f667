"""The panel of styles: what is on, and how a visitor's own come to it."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

import gradio as gr

from lora.adapter import BURNS
from serving.generation import GenerationService
from ui.pages.common.widgets import style_cards
from ui.web.app import preview_url
from ui.web.files import upload_route

Ask = Callable[[dict, str], Awaitable[dict]]


def add_styles(service: GenerationService) -> gr.HTML:
    """Place the panel and wire the questions that it asks the server."""
    cards = [adapter.public() | {"preview": preview_url(adapter)} for adapter in service.library.all()]
    styles = style_cards(service.default_adapters, cards, service.library.file_bytes, BURNS)
    uploads = upload_route()

    async def inspect(data: dict, session: str) -> dict:
        asked = data.get("file"), data.get("repo_id", ""), session, uploads
        return {"style": await service.inspect(*asked, page=True)}

    async def search(data: dict, session: str) -> dict:
        return {"found": await service.search(data.get("words"), session, page=True)}

    async def export(data: dict, session: str) -> dict:
        async with aclosing(service.export(data.get("adapters"), 0, session, page=True)) as updates:
            async for file, details in updates:
                if file:
                    return {"file": file | {"url": f"gradio_api/file={file['path']}"}, "details": details}

    for name, ask in {"inspect": inspect, "search": search, "export": export}.items():
        getattr(styles, name)(
            _answered(name, ask), outputs=styles, show_progress="hidden", concurrency_limit=None,
            api_visibility="private",
        )  # fmt: skip
    return styles


def _answered(name: str, ask: Ask) -> Callable:
    """A listener that puts the answer, or the error in words, into the panel under the number of its question."""

    async def listen(event: gr.EventData, request: gr.Request) -> gr.HTML:
        number = event._data.get("number")
        try:
            answer = await ask(event._data, request.session_hash)
        except gr.Error as error:
            answer = {"error": error.message}
        return gr.HTML(answer={"event": name, "number": number, **answer})

    return listen

"""The panel of styles: what is on, and how a visitor's own come to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import gradio as gr

from lora.adapter import BURNS
from pipeline.families import known_marks
from serving.generation import GenerationService
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.paint.widgets import style_cards
from ui.web.app import with_previews
from ui.web.files import served

Ask = Callable[[dict, str | None], Awaitable[dict]]


def add_styles(service: GenerationService) -> gr.HTML:
    """Place the panel and wire the questions that it asks the server."""
    cards = with_previews(service.library.all())
    families = {marks.name: marks.title for marks in known_marks()}
    styles = style_cards(service.default_adapters, cards, families, service.library.file_bytes, BURNS)
    uploads = being_built().uploads

    async def inspect(data: dict, session: str | None) -> dict:
        asked = data.get("file"), data.get("repo_id", ""), session, uploads
        return {"style": await service.inspect(*asked, page=True)}

    async def search(data: dict, session: str | None) -> dict:
        return {"found": await service.search(data.get("words"), session, page=True)}

    async def refresh(data: dict, session: str | None) -> dict:
        await asyncio.to_thread(service.library.refresh)
        return {"styles": with_previews(service.library.all(session))}

    async def export(data: dict, session: str | None) -> dict:
        answer: dict = {}
        async with aclosing(service.export(data.get("adapters"), 0, session, page=True)) as updates:
            async for path, details in updates:
                if path:
                    file = await asyncio.to_thread(served, path)
                    answer = {"file": file | {"url": f"gradio_api/file={file['path']}"}, "details": details}
        return answer

    for name, ask in {"inspect": inspect, "search": search, "refresh": refresh, "export": export}.items():
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
        except Exception as error:
            answer = {"error": sentence(error)}
        return gr.HTML(answer={"event": name, "number": number, **answer})

    return listen

"""The panel of styles: what is on, and how a visitor's own come to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import gradio as gr

from lora.adapter import BURNS, Adapter
from lora.library import Library
from pipeline.families import known_marks
from pipeline.request.checks import choice
from serving.generation import GenerationService
from serving.history import History
from serving.styles import Styles
from ui.api.history import Album
from ui.api.styles import StyleShelf
from ui.atelier import being_built
from ui.errors import sentence
from ui.pages.common.asking import ASKING
from ui.pages.paint.widgets import style_cards
from ui.web.app import with_previews
from ui.web.files import served

Ask = Callable[[dict, str | None], Awaitable[dict]]
# What is done with a kept style, by the names that the log has for it.
CHANGES = {"keep": "keep_style", "rename": "rename_style", "preview": "style_preview", "forget": "forget_style"}
# Pictures of the history of which one may become the preview of a style.
PICTURES = 24


def add_styles(service: GenerationService, history: History) -> gr.HTML:
    """Place the panel and wire the questions that it asks the server."""
    cards = with_previews(service.library.all())
    families = {marks.name: marks.title for marks in known_marks()}
    bounds = service.library.file_bytes, BURNS
    styles = style_cards(service.default_adapters, cards, families, *bounds, keeps=service.styles is not None)
    uploads = being_built().uploads

    async def inspect(data: dict, session: str | None) -> dict:
        asked = data.get("file"), data.get("repo_id", ""), session, uploads
        return {"style": await service.inspect(*asked, page=True)}

    async def search(data: dict, session: str | None) -> dict:
        return {"found": await service.search(data.get("words"), session, page=True)}

    async def refresh(data: dict, session: str | None) -> dict:
        await asyncio.to_thread(service.library.refresh)
        return {"styles": with_previews(each for each in usable(service.library, session) if each.source != "kept")}

    async def export(data: dict, session: str | None) -> dict:
        answer: dict = {}
        async with aclosing(service.export(data.get("adapters"), 0, session, page=True)) as updates:
            async for path, details in updates:
                if path:
                    file = await asyncio.to_thread(served, path)
                    answer = {"file": file | {"url": f"gradio_api/file={file['path']}"}, "details": details}
        return answer

    asks: dict[str, Ask] = {"inspect": inspect, "search": search, "refresh": refresh, "export": export}
    if service.styles:
        asks["mine"] = keeping(service, service.styles, history)
    for name, ask in asks.items():
        getattr(styles, name)(_answered(name, ask), outputs=styles, **ASKING)
    return styles


def usable(library: Library, session: str | None) -> list[Adapter]:
    """What a session can use: a file that it brought and that its visitor keeps as well once, as what is kept."""
    shared = library.all()
    own = library.all(session)[len(shared) :]
    kept = {adapter.sha256 for adapter in own if adapter.source == "kept"}
    return [*shared, *(each for each in own if each.source == "kept" or each.sha256 not in kept)]


def keeping(service: GenerationService, styles: Styles, history: History) -> Ask:
    """What is asked about the styles that a browser keeps, by its secret `owner`: `what` is to be done with the one of
    that `id`, if anything, and then which there are; or `pictures` of the history that one may be given.
    """
    shelf, album = StyleShelf(service, styles, history), Album(history)

    async def change(what: str, data: dict, session: str | None) -> None:
        which = data.get("owner"), data.get("id")
        with service.request_log.entry(CHANGES[what], session, page=True):
            if what == "keep":
                await shelf.keep(*which, session)
            elif what == "rename":
                await shelf.rename(*which, data.get("name"), session)
            elif what == "preview":
                await shelf.preview(*which, data.get("kept"), data.get("picture"), session)
            else:
                await shelf.forget(*which, session)

    async def ask(data: dict, session: str | None) -> dict:
        what = choice("what", data.get("what"), ("list", "pictures", *CHANGES))
        if what == "pictures":
            sets = await album.page(data.get("owner"), limit=PICTURES)
            pictures = [{"id": each["id"], **picture} for each in sets for picture in each["pictures"]]
            return {"pictures": pictures[:PICTURES]}
        if what in CHANGES:
            await change(what, data, session)
        return {"kept": await shelf.all(data.get("owner"), session), "notice": styles.notice}

    return ask


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

"""The styles that an owner keeps, by the owner's secret, and the endpoints to them."""

import asyncio

import gradio as gr

from lora.adapter import Adapter
from lora.errors import InvalidRequest
from lora.library import MAX_NAME
from pipeline.request.checks import text, whole
from pipeline.request.limits import MAX_IMAGES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.styles import Styles
from ui.api.endpoints import offer

TITLE = {"minLength": 1, "maxLength": MAX_NAME}


class StyleShelf:
    """The styles that owners keep, by their secrets. Every value is checked; raises AtelierError.

    Whatever is asked, the session that asks can use what the owner keeps from then on.
    """

    def __init__(self, service: GenerationService, styles: Styles, history: History):
        self._service, self._styles, self._history = service, styles, history

    async def all(self, secret: object, session: str | None) -> list[dict]:
        """What an owner keeps, the newest first."""
        owner = owner_hash(secret)
        kept = await asyncio.to_thread(lambda: [*map(self._styles.public, self._styles.all(owner))])
        await self._service.lend(owner, session)
        return kept

    async def keep(self, secret: object, identity: object, session: str | None) -> dict:
        """Keep an adapter that the session brought, under an id of its own."""
        owner = owner_hash(secret)
        await self._service.lend(owner, session)
        adapter = self._own(text("id", identity), session)
        kept = await asyncio.to_thread(self._styles.keep, owner, adapter)
        await self._service.lend(owner, session)
        return self._styles.public(kept)

    async def rename(self, secret: object, identity: object, name: object, session: str | None) -> dict:
        """Give a style another name."""
        owner, values = owner_hash(secret), (text("id", identity), title("name", name))
        kept = await asyncio.to_thread(self._styles.rename, owner, *values)
        await self._service.lend(owner, session)
        return self._styles.public(kept)

    async def preview(
        self, secret: object, identity: object, kept: object, picture: object, session: str | None
    ) -> dict:
        """Give a style a picture of the owner's history as its preview."""
        owner, style, chosen = owner_hash(secret), text("id", identity), text("kept", kept)
        number = whole("picture", picture, 0, MAX_IMAGES - 1)

        def made() -> dict:
            png = self._history.picture(owner, chosen, number).path.read_bytes()
            return self._styles.public(self._styles.picture(owner, style, png))

        told = await asyncio.to_thread(made)
        await self._service.lend(owner, session)
        return told

    async def forget(self, secret: object, identity: object, session: str | None) -> int:
        """Delete a style; how many the owner has left."""
        owner = owner_hash(secret)
        await asyncio.to_thread(self._styles.forget, owner, text("id", identity))
        return len(await self.all(secret, session))

    def _own(self, identity: str, session: str | None) -> Adapter:
        if identity in {adapter.id for adapter in self._service.library.all()}:
            raise InvalidRequest("id", identity, "that of a style that you brought; this one everybody has")
        return self._service.library.find(identity, session)


def title(field: str, value: object) -> str:
    """A name of 1 to MAX_NAME printable characters. Raises InvalidRequest."""
    name = value.strip() if isinstance(value, str) else ""
    if not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        raise InvalidRequest(field, value, f"1 to {MAX_NAME} printable characters")
    return name


def add_style_endpoints(service: GenerationService, styles: Styles, history: History) -> None:
    """Add the endpoints to the Blocks that is being built."""
    shelf, entry = StyleShelf(service, styles, history), service.request_log.entry

    async def my_styles(request: gr.Request, owner: str) -> list[dict]:
        """List the styles and embeddings that an owner keeps, the newest first; their ids can be used in this session,
        and in every call of /generate with that owner.

        Each has id, name, size, rank, triggers, licence, sha256, how it was trained, when it was kept (created, seconds
        since 1970), and the paths here of its file, of a config that belongs beside it, and of its preview, or null:
        good for whoever has them.

        Args:
            owner: the secret that is given to /generate
        """
        with entry("my_styles", request.session_hash):
            return await shelf.all(owner, request.session_hash)

    async def keep_style(request: gr.Request, owner: str, id: str) -> dict:
        """Keep an adapter that this session brought, until its owner deletes it; tells what /my_styles lists of it.

        The same content is kept once. What is above the number or the bytes that are kept is refused in words.

        Args:
            owner: the secret that is given to /generate
            id: what /inspect_adapter gave
        """
        with entry("keep_style", request.session_hash):
            return await shelf.keep(owner, id, request.session_hash)

    async def rename_style(request: gr.Request, owner: str, id: str, name: str) -> dict:
        """Give a style that an owner keeps another name; tells what /my_styles lists of it.

        Args:
            owner: the secret that is given to /generate
            id: of the style, from /my_styles
            name: 1 to 120 printable characters
        """
        with entry("rename_style", request.session_hash):
            return await shelf.rename(owner, id, name, request.session_hash)

    async def style_preview(request: gr.Request, owner: str, id: str, kept: str, picture: int = 0) -> dict:
        """Show a picture of an owner's history as the preview of a style that the same owner keeps.

        It is made small, and stands in place of the one before. Tells what /my_styles lists of the style.

        Args:
            owner: the secret that is given to /generate
            id: of the style, from /my_styles
            kept: the id of a set, from /history
            picture: its number in the set
        """
        with entry("style_preview", request.session_hash):
            return await shelf.preview(owner, id, kept, picture, request.session_hash)

    async def forget_style(request: gr.Request, owner: str, id: str) -> dict:
        """Delete a style that an owner keeps, and its preview; tells how many styles are left.

        Args:
            owner: the secret that is given to /generate
            id: of the style, from /my_styles
        """
        with entry("forget_style", request.session_hash):
            return {"styles": await shelf.forget(owner, id, request.session_hash)}

    offer(my_styles)
    offer(keep_style)
    offer(rename_style, {"name": TITLE})
    offer(style_preview, {"picture": {"minimum": 0, "maximum": MAX_IMAGES - 1}})
    offer(forget_style)

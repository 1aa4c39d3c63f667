"""Content Credentials on what is handed out: each picture of a job is signed once, when it is done."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.engine import Finished, Generation
from pipeline.request.request import GenerationRequest

# Only where a key is set is anything of it imported.
if TYPE_CHECKING:
    from pipeline.metadata.credentials import Credentials


class Seal:
    """Signs the pictures of one job, which began with the picture file `parent` if with any; without credentials they
    stay as they are.
    """

    def __init__(self, credentials: "Credentials | None", parent: object = None):
        self._credentials = credentials
        self._parent = parent if isinstance(parent, bytes) else None
        self._signed: list[bytes] = []

    def lost(self, request: GenerationRequest) -> list[str]:
        """In words, what cannot stay of the picture that a request begins with."""
        if self._credentials is None and request.begun_with and request.begun_with.credentials:
            return ["The Content Credentials of the picture that it began with are not in it: nothing is signed here."]
        return []

    async def finished(self, item: Finished) -> Finished:
        """One of a batch."""
        self._signed.append(await self.file(item.png, item.details))
        return replace(item, png=self._signed[-1])

    async def generation(self, item: Generation) -> Generation:
        """All of them, those that were finished before as they were told."""
        new = [await self.file(png, item.details) for png in item.images[len(self._signed) :]]
        return replace(item, images=(*self._signed, *new))

    async def file(self, png: bytes, details: Mapping[str, Any]) -> bytes:
        """A PNG file, signed."""
        if self._credentials is None:
            return png
        return await asyncio.to_thread(self._credentials.signed, png, details, self._parent)

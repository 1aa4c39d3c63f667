"""What agents are answered: progress on the way, then structured content, pictures and links."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp import types
from PIL import Image
from pydantic import AnyUrl

from ui.api.endpoint import Endpoint

# Bytes of a picture that stands in the answer as it is; of a larger one there is a lighter copy, and the link.
MOST_INLINE, LONGEST = 2**20, 1536


class Progress:
    """Tells an agent that asked for it how far its call is."""

    def __init__(self, context: Any):
        self._context, self._last = context, 0.0
        self._token = context.meta.progressToken if context.meta else None

    async def __call__(self, details: dict) -> None:
        """Tell what an endpoint's details say."""
        status = details.get("status")
        if self._token is None or status not in ("waiting", "painting", "planned", "cell", "training", "sampling"):
            return
        done, total = 0.0, None
        words = {"waiting": f"Waiting, place {details.get('place')}"}.get(status, "Painting")
        if status == "painting":
            share = (details["image"] + details["step"] / details["steps"]) / details["images"]
            done, total = details.get("cell", 0) + share, details.get("cells", 1)
            words = f"Step {details['step']} of {details['steps']}"
        if status in ("training", "sampling"):
            done, total = details["step"], details["steps"]
            words = f"Step {done} of {total}"
        # It has to grow with each message, also while nothing but the queue moves.
        self._last = max(done, self._last + 1e-6)
        await self._context.session.send_progress_notification(
            self._token, self._last, total, words, related_request_id=str(self._context.request_id)
        )


def answer(endpoint: Endpoint, result: Any, give: Callable[[str], str]) -> types.CallToolResult:
    """A result as structured content, as JSON for whoever reads text only, its pictures, and links to its files.

    `give` makes the address of a file from its path.
    """
    files: list[dict] = []

    def public(value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("meta"), dict) and "path" in value:
            files.append(value)
            return {"url": give(value["path"]), "name": value["orig_name"], "size": value["size"]}
        if isinstance(value, dict):
            return {key: public(each) for key, each in value.items()}
        return [public(each) for each in value] if isinstance(value, (list, tuple)) else value

    told = public(result)
    if endpoint.returns:
        told = dict(zip(endpoint.returns, told))
    elif not isinstance(told, dict):
        told = {"result": told}
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=json.dumps(told, ensure_ascii=False))]
    # A comparison names its cells and its sheet; the sheet has them all.
    for file in files[:1] if endpoint.name == "compare" else files:
        content += in_content(file, give(file["path"]))
    return types.CallToolResult(content=content, structuredContent=told)


def in_content(file: dict, url: str) -> list[types.ContentBlock]:
    """A file as what an agent can look at, where it is a picture, and where it can be had."""
    kind, path = file.get("mime_type") or "application/octet-stream", Path(file["path"])
    link = types.ResourceLink(
        type="resource_link", uri=AnyUrl(url), name=file["orig_name"], mimeType=kind, size=file["size"]
    )
    if not kind.startswith("image/"):
        return [link]
    data = path.read_bytes()
    if len(data) > MOST_INLINE:
        data, kind = lighter(data), "image/webp"
    return [types.ImageContent(type="image", data=base64.b64encode(data).decode(), mimeType=kind), link]


def lighter(png: bytes) -> bytes:
    """One of our own pictures as WebP, no side longer than LONGEST, to look at."""
    image, out = Image.open(io.BytesIO(png), formats=("PNG",)), io.BytesIO()
    xmp = image.info.get("xmp", b"")
    image.thumbnail((LONGEST, LONGEST))
    image.convert("RGB").save(out, "WEBP", quality=85, xmp=xmp)
    return out.getvalue()

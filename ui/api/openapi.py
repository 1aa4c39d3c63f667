"""The OpenAPI document of the endpoints, for programs that call them without gradio's client."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ui.api.endpoint import Endpoint

# A file of a call over HTTP.
FILE = {
    "type": "object",
    "description": 'an object with the path that /gradio_api/upload gave, and meta {"_type": "gradio.FileData"}',
    "required": ["path", "meta"],
    "properties": {
        "path": {"type": "string"},
        "meta": {"type": "object", "required": ["_type"], "properties": {"_type": {"const": "gradio.FileData"}}},
        "orig_name": {"type": "string"},
    },
}
UPLOAD = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}
REFUSALS = {"413": "too long", "429": "more requests in a minute than are taken", "503": "no room just now"}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def openapi_route(endpoints: Mapping[str, Endpoint], title: str, version: str) -> Route:
    """In place of gradio's own document, which knows no limits and nothing that is required."""

    def document(request: Request) -> Response:
        return JSONResponse(openapi(endpoints, title, version))

    return Route("/gradio_api/openapi.json", document)


def openapi(endpoints: Mapping[str, Endpoint], title: str, version: str) -> dict:
    """The document."""
    paths_given = {"type": "array", "items": {"type": "string"}}
    paths = {"/gradio_api/upload": _post("upload", "Send files, to be named in calls.", "multipart/form-data", UPLOAD,
                                         paths_given, "their paths")}  # fmt: skip
    event = {"type": "object", "required": ["event_id"], "properties": {"event_id": {"type": "string"}}}
    for name, endpoint in endpoints.items():
        address = f"/gradio_api/call/{name}/{{event_id}}"
        about = f"{endpoint.description} What it gives comes from GET {address}."
        paths[f"/gradio_api/call/v2/{name}"] = _post(
            name, about, "application/json", endpoint.schema(FILE), event, "it is begun"
        )
        paths[address] = _events(endpoint)
    return {"openapi": "3.1.0", "info": {"title": title, "version": version}, "paths": paths}


def _post(identity: str, about: str, kind: str, body: dict, answer: dict, meaning: str) -> dict:
    refused = {code: _answer(why, ERROR) for code, why in REFUSALS.items()}
    return {"post": {
        "operationId": identity, "description": about,
        "requestBody": {"required": True, "content": {kind: {"schema": body}}},
        "responses": {"200": _answer(meaning, answer), **refused},
    }}  # fmt: skip


def _events(endpoint: Endpoint) -> dict:
    given = ", ".join(endpoint.returns) or "one value"
    about = (
        f'Server-sent events: "generating", at last "complete", each with a JSON array of {given}; '
        f'or "error" with {{"error": a sentence}}.'
    )
    return {"get": {
        "operationId": f"{endpoint.name}_events", "description": about,
        "parameters": [{"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": _answer("events", {"type": "string"}, "text/event-stream")},
    }}  # fmt: skip


def _answer(meaning: str, schema: dict, kind: str = "application/json") -> dict:
    return {"description": meaning, "content": {kind: {"schema": schema}}}

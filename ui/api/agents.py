"""The app as agents meet it: every endpoint is a tool of the Model Context Protocol. A connection is a visitor.

Gradio's own server makes all connections one visitor, reads files of this machine for whoever names them, and answers
in Python's notation.
"""

import asyncio
import base64
import inspect
import io
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, cast

from anyio import ClosedResourceError
from gradio.context import LocalContext
from gradio.route_utils import get_root_url
from gradio.utils import get_upload_folder
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from lora.errors import Described, InvalidRequest
from serving.jobs import Jobs
from serving.queue import client_address
from serving.shares import Shares
from ui.api.agent_answers import Progress, answer
from ui.api.endpoint import Endpoint
from ui.errors import sentence
from ui.web.guard import address, refusal
from ui.web.uploads import Uploads, public_path

PATH = "/gradio_api/mcp"
# Connections in all and from one address, and the seconds until one that asks for nothing is closed.
MOST_SESSIONS, MOST_PER_ADDRESS, IDLE_SECONDS = 1000, 100, 1800.0
MOST_BODY = 4 * 2**20
# Files that a connection was given and may name again.
MOST_GIVEN = 1000
# Of one value.
MOST_FILES = 200
FILE = {
    "type": "string",
    "description": "a data: URI of it in base64, up to 3 MB; or what POST /gradio_api/upload gave for a file that you "
    "sent there; or the address of a file that you were given here",
}
# Below errors the library writes the ids of connections, which are keys, and what strangers call their tools.
logging.getLogger("mcp").setLevel("ERROR")
# An agent that leaves closes streams that the library still reads, and what is nested too deep is answered with an
# error: neither is one of ours.
THEIRS = (ClosedResourceError, RecursionError)
logging.getLogger("mcp.server.streamable_http").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], THEIRS))
)


@dataclass(eq=False)
class Agent:
    """Who is at the other end of a connection: a session of the app, and the paths of files by their addresses."""

    session: str = field(default_factory=lambda: f"mcp-{token_urlsafe(32)}")
    given: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def give(self, path: str) -> str:
        """The address of a file, below the root of the app, which this agent may name from now on."""
        name = f"/file/{public_path(path)}"
        self.given[name] = path
        while len(self.given) > MOST_GIVEN:
            self.given.popitem(last=False)
        return name


class Agents:
    """The server of the protocol, by its streamable HTTP transport: an ASGI app."""

    def __init__(self, endpoints: Mapping[str, Endpoint], uploads: Uploads, jobs: Jobs, name: str):
        self._endpoints, self._uploads, self._jobs = endpoints, uploads, jobs
        self._open = Shares(MOST_SESSIONS, MOST_PER_ADDRESS)
        self._server = Server(name, lifespan=self._connection)
        self._server.list_tools()(self._list)
        # Our own sentences say more than a schema that does not match.
        self._server.call_tool(validate_input=False)(self._call)
        self._manager = StreamableHTTPSessionManager(
            self._server, session_idle_timeout=IDLE_SECONDS, max_sessions=MOST_SESSIONS, max_request_body_size=MOST_BODY
        )

    def running(self, app: object):
        """A part of the app's lifespan, in which agents can connect."""
        return self._manager.run()

    def routes(self) -> list[Route]:
        """Where they connect, with and without a slash, and the list of tools for whoever does not connect."""

        def schema(request: Request) -> Response:
            return JSONResponse([*map(self._listed, self._tools())])

        return [Route(f"{PATH}/schema", schema), Route(PATH, self), Route(f"{PATH}/", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        request, who = Request(scope), address(scope)
        if request.method == "GET" and "text/event-stream" not in request.headers.get("accept", ""):
            words = f"This is where agents connect, by the Model Context Protocol: {request.url}\n"
            return await PlainTextResponse(words)(scope, receive, send)
        if "mcp-session-id" not in request.headers and not self._open.fits(who, 1):
            words = f"{MOST_PER_ADDRESS} connections of yours are open already, or {MOST_SESSIONS} of all; close one."
            return await refusal(429, words)(scope, receive, send)
        client_address.set(who)
        await self._manager.handle_request(scope, receive, send)

    @asynccontextmanager
    async def _connection(self, server: Server) -> AsyncIterator[Agent]:
        """From when an agent connects until it has gone; then what it brought is deleted."""
        agent = Agent()
        # Begun by the request that connects, so this is its address.
        with self._open.taken(client_address.get(), 1):
            try:
                yield agent
            finally:
                self._jobs.leave(agent.session)

    def _tools(self) -> list[types.Tool]:
        return [
            types.Tool(name=name, description=endpoint.description, inputSchema=endpoint.schema(FILE))
            for name, endpoint in self._endpoints.items()
        ]

    def _listed(self, tool: types.Tool) -> dict:
        """A tool as gradio's API page and the Hub want it."""
        meta = {
            "mcp_type": "tool",
            "endpoint_name": tool.name,
            "file_data_present": bool(self._endpoints[tool.name].files),
        }
        return tool.model_dump(exclude_none=True) | {"meta": meta}

    async def _list(self) -> list[types.Tool]:
        # As gradio's API page writes an address for those who want some tools only.
        wanted = self._asked().query_params.get("tools")
        return [tool for tool in self._tools() if wanted is None or tool.name in wanted.split(",")]

    def _asked(self) -> Request:
        """The request over HTTP that a message came with."""
        return cast(Request, self._server.request_context.request)

    async def _call(self, name: str, values: dict[str, Any]) -> types.CallToolResult:
        context, request = self._server.request_context, self._asked()
        # The generators of `spaces` look there for whom they paint.
        LocalContext.request.set(cast(Any, request))
        client_address.set(who := address(request.scope))
        try:
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                raise InvalidRequest("tool", name, f"one of {', '.join(self._endpoints)}")
            values = await self._checked(endpoint, values, context.lifespan_context, who)
            result = await self._done(endpoint, values, context)
        except Exception as error:
            said = types.TextContent(type="text", text=sentence(error))
            return types.CallToolResult(content=[said], isError=True)
        root = get_root_url(request, PATH, None)
        give = lambda path: root + context.lifespan_context.give(path)  # noqa: E731
        return await asyncio.to_thread(answer, endpoint, result, give)

    async def _checked(self, endpoint: Endpoint, values: dict, agent: Agent, who: str) -> dict:
        """The values of a call, its files as gradio has them. Raises InvalidRequest."""
        if unknown := sorted(values.keys() - endpoint.properties.keys()):
            allowed = f"one of {', '.join(endpoint.properties)}" if endpoint.properties else "left out"
            raise Described(unknown[0], "not a value of this tool", allowed)
        for name in endpoint.required:
            if name not in values:
                raise Described(name, "missing", "given")
        files = {n: await self._files(n, values[n], agent, who) for n in endpoint.files if values.get(n) is not None}
        return values | files

    async def _files(self, field: str, value: object, agent: Agent, who: str) -> object:
        """A file, or each of a list of them."""
        if not isinstance(value, list):
            return await self._file(field, value, agent, who)
        return [await self._file(f"{field} {i}", each, agent, who) for i, each in enumerate(value[:MOST_FILES], 1)]

    async def _file(self, field: str, value: object, agent: Agent, who: str) -> dict:
        # As a call over HTTP would have it.
        value = value.get("path") if isinstance(value, dict) else value
        if isinstance(value, str) and value.startswith("data:"):
            head, comma, data = value.partition(",")
            if not comma or not head.endswith(";base64"):
                raise Described(field, "a data: URI without base64", "data:image/png;base64,...")
            try:
                content = base64.b64decode(data, validate=True)
            except ValueError:
                raise Described(field, "a data: URI whose base64 is damaged", "sent again") from None
            kind = head[5:].partition(";")[0]
            ending = kind[6:] if kind.startswith("image/") else "zip" if kind == "application/zip" else "safetensors"
            name = f"{field}.{ending}"
            path = await self._uploads.add(who, name, io.BytesIO(content))
        elif isinstance(value, str) and (sent := self._sent(value)):
            path = sent
        elif isinstance(value, str) and (given := agent.given.get(value[value.find("/file/") :])):
            # A copy: what is sent may be deleted once it has been read.
            with Path(given).open("rb") as file:
                path = await self._uploads.add(who, Path(given).name, file)
        else:
            raise Described(field, "not a file of yours", FILE["description"])
        return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}

    def _sent(self, value: str) -> str | None:
        """The path of a file that was sent, by its path or one of its addresses; nothing of the disk is looked at."""
        by_path = value.rpartition("/gradio_api/file=")[2]
        by_name = str(Path(get_upload_folder()) / value.rpartition("/file/")[2])
        return next((path for path in (by_path, by_name) if path in self._uploads), None)

    async def _done(self, endpoint: Endpoint, values: dict, context: Any) -> Any:
        """What an endpoint gives at last, with news of it on the way. Raises what the endpoint does."""
        arguments = endpoint.arguments(values, context.lifespan_context.session)
        if inspect.isasyncgenfunction(endpoint.function):
            tell, result = Progress(context), None
            async with aclosing(endpoint.function(*arguments)) as news:
                async for result in news:
                    await tell(result[-1])
            return result
        if inspect.iscoroutinefunction(endpoint.function):
            return await endpoint.function(*arguments)
        return await asyncio.to_thread(endpoint.function, *arguments)

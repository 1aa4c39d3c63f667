"""The app as an agent meets it: the Model Context Protocol over streamable HTTP, described as it is."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from tests.serving import STYLES


def with_session(server, use):
    """What `use(session)` gives, in an MCP session with the app."""

    async def run():
        async with (
            streamablehttp_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    return asyncio.run(run())


def call(server, tool: str, **values):
    return with_session(server, lambda session: session.call_tool(tool, values))


@pytest.fixture(scope="module")
def tools(server):
    listed = with_session(server, lambda session: session.list_tools())
    return {tool.name: tool for tool in listed.tools}


def test_every_named_endpoint_is_a_tool_and_no_other(server, tools):
    info = httpx.get(f"{server.url}/gradio_api/info").json()
    assert {name.strip("/") for name in info["named_endpoints"]} == tools.keys()


def test_every_tool_and_value_is_described(tools):
    for name, tool in tools.items():
        assert tool.description, name
        for value, schema in tool.inputSchema["properties"].items():
            assert schema["description"], f"{name}: {value}"


def test_limits_are_told(tools):
    values = tools["generate"].inputSchema["properties"]
    assert tools["generate"].inputSchema["required"] == ["prompt"]
    assert "1 to 150" in values["steps"]["description"] and values["steps"]["type"] == "integer"
    assert "multiple of" in values["width"]["description"]
    assert "Euler a" in values["scheduler"]["description"]


def test_a_picture_and_its_details(server):
    """The picture comes as an address; it is the same as for every other caller."""
    values = {"prompt": "a cat", "steps": 2, "seed": 3, "adapters": [{"id": STYLES[0], "weight": 0.5}]}
    result = call(server, "generate", **values)
    told = " ".join(part.text for part in result.content)
    assert not result.isError, told
    (address,) = re.findall(rf"{server.url}/[^'\"\s]+\.png", told)
    again = Client(server.url, verbose=False).predict(**values, api_name="/generate")[0][0]["image"]
    assert httpx.get(address).content == Path(again).read_bytes()
    assert "'seed': 3" in told and STYLES[0] in told


def test_a_bad_value_is_answered_in_words(server):
    result = call(server, "generate", prompt="a cat", steps=1001)
    assert result.isError
    assert "steps is 1001, but must be a whole number from 1 to 150" in result.content[0].text
    assert "/" not in result.content[0].text.replace("https://", "")

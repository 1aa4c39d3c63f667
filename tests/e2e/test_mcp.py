"""The app as an agent meets it: the Model Context Protocol over streamable HTTP, described as it is."""

import asyncio
import base64
import io
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError
from PIL import Image

from tests.serving import LONG, STYLES


def with_session(server, use, query=""):
    """What `use(session)` gives, in an MCP session with the app."""

    async def run():
        async with (
            streamablehttp_client(f"{server.url}/gradio_api/mcp/{query}") as (read, write, _),
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


def test_who_does_not_connect_sees_the_tools_as_well(server, tools):
    listed = httpx.get(f"{server.url}/gradio_api/mcp/schema").json()
    assert {tool["name"]: tool["inputSchema"] for tool in listed} == {n: t.inputSchema for n, t in tools.items()}
    assert {tool["name"] for tool in listed if tool["meta"]["file_data_present"]} == {
        "generate", "compare", "inspect_adapter", "read_picture", "train_style",
    }  # fmt: skip


def test_whoever_wants_some_tools_only_is_told_of_those(server):
    listed = with_session(server, lambda session: session.list_tools(), "?tools=generate,queue")
    assert [tool.name for tool in listed.tools] == ["generate", "queue"]


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


def test_a_picture_its_details_and_where_it_is(server):
    """The picture is in the answer and at an address; it is the same as for every other caller."""
    values = {"prompt": "a cat", "steps": 2, "seed": 3, "adapters": [{"id": STYLES[0], "weight": 0.5}]}
    result = call(server, "generate", **values)
    assert not result.isError, result.content
    text, picture, link = result.content
    told = result.structuredContent
    assert json.loads(text.text) == told and told["details"]["seed"] == 3
    assert told["details"]["adapters"][0]["id"] == STYLES[0]
    again = Client(server.url, verbose=False).predict(**values, api_name="/generate")[0][0]["image"]
    assert base64.b64decode(picture.data) == Path(again).read_bytes() and picture.mimeType == "image/png"
    assert httpx.get(str(link.uri)).content == Path(again).read_bytes()
    assert str(link.uri) == told["images"][0]["image"]["url"] and "/tmp" not in text.text


def test_pictures_go_in_as_data_as_an_upload_and_as_one_that_was_painted(server):
    async def use(session):
        painted = await session.call_tool("generate", {"prompt": "a cat", "steps": 2, "seed": 3})
        data = painted.content[1].data
        sent = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("x.png", base64.b64decode(data))}).json()
        files = (
            f"data:image/png;base64,{data}",
            sent[0],
            {"path": sent[0], "meta": {"_type": "gradio.FileData"}},
            f"{server.url}/gradio_api/file={sent[0]}",
            str(painted.content[2].uri),
        )
        read = [await session.call_tool("read_picture", {"file": file}) for file in files]
        over = [await session.call_tool("generate", {"prompt": "a dog", "steps": 4, "seed": 1, "image": file})
                for file in files]  # fmt: skip
        return read, over

    read, over = with_session(server, use)
    assert [each.structuredContent["values"]["prompt"] for each in read] == ["a cat"] * 5
    assert len({each.content[1].data for each in over}) == 1


def test_progress_is_told_to_whoever_asks_for_it(server):
    news = []

    async def heard(progress, total, message):
        news.append((progress, total, message))

    async def use(session):
        return await session.call_tool("generate", {"prompt": "a cat", "steps": 5}, progress_callback=heard)

    assert not with_session(server, use).isError
    steps = [each for each in news if each[1] is not None]
    assert steps[-1][:2] == (1.0, 1.0) and steps[-1][2] == "Step 5 of 5"
    assert [each[0] for each in news] == sorted(each[0] for each in news)


def test_an_agent_trains_a_style_and_paints_with_it(server):
    def uri(colour: str) -> str:
        file = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

    news = []

    async def heard(progress, total, message):
        news.append((progress, total, message))

    async def use(session):
        values = {"files": [uri(c) for c in ("red", "navy", "gold")], "captions": ["an apple", "a cat", "the sun"],
                  "name": "Flat", "options": {"steps": 4, "batch_size": 1, "rank": 4, "sample_every": 4}}  # fmt: skip
        trained = await session.call_tool("train_style", values, progress_callback=heard)
        verdict = trained.structuredContent["details"]["verdict"]
        request = {"prompt": "a cat", "steps": 2, "seed": 1}
        painted = await session.call_tool("generate", request | {"adapters": [{"id": verdict["id"]}]})
        few = await session.call_tool("train_style", values | {"files": values["files"][:2], "captions": []})
        return trained, painted, await session.call_tool("generate", request), few

    trained, painted, plain, few = with_session(server, use)
    assert not trained.isError and trained.structuredContent["details"]["step"] == 4
    (link,) = [part for part in trained.content if part.type == "resource_link"]
    assert link.name == "Flat.safetensors" and len(httpx.get(str(link.uri)).content) == link.size
    assert painted.content[1].data != plain.content[1].data
    assert (4, 4, "Step 4 of 4") in [(round(done), total, words) for done, total, words in news]
    assert few.isError and "2 files, but must be 3 to 50 pictures" in few.content[0].text


def test_every_tool_answers_in_json(server, tools):
    values = {
        "tokenize": {"prompt": "a (red:1.2) apple"}, "generate": {"prompt": "a cat", "steps": 1},
        "search_adapters": {"words": "ink"}, "history": {"owner": "x" * 32},
        "my_styles": {"owner": "x" * 32},
        "compare": {"prompt": "a cat", "x_axis": "steps", "x_values": [1, 2]},
        "export_adapters": {"adapters": [{"id": STYLES[0]}]}, "inspect_adapter": {"repo_id": "someone/nothing"},
    }  # fmt: skip

    async def use(session):
        return {name: await session.call_tool(name, values.get(name, {})) for name in tools}

    answers = with_session(server, use)
    failed = {name for name, answer in answers.items() if answer.isError}
    assert failed == {"inspect_adapter", "forget_picture", "favourite_picture", "read_picture", "keep_style",
                      "rename_style", "style_preview", "forget_style", "train_style"}  # fmt: skip
    for name in tools.keys() - failed:
        assert json.loads(answers[name].content[0].text) == answers[name].structuredContent, name
    sheet, link = answers["compare"].content[1:]
    assert sheet.type == "image" and httpx.get(str(link.uri)).status_code == 200
    link = answers["export_adapters"].content[1]
    assert link.name == "atelier-mix.safetensors" and len(httpx.get(str(link.uri)).content) == link.size


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompt": "a cat", "steps": 1001}, "steps is 1001, but must be a whole number from 1 to 150"),
        ({"prompt": 3}, "prompt is 3, but must be text"),
        ({}, "prompt is missing, but must be given"),
        ({"prompt": "a cat", "stepps": 3}, "stepps is not a value of this tool, but must be one of prompt,"),
        ({"prompt": "a cat", "image": "data:image/png,abc"}, "image is a data: URI without base64"),
        ({"prompt": "a cat", "image": "http://127.0.0.1:1/x.png"}, "image is not a file of yours"),
    ],
)
def test_a_bad_value_is_answered_in_words(server, values, says):
    result = call(server, "generate", **values)
    assert result.isError and result.content[0].text.startswith(says)
    assert "/tmp" not in result.content[0].text


def test_an_agent_that_gives_up_frees_the_engine(server):
    async def use(session):
        with pytest.raises(McpError):
            await session.call_tool("generate", {"prompt": "a cat", **LONG}, read_timeout_seconds=timedelta(seconds=1))

    with_session(server, use)
    server.wait_until(running=0, waiting=0)

"""Two agents share nothing, and none reaches a file of the server (matrix M1, M2, M3)."""

import asyncio
import base64
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from pipeline.profiles import load, load_profile
from tests.adapters import save_adapter
from tests.hostile.watch import watched
from tests.serving import LONG, ROOT, STYLES

PASSWD = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@asynccontextmanager
async def agent(server):
    """A connection, initialized."""
    async with (
        streamablehttp_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def said(result) -> str:
    """All that an answer says, in every form."""
    return result.model_dump_json()


@pytest.fixture(scope="module")
def adapter(server, tmp_path_factory):
    """An adapter file that fits, as a data: URI."""
    folder = tmp_path_factory.mktemp("mine")
    components = load(load_profile(base_model=str(server.model)))
    data = save_adapter(components, folder / "secret-style.safetensors", 5).read_bytes()
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def test_m1_what_one_agent_brings_another_neither_sees_nor_uses(server, adapter):
    async def run():
        async with agent(server) as one, agent(server) as other:
            verdict = (await one.call_tool("inspect_adapter", {"file": adapter})).structuredContent
            mine = [{"id": verdict["id"], "weight": 1}]
            values = {"prompt": "a cat", "steps": 2, "seed": 3}
            base = await other.call_tool("generate", values)
            styled = await one.call_tool("generate", values | {"adapters": mine})
            assert not styled.isError and styled.content[1].data != base.content[1].data
            told = [
                await other.call_tool("generate", values | {"adapters": mine}),
                await other.call_tool("export_adapters", {"adapters": mine}),
                await other.call_tool("tokenize", {"prompt": "a cat", "adapters": [verdict["id"]]}),
                await other.call_tool("generate", {"prompt": f"a cat <lora:{verdict['id']}:1>"}),
                await other.call_tool("adapters", {}),
                # The picture names its adapter; who reads it elsewhere is not told more than the picture says.
                await other.call_tool("read_picture", {"file": f"data:image/png;base64,{styled.content[1].data}"}),
            ]
            assert [each.isError for each in told] == [True, True, True, True, False, False]
            guessed = await other.call_tool("generate", values | {"adapters": [{"id": "nothing"}]})
            assert "known adapters" in said(guessed)
            for each in [*told[4:5], guessed]:
                assert verdict["id"] not in said(each) and verdict["name"] not in said(each)
            assert told[5].structuredContent["values"]["adapters"] == []
            again = await other.call_tool("generate", values)
            assert again.content[1].data == base.content[1].data
            # Nor the addresses of the other's files.
            stolen = await other.call_tool("read_picture", {"file": str(styled.content[2].uri)})
            assert stolen.isError and "not a file of yours" in said(stolen)
        return verdict["id"]

    identity = asyncio.run(run())

    async def later():
        async with agent(server) as third:
            return await third.call_tool("generate", {"prompt": "a cat", "adapters": [{"id": identity}]})

    assert asyncio.run(later()).isError


def test_m1_what_an_agent_brought_goes_with_it(server, adapter):
    def brought() -> int:
        return httpx.get(f"{server.url}/status.json").json()["adapters"]["own"]

    async def run():
        async with agent(server) as one:
            await one.call_tool("inspect_adapter", {"file": adapter})
            assert brought() == 1

    asyncio.run(run())
    deadline = time.monotonic() + 10
    while brought() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert brought() == 0


def test_m1_agents_have_turns_and_places_of_their_own(server):
    """Three with four jobs each: nobody is refused, and one with many does not keep another waiting behind all."""

    async def run():
        async with agent(server) as one, agent(server) as two, agent(server) as three:
            done = []

            async def paint(name, session, i):
                result = await session.call_tool("generate", {"prompt": "a cat", "steps": 3, "seed": i})
                done.append(name)
                return result

            jobs = [paint(name, session, i) for name, session in zip("abc", (one, two, three)) for i in range(4)]
            return await asyncio.gather(*jobs), done

    results, done = asyncio.run(run())
    assert not [said(each) for each in results if each.isError]
    assert set(done[:4]) == {"a", "b", "c"}


FILES = [
    {"adapters": [PASSWD]}, {"adapters": [{"id": PASSWD}]}, {"adapters": PASSWD}, {"image": PASSWD},
    {"image": "/etc/passwd"}, {"image": "file:///etc/passwd"}, {"image": "/gradio_api/file=/etc/passwd"},
    {"image": "/file/../../etc/passwd"}, {"negative_prompt": PASSWD}, {"owner": PASSWD}, {"image": "/no/such/file"},
    {"image": PASSWD | {"url": "http://127.0.0.1:1/x"}}, {"image": {"path": "/dev/ptmx", "meta": {}}},
]  # fmt: skip


def copies(server) -> list[str]:
    """The files of gradio's folder."""
    return [str(path) for path in server.scratch.glob("atelier-files-*/*/*") if path.is_file()]


@pytest.mark.parametrize("values", FILES, ids=range(len(FILES)))
def test_m2_no_value_of_an_agents_call_is_a_file_of_the_server(server, values):
    before = copies(server)

    async def run():
        async with agent(server) as one:
            return await one.call_tool("generate", {"prompt": "a cat", "steps": 1} | values)

    result = asyncio.run(run())
    assert result.isError and copies(server) == before
    told = said(result).replace("data:image", "")
    assert "/tmp" not in told and "Errno" not in told and "root:" not in told and "such file" not in told
    if "adapters" not in values:
        assert "passwd" not in told.replace("'/etc/passwd'", "")


@pytest.mark.parametrize(
    "values", [["a cat", "", [PASSWD]], ["a cat", "", [{"id": PASSWD}]], [PASSWD], ["a cat", "", PASSWD]]
)
def test_m2_nor_of_anybody_elses(server, values):
    before = copies(server)
    told = server.call("generate", values)
    assert told[-1][0] == "error" and copies(server) == before
    assert "/tmp" not in str(told) and "Errno" not in str(told)


def test_m2_axes_of_a_comparison_are_no_files(server):
    before = copies(server)

    async def run():
        async with agent(server) as one:
            values = {"prompt": "a cat", "x_axis": "adapter", "x_values": [PASSWD]}
            return await one.call_tool("compare", values)

    result = asyncio.run(run())
    assert result.isError and "/tmp" not in said(result) and copies(server) == before


def test_m3_devices_and_pipes_hang_nobody(server):
    async def one_call(path):
        async with agent(server) as one:
            return await one.call_tool("read_picture", {"file": path})

    paths = ["/dev/ptmx", "/dev/tty", "/dev/zero", "/proc/kmsg"]

    def many(i):
        return asyncio.run(one_call(paths[i % 4] if i % 2 else {"path": paths[i % 4], "meta": PASSWD["meta"]}))

    with watched(server), ThreadPoolExecutor(20) as pool:
        results = list(pool.map(many, range(60)))
    assert all(each.isError and "not a file of yours" in said(each) for each in results)


def test_bad_messages_and_made_up_connections(server):
    mcp = f"{server.url}/gradio_api/mcp"
    kind = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"generate","arguments":{}}}'
    for body in ("", "[]", "{", "nul", '{"jsonrpc":"2.0"}', call):
        assert 400 <= httpx.post(mcp, content=body, headers=kind).status_code < 500, body
    assert str(ROOT) not in httpx.post(mcp, content="[" * 10**5, headers=kind).text
    for name in ("x", "0" * 32, "../x", ""):
        assert httpx.post(mcp, content="{}", headers=kind | {"mcp-session-id": name}).status_code in (400, 404)
        assert httpx.delete(mcp, headers={"mcp-session-id": name}).status_code in (400, 404)
    begin = ('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},'
             '"clientInfo":{"name":"x","version":"1"}}}')  # fmt: skip
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.5")) as flood, watched(server):
        opened = [flood.post(mcp, content=begin, headers=kind) for _ in range(130)]
    assert [answer.status_code for answer in opened].count(200) == 100 and opened[-1].status_code == 429
    # Others are not refused for it.
    assert httpx.post(mcp, content=begin, headers=kind).status_code == 200
    for answer in opened[:100]:
        httpx.delete(mcp, headers={"mcp-session-id": answer.headers["mcp-session-id"]})


def test_an_agent_waits_its_turn_behind_a_visitor_and_is_told_in_words(server):
    async def run():
        news = []

        async def heard(progress, total, message):
            news.append(message)

        async with agent(server) as one, agent(server) as two:
            long = asyncio.create_task(one.call_tool("generate", {"prompt": "a cat", **LONG}))
            while not httpx.get(f"{server.url}/status.json").json()["queue"]["running"]:
                await asyncio.sleep(0.05)
            short = asyncio.create_task(
                two.call_tool("generate", {"prompt": f"a {STYLES[0]}", "steps": 1}, progress_callback=heard)
            )
            while not news:
                await asyncio.sleep(0.05)
            long.cancel()
        return news, short

    news, _ = asyncio.run(run())
    assert news[0] == "Waiting, place 1"
    server.wait_until(running=0, waiting=0)

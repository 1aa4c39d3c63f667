"""Only what is used is open, for bodies of a bounded length, under names that are known (matrix B2, B6, B7)."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

import gradio as gr
import httpx
import pytest
from gradio.routes import App

from tests.hostile.conftest import attacked
from tests.hostile.watch import MB, PATIENCE, resident, watched
from tests.serving import ROOT
from ui.web.openings import openings

API = "/gradio_api"
# What gradio has and this app does not use. What is in neither list came with another version of gradio: look at it.
CLOSED = {
    "/gradio_api/api/{api_name}", "/gradio_api/component_server", "/gradio_api/deep_link", "/gradio_api/dev/reload",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}", "/gradio_api/file/{path:path}",
    "/gradio_api/login_check", "/gradio_api/process_recording", "/gradio_api/proxy={url_path:path}",
    "/gradio_api/queue/status", "/gradio_api/reset", "/gradio_api/run-history/buckets",
    "/gradio_api/run-history/connect", "/gradio_api/run-history/records",
    "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}", "/gradio_api/runs",
    "/gradio_api/stream/{event_id}", "/gradio_api/stream/{event_id}/close",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
    "/gradio_api/token", "/gradio_api/user", "/gradio_api/undo-vibe-edit", "/gradio_api/vibe-code",
    "/gradio_api/vibe-edit", "/gradio_api/vibe-starter-queries",
    "/login", "/logout", "/monitoring", "/monitoring/summary", "/monitoring/{key}", "/openapi.json", "/pwa_icon",
    "/pwa_icon/{size}",
}  # fmt: skip


def gradio_routes() -> set[tuple[str, str]]:
    """(method, path) of each route that gradio brings, whatever we do about it."""

    def walk(routes):
        for route in routes:
            if hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)
            else:
                path = route.path.replace("path_or_url:", "path:").rstrip("/") or "/"
                yield from ((method, path) for method in route.methods)

    with gr.Blocks() as blocks:
        gr.HTML("x")
    return set(walk(App.create_app(blocks.queue(), mcp_server=False).routes))


def test_every_route_of_gradio_is_one_that_we_use_or_one_that_we_close():
    opened = {(each.method, each.path.rstrip("/") or "/") for each in openings(1)}
    # A HEAD is answered where a GET is.
    theirs = {("GET" if method == "HEAD" else method, path) for method, path in gradio_routes()}
    assert {path for _, path in theirs - opened} == CLOSED


@pytest.mark.parametrize("path", sorted(CLOSED))
def test_what_is_not_used_is_not_there(server, path):
    path = path.replace("{size}", "64").replace(":path", "").replace("{", "").replace("}", "")
    for method in ("GET", "POST"):
        answer = httpx.request(method, server.url + path, timeout=5)
        assert answer.status_code == 404 and answer.json()["error"] == "There is nothing here.", (method, path)


def test_other_methods_and_websockets_are_not_there_either(server):
    for method, path in (("PUT", "/"), ("DELETE", f"{API}/queue/join"), ("TRACE", "/"), ("POST", "/config")):
        assert httpx.request(method, server.url + path).status_code == 405
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
               "sec-websocket-key": "x3JJHMbDL1EzLkh9GBhXDw=="}  # fmt: skip
    assert httpx.get(f"{server.url}/queue/join", headers=upgrade).status_code in (403, 404, 426)


POSTS = [each.path.replace("{api_name}", "generate") for each in openings(MB) if each.method == "POST"]


def push(server, path: str, size: int, chunked: bool, kind: str = "application/json") -> int:
    """Send a body of that size until there is an answer; its status, or 0 where the line was cut."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        line.sendall(
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {kind}\r\n{length}\r\n\r\n".encode()
        )
        block = b"[" * MB
        piece = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
        try:
            for _ in range(size // MB):
                line.settimeout(0.02)
                try:
                    if answer := line.recv(4096):
                        return int(answer.split()[1])
                    return 0
                except TimeoutError:
                    line.settimeout(30)
                line.sendall(piece)
            line.settimeout(30)
            return int(line.recv(4096).split()[1])
        except (ConnectionError, IndexError):
            return 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_without_end_is_refused_as_it_comes(server, chunked):
    with watched(server, grown=80 * MB), ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda path: push(server, path, 250 * MB, chunked), POSTS))
    # What is no form is not taken for an upload, however long.
    assert set(codes) <= {0, 400, 411, 413, 503} and codes.count(0) < len(codes) / 2, dict(zip(POSTS, codes))


def test_bodies_that_never_come_hold_no_more_than_their_share(server):
    """Many slow ones at once: others are answered meanwhile."""
    parts, lines = urlsplit(server.url), []
    with watched(server, grown=80 * MB):
        for _ in range(60):
            line = socket.create_connection((parts.hostname, parts.port))
            line.sendall(
                f"POST {API}/queue/join HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {2 * MB}\r\n\r\n{{".encode()
            )
            lines.append(line)
        time.sleep(0.5)
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
            assert other.post(f"{server.url}{API}/call/queue", json={"data": []}).status_code == 200
    for line in lines:
        line.close()


BODIES = ["[" * 10**6, "{" + '"a":{' * 10**5, '{"data":[' + "1," * 10**6 + "1]}", '{"data":{"a":1}}', "nul", "\xff",
          '{"data":["' + "a" * 1_900_000 + '"]}', "1" * 10**6]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_json_that_means_harm_is_an_error_and_no_more(server, body):
    with watched(server):
        answer = httpx.post(f"{server.url}{API}/call/generate", content=body.encode("latin-1"), timeout=30,
                            headers={"content-type": "application/json"})  # fmt: skip
    assert answer.status_code in (200, 400, 422), answer.text[:200]
    assert str(ROOT) not in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "", "localhost.evil.example", "x@y"]
)
def test_b7_a_name_that_is_pointed_here_is_not_answered(server, host):
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", f"{API}/call/queue"), ("POST", f"{API}/mcp/")):
        answer = httpx.request(method, server.url + path, headers={"host": host})
        assert answer.status_code in (400, 421) and "app_id" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1", "[::1]:7860", "192.168.1.4:7860"])
def test_b7_addresses_and_this_machine_are_answered(server, host):
    assert httpx.get(server.url, headers={"host": host}).status_code == 200


def limited(address: str, **headers: str) -> list[int]:
    """The answers to 40 calls from an address of this machine, where 20 a minute are taken."""
    app = attacked(REQUESTS_PER_MINUTE=20, TRUSTED_PROXIES="127.0.0.9", ALLOWED_HOSTS="paint.example")
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), headers=headers) as client:
        return [client.post(f"{app.url}{API}/call/queue", json={"data": []}).status_code for _ in range(40)]


@pytest.mark.slow
def test_b7_this_machine_has_a_limit_and_no_program_on_it_is_believed_to_be_a_proxy():
    # Where one minute ends and another begins a few more may pass.
    assert 20 <= limited("127.0.0.3").count(200) < 25
    assert limited("127.0.0.3", **{"x-forwarded-for": "8.8.8.8"}).count(200) < 5
    # Behind a proxy that is trusted each visitor has a limit of its own, whatever they say that they forward.
    assert 20 <= limited("127.0.0.9", **{"x-forwarded-for": "1.1.1.1, 8.8.8.8"}).count(200) < 25
    assert 20 <= limited("127.0.0.9", **{"x-forwarded-for": "2.2.2.2, 8.8.4.4"}).count(200) < 25
    assert limited("127.0.0.9", **{"x-forwarded-for": "3.3.3.3, 8.8.8.8"}).count(200) < 5


@pytest.mark.slow
def test_b7_a_name_that_was_allowed_is_answered():
    app = attacked(REQUESTS_PER_MINUTE=20, TRUSTED_PROXIES="127.0.0.9", ALLOWED_HOSTS="paint.example")
    assert httpx.get(app.url, headers={"host": "paint.example"}).status_code == 200
    assert httpx.get(app.url, headers={"host": "other.example"}).status_code == 421


def test_a_hundred_visitors_at_once_see_the_page(server):
    with ThreadPoolExecutor(100) as pool:

        def visit(_):
            parts, began = urlsplit(server.url), time.monotonic()
            # Not httpx, which takes longer to set up than the app to answer.
            line = HTTPConnection(parts.hostname, parts.port, timeout=30)
            line.request("GET", "/")
            answer = line.getresponse()
            assert answer.status == 200 and b"LoRA Atelier" in answer.read()
            return time.monotonic() - began

        assert max(pool.map(visit, range(100))) < PATIENCE


def test_the_page_is_the_one_for_the_name_that_was_asked_for(server):
    """What is kept for one visitor is not told to another: where the page is, is in it."""
    by_name = httpx.get(f"{server.url}/config", headers={"host": "localhost:1234"}).json()["root"]
    forwarded = httpx.get(f"{server.url}/config", headers={"x-forwarded-host": "evil.example"}).json()["root"]
    plain = httpx.get(f"{server.url}/config").json()["root"]
    assert (by_name, forwarded, plain) == ("http://localhost:1234", "http://evil.example", server.url)


def test_an_upload_without_a_name_or_without_a_file(server):
    def send(body: str) -> httpx.Response:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        return httpx.post(f"{server.url}{API}/upload", content=f"--x\r\n{body}\r\n--x--\r\n", headers=kind)

    assert send('Content-Disposition: form-data; name="files"; filename=""\r\n\r\nabc').status_code == 200
    for body in ('Content-Disposition: form-data; name="files"\r\n\r\nabc', "\r\nabc",
                 'Content-Disposition: form-data; name="x"; filename="y"\r\n\r\nabc', "nonsense"):  # fmt: skip
        answer = send(body)
        assert answer.status_code == 400 and answer.text and "Traceback" not in answer.text, body
    assert httpx.post(f"{server.url}{API}/upload", content=b"abc").status_code == 400
    many = [("files", (f"{i}.png", b"x")) for i in range(100)]
    assert httpx.post(f"{server.url}{API}/upload", files=many).status_code == 400


def test_w1_the_file_route_gives_what_was_sent_and_fetches_nothing(server):
    path = httpx.post(f"{server.url}{API}/upload", files={"files": ("a b.png", b"abc")}).json()[0]
    folder, name = path.rsplit("/", 2)[1:]
    for way in (f"{API}/file={path}", f"/file/{folder}/{name}"):
        assert httpx.get(server.url + way).content == b"abc"
    elsewhere = ("https://pypi.org/", "http://127.0.0.1:1/x", "/etc/passwd", f"{path}/..", f"{path}/../../../styles",
                 path.rsplit("/", 1)[0], "/dev/ptmx", "/proc/self/environ", f"{path}%00", "file:///x")  # fmt: skip
    for bad in elsewhere:
        answer = httpx.get(f"{server.url}{API}/file={bad}", timeout=5)
        assert answer.status_code in (403, 404) and answer.text != "abc", bad
    for bad in ("..%2f..%2fetc/passwd", f"{folder}%2f..%2f..%2flog/x", "../log"):
        assert httpx.get(f"{server.url}/file/{bad}").status_code in (403, 404)


def events(server, session: str, seconds: float = 60):
    """The messages of a session's stream, as gradio's page reads them."""
    with httpx.stream(
        "GET", f"{server.url}{API}/queue/data", params={"session_hash": session}, timeout=seconds
    ) as lines:
        for line in lines.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


@pytest.mark.slow
def test_b4_made_up_sessions_end_nobody_elses_stream(server):
    join = f"{server.url}{API}/queue/join"
    info = httpx.get(f"{server.url}/config").json()["dependencies"]
    index = {each["api_name"]: each["id"] for each in info}
    values = ["a cat", "", [], 64, 64, 150, 5.0]
    joined = httpx.post(join, json={"data": values, "fn_index": index["generate"], "session_hash": "the-victim"})
    assert joined.status_code == 200
    stream = events(server, "the-victim")
    next(stream)

    def flood(numbers):
        with httpx.Client() as client:
            for i in numbers:
                client.post(join, json={"data": [], "fn_index": index["queue"], "session_hash": f"made-up-{i}"})

    with watched(server, grown=200 * MB), ThreadPoolExecutor(4) as pool:
        list(pool.map(flood, (range(i, 2100, 4) for i in range(4))))
        last = [message for message in stream if message["msg"] == "process_completed"]
    assert last and last[0]["success"] and last[0]["output"]["data"][1]["status"] == "done"


@pytest.mark.slow
def test_b5_what_nobody_fetches_is_freed_within_a_minute(server):
    body = {"data": ["a" * 1_900_000]}
    with watched(server, grown=150 * MB):
        before = resident(server)
        for _ in range(100):
            assert httpx.post(f"{server.url}{API}/call/tokenize", json=body, timeout=30).status_code == 200
        time.sleep(80)
        assert resident(server) - before < 60 * MB

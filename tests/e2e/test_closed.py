"""Closed by default: headers, monitoring, files, and settings that are wrong (W1, W2)."""

import re
import subprocess
import sys

import httpx
import pytest

from tests import serving
from tests.serving import ROOT, environment


@pytest.mark.parametrize("path", ["/", "/config", "/style/ink", "/style/nosuch", "/gradio_api/info"])
def test_every_answer_carries_the_security_headers(server, path):
    headers = httpx.get(server.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_w2_monitoring_is_closed(server):
    for path in ("/monitoring", "/monitoring/summary", "/monitoring/guess"):
        assert httpx.get(server.url + path).status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "../../../etc/passwd", ".git/config", "http://127.0.0.1:1/"])
def test_w1_no_file_but_the_pictures_is_served(server, path):
    assert httpx.get(f"{server.url}/gradio_api/file={path}").status_code in (403, 404)


def test_w1_no_other_way_in_reads_files_or_asks_other_hosts(server):
    ways = ("file=", "file/", "proxy=", "stream/x/", "..%2f", "static/", "../")
    for path in (
        "%2fetc%2fpasswd",
        "..%2f..%2fapp.py",
        ".env",
        "http://169.254.169.254/latest",
        "http:%2f%2f127.0.0.1:1",
    ):
        for way in ways:
            for prefix in ("/gradio_api/", "/"):
                answer = httpx.get(f"{server.url}{prefix}{way}{path}")
                assert answer.status_code in (400, 403, 404, 405, 422) and "root:" not in answer.text, (way, path)


@pytest.mark.parametrize(
    ("name", "kind"), [("x.html", "text/html"), ("x.svg", "image/svg+xml"), ("x.js", "text/javascript")]
)
def test_w3_what_a_browser_would_run_is_only_handed_out_to_be_saved(server, name, kind):
    bad = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    sent = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, bad, kind)})
    got = httpx.get(f"{server.url}/gradio_api/file={sent.json()[0]}")
    assert got.status_code == 200 and got.headers["content-disposition"].startswith("attachment")
    assert got.headers["content-type"].startswith("application/octet-stream") and got.content == bad
    assert got.headers["x-content-type-options"] == "nosniff"


EVIL = {"origin": "https://evil.example"}


def test_w2_a_page_of_another_site_can_do_nothing_and_read_nothing(server):
    call, body = f"{server.url}/gradio_api/call/generate", {"data": ["a red apple"]}
    preflight = EVIL | {"access-control-request-method": "POST"}
    for answer in (httpx.post(call, json=body, headers=EVIL), httpx.options(call, headers=preflight)):
        assert answer.status_code == 403 and "other sites" in answer.json()["error"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    for path in ("/config", "/", "/gradio_api/info", "/status.json"):
        answer = httpx.get(server.url + path, headers=EVIL)
        assert answer.status_code == 200 and not [n for n in answer.headers if n.startswith("access-control")]
    assert server.queue() == {"waiting": 0, "running": 0, "expected_seconds": 0}
    assert httpx.post(call, json=body, headers={"origin": server.url}).status_code == 200
    server.wait_until(running=0, waiting=0)


def test_the_status_page_counts_and_names_nobody(server):
    told = httpx.get(f"{server.url}/status.json").json()
    assert told == httpx.get(f"{server.url}/status?format=json").json() | {"uptime_seconds": told["uptime_seconds"]}
    assert told["queue"] == {"waiting": 0, "running": 0, "expected_seconds": 0, "places": 64}
    assert told["adapters"]["shared"] == 3 and told["version"]
    # Of a cluster it is told what moves; what each engine holds is its own affair.
    assert told["replicas"] == 1 if serving.on_ray else told["memory"]["adapters_limit_bytes"] > 0
    page = httpx.get(f"{server.url}/status")
    assert page.headers["content-type"].startswith("text/html") and "uptime seconds" in page.text
    assert "ink" not in page.text and "script" not in page.text


def test_w1_a_style_is_no_way_to_a_file(server):
    for name in ("..%2f..%2fapp.py", "%2e%2e/app.py", "ink.safetensors"):
        assert httpx.get(f"{server.url}/style/{name}").status_code == 404


def test_a_bad_setting_ends_in_a_sentence_before_anything_is_loaded():
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "app.py"], cwd=ROOT, env=environment(PORT=0), capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1] == "PORT is '0', but it must be greater than or equal to 1."
    assert "Traceback" not in run.stderr
    assert not re.search(r"\|\s+(torch|gradio|diffusers)\n", run.stderr)

"""Closed by default: headers, monitoring, files, and settings that are wrong (W1, W2)."""

import subprocess
import sys

import httpx
import pytest

from tests.serving import ROOT, environment


@pytest.mark.parametrize("path", ["/", "/config", "/style/ink", "/style/nosuch", "/gradio_api/info"])
def test_every_answer_carries_the_security_headers(server, path):
    headers = httpx.get(server.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_w2_monitoring_is_closed(server):
    for path in ("/monitoring", "/monitoring/summary", "/monitoring/guess"):
        assert httpx.get(server.url + path).status_code == 403


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "../../../etc/passwd", ".git/config", "http://127.0.0.1:1/"])
def test_w1_no_file_but_the_pictures_is_served(server, path):
    assert httpx.get(f"{server.url}/gradio_api/file={path}").status_code in (403, 404)


def test_w1_a_style_is_no_way_to_a_file(server):
    for name in ("..%2f..%2fapp.py", "%2e%2e/app.py", "ink.safetensors"):
        assert httpx.get(f"{server.url}/style/{name}").status_code == 404


def test_a_bad_setting_ends_in_a_sentence():
    run = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment(PORT=0), capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2
    assert run.stderr.strip().splitlines()[-1] == "PORT is '0', but it must be greater than or equal to 1."
    assert "Traceback" not in run.stderr

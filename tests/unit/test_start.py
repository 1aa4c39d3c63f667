"""What is wrong with a start is said before anything is loaded: the port, the address, the base model."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest

from lora.errors import InvalidSettings, ModelError
from pipeline.request.checks import base_model
from serving.listening import check_address
from tests.serving import ROOT, environment


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return other.getsockname()[1]


def refused(host: str, port: int) -> str:
    with pytest.raises(InvalidSettings) as told:
        check_address(host, port)
    assert "\n" not in str(told.value) and str(told.value).endswith(".")
    return str(told.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_an_address_of_this_machine_is_fine_and_left_free(free, host):
    for _ in range(2):
        check_address(host, free)


def test_a_port_that_another_has_is_blamed(taken):
    said = refused("127.0.0.1", taken)
    assert said == f"PORT is {taken}, but something listens there already; end it or choose another port."
    assert "listens there already" in refused("0.0.0.0", taken)


@pytest.mark.parametrize("host", ["300.1.1.1", "1.2.3", "203.0.113.7", "[zz]", "a..b", "\udc80"])
def test_an_address_that_is_not_this_machines_is_blamed(free, host):
    assert refused(host, free).startswith("HOST is '") and "of this machine" in refused(host, free)


def test_a_name_of_another_machine_is_blamed(free, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.113.7", free))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert refused("elsewhere.example", free).startswith("HOST is 'elsewhere.example', but must be an address")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such ports there")
def test_a_port_that_is_forbidden_is_blamed(monkeypatch):
    def bind(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serving.listening._bind", bind)
    assert refused("127.0.0.1", 80) == "PORT is 80, but nothing may listen there (Permission denied)."


def test_what_may_be_a_base_model(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    for profile, base in (("", ""), ("sdxl", ""), ("custom", str(tmp_path)), ("", "owner/name-1.0")):
        base_model(profile, base)


@pytest.mark.parametrize(
    ("profile", "base", "says"),
    [
        ("sd3", "", "PROFILE is 'sd3'"),
        ("custom", "", "BASE_MODEL is empty"),
        ("sdxl", "owner/name", "BASE_MODEL is set, but PROFILE is 'sdxl'"),
        ("", "/no/such/model", "BASE_MODEL is 'model'"),
        ("", "./model", "BASE_MODEL is 'model'"),
        ("", "model", "BASE_MODEL is 'model'"),
        ("", "a/b/c", "BASE_MODEL is 'c'"),
        ("custom", str(ROOT / "ui"), "model_index.json"),
        ("custom", str(ROOT / "app.py"), "model_index.json"),
    ],
)
def test_what_is_none(profile, base, says):
    with pytest.raises(ModelError, match=re.escape(says)) as told:
        base_model(profile, base)
    assert "\n" not in str(told.value) and str(told.value).endswith(".")


def ended(command: list[str], **values: object) -> str:
    """The last line that a start says that ends with code 2, before it has imported torch, gradio or diffusers."""
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, env=environment(**values), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2 and run.stdout == "" and "Traceback" not in run.stderr
    assert not re.search(r"\|\s+(torch|gradio|diffusers)\n", run.stderr)
    # A second where nothing else runs.
    assert time.monotonic() - start < 10
    return run.stderr.strip().splitlines()[-1]


def test_the_app_says_so_before_anything_is_loaded(taken, free):
    assert "listens there already" in ended(["app.py"], PORT=taken)
    assert ended(["app.py"], PORT=free, HOST="300.1.1.1").startswith("HOST is '300.1.1.1', but")
    assert ended(["app.py"], PORT=free, BASE_MODEL="/no/such").startswith("BASE_MODEL is 'such', but")


def test_the_command_line_says_so_too():
    assert "BASE_MODEL is 'such'" in ended(["-m", "pipeline", "x", "--base-model", "/no/such"])

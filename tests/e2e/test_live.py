"""/generate with `live_key`: a newer call ends the older one, behind all others, and nothing is kept."""

from pathlib import Path
from secrets import token_urlsafe

import pytest
from gradio_client import Client

from tests.serving import LONG

QUICK = {"steps": 2, "seed": 3, "width": 64, "height": 64}


def test_a_newer_call_ends_the_older_one_and_gives_what_any_other_gives(server, client):
    key, owner = token_urlsafe(16), token_urlsafe(32)
    older = client.submit(prompt="a cat", live_key=key, owner=owner, api_name="/generate", **LONG)
    server.wait_until(running=1)
    # From another session: it is the key that says whose it is.
    newer = Client(server.url, verbose=False)
    pictures, details = newer.predict(prompt="a dog", live_key=key, owner=owner, api_name="/generate", **QUICK)
    assert older.result(timeout=20) == ([], {"status": "superseded"})
    assert details["status"] == "done" and "kept" not in details
    plain, _ = client.predict(prompt="a dog", api_name="/generate", **QUICK)
    assert Path(pictures[0]["image"]).read_bytes() == Path(plain[0]["image"]).read_bytes()
    assert client.predict(owner=owner, api_name="/history") == []


def test_it_rests_for_others_and_goes_on(server, client):
    live = client.submit(prompt="a cat", live_key=token_urlsafe(16), api_name="/generate", **LONG)
    server.wait_until(running=1)
    Client(server.url, verbose=False).predict(prompt="a dog", api_name="/generate", **QUICK)
    assert any(details["status"] == "resting" for _, details in live.outputs())
    assert not live.done() and server.queue()["waiting"] == 0
    live.cancel()
    server.wait_until(running=0)


@pytest.mark.parametrize("key", ["short", "a b" * 8, "k" * 129, "<b>" * 8])
def test_a_wrong_key_is_refused_by_name(client, key):
    with pytest.raises(Exception, match=r"live_key is .* must be 16 to 128 letters"):
        client.predict(prompt="a cat", live_key=key, api_name="/generate")

"""What a page is told of a visitor's own styles, and what a reload finds again of those that were on."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora.adapter import Adapter
from lora.errors import InvalidOwner, InvalidRequest, StyleNotKept
from serving.history import History
from serving.request_log import RequestLog
from serving.styles import StyleLimits, Styles
from tests.unit.test_styles_kept import style
from ui.atelier import Atelier
from ui.pages.paint.styles import add_styles, keeping, usable

OWNER = "a" * 43


def adapter(identity: str, content: str, source: str) -> Adapter:
    return Adapter(identity, identity, Path("x"), content, 4, 1, 1, source)


class Library:
    """Two shared styles, of which one is of the Hub, and what a session brought and was lent."""

    def __init__(self, *own: Adapter):
        self.own = own

    def all(self, session: str | None = None) -> tuple[Adapter, ...]:
        shared = adapter("ink", "a", "built-in"), adapter("wet", "b", "someone/wet@0")
        return (*shared, *(self.own if session else ()))


def test_a_file_that_is_kept_is_there_once_and_what_everybody_has_stays():
    own = [adapter(*each) for each in (("brought-1", "c", "upload"), ("brought-2", "d", "upload"),
                                       ("kept-1", "c", "kept"), ("kept-2", "b", "kept"))]  # fmt: skip
    assert [each.id for each in usable(Library(*own), "mine")] == ["ink", "wet", "brought-2", "kept-1", "kept-2"]
    assert [each.id for each in usable(Library(*own), None)] == ["ink", "wet"]


@pytest.mark.parametrize("styles", [None, object()])
def test_a_page_asks_for_what_is_kept_only_where_something_is(styles):
    library = Library()
    library.file_bytes = 1
    service = SimpleNamespace(library=library, default_adapters=[], styles=styles)
    with Atelier(SimpleNamespace()) as blocks:
        shelf = add_styles(service, None)
    events = {event for listener in blocks.fns.values() for _, event in listener.targets}
    assert "refresh" in events and ("mine" in events) == bool(styles)
    assert f'"keeps": {"true" if styles else "false"}' in shelf.js_on_load


@pytest.fixture
def asked(tmp_path):
    """What is asked of a shelf on which there is room for one."""
    styles, history = Styles(tmp_path, StyleLimits(per_owner=1)), History(tmp_path)
    brought = {"one": style(tmp_path, 1), "two": style(tmp_path, 2)}

    async def lend(owner: str, session: str | None) -> None:
        pass

    library = SimpleNamespace(all=lambda session=None: (), find=lambda identity, session: brought[identity])
    log = RequestLog()
    service = SimpleNamespace(styles=styles, library=library, lend=lend, request_log=log)
    ask = keeping(service, styles, history)
    yield lambda **data: asyncio.run(ask({"owner": OWNER, **data}, "session")), log
    styles.close()
    history.close()


def test_each_change_answers_what_there_is_then_and_is_logged(asked):
    ask, log = asked
    assert ask(what="list") == {"kept": [], "notice": ""} and not log.outcomes
    (kept,) = ask(what="keep", id="one")["kept"]
    (renamed,) = ask(what="rename", id=kept["id"], name="Aquarelle")["kept"]
    assert renamed == kept | {"name": "Aquarelle"}
    with pytest.raises(StyleNotKept, match="you have kept 1 styles"):
        ask(what="keep", id="two")
    assert ask(what="pictures") == {"pictures": []}
    assert ask(what="forget", id=kept["id"]) == {"kept": [], "notice": ""}
    assert log.outcomes == {"done": 3, "failed": 1}


def test_without_a_secret_nothing_is_told_and_nothing_else_is_done(asked):
    ask, _ = asked
    for what in ("list", "keep", "rename", "preview", "forget", "pictures"):
        with pytest.raises(InvalidOwner):
            ask(what=what, owner="", id="one", name="x")
    for what in (None, "", "all", ["keep"]):
        with pytest.raises(InvalidRequest, match="what is"):
            ask(what=what)

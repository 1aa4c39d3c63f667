"""Jobs of the page wired to its widgets: begun, found again after a reload, put in order, cancelled."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

import gradio as gr

from lora.errors import InvalidOwner, UnknownJob
from serving.jobs import Jobs
from ui.atelier import being_built
from ui.errors import sentence

# Of a job: its owner's secret, its id, the values of its inputs, the session.
Work = Callable[[str, str, Sequence[Any], str | None], AsyncGenerator[dict]]
# What is shown of a job that is not known any more, by its owner's secret and its id. Raises UnknownJob.
Recover = Callable[[str, str], Awaitable[dict]]
# While one runs, another one only joins the queue: what is shown stays.
SENT = """(shown, width, height) =>
    atelier.runs(shown) ? shown : {status: 'sent', width, height, ...(shown?.last ? {last: shown.last} : {})}"""
MOST_TITLE = 80
ENDED = ("done", "failed", "cancelled")


def wire_job(
    jobs: Jobs,
    name: str,
    shown: gr.HTML,
    inputs: Sequence[gr.components.Component],
    buttons: tuple[gr.Button, gr.Button],
    work: Work,
    title: Callable[[Sequence[Any]], str],
    where: tuple[gr.Tabs, str],
    recover: Recover | None = None,
    size: Sequence[gr.components.Component] = (),
) -> None:
    """Wire the buttons that begin and cancel a job of the kind `name`, and the widget that shows them.

    The browser says in place of the widget's value who it is and which job it means, see visitor.js. When a button is
    pressed the widget says so at once; it may need to know the `size`, width and height, of what is to come. `title`
    is what a job of these values is called; `where` is the tab that opens where a reload finds one running.
    """
    (start, cancel), (tabs, tab), page = buttons, where, being_built()
    here: dict[str, Any] = {"fn": None, "api_visibility": "private"}
    # Without gradio's own conversions: the raw values meet the same checks as those of the endpoint.
    options: dict[str, Any] = {"outputs": shown, "preprocess": False, "postprocess": False, "show_progress": "hidden",
               "concurrency_limit": None, "api_visibility": "private"}  # fmt: skip
    begin, resume = _watched(jobs, work, title, recover, gr.update(selected=tab))

    start.click(**here, inputs=[shown, *size], outputs=shown, js=SENT)
    start.click(
        begin, [shown, *inputs], js=f"(shown, ...values) => [atelier.begin('{name}', shown), ...values]",
        api_name=f"{name}_job", trigger_mode="multiple", **options,
    )  # fmt: skip
    there, told = options | {"outputs": [shown, tabs]}, options | {"outputs": None, "queue": False}
    page.load(resume, shown, js=f"() => atelier.keys('{name}')", api_name=f"resume_{name}", **there)
    front = f"(shown) => ({{...atelier.keys('{name}'), ...(shown?.job ? {{job: shown.job}} : {{}})}})"
    cancel.click(_told(jobs.cancel), shown, js=front, api_name=f"cancel_{name}", trigger_mode="multiple", **told)


def wire_strip(jobs: Jobs, name: str, shown: gr.HTML) -> None:
    """Wire the events `cancel` and `sooner` of a widget that lists the jobs that wait; they name one as `asked`."""
    for event, do in (("cancel", jobs.cancel), ("sooner", jobs.sooner)):
        getattr(shown, event)(
            _told(do), shown, js=f"(shown) => ({{...atelier.keys('{name}'), job: shown.asked}})", preprocess=False,
            queue=False, show_progress="hidden", api_name=f"{event}_one_{name}", api_visibility="private",
            trigger_mode="multiple",
        )  # fmt: skip


def _watched(
    jobs: Jobs, work: Work, title: Callable, recover: Recover | None, opened: dict
) -> tuple[Callable, Callable]:
    """What the server does when a job is begun, and looked for after a reload."""

    async def begin(request: gr.Request, keys: object, *values: object) -> AsyncGenerator[Any]:
        secret, desk, identity = named(keys)
        try:
            done = work(secret, identity, values, request.session_hash)
            watched = jobs.start(secret, desk, identity, request.session_hash, done, title(values)[:MOST_TITLE])
        except Exception as error:
            yield {"status": "failed", "message": sentence(error)}
            return
        # One stream tells a page of all its jobs.
        if watched and isinstance(keys, dict) and keys.get("watching"):
            yield gr.skip()
            return
        async with aclosing(_views(jobs, secret, desk)) as news:
            async for each in news:
                yield each

    async def resume(keys: object) -> AsyncGenerator[Any]:
        secret, desk, identity = named(keys)
        first = True
        try:
            async with aclosing(_views(jobs, secret, desk)) as news:
                async for each in news:
                    running = each["status"] not in ENDED
                    yield each, opened if first and running else gr.skip()
                    first = False
        except (UnknownJob, InvalidOwner):
            yield await _recovered(recover, secret, identity), gr.skip()

    return begin, resume


async def _views(jobs: Jobs, secret: object, desk: object) -> AsyncGenerator[dict]:
    """What the page shows; a page that hears nothing for some seconds knows that it has lost us."""
    async with aclosing(jobs.watch(secret, desk)) as news:
        async for each in news:
            yield each | {"beat": int(time.monotonic())}


def _told(do: Callable) -> Callable:
    # A coroutine, so that it runs on the event loop, where the jobs live.
    async def tell(keys: object) -> None:
        # It may have ended by itself, or not have begun; there is nobody to tell, for the page shows what there is.
        with suppress(UnknownJob, InvalidOwner):
            do(*named(keys))

    return tell


async def _recovered(recover: Recover | None, secret: str, identity: str) -> dict:
    with suppress(UnknownJob, InvalidOwner):
        if recover:
            return await recover(secret, identity)
    return gr.skip()


def named(keys: object) -> tuple[Any, Any, Any]:
    """Owner, desk and job of what a page says it is; None where it says nothing."""
    said: dict = keys if isinstance(keys, dict) else {}
    return said.get("owner"), said.get("desk"), said.get("job")

"""A job of the page wired to its widgets: begun, found again after a reload, cancelled."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

import gradio as gr

from lora.errors import InvalidOwner, UnknownJob
from serving.jobs import Jobs
from ui.atelier import being_built
from ui.errors import LOST, sentence

# Of a job: its owner's secret, its id, the values of its inputs, the session.
Work = Callable[[str, str, Sequence[object], str | None], AsyncGenerator[dict]]
# What is shown of a job that is not known any more, by its owner's secret and its id. Raises UnknownJob.
Recover = Callable[[str, str], Awaitable[dict]]
SENT = "(width, height) => ({status: 'sent', width, height})"


def wire_job(
    jobs: Jobs,
    name: str,
    shown: gr.HTML,
    inputs: Sequence[gr.components.Component],
    buttons: tuple[gr.Button, gr.Button],
    work: Work,
    recover: Recover | None = None,
    size: Sequence[gr.components.Component] = (),
) -> None:
    """Wire the buttons that begin and cancel a job of the kind `name`, and the widget that shows it.

    The browser says in place of the widget's value who it is and which job it means, see visitor.js. When a button is
    pressed the widget says so at once; it may need to know the `size`, width and height, of what is to come.
    """
    (start, cancel), page = buttons, being_built()
    here: dict[str, Any] = {"fn": None, "api_visibility": "private"}
    # Without gradio's own conversions: the raw values meet the same checks as those of the endpoint.
    options: dict[str, Any] = {"outputs": shown, "preprocess": False, "postprocess": False, "show_progress": "hidden",
               "concurrency_limit": None, "api_visibility": "private"}  # fmt: skip
    begin, resume, stop = _handlers(jobs, work, recover)

    start.click(**here, inputs=[*size], outputs=shown, js=SENT)
    watching: list[Any] = [
        start.click(
            begin, [shown, *inputs], js=f"(shown, ...values) => [atelier.begin('{name}'), ...values]",
            api_name=f"{name}_job", **options,
        ),
        page.load(resume, shown, js=f"() => atelier.keys('{name}')", api_name=f"resume_{name}", **options),
    ]  # fmt: skip
    for event in watching:
        event.then(
            **here, inputs=shown, outputs=shown, js=f"""(value) =>
                ["empty", "done", "failed", "cancelled"].includes(value?.status ?? "empty") ? value
                : {{...value, status: "failed", message: {json.dumps(LOST)}}}""",
        )  # fmt: skip
    cancel.click(**here, cancels=watching)
    cancel.click(**here, inputs=shown, outputs=shown, js="(value) => ({...value, status: 'cancelled'})")
    cancel.click(
        stop, shown, js=f"() => atelier.keys('{name}')", api_name=f"cancel_{name}",
        **options | {"outputs": None, "queue": False},
    )  # fmt: skip


def _handlers(jobs: Jobs, work: Work, recover: Recover | None) -> tuple[Callable, Callable, Callable]:
    """What the server does when a job is begun, looked for after a reload, and cancelled."""

    async def begin(request: gr.Request, keys: object, *values: object) -> AsyncGenerator[dict]:
        secret, identity = named(keys)
        try:
            jobs.start(secret, identity, request.session_hash, work(secret, identity, values, request.session_hash))
        except Exception as error:
            yield {"status": "failed", "message": sentence(error)}
            return
        async with aclosing(jobs.watch(secret, identity)) as news:
            async for each in news:
                yield each

    async def resume(keys: object) -> AsyncGenerator[dict]:
        secret, identity = named(keys)
        try:
            async with aclosing(jobs.watch(secret, identity)) as news:
                async for each in news:
                    yield each
        except (UnknownJob, InvalidOwner):
            yield await _recovered(recover, secret, identity)

    async def stop(keys: object) -> None:
        # It may have ended by itself, or not have begun; there is nobody to tell, for the page shows it as stopped.
        with suppress(UnknownJob, InvalidOwner):
            jobs.cancel(*named(keys))

    return begin, resume, stop


async def _recovered(recover: Recover | None, secret: str, identity: str) -> dict:
    with suppress(UnknownJob, InvalidOwner):
        if recover:
            return await recover(secret, identity)
    return gr.skip()


def named(keys: object) -> tuple[Any, Any]:
    """Owner and job of what a page says it is; None where it says nothing."""
    return (keys.get("owner"), keys.get("job")) if isinstance(keys, dict) else (None, None)

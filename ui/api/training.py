"""/train_style, and what it shares with the page where one trains: files that came, what is told of a training."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from lora.errors import Described, InvalidRequest, TooLong, TrainingError
from pipeline.request.checks import switch
from serving.generation import GenerationService
from serving.history import owner_hash
from serving.received import Uploads, uploaded
from serving.trainings import Training, Trainings
from training.pictures import MAX_PICTURES, MAX_TOTAL
from training.presets import PRESET, PRESETS, TrainingScope
from ui.api.endpoints import offer
from ui.atelier import being_built
from ui.web.files import served

MOST_FILES = 4 * MAX_PICTURES


async def received_files(files: object, uploads: Uploads) -> list[tuple[str, bytes]]:
    """Uploaded files, as a call names them: their names at the caller's, and what they hold. Raises InvalidRequest."""
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise Described("files", "no list of files, or too long", f"a list of up to {MOST_FILES} files")
    found = [uploaded("files", file, uploads) for file in files]
    if (total := sum(path.stat().st_size for path, _ in found)) > MAX_TOTAL:
        raise TooLong("files", f"{total >> 20} MB large together", f"at most {MAX_TOTAL >> 20} MB")
    return await asyncio.to_thread(lambda: [(name, path.read_bytes()) for path, name in found])


def captioned(captions: object, files: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """Captions in the order of their files, by the names of these. Raises InvalidRequest."""
    if not captions:
        return {}
    if not (isinstance(captions, list) and all(isinstance(text, str) for text in captions)):
        raise InvalidRequest("captions", captions, "a list of texts")
    if len(captions) != len(files):
        raise Described("captions", f"{len(captions)} for {len(files)} files", "as many as files, or empty")
    return {name: text for (name, _), text in zip(files, captions)}


def add_training_endpoint(service: GenerationService, trainings: Trainings) -> None:
    """Add the endpoint to the Blocks that is being built."""
    uploads, facts = being_built().uploads, service.facts

    async def train_style(  # type: ignore[misc]  # As gradio reads it.
        request: gr.Request,
        files: list[FileData],
        name: str,
        trigger: str = "",
        captions: list[str] = [],  # noqa: B006
        preset: str = PRESET,
        options: dict = {},  # noqa: B006
        license: str = "",
        sample_prompt: str = "",
        owner: str = "",
        dry_run: bool = False,
    ) -> tuple[FileData, dict]:
        """Learn a style from pictures. Streams {"status": "waiting" | "training" | "sampling", "step", "steps",
        "seconds_left", "losses", "samples": with the paths here of their pictures, ...}; at last the adapter's file,
        and beside these its `verdict`, whose id can be used in this session.

        It learns in slices, between which others paint. Closing the stream stops it; with an owner, what it has learnt
        by then is kept, and the page of that owner can let it go on.

        Args:
            files: 3 to 50 PNG, JPEG or WebP pictures, captions as NAME.txt for NAME.png, or a zip of these
            name: of the style, 1 to 120 characters
            trigger: a word that stands for the style; without one each picture needs a caption
            captions: what is to be seen, a text for each of the files, in their order; empty: text files say it
            preset: quick, balanced or thorough
            options: fields of a training that differ from the preset
            license: of the style, for its file
            sample_prompt: what the samples show
            owner: the secret that is given to /generate, among whose styles it is kept
            dry_run: only tell {"pictures", "steps", "expected_seconds", "measured": whether that is no guess}
        """
        sent = await received_files(files, uploads)
        values = {"name": name, "trigger": trigger, "preset": preset, "options": options, "license": license,
                  "sample_prompt": sample_prompt, "captions": captioned(captions, sent)}  # fmt: skip
        if switch("dry_run", dry_run):
            yield None, await trainings.plan(values, sent)
            return
        key = owner_hash(owner or token_urlsafe(32))
        training = await trainings.begin(key, values, sent, request.session_hash, keep=bool(owner))
        for file in files:
            uploads.forget(uploaded("files", file, uploads)[0])
        try:
            async with aclosing(trainings.watch(key)) as views:
                async for view in views:
                    yield None, view
            yield await _ended(service, trainings, training, request.session_hash or "")
        finally:
            if not owner:
                await trainings.cancel(key)
            elif training.running:
                trainings.stop(key)

    scope = TrainingScope(facts.small, facts.side, trainings.limits.steps)
    limits = {"preset": {"enum": [*PRESETS]}, "options": scope.schema(), "files": {"maxItems": MOST_FILES}}
    offer(train_style, limits, returns=("file", "details"))


async def _ended(
    service: GenerationService, trainings: Trainings, training: Training, session: str
) -> tuple[dict | None, dict]:
    """What a training has come to: its adapter's file, and what is told of both. Raises what it ended in."""
    if training.error:
        raise training.error
    if training.task is None or training.task.cancelled():
        raise TrainingError("The training was cancelled.")
    view = trainings.view(training)
    path, name = trainings.file(training, training.progress.step), f"{training.order.name}.safetensors"
    received = await asyncio.to_thread(service.library.receive, path, name, session)
    return await asyncio.to_thread(served, path, name), view | {"verdict": received.public()}

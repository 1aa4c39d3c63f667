"""The named endpoints. Their names, parameters and defaults are a contract."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from inspect import Parameter
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from lora.formats import MAX_RANK
from pipeline.request.checks import switch
from pipeline.request.compare import AXES
from pipeline.request.fields import Field, schemas
from pipeline.request.request import FIELDS
from pipeline.request.sizes import good_sizes
from pipeline.text.prompt_templates import PROMPT_TEMPLATES
from serving.generation import GenerationService
from serving.history import History, owner_hash
from serving.received import uploaded_pictures
from ui.api.compare import compare_endpoint
from ui.api.endpoint import Endpoint, parameter, parameters
from ui.atelier import being_built
from ui.errors import told
from ui.web.app import with_previews
from ui.web.files import picture_files, served

# Values of /generate that are not of the picture.
OWN_VALUES = {
    "owner": "32 to 128 random letters, digits, - and _, in whose history the pictures are kept, without it none are; "
    "adapters may be what /my_styles lists for it",
    "dry_run": 'only tell {"expected_seconds", "place": 0 where it would begin at once, "starts_in": seconds}',
    "live_key": "16 to 128 letters, digits, - and _ that you make up: pictures follow what you change. A newer call "
    'with it ends the older one within a step, by {"status": "superseded"}; it stands behind all others, "resting" '
    "while these have jobs, and nothing is kept",
}
# Our own queue decides who waits; gradio's own queue only passes on.
UNLIMITED = {"concurrency_limit": None, "queue": True}


def add_endpoints(service: GenerationService, history: History) -> None:
    """Add the endpoints to the Blocks that is being built.

    `gr.api` hands over the JSON values as they came. So every value, also one that a widget would have refused or
    changed, meets `GenerationRequest.create` and its sentences.
    """
    generate = generate_endpoint(service, history)

    def adapters() -> list[dict]:
        """List the styles that can be put on: id, name, source, triggers, rank, parameters, size, licence, when added,
        kind, words, preview. An embedding is no style but a word of the prompt. Files that have come into the host's
        folder since then are among them.
        """
        service.library.refresh()
        return with_previews(service.library.all())

    def tokenize(request: gr.Request, prompt: str, adapters: list[str] = []) -> dict:  # noqa: B006
        """Show how a prompt is read: tokens, weights, chunks of 75, what would be dropped or is clamped.

        Args:
            prompt: any text
            adapters: ids; `triggers` then tells which of their trigger words the prompt has, and which are missing
        """
        return service.tokenize(prompt, adapters, request.session_hash)

    def schedule(scheduler: str = service.facts.limits.scheduler, steps: int = service.facts.limits.steps) -> dict:
        """Tell the noise levels that a scheduler goes through, from the first step down to the picture.

        Args:
            scheduler: as in /generate
            steps: as in /generate
        """
        return service.schedule(scheduler, steps)

    def tiers(request: gr.Request) -> list[dict]:
        """List the speed tiers: name, about, the values of a request that they set, and the adapter that they need.

        One with an `offer` has none yet: /inspect_adapter with the offer's repo_id fetches it for this session, and its
        id is the adapter. The offer tells licence and bytes of that file.
        """
        return service.tiers(request.session_hash)

    def sizes() -> list[dict]:
        """List the shapes that this model paints well: name ("3:2"), width, height; turned they are good as well."""
        return good_sizes(service.facts.limits)

    def prompt_styles() -> list[dict]:
        """List the prompt styles: name, prompt with {prompt} where yours goes, and what is added to negative_prompt."""
        return [asdict(style) for style in PROMPT_TEMPLATES]

    # A coroutine, so that it runs on the event loop, where the queue lives.
    async def queue() -> dict:
        """Tell how many pictures wait, how many are being painted, and in how many seconds all should be done."""
        return service.queue.status()

    async def search_adapters(words: str) -> list[dict]:
        """Find LoRA adapters on the Hugging Face Hub for this base: id, downloads, likes, licence, base, url.

        Args:
            words: what to look for
        """
        return await service.search(words)

    fields = schemas(service.facts.limits, FIELDS)
    mix = {"adapters": fields["adapters"]}
    offer(generate, fields, returns=("images", "details"))
    offer(adapters)
    offer(_inspect(service))
    offer(search_adapters)
    offer(_export(service), mix | {"rank": {"minimum": 0, "maximum": MAX_RANK}}, returns=("file", "details"))
    offer(tokenize)
    offer(queue)
    offer(schedule, {name: fields[name] for name in ("scheduler", "steps")})
    offer(tiers)
    offer(sizes)
    offer(prompt_styles)
    sides = {"x_axis": {"enum": [*AXES]}} | {side: {"enum": ["", *AXES]} for side in ("y_axis", "z_axis")}
    offer(compare_endpoint(service, generate, history), fields | sides, returns=("sheet", "details"))


def offer(function: Callable, limits: Mapping[str, dict] | None = None, returns: tuple[str, ...] = ()) -> None:
    """Add it as the endpoint of its name, by which an agent calls the tool as well.

    `limits` are the schemas of its values, as far as more is known of them than their types.
    """
    gr.api(told(function), api_name=function.__name__, **UNLIMITED)
    being_built().endpoints[function.__name__] = Endpoint.of(function, limits, returns)


def generate_endpoint(service: GenerationService, history: History, table: Sequence[Field] = FIELDS) -> Callable:
    """/generate, whose parameters are the rows of a request and then its own."""
    uploads = being_built().uploads

    def own(request: gr.Request, owner: str = "", dry_run: bool = False) -> tuple[list[dict], dict]:
        raise NotImplementedError

    async def generate(request: gr.Request, *given: object) -> AsyncGenerator[tuple[list[dict], dict]]:
        values = dict(zip(names, given))
        owner, dry_run, live_key = (values.pop(name) for name in OWN_VALUES)
        keeper = owner_hash(owner) if owner != "" else ""
        if keeper:
            await service.lend(keeper, request.session_hash)
        values = await uploaded_pictures(values, uploads)
        if switch("dry_run", dry_run):
            yield [], service.estimate(values, request.session_hash)
            return
        # What is done is kept at once: whoever stops the rest of a batch has it.
        job = token_urlsafe(16)
        done: list[bytes] = []
        if live_key != "":
            keeper, painted = "", service.live(values, live_key, request.session_hash)
        else:
            painted = service.generate(values, request.session_hash)
        async with aclosing(painted) as updates:
            async for update in updates:
                files = await picture_files(update.images, update.details.get("seeds", []))
                if keeper and update.finished:
                    done.append(update.finished.png)
                    await history.kept(keeper, job, [*done], {"status": "done", **update.finished.details})
                if keeper and update.images:
                    update.details.update(await history.kept(keeper, job, update.images, update.details))
                yield [{"image": file, "caption": None} for file in files], update.details

    limits = service.facts.limits
    instead = {"negative_prompt": service.profile.negative_prompt, "adapters": service.default_adapters}
    shared = [parameter(field, limits, instead) for field in table]
    # Behind all that was there before it.
    live = Parameter("live_key", Parameter.POSITIONAL_OR_KEYWORD, default="", annotation=str)
    names = parameters(generate, own, [*shared, live])
    words = {name: schema["description"] for name, schema in schemas(limits, tuple(table)).items()} | OWN_VALUES
    about = 'Paint a prompt. Streams {"status": "waiting" | "painting", ...}, then the pictures and their details.'
    generate.__doc__ = "\n".join([about, "", "Args:", *(f"    {name}: {said}" for name, said in words.items())])
    return generate


def _inspect(service: GenerationService):
    uploads = being_built().uploads

    async def inspect_adapter(request: gr.Request, file: FileData | None = None, repo_id: str = "") -> dict:
        """Judge an adapter before it is used: whether it fits this model, how much of it, its rank and triggers.

        The id of one that fits can be used in /generate, in this session only, for as long as it lasts.

        Args:
            file: a .safetensors file, where repo_id is empty
            repo_id: "owner/repo" on the Hugging Face Hub, with @revision and /file.safetensors if need be
        """
        return await service.inspect(file, repo_id, request.session_hash, uploads)

    return inspect_adapter


def _export(service: GenerationService):
    async def export_adapters(request: gr.Request, adapters: list[dict], rank: int = 0) -> tuple[FileData, dict]:  # type: ignore[misc]  # As gradio reads it.
        """Write a mix of adapters as one .safetensors file, which at weight 1 is the mix.

        Args:
            adapters: as in /generate
            rank: 0 keeps plain LoRAs exact; 1 to 1024 cuts each layer to that rank
        """
        async with aclosing(service.export(adapters, rank, request.session_hash)) as updates:
            async for path, details in updates:
                yield (await asyncio.to_thread(served, path) if path else None), details

    return export_adapters

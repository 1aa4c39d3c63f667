"""The named endpoints. Their names, parameters and defaults are a contract."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from pipeline.checks import switch
from pipeline.conditioning import MAX_CHUNKS
from pipeline.mix import MAX_ADAPTERS
from pipeline.picture import MAX_BYTES
from pipeline.prompt_styles import PROMPT_STYLES
from pipeline.request import MAX_GUIDANCE, MAX_HIRES_SCALE, MAX_IMAGES, MAX_STEPS, SEEDS, UPSCALERS, Limits, usual
from ui import compare
from ui.errors import in_words
from ui.files import picture_files, upload_route, uploaded_bytes
from ui.history import History, owner_hash
from ui.studio import Studio
from ui.web import preview_url

# Our turnstile decides who waits; gradio's own queue only passes on.
UNLIMITED = {"concurrency_limit": None, "queue": True}


def add_endpoints(studio: Studio, history: History) -> None:
    """Add the endpoints to the Blocks that is being built.

    `gr.api` hands over the JSON values as they came. So every value, also one that a widget would have refused or
    changed, meets `GenerationRequest.create` and its sentences.
    """
    generate = _generate(studio, history)

    def adapters() -> list[dict]:
        """List the styles that can be put on: id, name, source, triggers, rank, parameters, size, licence, preview."""
        return [adapter.public() | {"preview": preview_url(adapter)} for adapter in studio.library.all()]

    def tokenize(request: gr.Request, prompt: str, adapters: list[str] = []) -> dict:  # noqa: B006
        """Show how a prompt is read: tokens, weights, chunks of 75, what would be dropped or is clamped.

        Args:
            prompt: any text
            adapters: ids; `triggers` then tells which of their trigger words the prompt has, and which are missing
        """
        return studio.tokenize(prompt, adapters, request.session_hash)

    def schedule(scheduler: str = studio.engine.limits.scheduler, steps: int = studio.engine.limits.steps) -> dict:
        """Tell the noise levels that a scheduler goes through, from the first step down to the picture.

        Args:
            scheduler: as in /generate
            steps: as in /generate
        """
        return studio.schedule(scheduler, steps)

    def tiers(request: gr.Request) -> list[dict]:
        """List the speed tiers: name, about, the values of a request that they set, and the adapter that they need."""
        return studio.tiers(request.session_hash)

    def prompt_styles() -> list[dict]:
        """List the prompt styles: name, prompt with {prompt} where yours goes, and what is added to negative_prompt."""
        return [asdict(style) for style in PROMPT_STYLES]

    # A coroutine, so that it runs on the event loop, where the turnstile lives.
    async def queue() -> dict:
        """Tell how many pictures wait, how many are being painted, and in how many seconds all should be done."""
        return studio.turnstile.status()

    async def search_adapters(words: str) -> list[dict]:
        """Find LoRA adapters on the Hugging Face Hub for this base: id, downloads, likes, licence, base, url.

        Args:
            words: what to look for
        """
        return await studio.search(words)

    offer(
        generate, adapters, _inspect(studio), search_adapters, _export(studio), tokenize, queue, schedule, tiers,
        prompt_styles, compare.endpoint(studio, generate, history),
    )  # fmt: skip


def offer(*functions: Callable) -> None:
    """Add each as the endpoint of its name, by which an agent calls the tool as well."""
    for function in functions:
        gr.api(function, api_name=function.__name__, **UNLIMITED)


def _generate(studio: Studio, history: History):
    limits, default_adapters = studio.engine.limits, studio.default_adapters
    nothing = usual(limits)
    default_negative, uploads = studio.profile.negative_prompt, upload_route()

    async def generate(
        request: gr.Request,
        prompt: str,
        negative_prompt: str = default_negative,
        adapters: list[dict] = default_adapters,
        width: int = nothing["width"],
        height: int = nothing["height"],
        steps: int = nothing["steps"],
        guidance_scale: float = nothing["guidance_scale"],
        scheduler: str = nothing["scheduler"],
        seed: int = nothing["seed"],
        num_images: int = nothing["num_images"],
        normalize_adapters: bool = nothing["normalize_adapters"],
        image: FileData | None = nothing["image"],
        strength: float = nothing["strength"],
        hires_scale: float = nothing["hires_scale"],
        hires_steps: int = nothing["hires_steps"],
        hires_strength: float = nothing["hires_strength"],
        hires_upscaler: str = nothing["hires_upscaler"],
        clip_skip: int = nothing["clip_skip"],
        guidance_rescale: float = nothing["guidance_rescale"],
        guidance_start: float = nothing["guidance_start"],
        guidance_end: float = nothing["guidance_end"],
        eta: float = nothing["eta"],
        metadata: bool = nothing["metadata"],
        owner: str = "",
        dry_run: bool = False,
    ) -> tuple[list[dict], dict]:
        given = locals()
        values = {name: given[name] for name in nothing}
        with in_words():
            keeper = owner_hash(owner) if owner != "" else ""
            values["image"] = await uploaded_bytes("image", image, uploads, MAX_BYTES)
            dry = switch("dry_run", dry_run)
        if dry:
            yield [], studio.foresee(values, request.session_hash)
            return
        async with aclosing(studio.generate(values, request.session_hash)) as updates:
            async for update in updates:
                with in_words():
                    files = await picture_files(update.images, update.details.get("seeds", []))
                    if keeper and update.images:
                        kept = await history.kept(keeper, token_urlsafe(16), update.images, update.details)
                        update.details.update(kept)
                yield [{"image": file, "caption": None} for file in files], update.details

    generate.__doc__ = in_api_words(limits)
    return generate


def in_api_words(limits: Limits) -> str:
    """What /generate does and takes, in the form in which gradio reads it for the API page, OpenAPI and MCP."""
    size = f"{limits.size_min} to {limits.size_max}, a multiple of {limits.size_step}"
    return f"""Paint a prompt. Streams {{"status": "waiting" | "painting", ...}}, then the pictures and their details.

    Args:
        prompt: what to paint, up to {75 * MAX_CHUNKS} tokens, written as in AUTOMATIC1111
        negative_prompt: what to leave out; no effect where guidance_scale is 1 or less
        adapters: [{{"id": "ink", "weight": 0.8}}, ...], at most {MAX_ADAPTERS}, weights -2 to 2; ids from /adapters
        width: pixels, {size}
        height: pixels, {size}
        steps: 1 to {MAX_STEPS}
        guidance_scale: 0 to {MAX_GUIDANCE:g}
        scheduler: one of {", ".join(limits.schedulers)}
        seed: 0 to {SEEDS - 1}, or -1 to draw one; picture i has seed + i
        num_images: 1 to {MAX_IMAGES}
        normalize_adapters: scale the weights down so that their sizes add up to at most 1
        image: a PNG, JPEG or WebP file to begin with
        strength: 0 to 1, the share of the steps that paint over image
        hires_scale: 1 to {MAX_HIRES_SCALE:g}; above 1 a second pass enlarges the picture
        hires_steps: 0 to {MAX_STEPS}; 0 is as many as steps
        hires_strength: 0 to 1, the share of hires_steps that run
        hires_upscaler: what is enlarged, {" or ".join(UPSCALERS)}
        clip_skip: 0 to {limits.clip_skip_max}; 0 is the model's usual text layer (A1111's "Clip skip" less one)
        guidance_rescale: 0 to 1
        guidance_start: 0 to 1, the share of the steps after which guidance begins
        guidance_end: 0 to 1, the share of the steps after which it ends
        eta: 0 to 1, noise that DDIM and TCD add
        metadata: write into the PNG how it was made
        owner: 32 to 128 random letters, digits, - and _, in whose history the pictures are kept; without it none are
        dry_run: only tell {{"expected_seconds", "place": 0 where it would begin at once, "starts_in": seconds}}
    """


def _inspect(studio: Studio):
    uploads = upload_route()

    async def inspect_adapter(request: gr.Request, file: FileData | None = None, repo_id: str = "") -> dict:
        """Judge an adapter before it is used: whether it fits this model, how much of it, its rank and triggers.

        The id of one that fits can be used in /generate, in this session only, for as long as it lasts.

        Args:
            file: a .safetensors file, where repo_id is empty
            repo_id: "owner/repo" on the Hugging Face Hub, with @revision and /file.safetensors if need be
        """
        return await studio.inspect(file, repo_id, request.session_hash, uploads)

    return inspect_adapter


def _export(studio: Studio):
    async def export_adapters(request: gr.Request, adapters: list[dict], rank: int = 0) -> tuple[FileData, dict]:
        """Write a mix of adapters as one .safetensors file, which at weight 1 is the mix.

        Args:
            adapters: as in /generate
            rank: 0 keeps plain LoRAs exact; 1 to 1024 cuts each layer to that rank
        """
        async with aclosing(studio.export(adapters, rank, request.session_hash)) as updates:
            async for file, details in updates:
                yield file, details

    return export_adapters

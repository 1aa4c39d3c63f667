"""The named endpoints. Their names, parameters and defaults are a contract."""

from contextlib import aclosing
from dataclasses import asdict
from secrets import token_urlsafe

import gradio as gr
from gradio import FileData

from pipeline.picture import MAX_BYTES
from pipeline.prompt_styles import PROMPT_STYLES
from pipeline.request import UPSCALERS
from ui.errors import in_words
from ui.files import picture_files, upload_route, uploaded_bytes
from ui.history import History, owner_hash
from ui.jobs import kept_details
from ui.studio import FIELDS, Studio
from ui.web import preview_url

# Our turnstile decides who waits; gradio's own queue only passes on.
UNLIMITED = {"concurrency_limit": None, "queue": True}


def add_endpoints(studio: Studio, history: History) -> None:
    """Add the endpoints to the Blocks that is being built.

    `gr.api` hands over the JSON values as they came. So every value, also one that a widget would have refused or
    changed, meets `GenerationRequest.create` and its sentences.
    """
    gr.api(_generate(studio, history), api_name="generate", **UNLIMITED)

    def adapters() -> list[dict]:
        """List the styles that can be put on: id, name, source, triggers, rank, parameters, size, licence, preview."""
        return [adapter.public() | {"preview": preview_url(adapter)} for adapter in studio.library.all()]

    def tokenize(request: gr.Request, prompt: str, adapters: list[str] = []) -> dict:  # noqa: B006
        """Show how a prompt is read: tokens, weights, chunks of 75, what would be dropped or is clamped.

        adapters: ids; `triggers` then tells which of their trigger words the prompt has, and which are missing.
        """
        return studio.tokenize(prompt, adapters, request.session_hash)

    def schedule(scheduler: str = studio.engine.limits.scheduler, steps: int = studio.engine.limits.steps) -> dict:
        """Tell the noise levels that a scheduler goes through, from the first step down to the picture."""
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
        """Find LoRA adapters on the Hugging Face Hub for this base: id, downloads, likes, licence, base, url."""
        return await studio.search(words)

    gr.api(adapters, api_name="adapters", **UNLIMITED)
    gr.api(_inspect(studio), api_name="inspect_adapter", **UNLIMITED)
    gr.api(search_adapters, api_name="search_adapters", **UNLIMITED)
    gr.api(_export(studio), api_name="export_adapters", **UNLIMITED)
    gr.api(tokenize, api_name="tokenize", **UNLIMITED)
    gr.api(queue, api_name="queue", **UNLIMITED)
    gr.api(schedule, api_name="schedule", **UNLIMITED)
    gr.api(tiers, api_name="tiers", **UNLIMITED)
    gr.api(prompt_styles, api_name="prompt_styles", **UNLIMITED)


def _generate(studio: Studio, history: History):
    limits, default_adapters = studio.engine.limits, studio.default_adapters
    default_negative, uploads = studio.profile.negative_prompt, upload_route()

    async def generate(
        request: gr.Request,
        prompt: str,
        negative_prompt: str = default_negative,
        adapters: list[dict] = default_adapters,
        width: int = limits.width,
        height: int = limits.height,
        steps: int = limits.steps,
        guidance_scale: float = limits.guidance_scale,
        scheduler: str = limits.scheduler,
        seed: int = -1,
        num_images: int = 1,
        normalize_adapters: bool = False,
        image: FileData | None = None,
        strength: float = 0.6,
        hires_scale: float = 1.0,
        hires_steps: int = 0,
        hires_strength: float = 0.5,
        hires_upscaler: str = UPSCALERS[0],
        clip_skip: int = 0,
        guidance_rescale: float = limits.guidance_rescale,
        guidance_start: float = 0.0,
        guidance_end: float = 1.0,
        eta: float = 0.0,
        metadata: bool = True,
        owner: str = "",
    ) -> tuple[list[dict], dict]:
        """Paint a prompt. Streams {"status": "waiting" | "painting", ...}; at last the pictures and their details.

        adapters: [{"id": "ink", "weight": 0.8}, ...], weights -2 to 2. seed: -1 draws one; image i has seed + i.
        normalize_adapters: scale the weights down so that their sizes add up to at most 1. image: a PNG, JPEG or WebP
        file to begin with; strength 0 to 1 of the steps paint over it. hires_scale: up to 4 enlarges in a second pass,
        by "pixels" or "latent", of which hires_strength of hires_steps (0: as many as steps) run. clip_skip: 0 is the
        model's usual text layer (A1111's "Clip skip" less one). guidance_start and guidance_end: the share of the
        steps that guidance acts in. metadata: write into the PNG how it was made. owner: 32 to 128 random letters,
        digits, - and _, in whose history the pictures are kept; without it none are.
        """
        given = locals()
        values = {name: given[name] for name in FIELDS}
        with in_words():
            keeper = owner_hash(owner) if owner != "" else ""
            values["image"] = await uploaded_bytes("image", image, uploads, MAX_BYTES)
        async with aclosing(studio.generate(values, request.session_hash)) as updates:
            async for update in updates:
                with in_words():
                    files = await picture_files(update.images, update.details.get("seeds", []))
                    if keeper and update.images:
                        update.details.update(await kept_details(history, keeper, token_urlsafe(16), update))
                yield [{"image": file, "caption": None} for file in files], update.details

    return generate


def _inspect(studio: Studio):
    uploads = upload_route()

    async def inspect_adapter(request: gr.Request, file: FileData | None = None, repo_id: str = "") -> dict:
        """Judge an adapter before it is used: whether it fits this model, how much of it, its rank and triggers.

        file: a .safetensors file. repo_id: "owner/repo", with @revision and /file.safetensors if need be. One of both.
        The id of one that fits can be used in /generate, in this session only, for as long as it lasts.
        """
        return await studio.inspect(file, repo_id, request.session_hash, uploads)

    return inspect_adapter


def _export(studio: Studio):
    async def export_adapters(request: gr.Request, adapters: list[dict], rank: int = 0) -> tuple[FileData, dict]:
        """Write a mix of adapters as one .safetensors file, which at weight 1 is the mix.

        adapters: as in /generate. rank: 0 keeps plain LoRAs exact; 1 to 1024 cuts each layer to that rank.
        """
        async with aclosing(studio.export(adapters, rank, request.session_hash)) as updates:
            async for file, details in updates:
                yield file, details

    return export_adapters

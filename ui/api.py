"""The named endpoints. Their names, parameters and defaults are a contract."""

from contextlib import aclosing

import gradio as gr
from gradio import FileData

from ui.files import picture_files, upload_route
from ui.studio import FIELDS, Studio
from ui.web import preview_url

# Our turnstile decides who waits; gradio's own queue only passes on.
UNLIMITED = {"concurrency_limit": None, "queue": True}


def add_endpoints(studio: Studio) -> None:
    """Add the endpoints to the Blocks that is being built.

    `gr.api` hands over the JSON values as they came. So every value, also one that a widget would have refused or
    changed, meets `GenerationRequest.create` and its sentences.
    """
    gr.api(_generate(studio), api_name="generate", **UNLIMITED)

    def adapters() -> list[dict]:
        """List the styles that can be put on: id, name, source, triggers, rank, parameters, size, licence, preview."""
        return [adapter.public() | {"preview": preview_url(adapter)} for adapter in studio.library.all()]

    def tokenize(prompt: str) -> dict:
        """Show how a prompt is read: tokens, weights, chunks of 75 and what would be dropped."""
        return studio.tokenize(prompt)

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


def _generate(studio: Studio):
    limits, default_adapters = studio.engine.limits, studio.default_adapters
    default_negative = studio.profile.negative_prompt

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
    ) -> tuple[list[dict], dict]:
        """Paint a prompt. Streams {"status": "waiting" | "painting", ...}; at last the pictures and their details.

        adapters: [{"id": "ink", "weight": 0.8}, ...], weights -2 to 2. seed: -1 draws one; image i has seed + i.
        normalize_adapters: scale the weights down so that their sizes add up to at most 1.
        """
        values = (
            prompt, negative_prompt, adapters, width, height, steps, guidance_scale, scheduler, seed, num_images,
            normalize_adapters,
        )  # fmt: skip
        async with aclosing(studio.generate(dict(zip(FIELDS, values)), request.session_hash)) as updates:
            async for update in updates:
                files = await picture_files(update.images, update.details.get("seeds", []))
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

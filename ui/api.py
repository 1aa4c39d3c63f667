"""The named endpoints. Their names, parameters and defaults are a contract."""

from contextlib import aclosing

import gradio as gr

from ui.files import picture_files
from ui.studio import FIELDS, Studio
from ui.web import preview_url

# Our turnstile decides who waits; gradio's own queue only passes on.
UNLIMITED = {"concurrency_limit": None, "queue": True}


def add_endpoints(studio: Studio) -> None:
    """Add /generate, /adapters, /tokenize and /queue to the Blocks that is being built.

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

    gr.api(adapters, api_name="adapters", **UNLIMITED)
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
    ) -> tuple[list[dict], dict]:
        """Paint a prompt. Streams {"status": "waiting" | "painting", ...}; at last the pictures and their details.

        adapters: [{"id": "ink", "weight": 0.8}, ...], weights -2 to 2. seed: -1 draws one; image i has seed + i.
        """
        values = prompt, negative_prompt, adapters, width, height, steps, guidance_scale, scheduler, seed, num_images
        async with aclosing(studio.generate(dict(zip(FIELDS, values)), request.session_hash)) as updates:
            async for update in updates:
                files = await picture_files(update.images, update.details.get("seeds", []))
                yield [{"image": file, "caption": None} for file in files], update.details

    return generate

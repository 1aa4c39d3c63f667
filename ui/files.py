"""Pictures as files that gradio serves: their bytes as they are, in its cache, where old ones are deleted."""

import asyncio

from gradio.data_classes import FileData
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder


async def picture_files(images: tuple[bytes, ...], seeds: list[int]) -> list[dict]:
    """Write PNG files and describe them as gradio's file data. Written in a thread: disks can be slow."""
    return await asyncio.gather(*(asyncio.to_thread(_write, image, seed) for image, seed in zip(images, seeds)))


def _write(image: bytes, seed: int) -> dict:
    name = f"atelier-{seed}.png"
    path = save_bytes_to_cache(image, name, cache_dir=get_upload_folder())
    return FileData(path=path, orig_name=name, mime_type="image/png", size=len(image)).model_dump()

"""The panel of everything that has a good default, in the order of use: words to leave out, size, sampling, more."""

from typing import Any

import gradio as gr
from gradio.components import Component

from pipeline.request.fields import defaults
from pipeline.request.limits import MAX_GUIDANCE, MAX_HIRES_SCALE, MAX_IMAGES, MAX_STEPS, RNGS, SEEDS, Limits
from pipeline.request.request import FIELDS
from pipeline.request.sizes import good_sizes
from pipeline.sampling.schedulers import by_sampler
from serving.generation import GenerationService
from ui.errors import told
from ui.pages.paint.widgets import noise_levels, preset_chooser, size_chooser

HERE: dict[str, Any] = {"fn": None, "api_visibility": "private"}


def add_panel(service: GenerationService) -> dict[str, Component]:
    """Place the panel and wire what happens within it; its widgets by the fields of a request that they set."""
    limits = service.facts.limits
    usual = defaults(limits, FIELDS) | {"negative_prompt": service.profile.negative_prompt}
    with gr.Accordion("Settings", open=False):
        made = _asked(limits, usual) | _sampling(service, usual)
        with gr.Accordion("Enlarge in a second pass", open=False):
            made |= _hires(limits, usual)
        with gr.Accordion("Variation and tiling", open=False):
            made |= _variation(usual)
        with gr.Accordion("Fine tuning", open=False):
            made |= _fine(limits, usual)
    return made


def _slider(usual: dict, name: str, label: str, low: float, high: float, step: float) -> dict[str, Component]:
    return {name: gr.Slider(low, high, usual[name], step=step, label=label)}


def _asked(limits: Limits, usual: dict) -> dict[str, Component]:
    words = gr.Textbox(usual["negative_prompt"], label="Negative prompt", max_lines=4, elem_id="negative")
    size = size_chooser(good_sizes(limits), limits.width, limits.height)
    bounds = limits.size_min, limits.size_max, limits.size_step
    with gr.Row():
        sides = _slider(usual, "width", "Width", *bounds) | _slider(usual, "height", "Height", *bounds)
    pictures = _slider(usual, "num_images", "Pictures", 1, MAX_IMAGES, 1)
    both: list[Any] = [*sides.values()]
    gr.on([each.change for each in both], **HERE, inputs=both, outputs=size, js="(width, height) => ({width, height})")
    size.pick(**HERE, inputs=size, outputs=both, js="(size) => [size.width, size.height]")
    return {"negative_prompt": words, **sides, **pictures}


def _sampling(service: GenerationService, usual: dict) -> dict[str, Component]:
    limits = service.facts.limits
    with gr.Row():
        steps = gr.Slider(1, MAX_STEPS, limits.steps, step=1, label="Steps")
        guidance = gr.Slider(0, MAX_GUIDANCE, limits.guidance_scale, step=0.1, label="Guidance")
    scheduler: Any = preset_chooser(by_sampler(limits.schedulers), limits.scheduler)
    levels = noise_levels(service.schedule(limits.scheduler, limits.steps))
    gr.on(
        [scheduler.change, steps.release], told(service.schedule), [scheduler, steps], levels, preprocess=False,
        show_progress="hidden", trigger_mode="always_last", api_visibility="private", api_name="levels",
        concurrency_limit=None,
    )  # fmt: skip
    return {"steps": steps, "guidance_scale": guidance, "scheduler": scheduler}


def _hires(limits: Limits, usual: dict) -> dict[str, Component]:
    with gr.Row():
        made = _slider(usual, "hires_scale", "Enlarge by (1: not)", 1, MAX_HIRES_SCALE, 0.25)
        made |= _slider(usual, "hires_strength", "Second-pass strength", 0, 1, 0.05)
    with gr.Row():
        made |= _slider(usual, "hires_steps", "Second-pass steps (0: as many)", 0, MAX_STEPS, 1)
        options = list(limits.upscalers)
        made["hires_upscaler"] = gr.Dropdown(options, value=usual["hires_upscaler"], label="Enlarge the")
    return made


def _variation(usual: dict) -> dict[str, Component]:
    gr.HTML('<p class="hint">A little of another seed gives the same picture, a little different.</p>')
    with gr.Row():
        made = _slider(usual, "variation_strength", "Variation strength", 0, 1, 0.05)
        seed = gr.Number(usual["variation_seed"], label="Variation seed (−1 draws one)", minimum=-1, precision=0)
    tiling = gr.Checkbox(usual["tiling"], label="Tiling: the edges continue each other, for patterns")
    with gr.Row():
        words = "The model's own", "A1111's, drawn by the CPU", "A1111's, as a GPU draws it"
        rng = gr.Dropdown([*zip(words, RNGS)], value=usual["rng"], label="Noise")
        ensd = gr.Number(usual["ensd"], label="ENSD (A1111's eta noise seed delta)", minimum=0, maximum=SEEDS - 1,
                         precision=0)  # fmt: skip
    return made | {"variation_seed": seed, "tiling": tiling, "rng": rng, "ensd": ensd}


def _fine(limits: Limits, usual: dict) -> dict[str, Component]:
    with gr.Row():
        made = _slider(usual, "guidance_start", "Guide from", 0, 1, 0.05)
        made |= _slider(usual, "guidance_end", "Guide until", 0, 1, 0.05)
    with gr.Row():
        made |= _slider(usual, "guidance_rescale", "Guidance rescale", 0, 1, 0.05)
        made |= _slider(usual, "eta", "Eta (noise of DDIM and TCD)", 0, 1, 0.05)
    return made | _slider(usual, "clip_skip", "CLIP skip (0: the model's own layer)", 0, limits.clip_skip_max, 1)

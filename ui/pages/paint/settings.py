"""The panel of everything that has a good default: sampling, size, a picture to start from, a second pass."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipeline.request.fields import defaults
from pipeline.request.limits import MAX_GUIDANCE, MAX_HIRES_SCALE, MAX_IMAGES, MAX_STEPS, SEEDS, UPSCALERS
from pipeline.request.request import FIELDS
from serving.generation import GenerationService
from ui.errors import told
from ui.pages.paint.widgets import noise_levels


@dataclass(frozen=True)
class Panel:
    """The widgets by the fields of a request that they set, and those that only help to set them."""

    fields: dict[str, gr.components.Component]
    draw_seed: gr.Button


def add_panel(service: GenerationService, styles: gr.HTML) -> Panel:
    """Place the panel and wire what happens within it. A few-step tier puts its adapter on `styles`."""
    limits, nothing = service.facts.limits, defaults(service.facts.limits, FIELDS)
    with gr.Accordion("Settings", open=False):
        tiers = {tier["name"]: tier for tier in service.tiers()}
        with gr.Row(elem_id="tiers"):
            buttons = [gr.Button(name, size="sm") for name in tiers]
        sampling = _sampling(service)
        for button, tier in zip(buttons, tiers.values()):
            _choose(button, tier, sampling, styles)
        with gr.Accordion("Start from a picture", open=False):
            start = _start(nothing)
        with gr.Accordion("Enlarge in a second pass", open=False):
            hires = _hires(nothing)
        with gr.Accordion("Fine tuning", open=False):
            fine = _fine(nothing, limits.clip_skip_max)
        with gr.Row(elem_id="seed-row"):
            bounds: dict[str, Any] = {"minimum": -1, "maximum": SEEDS - 1, "precision": 0}
            seed = gr.Number(nothing["seed"], label="Seed (−1 draws one)", **bounds, elem_id="seed")
            draw_seed = gr.Button("New seed each time", size="sm", elem_id="draw-seed")
    return Panel({**sampling, **start, **hires, **fine, "seed": seed}, draw_seed)


def _sampling(service: GenerationService) -> dict[str, gr.components.Component]:
    limits = service.facts.limits
    size: dict[str, Any] = {"minimum": limits.size_min, "maximum": limits.size_max, "step": limits.size_step}
    negative = gr.Textbox(service.profile.negative_prompt, label="Negative prompt", max_lines=4, elem_id="negative")
    with gr.Row():
        width = gr.Slider(**size, value=limits.width, label="Width")
        height = gr.Slider(**size, value=limits.height, label="Height")
    with gr.Row():
        steps = gr.Slider(1, MAX_STEPS, limits.steps, step=1, label="Steps")
        guidance = gr.Slider(0, MAX_GUIDANCE, limits.guidance_scale, step=0.1, label="Guidance")
    with gr.Row():
        scheduler = gr.Dropdown(list(limits.schedulers), value=limits.scheduler, label="Scheduler")
        images = gr.Slider(1, MAX_IMAGES, 1, step=1, label="Pictures")
    levels = noise_levels(service.schedule(limits.scheduler, limits.steps))
    gr.on(
        [scheduler.change, steps.release], told(service.schedule), [scheduler, steps], levels, preprocess=False,
        show_progress="hidden", trigger_mode="always_last", api_visibility="private", api_name="levels",
        concurrency_limit=None,
    )  # fmt: skip
    return {"negative_prompt": negative, "width": width, "height": height, "steps": steps,
            "guidance_scale": guidance, "scheduler": scheduler, "num_images": images}  # fmt: skip


def _choose(button: gr.Button, tier: dict, sampling: dict[str, gr.components.Component], styles: gr.HTML) -> None:
    """Let a button set what a tier sets, and put its adapter on."""
    button.click(
        None, styles, [*(sampling[name] for name in tier["values"]), styles], api_visibility="private",
        js=f"""(uses) => {{
            const {{ values, adapter }} = {json.dumps(tier)};
            const others = (uses || []).filter((use) => use.id !== adapter?.id);
            return [...Object.values(values), adapter ? [...others, adapter] : uses];
        }}""",
    )  # fmt: skip


def _start(nothing: dict) -> dict[str, gr.components.Component]:
    image = gr.Image(label="Picture", type="filepath", sources=["upload", "clipboard"], height=220, elem_id="start")
    strength = gr.Slider(0, 1, nothing["strength"], step=0.05, label="Strength: how much of it is painted anew")
    return {"image": image, "strength": strength}


def _hires(nothing: dict) -> dict[str, gr.components.Component]:
    with gr.Row():
        scale = gr.Slider(1, MAX_HIRES_SCALE, nothing["hires_scale"], step=0.25, label="Enlarge by (1: not)")
        strength = gr.Slider(0, 1, nothing["hires_strength"], step=0.05, label="Second-pass strength")
    with gr.Row():
        steps = gr.Slider(0, MAX_STEPS, nothing["hires_steps"], step=1, label="Second-pass steps (0: as many)")
        upscaler = gr.Dropdown(list(UPSCALERS), value=nothing["hires_upscaler"], label="Enlarge the")
    return {"hires_scale": scale, "hires_strength": strength, "hires_steps": steps, "hires_upscaler": upscaler}


def _fine(nothing: dict, clip_skip_max: int) -> dict[str, gr.components.Component]:
    with gr.Row():
        start = gr.Slider(0, 1, nothing["guidance_start"], step=0.05, label="Guide from")
        end = gr.Slider(0, 1, nothing["guidance_end"], step=0.05, label="Guide until")
    with gr.Row():
        rescale = gr.Slider(0, 1, nothing["guidance_rescale"], step=0.05, label="Guidance rescale")
        eta = gr.Slider(0, 1, nothing["eta"], step=0.05, label="Eta (noise of DDIM and TCD)")
    skip = gr.Slider(0, clip_skip_max, nothing["clip_skip"], step=1, label="CLIP skip (0: the model's own layer)")
    return {"guidance_start": start, "guidance_end": end, "guidance_rescale": rescale, "eta": eta, "clip_skip": skip}

"""The line at the foot of the page that offers real pictures to whoever runs the app at home."""

import html

import gradio as gr

from pipeline.profiles import ModelProfile
from serving.offer import Offer, is_offered
from serving.settings import Settings
from ui.atelier import being_built


def add_offer(profile: ModelProfile, settings: Settings) -> None:
    """Place the line, where there is somebody to read it, and begin to ask whether it holds."""
    if not is_offered(profile, settings):
        return
    line, offer = gr.HTML(visible=False, apply_default_css=False, elem_id="offer"), Offer()
    offer.ask()
    # The page itself is kept as it was first served, perhaps before there was an answer.
    being_built().load(
        lambda: gr.HTML(f'<p class="hint">{html.escape(offer.words)}</p>', visible=bool(offer.words)),
        None, line, show_progress="hidden", concurrency_limit=None, api_visibility="private", api_name="offer",
    )  # fmt: skip

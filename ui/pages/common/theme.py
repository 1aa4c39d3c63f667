"""Colours and type: a studio wall, warm paper, black ink, one vermilion. Only fonts that are there already."""

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, sizes

PAGES = Path(__file__).parents[1]
VERMILION = colors.Color(
    name="vermilion", c50="#fdf3ef", c100="#fae1d8", c200="#f4c0b0", c300="#ec9a82", c400="#e27455", c500="#d2522f",
    c600="#bb3f1e", c700="#983218", c800="#732714", c900="#511d10", c950="#30110a",
)  # fmt: skip
PAPER = colors.Color(
    name="paper", c50="#faf8f4", c100="#f3efe7", c200="#e6e0d4", c300="#d0c8b9", c400="#a59c8c", c500="#7b7365",
    c600="#5c554a", c700="#433e37", c800="#2a2723", c900="#1d1b19", c950="#141312",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """The theme; `base.css` adds what a theme cannot say."""
    made = gr.themes.Base(
        primary_hue=VERMILION,
        secondary_hue=VERMILION,
        neutral_hue=PAPER,
        radius_size=sizes.radius_md,
        font=("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"),
        font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"),
    )
    return made.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="*neutral_50",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_950",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_border_width="1px",
        input_shadow="none",
        input_shadow_focus="none",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_cancel_background_fill="*neutral_800",
        button_cancel_background_fill_hover="*neutral_700",
        button_cancel_background_fill_dark="*neutral_200",
        button_cancel_background_fill_hover_dark="*neutral_300",
        button_cancel_text_color="*neutral_50",
        button_cancel_text_color_dark="*neutral_900",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )

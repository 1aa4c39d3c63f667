"""The web application around gradio's: who may ask for what, how often, how much."""

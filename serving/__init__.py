"""Who runs when and where, and what is kept. Never imports gradio."""

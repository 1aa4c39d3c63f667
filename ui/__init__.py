"""Everything that imports gradio: the page, the named endpoints and the fair queue in front of the engine."""

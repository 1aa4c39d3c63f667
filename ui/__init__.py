"""Everything that imports gradio: the pages, the endpoints, and the web application around them."""

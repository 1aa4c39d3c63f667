"""The pages, a folder each: layout, wiring, templates, scripts, styles."""

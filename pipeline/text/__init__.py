"""Prompts: how they are written, read and encoded."""

"""Adapters: what a style is, where it comes from, how it is put on and taken off.

Gets loaded modules as arguments; knows no base model, and never imports `pipeline`.
"""

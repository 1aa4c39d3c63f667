"""Adapters: what a style is, where it comes from, how it is put on and taken off, how it is trained.

Gets loaded modules as arguments; never imports `pipeline`.
"""

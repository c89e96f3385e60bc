"""Experiments over all of it.

gallery.py   what a model does, to look at
"""

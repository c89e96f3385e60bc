"""Samples on disk to batches. Never a model here: what a model made comes in as tensors.

clips.py          clips for training, by number
tokens.py         the token store: tokens of many videos in one folder, read in slices
token_writer.py   the same, written clip by clip
"""

"""Samples on disk to batches. Never a model here: what a model made comes in as tensors.

clips.py          clips for training, by number
records.py        clips with words: lines of an annotations file, Sprite World
tasks.py          records -> what the language model is taught
check.py          what of a folder or an annotations file training could not use
tokens.py         the token store: tokens of many videos in one folder, read in slices
token_writer.py   the same, written clip by clip
"""

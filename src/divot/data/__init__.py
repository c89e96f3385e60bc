"""Samples on disk to batches. Never a model here: what a model made comes in as tensors.

clips.py             clips for training, by number
annotations.py       what is said about a video or a picture, as a line of JSON
annotation_files.py  files of such lines, and tables
datasets.py          the same by the name of a data set, as its publisher writes it
publishers.py        how publishers write: each one's rows to lines of annotations
rows.py              rows of tables and JSON files with their fields
packed.py            files inside tar files
records.py           clips with words, from the files that are annotated or from Sprite World
shards.py            annotated files in webdataset shards, written and read
sources.py           where the records of annotated files come from: the files, shards, a token store
mixing.py            which source a sample is of, and how many samples a step has
tasks.py             records -> what the language model is taught
check.py             what of a folder or an annotations file training could not use
tokens.py            the token store: tokens of many videos in one folder, read in slices
token_writer.py      the same, written clip by clip
"""

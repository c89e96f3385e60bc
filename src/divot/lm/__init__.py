"""Text and tokens to text or tokens.

Files, in the order of the flow:

    batch.py      sequences to one batch of tensors
    mask.py       the official code's mask values, as block ids
    backbone.py   any causal language model of transformers, its mask, and a LoRA on it
    chance.py     one chance for a batch, or one a row
    connector.py  words to the places of a clip, between backbone and head
    heads/        hidden states of the queries to tokens: Gaussian mixture, regression, diffusion
    units.py      tokens along their principal axes
    folder.py     the model on disk
    model.py      backbone, input projection, connector and head in one: both losses
    sampling.py   how words are chosen and tokens drawn
    likelihood.py how likely the model finds words of a clip
    generate.py   writing text and clips on one cache
"""

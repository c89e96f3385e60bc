"""Blocks of several models: attention, the pre-norm block, the Perceiver Resampler, embeddings, components."""

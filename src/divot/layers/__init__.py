"""Blocks shared by two models or more: attention, the pre-norm block, the Perceiver Resampler, embeddings, components."""

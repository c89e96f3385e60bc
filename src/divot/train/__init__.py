"""Batches to weights: one loop, one state, the stages."""

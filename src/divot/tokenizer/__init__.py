"""Clips to tokens: vit, temporal, spatiotemporal, model."""

from divot.tokenizer.model import VideoTokenizer

__all__ = ["VideoTokenizer"]

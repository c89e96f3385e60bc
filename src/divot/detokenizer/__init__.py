"""Tokens to frames: resblocks, attention, unet, vae, schedule, objective, critic, sampler, model, refinement."""

from divot.detokenizer.model import VideoDetokenizer

__all__ = ["VideoDetokenizer"]

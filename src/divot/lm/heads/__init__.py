"""Heads: from hidden states of the queries to video tokens."""

from divot.lm.heads.gmm import GaussianMixtureHead, Mixture

__all__ = ["GaussianMixtureHead", "Mixture"]

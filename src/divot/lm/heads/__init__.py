"""Heads: from hidden states of the queries to video tokens.

All have `loss(hidden_BNH, tokens_BND)`, `sample(hidden_BNH, generator)` and `mean(hidden_BNH)`.
"""

from divot.lm.heads.build import Head, build_head
from divot.lm.heads.diffusion import DiffusionHead
from divot.lm.heads.gmm import GaussianMixtureHead, Mixture
from divot.lm.heads.regression import RegressionHead

__all__ = ["DiffusionHead", "GaussianMixtureHead", "Head", "Mixture", "RegressionHead", "build_head"]

"""Optimizers and the learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from divot.config.training import OptimizerConfig
from divot.train.muon import Muon


def build_optimizers(module: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """AdamW for all trainable parameters, or Muon for the matrices and filters and AdamW for the rest."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    matrices: list[nn.Parameter] = []
    if config.use_muon:
        # Positions, latents and words are tables, not maps: Muon's orthogonal steps are not for them.
        kinds = ("position", "latents", "embed_tokens", "lm_head")
        tables = {id(p) for name, p in module.named_parameters() if any(kind in name for kind in kinds)}
        matrices = [p for p in parameters if p.ndim >= 2 and id(p) not in tables]
    rest = {id(p) for p in parameters} - {id(p) for p in matrices}
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [p for p in parameters if id(p) in rest],
            lr=config.learning_rate,
            betas=(config.betas[0], config.betas[1]),
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
    ]
    if matrices:
        optimizers.append(Muon(matrices, lr=config.muon_learning_rate, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["highest_lr"] = group["lr"]
    return optimizers


def rate_share(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Share of the highest rate at a step (from 0): linear warm-up, then half a cosine down to `final_share`."""
    warmup = min(config.warmup_steps, num_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))
    return config.final_share + (1 - config.final_share) * cosine

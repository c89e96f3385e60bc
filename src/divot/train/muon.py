"""Muon: momentum whose matrix is made orthogonal before the step.

torch.optim.Muon runs its iterations in bfloat16, which a CPU without AVX-512 does some twenty times slower than
float32, and one matrix at a time. This one keeps float32 and treats all matrices of a shape at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Newton-Schulz coefficients of Keller Jordan's Muon: singular values end between 0.7 and 1.2 after five rounds.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalised(matrices_BMN: Tensor) -> Tensor:
    """Matrices [B, M, N] with their singular values brought near 1, in float32."""
    a, b, c = COEFFICIENTS
    x = matrices_BMN.float()
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.transpose(1, 2)
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.transpose(1, 2)
        x = a * x + torch.baddbmm(b * gram, gram, gram, alpha=c) @ x
    return x.transpose(1, 2) if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and AdamW's step size, for matrices and the filters of convolutions.

    Source: Keller Jordan, Muon (2024); the scale 0.2 sqrt(max(M, N)) of Liu et al., arXiv 2502.16982.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(p.ndim < 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon takes parameters of two dimensions or more")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                gradients: list[Tensor] = [parameter.grad for parameter in parameters]  # type: ignore[misc]
                momenta = [self._momentum(parameter) for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                # A filter is one row: [out, in * height * width].
                leads = torch._foreach_lerp(gradients, momenta, group["momentum"])
                matrices = torch.stack(leads).flatten(2)
                scale = 0.2 * max(matrices.shape[1:]) ** 0.5
                updates = [one.view(shape) for one in orthogonalised(matrices).to(parameters[0].dtype)]
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, updates, alpha=-group["lr"] * scale)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer

"""Learning rate and Muon."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from divot.config.training import OptimizerConfig
from divot.train.muon import Muon, orthogonalised
from divot.train.optimizers import build_optimizers, rate_share


def test_learning_rate_warms_up_then_falls_to_its_final_share():
    config = OptimizerConfig(warmup_steps=10, final_share=0.1)
    rates = [rate_share(step, 110, config) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[110] == pytest.approx(0.1)


@pytest.mark.parametrize("shape", [(3, 16, 64), (3, 64, 16), (2, 32, 32)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrices))
    # A square random matrix has singular values near 0, which five rounds do not all lift.
    assert values.median() == pytest.approx(0.95, abs=0.25)
    assert values.max() < 1.35


def test_muon_steps_convolution_filters_as_one_row_each():
    layer = nn.Conv2d(4, 8, 3)
    before = layer.weight.detach().clone()
    layer(torch.randn(2, 4, 8, 8)).pow(2).sum().backward()
    Muon([layer.weight], lr=0.1).step()
    change = (before - layer.weight.detach()).flatten(1)
    values = torch.linalg.svdvals(change / (0.1 * 0.2 * 36**0.5))
    assert values.max() < 1.35
    assert values.min() > 0.3


def test_muon_takes_matrices_and_adamw_the_rest():
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    module.register_parameter("positions", nn.Parameter(torch.zeros(3, 4)))
    adamw, muon = build_optimizers(module, OptimizerConfig(use_muon=True))
    assert [tuple(p.shape) for p in muon.param_groups[0]["params"]] == [(4, 4)]
    assert sorted(tuple(p.shape) for p in adamw.param_groups[0]["params"]) == [(3, 4), (4,), (4,), (4,)]

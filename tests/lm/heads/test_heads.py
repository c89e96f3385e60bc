"""What the three heads have in common, and where they differ: two ways to go on from one state."""

import pytest
import torch

from divot.lm.heads import DiffusionHead, GaussianMixtureHead, RegressionHead

HEADS = {
    "mixture": lambda: GaussianMixtureHead(4, 2, num_components=4),
    "regression": lambda: RegressionHead(4, 2),
    "cosine": lambda: RegressionHead(4, 2, cosine_weight=0.1),
    "diffusion_v": lambda: DiffusionHead(4, 2, width=32, depth=2, num_steps=20),
    "diffusion_noise": lambda: DiffusionHead(4, 2, width=32, depth=2, prediction="epsilon", num_steps=20),
}


def two_ways():
    sides = torch.where(torch.arange(256) % 2 == 0, 1.5, -1.5)[:, None, None].expand(-1, -1, 2)
    # Around two points, not on them: there the density of a mixture has no bound, and its training no end.
    spread = 0.2 * torch.randn(256, 1, 2, generator=torch.Generator().manual_seed(0))
    return torch.ones(256, 1, 4), sides + spread


def learned(make):
    torch.manual_seed(0)
    head = make()
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    hidden, tokens = two_ways()
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = head.loss(hidden, tokens)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return head, hidden, losses


@pytest.mark.parametrize("name", ["mixture", "diffusion_v", "diffusion_noise"])
def test_a_generative_head_draws_either_way(name):
    head, hidden, losses = learned(HEADS[name])
    with torch.no_grad():
        drawn = head.sample(hidden, torch.Generator().manual_seed(1))
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    assert (drawn.abs() - 1.5).abs().median() < 0.3
    assert 0.25 < (drawn[..., 0] > 0).float().mean() < 0.75


def test_a_regression_draws_the_mean_of_both():
    head, hidden, _ = learned(HEADS["regression"])
    assert head.sample(hidden).abs().max() < 0.2


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_every_head_gives_float32_of_one_shape_and_repeats_a_seed(make):
    torch.manual_seed(0)
    head, hidden = make(), torch.randn(2, 3, 4)
    with torch.no_grad():
        first, again = (head.sample(hidden, torch.Generator().manual_seed(5)) for _ in range(2))
        mean = head.mean(hidden)
    assert first.shape == mean.shape == (2, 3, 2)
    assert first.dtype == mean.dtype == torch.float32
    assert torch.equal(first, again)


def test_the_cosine_option_adds_to_the_error():
    hidden, tokens = torch.randn(2, 3, 4), torch.randn(2, 3, 2)
    head = RegressionHead(4, 2)
    plain = head.loss(hidden, tokens)
    head.cosine_weight = 1.0
    assert head.loss(hidden, tokens) > plain

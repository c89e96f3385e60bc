import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from divot.lm.heads import GaussianMixtureHead, Mixture


@pytest.fixture
def mixture():
    parameters = torch.randn(2, 5, 2 * 3 * 4 + 3, generator=torch.Generator().manual_seed(0))
    return Mixture.from_parameters(parameters, num_components=3)


def test_nll_matches_torch_mixture_same_family(mixture):
    tokens = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    theirs = MixtureSameFamily(
        Categorical(logits=mixture.logits),
        Independent(Normal(mixture.means, mixture.variances.sqrt()), 1),
    )
    torch.testing.assert_close(mixture.nll(tokens), -theirs.log_prob(tokens).mean() / 4)
    torch.testing.assert_close(mixture.mean(), theirs.mean)


def test_same_seed_gives_the_same_tokens_and_another_seed_others(mixture):
    draws = [mixture.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.allclose(draws[0], draws[2])


def test_samples_have_the_mean_and_variance_of_the_mixture(mixture):
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([mixture.sample(generator) for _ in range(4000)])
    within = (mixture.logits.softmax(-1)[..., None] * mixture.variances).sum(2)
    spread = (mixture.means - mixture.mean()[:, :, None]).pow(2)
    between = (mixture.logits.softmax(-1)[..., None] * spread).sum(2)
    torch.testing.assert_close(draws.mean(0), mixture.mean(), atol=0.12, rtol=0)
    torch.testing.assert_close(draws.var(0), within + between, atol=0.2, rtol=0.15)


def normal(mean):
    """A mixture [1, 2000] of one component of variance 1 in one dimension."""
    shape = (1, 2000, 1)
    return Mixture(torch.zeros(shape), torch.full((*shape, 1), float(mean)), torch.ones(*shape, 1))


@pytest.mark.parametrize(("scale", "mean"), [(1.0, 0.0), (2.0, -0.5), (3.0, -1.0)])
def test_guided_draws_are_those_of_the_product_of_powers(scale, mean):
    # N(0, 1)^s / N(0.5, 1)^(s - 1) is N(-0.5 (s - 1), 1).
    generator = torch.Generator().manual_seed(0)
    here = normal(0.0)
    candidates = here.samples(64, generator)
    drawn = here.guided(normal(0.5), candidates, scale, generator)
    assert drawn.shape == (1, 2000, 1)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.1)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.1)


def test_a_row_with_a_chance_of_its_own_draws_what_it_draws_alone(mixture):
    def chances():
        return [torch.Generator().manual_seed(seed) for seed in range(len(mixture.means))]

    together = mixture.samples(3, chances())
    for row, chance in enumerate(chances()):
        parts = (value[row : row + 1] for value in (mixture.logits, mixture.means, mixture.variances))
        torch.testing.assert_close(together[:, row], Mixture(*parts).samples(3, chance)[:, 0])
    assert not torch.equal(together[0], together[1])
    with pytest.raises(ValueError, match="1 generators, wanted one for each of"):
        mixture.sample(chances()[:1])


def test_no_variance_and_a_cold_choice_give_the_top_component(mixture):
    sharp = mixture.scaled(var_scale=0.0, component_temperature=1e-4)
    torch.testing.assert_close(sharp.sample(torch.Generator().manual_seed(0)), mixture.top_component())
    assert mixture.scaled(0.0, 1e-40).sample().equal(mixture.scaled(0.0, 0.0).sample())


def test_variance_scale_multiplies_after_the_floor():
    parameters = torch.full((1, 1, 2 * 4 + 1), -100.0)
    mixture = Mixture.from_parameters(parameters, num_components=1)
    assert mixture.variances.unique().item() == pytest.approx(1e-5)
    assert mixture.scaled(0.1).variances.unique().item() == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"var_scale": -1.0}, "var_scale"), ({"component_temperature": -1.0}, "component_temperature")],
)
def test_sampling_settings_out_of_range_are_named(mixture, arguments, named):
    with pytest.raises(ValueError, match=named):
        mixture.scaled(**arguments)


def test_parameters_and_tokens_of_another_size_are_refused_with_both_sizes(mixture):
    with pytest.raises(ValueError, match=r"26, wanted 2 \* M \* D \+ M with M = 3"):
        Mixture.from_parameters(torch.zeros(1, 1, 26), num_components=3)
    with pytest.raises(ValueError, match=r"\(2, 5, 7\), wanted \(2, 5, 4\)"):
        mixture.nll(torch.zeros(2, 5, 7))


def test_half_precision_states_give_a_float32_loss():
    head = GaussianMixtureHead(8, 4, 2).to(torch.bfloat16)
    loss = head.loss(torch.randn(1, 3, 8, dtype=torch.bfloat16), torch.randn(1, 3, 4))
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_head_learns_two_ways_that_a_mean_would_blur():
    torch.manual_seed(0)
    head = GaussianMixtureHead(4, 2, num_components=4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    hidden = torch.ones(64, 1, 4)
    sides = torch.where(torch.arange(64) % 2 == 0, 3.0, -3.0)[:, None, None].expand(-1, -1, 2)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(hidden, sides + 0.05 * torch.randn(64, 1, 2)).backward()
        optimizer.step()
    with torch.no_grad():
        drawn = head(hidden).sample(torch.Generator().manual_seed(0))
    assert ((drawn.abs() - 3).abs() < 0.5).all()
    assert (drawn > 0).any()
    assert (drawn < 0).any()


def test_size_of_the_released_head():
    with torch.device("meta"):
        head = GaussianMixtureHead(4096, 256, 16)
    assert sum(p.numel() for p in head.parameters()) == 101_007_648

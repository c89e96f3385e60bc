"""The Perceiver Resampler: a fixed number of tokens out of any number in."""

import pytest
import torch

from divot.layers.embeddings import grid_positions
from divot.layers.resampler import PerceiverResampler


def resampler(**changes):
    torch.manual_seed(0)
    settings = {
        "input_width": 6,
        "width": 8,
        "depth": 2,
        "num_heads": 3,
        "head_width": 4,
        "num_queries": 5,
        "output_width": 7,
    }
    return PerceiverResampler(**(settings | changes))


@pytest.mark.parametrize("num_inputs", [1, 4, 9])
def test_any_number_of_tokens_gives_the_wanted_number(num_inputs):
    assert resampler()(torch.randn(2, num_inputs, 6)).shape == (2, 5, 7)


def test_order_of_the_input_does_not_matter_without_positions():
    model, x = resampler(), torch.randn(1, 4, 6)
    torch.testing.assert_close(model(x.flip(1)), model(x))


PLACES = {"num_queries": 4, "places_ND": grid_positions((4,), 8)}


def test_order_of_the_input_matters_with_positions():
    model, x = resampler(**PLACES, input_places_MD=PLACES["places_ND"]), torch.randn(1, 4, 6)
    assert (model(x.flip(1)) - model(x)).abs().max() > 1e-3


def test_input_positions_are_learned_one_for_each_input():
    model = resampler(**PLACES, input_places_MD=PLACES["places_ND"])
    assert model.input_positions.shape == (4, 8)
    model(torch.randn(1, 4, 6))[..., 0].sum().backward()
    assert model.input_positions.grad.abs().sum() > 0
    assert resampler(**PLACES).input_positions is None


def test_latents_begin_at_the_places_given_and_are_not_shared_with_the_positions():
    model = resampler(**PLACES, input_places_MD=PLACES["places_ND"])
    assert torch.equal(model.latents, PLACES["places_ND"])
    assert torch.equal(model.input_positions, PLACES["places_ND"])
    with torch.no_grad():
        model.latents.add_(1)
    assert torch.equal(model.input_positions, PLACES["places_ND"])


def test_clips_of_a_batch_do_not_see_each_other():
    model, x = resampler(), torch.randn(3, 4, 6)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))

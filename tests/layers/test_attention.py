"""Attention and the pre-norm block, against torch's own."""

import pytest
import torch
from torch import nn

from divot.layers.attention import QuickGELU, SelfAttention, TransformerBlock, attend


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_attention_equals_that_of_torch():
    ours, theirs = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_attend_is_a_softmax_over_the_keys_of_each_head():
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 4**0.5).softmax(dim=-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(attend(query, key, value, 2), torch.cat(heads, dim=-1))


def test_attend_gives_a_row_for_each_query_whatever_the_number_of_keys():
    assert attend(torch.randn(1, 7, 8), torch.randn(1, 2, 8), torch.randn(1, 2, 8), 4).shape == (1, 7, 8)


def test_more_rows_than_one_call_takes_are_attended_to_part_by_part(monkeypatch):
    query, key, value = torch.randn(7, 3, 8), torch.randn(7, 5, 8), torch.randn(7, 5, 8)
    wanted = attend(query, key, value, 2)
    monkeypatch.setattr("divot.layers.attention.MAX_ROWS", 3)
    torch.testing.assert_close(attend(query, key, value, 2), wanted)


def test_block_whose_last_layers_are_zero_is_the_identity():
    block = TransformerBlock(8, 2, QuickGELU(), 1e-6)
    for layer in (block.attention.out, block.mlp[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.randn(1, 3, 8)
    assert torch.equal(block(x), x)


def test_block_does_not_know_the_order_of_its_tokens():
    block, x = TransformerBlock(8, 2, nn.GELU(), 1e-6), torch.randn(1, 4, 8)
    torch.testing.assert_close(block(x.flip(1)), block(x).flip(1))

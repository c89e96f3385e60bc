"""The mask that the backbone gets: who may look at whom, with and without a window, a cache, padding."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig

from divot.config.errors import RecipeError
from divot.lm.backbone import attention_mask
from divot.lm.mask import official_block_ids
from divot.text.sequence import NO_BLOCK

# Text, a clip of three queries, text, a clip of two, text.
BLOCKS = torch.tensor([[NO_BLOCK, 0, 0, 0, NO_BLOCK, 1, 1, NO_BLOCK]])
ALL = torch.ones(1, 8, dtype=torch.bool)


def mask_of(blocks=BLOCKS, is_present=ALL, window=None, cache=None):
    config = MistralConfig(sliding_window=window, num_hidden_layers=1, attn_implementation="sdpa")
    rows = blocks.shape[1]
    positions = torch.arange(is_present.shape[1])[None, -rows:]
    return attention_mask(config, torch.zeros(1, rows, 4), is_present, blocks, positions, cache)[0, 0]


def test_queries_see_their_own_clip_and_what_was_before_it():
    seen = [row.nonzero().flatten().tolist() for row in mask_of()]
    assert seen[1] == seen[3] == [0, 1, 2, 3]
    assert seen[4] == [0, 1, 2, 3, 4]
    assert seen[5] == seen[6] == [0, 1, 2, 3, 4, 5, 6]
    assert seen[7] == list(range(8))


@pytest.mark.parametrize("window", [None, 3])
def test_rows_after_a_cache_are_the_last_rows_of_the_whole(window):
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 5, 4), torch.zeros(1, 1, 5, 4), 0)
    assert torch.equal(mask_of(BLOCKS[:, 5:], window=window, cache=cache), mask_of(window=window)[5:])


def test_padding_is_seen_by_none():
    is_present = ALL.clone()
    is_present[0, 0] = False
    assert not mask_of(torch.full((1, 8), NO_BLOCK), is_present)[:, 0].any()


def test_a_sliding_window_cuts_the_past_alone():
    mask = mask_of(window=2)
    assert mask[2].nonzero().flatten().tolist() == [1, 2, 3]
    assert mask[3].nonzero().flatten().tolist() == [2, 3]


def test_layers_without_a_mask_of_this_form_are_refused():
    chunked = LlamaConfig(num_hidden_layers=1, layer_types=["chunked_attention"])
    with pytest.raises(RecipeError, match="chunked_attention"):
        attention_mask(chunked, torch.zeros(1, 8, 4), ALL, BLOCKS, torch.arange(8)[None])


def test_official_blocks_are_64_long_or_left_out():
    values = torch.ones(1, 70, dtype=torch.long)
    values[0, 3:10] = -1
    assert (official_block_ids(values, 70)[0] == 0).nonzero().flatten().tolist() == list(range(3, 67))
    values[0, 3:7] = 1
    assert (official_block_ids(values, 70) == NO_BLOCK).all()

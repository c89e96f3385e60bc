import pytest
import torch
from transformers import MistralConfig
from transformers.masking_utils import create_causal_mask

from divot.lm.backbone import as_cache
from divot.lm.mask import CAUSAL, may_attend, official_block_ids, with_open_rows

# Text, a clip of three queries, text, a clip of two, text.
BLOCKS = torch.tensor([[CAUSAL, 0, 0, 0, CAUSAL, 1, 1, CAUSAL]])
ALL = torch.ones(1, 8, dtype=torch.bool)


def test_queries_see_their_own_clip_and_what_was_before_it():
    mask = may_attend(BLOCKS, ALL, 8)[0]
    seen = [row.nonzero().flatten().tolist() for row in mask]
    assert seen[1] == seen[3] == [0, 1, 2, 3]
    assert seen[4] == [0, 1, 2, 3, 4]
    assert seen[5] == seen[6] == [0, 1, 2, 3, 4, 5, 6]
    assert seen[7] == list(range(8))


def test_mask_is_the_one_that_transformers_makes_of_the_same_blocks():
    config = MistralConfig(sliding_window=None, attn_implementation="sdpa")
    theirs = create_causal_mask(
        config=config,
        inputs_embeds=torch.zeros(1, 8, 4),
        attention_mask=torch.ones(1, 8, dtype=torch.long),
        block_sequence_ids=BLOCKS,
        **as_cache(create_causal_mask, None),
    )
    assert torch.equal(theirs[:, 0].bool(), may_attend(BLOCKS, ALL, 8))


def test_rows_after_a_cache_are_the_last_rows_of_the_whole():
    whole = may_attend(BLOCKS, ALL, 8)
    assert torch.equal(may_attend(BLOCKS, ALL, 3), whole[:, 5:])


def test_padding_is_seen_by_none_and_empty_rows_can_be_opened():
    is_present = ALL.clone()
    is_present[0, 0] = False
    mask = may_attend(torch.full((1, 8), CAUSAL), is_present, 8)
    assert not mask[..., 0].any()
    opened = with_open_rows(mask)
    assert opened[0, 0].all()
    assert torch.equal(opened[:, 1:], mask[:, 1:])


def test_a_sliding_window_cuts_the_past_alone():
    mask = may_attend(BLOCKS, ALL, 8, sliding_window=2)[0]
    assert mask[2].nonzero().flatten().tolist() == [1, 2, 3]


def test_official_blocks_are_64_long_or_left_out():
    values = torch.ones(1, 70, dtype=torch.long)
    values[0, 3:10] = -1
    assert (official_block_ids(values, 70)[0] == 0).nonzero().flatten().tolist() == list(range(3, 67))
    values[0, 3:7] = 1
    assert (official_block_ids(values, 70) == CAUSAL).all()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="wanted the same"):
        may_attend(BLOCKS, ALL[:, :4], 4)
    with pytest.raises(ValueError, match="num_rows: got 9, wanted 1 to 8"):
        may_attend(BLOCKS, ALL, 9)

"""Name tables: one place for every parameter, both ways."""

import dataclasses

import pytest
import torch

from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.tokenizer import VideoTokenizer
from divot.weights.names import Entry, to_ours, to_theirs, under
from divot.weights.official_names import detokenizer_names, tokenizer_names


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_mult": (1,), "attention_resolutions": ()},
        {"channel_mult": (1, 2, 3), "num_res_blocks": 3, "attention_resolutions": (1, 4)},
        {"has_initial_attention": False, "context_split": None, "default_frame_stride": None},
    ],
)
def test_table_of_any_size_names_every_parameter_once(changes):
    config = preset("paper").detokenizer
    unet = dataclasses.replace(
        config.unet, **{"model_channels": 32, "num_head_channels": 8, "context_width": 8} | changes
    )
    vae = dataclasses.replace(
        config.autoencoder, block_channels=(32, 64, 32), layers_per_block=3, has_mid_attention=False
    )
    config = dataclasses.replace(config, unet=unet, autoencoder=vae)
    with torch.device("meta"):
        state = VideoDetokenizer(config).state_dict()
    entries = detokenizer_names(config)
    ours = [name for entry in entries for name in entry.ours]
    assert sorted(ours) == sorted(state.keys() - {"null_tokens"})
    theirs = [entry.theirs for entry in entries]
    assert len(theirs) == len(set(theirs))


def test_values_survive_both_ways():
    config = preset("tiny").tokenizer
    torch.manual_seed(0)
    state = VideoTokenizer(config).state_dict()
    entries = tokenizer_names(config)
    theirs = to_theirs(entries, state).tensors
    back = to_ours(entries, theirs, {k: v.shape for k, v in state.items()})
    assert back.tensors.keys() == state.keys()
    assert all(torch.equal(back.tensors[k], v) for k, v in state.items())


def test_fused_queries_keys_and_values_are_stacked_in_that_order():
    entry = Entry("fused", ("q", "k", "v"))
    ours = {name: torch.full((2, 3), float(i)) for i, name in enumerate("qkv")}
    theirs = to_theirs([entry], ours).tensors["fused"]
    assert theirs[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_misfits_are_told_apart():
    entries = under(
        [Entry("a", ("x",)), Entry("b", ("y",), leading=1), Entry("c", ("z",), trailing=2)], "m", "n"
    )
    shapes = {name: torch.Size([2, 3]) for name in ("n.x", "n.y", "n.z")}
    theirs = {"m.b": torch.ones(1, 2, 3), "m.c": torch.ones(2, 3), "m.d": torch.ones(1)}
    found = to_ours(entries, theirs, shapes)
    assert found.missing == ["m.a"]
    assert found.unexpected == ["m.d"]
    assert found.misshapen == ["m.c [2, 3], wanted [2, 3, 1, 1]"]
    assert found.tensors.keys() == {"n.y"}

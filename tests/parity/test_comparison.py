"""The comparison can fail: a changed weight, number or rule is seen in every kind of golden."""

import copy
import json

import pytest
import torch
from torch import nn

from parity import norms
from parity.checks import CHECKS
from parity.conftest import COMMITTED
from parity.golden import Golden, Row, kind_of
from parity.language_model import check_llm


def beyond(golden: Golden) -> list[Row]:
    return [row for row in CHECKS[golden.kind](golden) if not row.ok]


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("tokenizer", "vit_model.model.visual.positional_embedding"),
        ("tokenizer", "temporal_encoder.transformer.resblocks.1.attn.in_proj_bias"),
        ("tokenizer", "image_proj_model.down_sampler.latents"),
        ("unet_mult", "init_attn.0.proj_in.weight"),
        ("unet_mult", "input_blocks.3.1.transformer_blocks.0.attn2.alpha"),
        ("unet_mult", "output_blocks.2.0.temopral_conv.conv4.3.weight"),
        ("vae", "encoder.mid.attn_1.q.weight"),
        ("vae", "decoder.up.1.block.1.conv2.bias"),
    ],
)
def test_changed_weight_is_seen(name, weight):
    golden = Golden.load(COMMITTED / name)
    golden.tensors[f"weight/{weight}"] = golden.tensors[f"weight/{weight}"].float() * 1.02 + 0.01
    assert beyond(golden)


def test_missing_weight_is_refused():
    golden = Golden.load(COMMITTED / "vae")
    del golden.tensors["weight/quant_conv.bias"]
    with pytest.raises(AssertionError, match=r"quant_conv\.bias"):
        beyond(golden)


def test_weight_of_no_use_is_refused():
    golden = Golden.load(COMMITTED / "vae")
    golden.tensors["weight/quant_conv.scale"] = torch.ones(1)
    with pytest.raises(AssertionError, match=r"quant_conv\.scale"):
        beyond(golden)


@pytest.mark.parametrize("name", ["gmm", "norm_eps", "schedule"])
def test_changed_number_is_seen(name):
    golden = Golden.load(COMMITTED / name)
    for key, value in golden.outputs().items():
        if value.is_floating_point():
            golden.tensors[f"output/{key}"] = value + 1e-3
            break
    assert len(beyond(golden)) == 1


def test_wrong_eps_is_seen(monkeypatch):
    right = norms._our_layer

    def wrong(part: str, path: str) -> nn.Module:
        layer = copy.copy(right(part, path))
        name = "variance_epsilon" if hasattr(layer, "variance_epsilon") else "eps"
        setattr(layer, name, {1e-5: 1e-6, 1e-6: 1e-5}[getattr(layer, name)])
        return layer

    monkeypatch.setattr(norms, "_our_layer", wrong)
    golden = Golden.load(COMMITTED / "norm_eps")
    assert len(beyond(golden)) == len(golden.meta["layers"])


def test_changed_index_is_seen():
    golden = Golden.load(COMMITTED / "clips")
    golden.meta["rows"][3]["comp"]["indices"][1] += 1
    assert [row.error for row in beyond(golden)] == [1]


def test_output_nobody_compares_is_named():
    golden = Golden.load(COMMITTED / "vae")
    golden.tensors["output/moments_again"] = golden.tensors["output/moments"]
    assert golden.unlisted(CHECKS["vae"](golden)) == ["moments_again"]


def test_kind_is_told_by_content():
    assert kind_of({"name": "tokenizer_b", "config": {"vit": {}, "tokenizer": {}}}) == "tokenizer"
    assert kind_of({"name": "anything", "config": {"unet": {}, "runs": {}}}) == "ddim"
    assert kind_of({"name": "anything", "config": {"flow": {}}}) is None


def test_weights_that_cannot_be_drawn_again_fail_the_golden(tmp_path):
    meta = json.loads((COMMITTED / "ddim" / "meta.json").read_text())
    meta["config"]["seed"] += 1
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(pytest.fail.Exception, match="are not the recorded ones"):
        Golden.load(tmp_path)


def test_changed_mask_is_seen():
    golden = Golden.load(COMMITTED / "llm_masks")
    golden.tensors["output/q64_end/eager_may_attend"][0, 3, 3] = False
    assert [row.output for row in beyond(golden)] == ["q64_end/eager_may_attend"]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_gives_the_recorded_hidden_states(attention):
    golden = Golden.load(COMMITTED / "llm")
    rows = check_llm(golden, attention)
    assert not [row.line() for row in rows if not row.ok]

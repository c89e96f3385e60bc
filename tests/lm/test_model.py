"""DivotLM: who sees whom, both losses, all heads and families, LoRA, and what a folder gives back."""

import dataclasses
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from divot.config.errors import CheckpointError, RecipeError
from divot.config.language import LoRAConfig
from divot.config.models import HeadConfig, LanguageModelConfig
from divot.lm.backbone import attention_mask
from divot.lm.batch import collate
from divot.lm.heads import RegressionHead
from divot.lm.model import DivotLM
from divot.text.sequence import IGNORED, End, ReadClips, SequenceBuilder, Words, WriteClip, packed
from lm.small import FAMILIES, NUM_TOKENS, WIDTH, batch_of, clip_tokens, segments, small_lm


@pytest.fixture(scope="module")
def lm():
    model = small_lm()
    model.set_token_statistics(torch.randn(9, NUM_TOKENS, WIDTH, generator=torch.Generator().manual_seed(3)))
    return model


def test_queries_see_each_other_and_what_was_before_but_nothing_behind(lm):
    batch = batch_of(lm, [[*segments()[1], *segments()[0]]])
    places = batch.writes[0].nonzero().flatten()
    before = lm.states(batch)
    changed = dataclasses.replace(batch, ids=batch.ids.clone())
    changed.ids[0, places[-1]] += 1
    after = lm.states(changed)
    moved = (before - after)[0].abs().amax(dim=-1) > 1e-6
    assert moved[places].all()
    assert not moved[: places[0]].any()
    behind = dataclasses.replace(batch, ids=batch.ids.clone())
    behind.ids[0, places[-1] + 2] = 5
    assert torch.allclose(before[0, places], lm.states(behind)[0, places], atol=1e-6)


def test_layers_of_two_kinds_have_their_own_masks():
    lm = small_lm(family="gemma3_text")
    batch = batch_of(lm)
    embeddings = lm.embed(batch)
    masks = attention_mask(lm.backbone.config, embeddings, batch.is_present, batch.blocks, batch.positions)
    causal = torch.ones(batch.ids.shape[1], batch.ids.shape[1]).tril().bool()
    queries = batch.writes[1].nonzero().flatten()
    for mask in (kind[1, 0] for kind in masks.values()):
        assert mask[queries[0], queries].all()
        assert not mask[queries[0] - 1, queries].any()
    whole, window = masks["full_attention"][1, 0], masks["sliding_attention"][1, 0]
    assert (whole & causal)[queries[-1], 0]
    assert not window[queries[-1], 0]


@pytest.mark.parametrize("queries", ["bidirectional", "autoregressive"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "family",
    [
        {"family": "mistral"},
        {"family": "mistral", "sliding_window": 4096},
        # Reached by the sequences, and by their blocks.
        {"family": "mistral", "sliding_window": 10},
        {"family": "mistral", "sliding_window": 3},
        {"family": "gemma3_text"},
    ],
    ids=lambda family: " ".join(map(str, family.values())),
)
def test_packed_sequences_are_read_as_if_each_were_alone(queries, attention, family):
    lm = small_lm(queries=queries, **family)
    lm.backbone.set_attn_implementation(attention)
    segments_ = [*segments(), segments()[1], [Words("what?"), WriteClip(), Words("now"), WriteClip(), End()]]
    alone = batch_of(lm, segments_)
    builder = SequenceBuilder(lm.tokenizer, NUM_TOKENS)
    sequences = [builder.build(row) for row in segments_]
    read, written = list(alone.read_tokens), list(alone.written_tokens)
    row = collate([packed(sequences)], read, written, lm.vocab.pad, (NUM_TOKENS, WIDTH))
    assert row.is_packed
    states = torch.cat([s[p] for s, p in zip(lm.states(alone), alone.is_present, strict=True)])
    assert torch.allclose(lm.states(row)[0], states, atol=2e-5)
    theirs, ours = lm(alone), lm(row)
    assert (ours.num_words, ours.num_clips) == (theirs.num_words, theirs.num_clips)
    assert float(ours.text) == pytest.approx(float(theirs.text), rel=1e-4)
    assert float(ours.video) == pytest.approx(float(theirs.video), rel=1e-4)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("mistral", {}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 8.0}),
        ("gemma3_text", {"final_logit_softcapping": 0.05}),
    ],
)
def test_scores_of_words_are_those_of_the_backbone(family, settings):
    lm = small_lm(family=family, **settings)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        wanted = lm.backbone(ids).logits
        ours = lm.logits(lm.backbone.get_decoder()(ids).last_hidden_state)
    assert torch.allclose(ours, wanted.float(), atol=1e-5)


def test_of_a_backbone_that_reads_pictures_too_the_part_for_text_counts():
    words = small_lm(family="gemma3_text")
    text = {**words.backbone.config.to_dict(), "sliding_window": 8}
    eyes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**eyes, "image_size": 28, "patch_size": 14}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
    lm = DivotLM(words.config, AutoModelForCausalLM.from_config(config), words.tokenizer).eval()
    ids = torch.arange(20)[None]
    present, blocks = torch.ones_like(ids).bool(), torch.full_like(ids, -1)
    with torch.no_grad():
        embeddings = lm.backbone.get_input_embeddings()(ids)
        ours = lm.logits(lm.hidden(embeddings, present, blocks, ids))
        assert torch.allclose(ours, lm.backbone(ids).logits.float(), atol=1e-5)
    with pytest.raises(RecipeError, match="reads pictures by itself"):
        lm.add_lora(LoRAConfig(rank=2))


def test_lora_on_what_a_backbone_has_not_is_refused():
    with pytest.raises(RecipeError, match="q_pro, which this backbone has not"):
        small_lm().add_lora(LoRAConfig(rank=2, target_modules=("q_pro", "k_proj")))


def test_causal_queries_do_not_look_ahead():
    lm = small_lm(queries="causal")
    batch = batch_of(lm)
    places = batch.writes[1].nonzero().flatten()
    changed = dataclasses.replace(batch, ids=batch.ids.clone())
    changed.ids[1, places[-1]] += 1
    difference = (lm.states(batch) - lm.states(changed))[1].abs().amax(dim=-1)
    assert difference[places[:-1]].max() < 1e-6 < difference[places[-1]]


def test_autoregressive_tokens_depend_on_those_before_alone():
    lm = small_lm(queries="autoregressive")
    batch = batch_of(lm)
    changed = dataclasses.replace(batch, written_tokens=batch.written_tokens.clone())
    changed.written_tokens[0, 2] += 1
    states = [lm.query_states(lm.states(b), b)[0] for b in (batch, changed)]
    difference = (states[0] - states[1]).abs().amax(dim=-1)
    assert difference[:3].max() < 1e-6 < difference[3:].min()


@pytest.mark.parametrize("keeps_places", [False, True])
def test_a_bare_place_does_not_hold_the_token_before_it(keeps_places):
    lm = small_lm(queries="autoregressive", keeps_places=keeps_places)
    batch = batch_of(lm)
    changed = dataclasses.replace(batch, written_tokens=batch.written_tokens.clone())
    changed.written_tokens[0, 1] += 1
    for token, is_same in ((1, True), (2, False)):
        bare = batch.writes.clone()
        bare[batch.writes] = torch.arange(int(batch.writes.sum())) % NUM_TOKENS == token + 1
        pair = [dataclasses.replace(one, bare=bare) for one in (batch, changed)]
        states = [lm.query_states(lm.states(one), one) for one in pair]
        assert torch.equal(*states) == is_same


def test_noise_is_on_the_tokens_that_are_held_and_not_on_those_that_are_learned():
    lm = small_lm(queries="autoregressive")
    batch = batch_of(lm)
    chance = torch.Generator().manual_seed(1)
    noise = torch.randn(batch.written_tokens.shape, generator=chance)
    noisy = dataclasses.replace(batch, noise=noise)
    held = dataclasses.replace(batch, written_tokens=lm.to_tokens(lm.scaled(batch.written_tokens) + noise))
    states = lm.query_states(lm.states(noisy), batch)
    assert torch.allclose(states, lm.query_states(lm.states(held), batch), atol=1e-5)
    wanted = lm.head.loss(states, lm.scaled(batch.written_tokens))
    assert torch.allclose(lm(noisy).video, wanted)
    assert not torch.allclose(lm(batch).video, wanted)


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
def test_attentions_agree(lm, attention):
    if attention == "flex_attention" and shutil.which("g++") is None:
        pytest.skip("flex attention is compiled, and there is no compiler")
    batch = batch_of(lm)
    usual = lm.states(batch)
    lm.backbone.set_attn_implementation(attention)
    try:
        with torch.no_grad():
            other = lm.states(batch)
    finally:
        lm.backbone.set_attn_implementation("sdpa")
    assert torch.allclose(usual[batch.is_present], other[batch.is_present], atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["gmm", "regression", "diffusion"])
def test_both_losses_reach_all_their_parameters(family, head):
    lm = small_lm(head, family=family).train()
    losses = lm(batch_of(lm))
    assert losses.num_clips == 1
    assert losses.num_words > 4
    (losses.text + losses.video).backward()
    silent = [n for n, p in lm.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


def test_a_batch_without_words_to_learn_leaves_no_parameter_out():
    lm = small_lm().train()
    batch = batch_of(lm, [[Words("what is it?"), ReadClips(1), Words("a star"), End()]])
    losses = lm(dataclasses.replace(batch, labels=torch.full_like(batch.labels, IGNORED)))
    assert (float(losses.text), losses.num_words) == (0.0, 0)
    losses.text.backward()
    assert [n for n, p in lm.backbone.named_parameters() if p.grad is None] == []


def test_losses_fall_on_one_batch():
    lm = small_lm().train()
    batch = batch_of(lm)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=3e-3)
    history = []
    for _ in range(30):
        losses = lm(batch)
        history.append((float(losses.text), float(losses.video)))
        (losses.text + losses.video).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert history[-1][0] < 0.3 * history[0][0]
    assert history[-1][1] < history[0][1] - 0.3


def samples(seed, num_axes=WIDTH):
    """Tokens [40, N, D] that differ along `num_axes` axes, much along some and little along others."""
    chance = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=chance))[0][:num_axes]
    amounts = torch.logspace(0, -1, num_axes)[:, None]
    return 5 + 3 * torch.randn(40, NUM_TOKENS, num_axes, generator=chance) @ (amounts * axes)


def test_tokens_are_read_and_written_along_their_principal_axes():
    lm, tokens = small_lm("regression"), samples(0)
    lm.set_token_statistics(tokens)
    scaled = lm.scaled(tokens).flatten(0, 1)
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(WIDTH), atol=1e-4)
    assert torch.allclose(scaled.T.cov(), torch.eye(WIDTH), atol=1e-3)
    assert torch.allclose(lm.to_tokens(lm.scaled(tokens)), tokens, atol=1e-4)


def test_units_are_exact_under_autocast_too():
    lm, tokens = small_lm("regression"), samples(0)
    lm.set_token_statistics(tokens)
    scaled = lm.scaled(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lm.scaled(tokens), scaled)
        assert torch.allclose(lm.to_tokens(scaled), tokens, atol=1e-4)


def test_axes_along_which_tokens_do_not_differ_are_not_blown_up():
    lm, tokens = small_lm("regression"), samples(0, num_axes=2)
    tokens = tokens + 1e-4 * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))
    lm.set_token_statistics(tokens)
    deviations = lm.scaled(tokens).flatten(0, 1).std(dim=0).sort().values
    assert float(deviations[:-2].max()) < 0.01
    assert torch.allclose(deviations[-2:], torch.ones(2), atol=1e-3)


def test_units_of_a_tokenizer_that_went_on_stay_near_those_the_weights_know():
    lm, tokens = small_lm("regression"), samples(0)
    lm.set_token_statistics(tokens)
    before = lm.scaled(tokens)
    moved = 1.5 * tokens + 0.01 * samples(1) + 2
    lm.set_token_statistics(moved, keeps_axes=True)
    assert torch.allclose(lm.scaled(moved), before, atol=0.2)
    assert torch.allclose(lm.scaled(moved).flatten(0, 1).T.cov(), torch.eye(WIDTH), atol=1e-3)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_learned_words_come_back_as_they_were(family, tmp_path):
    lm = small_lm(family=family)
    lm.save_pretrained(tmp_path)
    again = DivotLM.from_pretrained(tmp_path).tokenizer
    text = "a red star, what's  that? Ünï 42"
    assert len(again) == len(lm.tokenizer)
    assert again.encode(text) == lm.tokenizer.encode(text)


def test_folder_gives_the_same_model(lm, tmp_path):
    lm.save_pretrained(tmp_path / "lm")
    again = DivotLM.from_pretrained(tmp_path / "lm")
    batch = batch_of(lm)
    assert torch.equal(lm(batch).video, again(batch).video)
    assert torch.equal(lm(batch).text, again(batch).text)
    assert again.vocab == lm.vocab
    lm.save_pretrained(tmp_path / "lm", dtype=torch.float16)
    half = DivotLM.from_pretrained(tmp_path / "lm")
    assert half.dtype == torch.float32
    kept = DivotLM.from_pretrained(tmp_path / "lm", dtype=None)
    parts = (kept.backbone, kept.input_projection, kept.head)
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float16}
    assert torch.equal(half.token_mean, lm.token_mean)
    assert abs(float(half(batch).text) - float(lm(batch).text)) < 1e-2


def test_damaged_folders_are_named(lm, tmp_path):
    folder = tmp_path / "lm"
    lm.save_pretrained(folder)
    (folder / "backbone" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="backbone"):
        DivotLM.from_pretrained(folder)
    lm.save_pretrained(folder)
    small_lm("regression").save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        DivotLM.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="no component folder"):
        lm.save_pretrained(tmp_path)


def test_unknown_settings_are_refused(lm):
    with pytest.raises(RecipeError, match="queries"):
        DivotLM(LanguageModelConfig(queries="sideways"), lm.backbone, lm.tokenizer)
    with pytest.raises(RecipeError, match="head"):
        small_lm("nothing")
    with pytest.raises(RecipeError, match="model_type"):
        small_lm(family="no_such_family")


def test_a_model_takes_another_way_of_writing_and_another_head():
    lm = small_lm()
    lm.take_writing("autoregressive")
    lm.take_new_head(HeadConfig("regression"))
    assert lm.config.queries == "autoregressive"
    assert isinstance(lm.head, RegressionHead)
    assert lm(batch_of(lm)).num_clips
    with pytest.raises(RecipeError, match="queries"):
        lm.take_writing("none")
    with pytest.raises(RecipeError, match="head"):
        lm.take_new_head(HeadConfig("none"))


def test_added_variance_lies_under_every_component_and_is_kept(tmp_path):
    lm = small_lm()
    batch = batch_of(lm)
    states = lm.query_states(lm.states(batch), batch)
    before = lm.head(states).variances
    lm.take_added_variance(0.5)
    torch.testing.assert_close(lm.head(states).variances, before + 0.5)
    lm.save_pretrained(tmp_path / "lm")
    loaded = DivotLM.from_pretrained(tmp_path / "lm")
    assert loaded.config.head.added_variance == 0.5
    torch.testing.assert_close(loaded.head(states).variances, before + 0.5)
    with pytest.raises(RecipeError, match="added_variance"):
        small_lm("regression").take_added_variance(0.5)


def test_lora_keeps_all_norms_of_a_family_whole():
    lm = small_lm(family="gemma3_text")
    lm.add_lora(LoRAConfig(rank=4, alpha=4, dropout=0.0))
    trained = {n for n, p in lm.backbone.named_parameters() if p.requires_grad}
    for norm in ("pre_feedforward_layernorm", "q_norm", "model.norm"):
        assert any(f"{norm}.modules_to_save" in name for name in trained)


@pytest.mark.parametrize("tied", [True, False])
def test_lora_trains_little_saves_beside_and_merges(tmp_path, tied):
    lm = small_lm(tie_word_embeddings=tied)
    plain = {k: v.clone() for k, v in lm.backbone.state_dict().items()}
    lm.add_lora(LoRAConfig(rank=4, alpha=4, dropout=0.0))
    trained = {n for n, p in lm.backbone.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any("input_layernorm" in name for name in trained)
    assert not any("base_layer" in name for name in trained)
    batch = batch_of(lm.train())
    optimizer = torch.optim.AdamW([p for p in lm.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        losses = lm(batch)
        (losses.text + losses.video).backward()
        optimizer.step()
        optimizer.zero_grad()
    lm.eval()
    wanted = lm.states(batch)
    scores = lm.logits(wanted)
    # The new words are learned where they are read and where they are said.
    changed = (scores - torch.nn.functional.linear(wanted, plain["lm_head.weight"])).abs().amax(
        dim=(0, 1)
    ) > 1e-4
    assert set(changed.nonzero().flatten().tolist()) <= set(lm.vocab.special)
    assert changed[lm.vocab.video_start]
    lm.save_pretrained(tmp_path / "lm")
    again = DivotLM.from_pretrained(tmp_path / "lm")
    assert again.has_lora
    assert torch.allclose(again.states(batch), wanted, atol=1e-5)
    assert torch.allclose(again.logits(wanted), scores, atol=1e-5)
    kept = DivotLM.from_pretrained(tmp_path / "lm")
    kept.merge_lora()
    assert not kept.has_lora
    assert torch.allclose(kept.states(batch), wanted, atol=1e-5)
    assert torch.allclose(kept.logits(wanted), scores, atol=1e-5)
    kept.save_pretrained(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter").exists()
    assert torch.allclose(DivotLM.from_pretrained(tmp_path / "merged").states(batch), wanted, atol=1e-5)
    # The backbone beside the adapter is what it was.
    from safetensors.torch import load_file

    beside = load_file(tmp_path / "lm" / "backbone" / "model.safetensors")
    assert all(torch.equal(beside[name], plain[name]) for name in beside)


def test_tokens_read_reach_the_text(lm):
    batch = batch_of(lm)
    changed = dataclasses.replace(batch, read_tokens=torch.stack(clip_tokens(2, seed=9)))
    assert not torch.allclose(lm.states(batch)[0, -3:], lm.states(changed)[0, -3:], atol=1e-4)


@pytest.mark.parametrize("keeps_places", [False, True])
def test_places_are_kept_under_the_tokens_if_asked(keeps_places):
    lm = small_lm(keeps_places=keeps_places)
    batch = batch_of(lm)
    # The same token in every place: only the places tell them apart.
    same = dataclasses.replace(batch, read_tokens=torch.ones_like(batch.read_tokens))
    read = lm.embed(same)[same.reads].unflatten(0, (-1, NUM_TOKENS))
    assert torch.allclose(read[0], read[1])
    # What does not divide evenly lies in the middle: the last two of six.
    distances = torch.cdist(read[0, :4], read[0, :4]) + torch.eye(4)
    assert (float(distances.min()) > 0.5) == keeps_places

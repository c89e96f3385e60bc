"""Writing: the cache gives what one pass gives, rows do not disturb each other, chance comes from the seed alone."""

import dataclasses

import pytest
import torch

from divot.config.errors import RecipeError
from divot.lm.batch import collate
from divot.lm.chance import spawned
from divot.lm.generate import PLAN_WORDS, Dialogue, unprompted
from divot.lm.likelihood import caption_log_likelihoods
from divot.lm.sampling import TextSampling, TokenSampling, settled, without_places
from divot.text import ReadClips, Turn, Words, WriteClip, caption_request, planned
from divot.text.sequence import End
from divot.weights.store import ModelFolder
from divot.world import sample_scene
from divot.world.plans import plan
from lm.small import NUM_TOKENS, WIDTH, batch_of, clip_tokens, small_lm


@pytest.fixture(scope="module")
def lm():
    return small_lm()


def begin(lm, texts, counts=None, seed=0):
    builder = lm.builder()
    counts = counts or [0] * len(texts)
    rows = [
        [ReadClips(count), Words(text)] if count else [Words(text)]
        for text, count in zip(texts, counts, strict=True)
    ]
    return Dialogue(
        lm,
        [builder.build(row) for row in rows],
        clip_tokens(sum(counts)),
        torch.Generator().manual_seed(seed),
    )


def said(dialogue, sampling=TextSampling(max_new_tokens=8)):
    return [list(row) for row in zip(*dialogue.write_text(sampling), strict=True)]


def test_greedy_text_is_what_transformers_generates(lm):
    text = "what is it?"
    ids = torch.tensor([lm.builder().build([Words(text)]).ids])
    banned = [[id_] for id_ in lm.vocab.special]
    theirs = lm.backbone.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=8,
        do_sample=False,
        bad_words_ids=banned,
        pad_token_id=lm.vocab.pad,
    )
    ours = [id_ for id_ in said(begin(lm, [text]))[0] if id_ is not None]
    assert theirs[0, ids.shape[1] :].tolist()[: len(ours)] == ours


def test_a_row_says_the_same_alone_and_in_a_batch(lm):
    texts, counts = ["what is it?", "a much longer question about two clips", "star"], [1, 2, 0]
    together = said(begin(lm, texts, counts))
    builder = lm.builder()
    clips = clip_tokens(3)
    for row, (first, last) in enumerate(((0, 1), (1, 3), (3, 3))):
        segments = [ReadClips(last - first)] if last > first else []
        alone = Dialogue(lm, [builder.build([*segments, Words(texts[row])])], clips[first:last])
        assert said(alone)[0] == together[row]


def test_clip_on_the_cache_is_the_clip_of_one_pass():
    lm = small_lm("regression")
    segments = [Words("make a red star"), WriteClip(), End()]
    batch = batch_of(lm, [segments])
    with torch.no_grad():
        wanted = lm.to_tokens(lm.head.mean(lm.query_states(lm.states(batch), batch)))
    made = begin(lm, ["make a red star"]).write_clip(TokenSampling(is_mean=True))
    assert torch.allclose(made, wanted, atol=1e-5)


def test_text_goes_on_after_a_clip_that_is_read_back(lm):
    builder = lm.builder()
    dialogue = begin(lm, ["a story"])
    list(dialogue.write_text(TextSampling(max_new_tokens=2), may_write_clip=True))
    first = dialogue.write_clip()
    dialogue.read([builder.continuation([], [ReadClips(1)])], list(first))
    list(dialogue.write_text(TextSampling(max_new_tokens=2)))
    second = dialogue.write_clip()
    other = begin(lm, ["a story"], seed=5)
    list(other.write_text(TextSampling(max_new_tokens=2), may_write_clip=True))
    other.write_clip()
    other.read([builder.continuation([], [ReadClips(1)])], clip_tokens(1, seed=8))
    list(other.write_text(TextSampling(max_new_tokens=2)))
    mean = TokenSampling(is_mean=True)
    assert second.shape == (1, NUM_TOKENS, WIDTH)
    assert not torch.allclose(dialogue.write_clip(mean), other.write_clip(mean), atol=1e-4)


@pytest.mark.parametrize("head", ["gmm", "diffusion"])
@pytest.mark.parametrize("queries", ["bidirectional", "causal", "autoregressive"])
def test_the_seed_alone_decides(head, queries):
    lm = small_lm(head, queries)
    clips = [begin(lm, ["make it"], seed=seed).write_clip() for seed in (3, 3, 4)]
    assert torch.equal(clips[0], clips[1])
    assert not torch.allclose(clips[0], clips[2])


@pytest.mark.parametrize("queries", ["bidirectional", "autoregressive"])
def test_words_guide_a_draw_as_far_as_asked(queries):
    lm = small_lm("gmm", queries)

    def drawn(scale=None):
        return begin(lm, ["make it", "a star"], seed=3).write_clip(TokenSampling(text_guidance=scale))

    plain, guided = drawn(), drawn(4.0)
    assert torch.equal(plain, drawn(1.0))
    assert torch.equal(guided, drawn(4.0))
    assert not torch.allclose(guided, plain)
    lm.config = dataclasses.replace(lm.config, text_guidance=4.0)
    assert torch.equal(drawn(), guided)
    assert torch.equal(drawn(1.0), plain)


def test_guided_words_that_say_nothing_are_no_guide():
    lm = small_lm("gmm", "autoregressive")
    nothing = unprompted(lm)
    seen = []

    def densities(self, other, candidates, scale, generator):
        seen.append(float((self.log_density(candidates) - other.log_density(candidates)).abs().max()))
        return candidates[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("divot.lm.heads.gmm.Mixture.guided", densities)
        Dialogue(lm, [nothing]).write_clip(TokenSampling(text_guidance=2.0))
        assert max(seen) < 1e-4
        begin(lm, ["make a red star"]).write_clip(TokenSampling(text_guidance=2.0))
    assert max(seen) > 1e-2


def test_a_head_without_densities_cannot_be_guided():
    lm = small_lm("diffusion")
    plain = begin(lm, ["make it"]).write_clip()
    with pytest.raises(RecipeError, match="text_guidance"):
        begin(lm, ["make it"]).write_clip(TokenSampling(text_guidance=2.0))
    # A new head on a model whose mixture was guided.
    lm.config = dataclasses.replace(lm.config, text_guidance=3.0)
    assert torch.equal(begin(lm, ["make it"]).write_clip(), plain)


def test_a_likelihood_is_that_of_the_loss(lm):
    captions, clips = ["a red star", "a green circle moves to the left"], clip_tokens(2)
    found = caption_log_likelihoods(lm, torch.stack(clips), captions)
    builder = lm.builder()
    for caption, clip, likelihood in zip(captions, clips, found, strict=True):
        segments = lm.segments([Turn(caption_request(), caption, clips=1)])
        batch = collate([builder.build(segments)], [clip], [], lm.vocab.pad, (NUM_TOKENS, WIDTH))
        with torch.no_grad():
            losses = lm(batch)
        assert likelihood == pytest.approx(-float(losses.text) * losses.num_words, abs=1e-3)


@pytest.mark.parametrize("queries", ["bidirectional", "autoregressive"])
def test_of_candidates_the_one_is_kept_that_reads_best(queries):
    lm = small_lm("gmm", queries)
    text = "make a red star"
    kept = begin(lm, [text], seed=3).write_clip(TokenSampling(candidates=4), words=["a red star"])
    each = begin(lm, [text] * 4)
    each.generator = spawned(torch.Generator().manual_seed(3), 1, 4)
    drawn = each.write_clip()
    likely = caption_log_likelihoods(lm, drawn, ["a red star"] * 4)
    assert len(set(likely.tolist())) == 4
    assert torch.allclose(kept[0], drawn[likely.argmax()], atol=1e-5)


def test_a_row_of_candidates_is_the_same_alone_and_in_a_batch():
    lm = small_lm("gmm", "autoregressive")
    texts, words = ["make a red star", "make it"], ["a red star", "a blue circle"]
    sampling, builder = TokenSampling(candidates=3), lm.builder()

    def written(rows):
        begun = [builder.build([Words(texts[row])]) for row in rows]
        chances = [torch.Generator().manual_seed(row) for row in rows]
        return Dialogue(lm, begun, (), chances).write_clip(sampling, words=[words[row] for row in rows])

    together = written([0, 1])
    assert torch.allclose(together[0], written([0])[0], atol=1e-5)
    assert torch.allclose(together[1], written([1])[0], atol=1e-5)


def test_after_candidates_it_goes_on_from_the_clip_that_was_kept():
    lm = small_lm("gmm", "autoregressive")
    dialogue = begin(lm, ["make it"], seed=3)
    kept = dialogue.write_clip(TokenSampling(candidates=4), words=["a red star"])
    whole = lm.builder().build([Words("make it"), WriteClip()])
    fresh = Dialogue(lm, [whole], (), None, list(kept))
    assert dialogue.batch_size == 1
    assert torch.allclose(dialogue.next_scores(), fresh.next_scores(), atol=1e-4)


def test_where_all_draws_are_the_same_there_is_one_candidate():
    for head, sampling, count in (
        ("gmm", TokenSampling(), 4),
        ("diffusion", TokenSampling(), 4),
        ("regression", TokenSampling(), 1),
        ("gmm", TokenSampling(is_mean=True), 1),
    ):
        lm = small_lm(head)
        lm.config = dataclasses.replace(lm.config, candidates=4)
        assert settled(lm, sampling).candidates == count


@pytest.mark.parametrize(
    ("head", "asked"),
    [
        ("gmm", {"is_mean": True, "temperature": 0.5}),
        ("gmm", {"is_mean": True, "text_guidance": 2.0}),
        ("gmm", {"is_mean": True, "candidates": 4}),
        ("diffusion", {"component_temperature": 0.5}),
        ("regression", {"temperature": 0.5}),
        ("regression", {"candidates": 4}),
    ],
)
def test_what_has_no_effect_on_a_draw_is_refused(head, asked):
    name = list(asked)[-1]
    with pytest.raises(RecipeError, match=name):
        settled(small_lm(head), TokenSampling(**asked))


def test_guidance_without_a_chance_is_refused_and_left_out_where_the_model_names_it():
    lm = small_lm("gmm")
    lm.config = dataclasses.replace(lm.config, temperature=0.0, component_temperature=0.0)
    with pytest.raises(RecipeError, match="text_guidance"):
        settled(lm, TokenSampling(text_guidance=2.0))
    assert settled(lm, TokenSampling(text_guidance=2.0, temperature=0.1)).text_guidance == 2.0
    lm.config = dataclasses.replace(lm.config, text_guidance=3.0)
    assert settled(lm, TokenSampling()).text_guidance == 1.0


@pytest.mark.parametrize("keeps_places", [False, True])
def test_autoregressive_tokens_follow_from_those_written(keeps_places):
    lm = small_lm("regression", "autoregressive", keeps_places=keeps_places)
    made = begin(lm, ["make it"]).write_clip()
    batch = batch_of(lm, [[Words("make it"), WriteClip()]])
    batch = dataclasses.replace(batch, written_tokens=made)
    with torch.no_grad():
        wanted = lm.to_tokens(lm.head.mean(lm.query_states(lm.states(batch), batch)))
    assert torch.allclose(made, wanted, atol=1e-5)


def test_places_are_never_said(lm):
    scores = without_places(torch.zeros(2, len(lm.tokenizer)), lm.vocab, may_write_clip=False)
    assert torch.isinf(scores[:, list(lm.vocab.special)]).all()
    scores = without_places(torch.zeros(2, len(lm.tokenizer)), lm.vocab, may_write_clip=True)
    assert torch.isfinite(scores[:, lm.vocab.video_start]).all()
    assert torch.isinf(scores[:, lm.vocab.places[0]]).all()


def test_temperature_0_of_components_takes_the_heaviest(lm):
    states = torch.randn(1, NUM_TOKENS, 64, generator=torch.Generator().manual_seed(0))
    mixture = lm.head(states)
    drawn = mixture.scaled(0.0, 0.0).sample(torch.Generator().manual_seed(1))
    assert torch.allclose(drawn, mixture.top_component())


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": 1e-39},
        {"top_p": 0},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"repetition_penalty": 0},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        TextSampling(**wrong)
    with pytest.raises(RecipeError, match="temperature"):
        TokenSampling(temperature=-0.1)
    with pytest.raises(RecipeError, match="text_guidance"):
        TokenSampling(text_guidance=0.5)
    with pytest.raises(RecipeError, match="candidates"):
        TokenSampling(candidates=0)


@pytest.mark.parametrize("queries", ["bidirectional", "autoregressive"])
def test_a_planned_clip_follows_the_plan_that_was_said(queries):
    lm = small_lm("regression", queries)
    lm.take_plans(True)
    dialogue, mean = begin(lm, ["make it"]), TokenSampling(is_mean=True)
    made = dialogue.write_clip(mean)
    prompt = lm.builder().build([Words("make it")])
    said = dialogue._said[0][len(prompt) : dialogue._said[0].index(lm.vocab.video_start)]
    assert 0 < len(said) < PLAN_WORDS.max_new_tokens
    prompt.add(said)
    lm.take_plans(False)
    assert torch.allclose(Dialogue(lm, [prompt]).write_clip(mean), made, atol=1e-5)
    assert not torch.allclose(begin(lm, ["make it"]).write_clip(mean), made, atol=1e-4)


def test_plans_of_the_world_are_not_cut():
    words = ModelFolder.open("tiny").language_model(None).tokenizer
    told = [planned(plan(sample_scene(3, index))) for index in range(300)]
    assert max(len(words.tokenize(one)) for one in told) < PLAN_WORDS.max_new_tokens


def test_each_candidate_has_its_own_plan_and_the_kept_one_is_told(monkeypatch):
    lm = small_lm("gmm")
    lm.take_plans(True)
    # What small random weights say is no plan: all of it is told.
    monkeypatch.setattr("divot.lm.generate.sentence_and_plan", lambda said: ("", said))
    texts = ["make it", "a star"]
    dialogue = begin(lm, texts, seed=3)
    dialogue.write_clip(TokenSampling(candidates=3), words=["a red star", "a star"])
    assert dialogue.batch_size == len(dialogue.plans) == 2
    for text, told, ids in zip(texts, dialogue.plans, dialogue._said, strict=True):
        begun = len(lm.builder().build([Words(text)]))
        assert len(told) > 20
        assert told[:20] == lm.words(ids[begun : ids.index(lm.vocab.video_start)])[:20]

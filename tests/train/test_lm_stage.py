"""The language stage: both losses fall, a broken run goes on as if nothing had happened, what it leaves answers."""

import dataclasses
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from divot.config.errors import CheckpointError, DataError, RecipeError
from divot.config.language import LanguageConfig, LoRAConfig
from divot.config.presets import preset
from divot.config.recipe import read_recipe
from divot.config.training import DataConfig, OptimizerConfig, TrainConfig
from divot.pipelines.divot import Divot
from divot.pipelines.encode import encode_videos
from divot.tokenizer import VideoTokenizer
from divot.train.estimate import estimate
from divot.train.lm_stage import LanguageStage, num_encodings
from divot.train.run import train
from divot.video import write_video
from divot.video.folders import list_videos
from divot.weights.merge import merge_model
from divot.weights.store import ModelFolder, add_language_model
from divot.world import clip
from lm.small import small_lm

STEPS = 4
RECIPES = (
    "paper_lm",
    "paper_lm_comprehension",
    "paper_lm_generation",
    "paper_lm_instruction",
    "paper_lm_story",
    "tiny_lm",
    "tiny_lm_shapes",
    "tiny_lm_story",
)


@pytest.fixture(scope="module")
def config(language_folder):
    return TrainConfig(
        stage="lm",
        init_model=str(language_folder),
        batch_size=3,
        num_steps=STEPS,
        log_every=1,
        checkpoint_every=2,
        sample_every=STEPS,
        language=LanguageConfig(max_questions=2, lora=LoRAConfig(rank=0)),
        optimizer=OptimizerConfig(learning_rate=1e-3, use_muon=True, warmup_steps=1, ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config, run, use_cpu=True)
    return run


def test_a_lora_on_random_weights_and_a_connector_without_sizes_are_refused(config):
    for named, change in (
        ("lora.rank", {"is_new": True, "lora": LoRAConfig(rank=4)}),
        ("language.connector", {"connector": True}),
    ):
        language = dataclasses.replace(config.language, **change)
        with pytest.raises(RecipeError, match=named):
            LanguageStage(dataclasses.replace(config, preset="paper", language=language))


def test_packed_rows_have_the_losses_of_padded_ones(config):
    tasks = {"caption": 1.0, "question": 1.0, "generation": 1.0, "story": 1.0}
    language = dataclasses.replace(config.language, tasks=tasks)
    told = []
    for length in (0, 700):
        settings = dataclasses.replace(config, language=dataclasses.replace(language, packed_length=length))
        stage = LanguageStage(settings)
        samples, collate = stage.data(8, None)
        batch = collate([samples[number] for number in range(8)])
        loss, measures = stage.module.eval()(batch, [])
        told.append([float(loss.detach()), measures["text_loss"], measures["video_loss"]])
        if length:
            assert [group.language.is_packed for group in batch.groups] == [True]
            assert batch.groups[0].language.ids.shape[1] <= length
    assert told[1] == pytest.approx(told[0], rel=1e-4)


def test_noise_is_of_each_written_clip_and_the_same_in_every_layout(config):
    tasks = {"generation": 1.0, "story": 1.0}
    language = dataclasses.replace(config.language, tasks=tasks, token_noise=0.2, queries="autoregressive")
    told = {}
    for length in (0, 700):
        settings = dataclasses.replace(config, language=dataclasses.replace(language, packed_length=length))
        samples, collate = LanguageStage(settings).data(40, None)
        groups = collate([samples[number] for number in range(40)]).groups
        assert all(len(group.language.noise) == len(group.written) for group in groups)
        told[length] = torch.cat([group.language.noise for group in groups])
    variances = told[0].var(dim=(1, 2))
    assert variances.min() < 0.05
    assert 0.15 < variances.max() < 0.25
    # Rows lie in another order.
    assert torch.equal(*(noise[noise[:, 0, 0].argsort()] for noise in told.values()))


def test_plans_are_taught_and_kept(config, tmp_path):
    language = dataclasses.replace(config.language, tasks={"generation": 1.0}, plans=True)
    settings = dataclasses.replace(config, num_steps=1, checkpoint_every=1, language=language)
    stage = LanguageStage(settings)
    samples, _ = stage.data(3, None)
    text = stage.module.lm.tokenizer.decode(samples[0].sequence.ids)
    assert re.search(r"\[/INST\] \([a-z]+ [a-z]+ .+; .+\)<vid>", text)
    train(settings, tmp_path / "run", use_cpu=True)
    left = str(tmp_path / "run" / "model")
    assert ModelFolder.open(left).language_model(None).config.plans
    for plans, wanted in ((None, True), (False, False)):
        again = dataclasses.replace(
            settings, init_model=left, language=dataclasses.replace(language, plans=plans)
        )
        stage = LanguageStage(again)
        text = stage.module.lm.tokenizer.decode(stage.data(3, None)[0][0].sequence.ids)
        assert (stage.module.lm.config.plans, ")<vid>" in text) == (wanted, wanted)


def test_parts_of_a_batch_one_after_the_other_take_the_same_step(config, tmp_path):
    tasks = {"caption": 1.0, "question": 1.0, "generation": 1.0}
    language = dataclasses.replace(config.language, tasks=tasks)
    # Parts of one sequence each have very different numbers of words, and clips or none.
    settings = dataclasses.replace(config, batch_size=4, language=language)
    for parts in (1, 4):
        train(dataclasses.replace(settings, grad_accumulation=parts), tmp_path / str(parts), use_cpu=True)
    losses = [[row["loss"] for row in rows(tmp_path / name)] for name in ("1", "4")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    first, second = (weights(tmp_path / name) for name in ("1", "4"))
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=2e-3) for name in first)


def weights(run):
    folder = run / "model" / "lm"
    return {**load_file(folder / "model.safetensors"), **load_file(folder / "backbone" / "model.safetensors")}


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_sequences_that_are_cut_short_are_counted_and_told_once(config, tmp_path, caplog):
    narrow = dataclasses.replace(config, language=dataclasses.replace(config.language, max_length=100))
    train(narrow, tmp_path / "run", use_cpu=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(row["shortened_mean"] for row in rows) > 0
    told = [record for record in caplog.records if "longer than language.max_length (100)" in record.message]
    assert len(told) == 1


def test_run_leaves_a_model_that_answers_and_something_to_read(unbroken):
    assert len(rows(unbroken)) == STEPS
    assert {"text_loss_mean", "video_loss_mean"} <= set().union(*rows(unbroken))
    assert "wanted:" in (unbroken / "samples" / f"step_{STEPS:08d}.txt").read_text()
    model = Divot.from_pretrained(unbroken / "model", device="cpu")
    assert model.folder.contents.language_models == {"default": "lm"}
    assert "reconstruction" in model.folder.contents.detokenizers


def test_a_run_that_was_stopped_gives_the_same_weights(config, unbroken, tmp_path):
    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    assert len(rows(run)) < STEPS
    train(config, run, use_cpu=True)
    ours, theirs = weights(run), weights(unbroken)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["default", "generation"])
def test_a_language_model_takes_the_place_of_all_or_of_its_own_name(config, tmp_path, name):
    begun = shutil.copytree(config.init_model, tmp_path / "begun")
    lm = ModelFolder.open(begun).language_model()
    for other in ("comprehension", "generation"):
        torch.nn.init.normal_(lm.head.layers[0].bias)
        add_language_model(begun, other, lm)
    language = dataclasses.replace(config.language, name=name)
    settings = dataclasses.replace(config, init_model=str(begun), language=language, num_steps=1)
    stage = LanguageStage(settings)
    start = ModelFolder.open(begun).language_model(name)
    assert all(
        torch.equal(*pair) for pair in zip(stage.module.lm.parameters(), start.parameters(), strict=True)
    )
    train(settings, tmp_path / "run", use_cpu=True)
    folder = ModelFolder.open(tmp_path / "run" / "model")
    left = {"default"} if name == "default" else {"default", "comprehension", "generation"}
    assert folder.contents.language_models.keys() == left
    assert len(list(folder.path.glob("lm*"))) == len(left)
    assert folder.language_model_name("generate") == name


def test_later_stages_begin_with_the_pretrained_model(config, tmp_path):
    begun = shutil.copytree(config.init_model, tmp_path / "begun")
    lm = ModelFolder.open(begun).language_model()
    torch.nn.init.constant_(lm.head.layers[0].bias, 3.0)
    add_language_model(begun, "pretrain", lm)
    language = dataclasses.replace(config.language, name="generation")
    stage = LanguageStage(dataclasses.replace(config, init_model=str(begun), language=language))
    assert (stage.module.lm.head.layers[0].bias == 3).all()


def test_a_new_language_model_beside_an_old_one_is_told(config, monkeypatch, caplog):
    monkeypatch.setattr("divot.train.lm_start.NUM_CORPUS_CLIPS", 10)
    monkeypatch.setattr("divot.train.lm_start.NUM_STATISTICS_CLIPS", 4)
    LanguageStage(config)
    assert not caplog.text
    LanguageStage(dataclasses.replace(config, language=dataclasses.replace(config.language, is_new=True)))
    assert "(default) are left out: language.is_new=false" in caplog.text


def test_an_unknown_name_and_settings_for_other_queries_are_refused(config):
    for change, named in (
        ({"name": "foo"}, "language.name"),
        ({"unseen_share": 0.5}, "token by token"),
        ({"token_noise": 0.5}, "token by token"),
    ):
        settings = dataclasses.replace(config, language=dataclasses.replace(config.language, **change))
        with pytest.raises(RecipeError, match=named):
            LanguageStage(settings)


def test_a_connector_is_put_in_taught_and_taken_out(config, tmp_path):
    settings = dataclasses.replace(config, language=dataclasses.replace(config.language, connector=True))
    stage = LanguageStage(settings)
    assert stage.module.lm.config.connector == preset("tiny").lm.connector
    counted = sum(p.numel() for p in stage.module.parameters() if p.requires_grad)
    assert estimate(settings).trainable_parameters == counted
    run = train(settings, tmp_path / "run", use_cpu=True)
    taught = ModelFolder.open(run).language_model().connector
    start = dict(stage.module.lm.connector.named_parameters())
    assert not torch.equal(taught.words_in.weight, start["words_in.weight"])
    without = dataclasses.replace(settings.language, connector=False, queries="autoregressive")
    settings = dataclasses.replace(settings, init_model=str(run), language=without)
    assert LanguageStage(settings).module.lm.connector is None
    kept = dataclasses.replace(settings.language, connector=None)
    with pytest.raises(RecipeError, match="connector"):
        LanguageStage(dataclasses.replace(settings, language=kept))


def test_language_model_of_another_folder_goes_on_with_the_units_of_the_new_tokens(
    config, model_folder, tmp_path
):
    other = shutil.copytree(config.init_model, tmp_path / "other")
    place = other / "lm" / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "has_token_statistics": True}))
    # Tokens are measured on clips, also where the conversations are about none.
    blind = dataclasses.replace(config.language, blind_share=1.0)
    settings = dataclasses.replace(config, init_model=str(model_folder), init_lm=str(other), language=blind)
    lm = LanguageStage(settings).module.lm
    before = ModelFolder.open(other).language_model()
    weights = dict(before.backbone.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in lm.backbone.named_parameters())
    assert not torch.equal(lm.token_mean, before.token_mean)
    with pytest.raises(RecipeError, match="init_lm"):
        dataclasses.replace(settings, language=dataclasses.replace(config.language, is_new=True)).check(
            "test"
        )


def test_a_language_model_of_other_tokens_is_refused_unless_it_is_to_learn_these(config, tmp_path):
    other = shutil.copytree(config.init_model, tmp_path / "other")
    lm = small_lm()
    add_language_model(other, "default", lm)
    with pytest.raises(CheckpointError, match=r"6 tokens of width 4 .* 64 of width 8.*init_lm"):
        LanguageStage(dataclasses.replace(config, init_model=str(other)))
    settings = dataclasses.replace(config, init_lm=str(other))
    stage = LanguageStage(settings)
    weights = dict(lm.backbone.named_parameters())
    for name, value in stage.module.lm.backbone.named_parameters():
        torch.testing.assert_close(value, weights[name], rtol=1e-2, atol=1e-2)
    counted = sum(p.numel() for p in stage.module.parameters() if p.requires_grad)
    assert estimate(settings).trainable_parameters == counted
    run = train(settings, tmp_path / "run", use_cpu=True)
    assert ModelFolder.open(run).language_model().config.num_tokens == 64


def test_a_run_that_cannot_begin_leaves_no_settings_behind(config, tmp_path):
    language = dataclasses.replace(config.language, backbone=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="none: has no usable tokenizer"):
        train(dataclasses.replace(config, language=language), tmp_path / "run", use_cpu=True)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_regression_head_may_look_at_angles(config):
    language = dataclasses.replace(config.language, head="regression", cosine_weight=0.5)
    head = LanguageStage(dataclasses.replace(config, language=language)).module.lm.head
    assert head.cosine_weight == 0.5


def test_losses_fall(config, tmp_path):
    settings = dataclasses.replace(
        config,
        num_steps=40,
        sample_every=1000,
        checkpoint_every=1000,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=5e-3, muon_learning_rate=5e-3),
    )
    run = tmp_path / "run"
    train(settings, run, use_cpu=True)
    told = rows(run)

    def mean(name, part):
        values = [row[name] for row in part if name in row]
        return sum(values) / len(values)

    for name in ("text_loss_mean", "video_loss_mean"):
        assert mean(name, told[-10:]) < mean(name, told[:10])


def test_lora_alone_is_trained_and_merges_to_the_same_answers(config, tmp_path):
    settings = dataclasses.replace(
        config, language=dataclasses.replace(config.language, lora=LoRAConfig(rank=4, alpha=4))
    )
    run = tmp_path / "run"
    train(settings, run, use_cpu=True)
    begun = ModelFolder.open(config.init_model).path / "lm" / "backbone" / "model.safetensors"
    kept = load_file(run / "model" / "lm" / "backbone" / "model.safetensors")
    for name, tensor in load_file(begun).items():
        assert torch.allclose(kept[name].float(), tensor, atol=2e-3), name
    assert (run / "model" / "lm" / "adapter" / "adapter_model.safetensors").is_file()
    assert merge_model(run / "model", tmp_path / "merged") == ["default"]
    with_lora = ModelFolder.open(run / "model").language_model()
    merged = ModelFolder.open(tmp_path / "merged").language_model()
    assert with_lora.has_lora
    assert not merged.has_lora
    ids = torch.arange(20)[None]
    logits = [lm.backbone(ids).logits for lm in (with_lora, merged)]
    assert torch.allclose(*logits, atol=2e-2)
    again = dataclasses.replace(config, init_model=str(run / "model"))
    with pytest.raises(CheckpointError, match="divot merge"):
        train(again, tmp_path / "again", use_cpu=True)


def test_a_new_language_model_begins_with_its_own_words_and_statistics(
    model_folder, config, tmp_path, monkeypatch
):
    from divot.train import lm_start

    monkeypatch.setattr(lm_start, "NUM_CORPUS_CLIPS", 10)
    monkeypatch.setattr(lm_start, "NUM_STATISTICS_CLIPS", 4)
    settings = dataclasses.replace(config, init_model=str(model_folder), num_steps=1)
    train(settings, tmp_path / "run", use_cpu=True)
    lm = ModelFolder.open(tmp_path / "run" / "model").language_model()
    assert lm.config.token_width == 8
    assert lm.token_axes.isfinite().all()
    assert not torch.equal(lm.token_axes, torch.eye(8))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_whole(name):
    recipe = read_recipe(
        name,
        {
            "stage": "lm",
            "init_model": "x",
            "language": {"annotations": "a.jsonl"},
            "data": {"videos": "v", "world_share": 0.0},
        },
    )
    recipe.check(name)
    if name.startswith("paper"):
        lora = recipe.language.lora
        assert (lora.rank, lora.alpha, lora.dropout) == (32, 32, 0.05)
        assert recipe.optimizer.learning_rate == 1e-4
        assert recipe.optimizer.betas == (0.9, 0.98)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"init_model": None}, "needs a tokenizer"),
        ({"language": LanguageConfig(tasks={"dance": 1.0})}, "dance"),
        ({"language": LanguageConfig(tasks={"caption": 0.0})}, "no share"),
        ({"language": LanguageConfig(prediction="epsilon")}, "language.head is None"),
        ({"language": LanguageConfig(head="gmm", cosine_weight=0.5)}, "language.head is gmm"),
        ({"language": LanguageConfig(video_weight=-1.0)}, "video_weight"),
        ({"language": LanguageConfig(max_length=0)}, "max_length"),
    ],
)
def test_wrong_settings_are_named(config, changes, named, tmp_path):
    with pytest.raises(RecipeError, match=named):
        train(dataclasses.replace(config, **changes), tmp_path / "run", use_cpu=True)


@pytest.fixture(scope="module")
def annotated(config, tmp_path_factory):
    """A run on own videos, half of it, and a store of them."""
    folder = tmp_path_factory.mktemp("annotated")
    lines = []
    for number, num_frames in enumerate((40, 80)):
        still = clip(1, number, "train", 32).frames[:1]
        write_video(folder / "videos" / f"{number}.mp4", still.repeat(num_frames, 0), 8)
        line = {"video": f"{number}.mp4", "caption": f"video {number}", "questions": [["what?", f"{number}"]]}
        lines.append(line)
    lines.append({"video": "gone.mp4", "caption": "nothing"})
    (folder / "words.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    divot = Divot.from_pretrained(config.init_model, device="cpu")
    encode_videos(divot, list_videos([folder / "videos"]), folder / "store")
    return dataclasses.replace(
        config,
        data=DataConfig(world_share=0.5, videos=str(folder / "videos")),
        language=dataclasses.replace(
            config.language, annotations=str(folder / "words.jsonl"), tokens=str(folder / "store")
        ),
    )


def test_tokens_of_a_store_are_those_that_are_made_on_the_fly(annotated, tmp_path):
    language = annotated.language
    on_the_fly = dataclasses.replace(annotated, language=dataclasses.replace(language, tokens=None))
    batches, num_encoded = [], []
    for settings in (annotated, on_the_fly):
        stage = LanguageStage(settings)
        dataset, to_batch = stage.data(24, tmp_path / f"rejects_{len(batches)}.jsonl")
        samples = [dataset[number] for number in range(24)]
        batch = to_batch(samples)
        num_encoded.append(len(batch.seen))
        batches.append(stage.module.with_tokens(batch))
    assert 0 < num_encoded[0] < num_encoded[1]
    for given, made in zip(*batches, strict=True):
        assert torch.equal(given.ids, made.ids)
        torch.testing.assert_close(given.read_tokens, made.read_tokens, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(given.written_tokens, made.written_tokens, atol=1e-4, rtol=1e-4)
    assert "is not in the token store" in json.loads((tmp_path / "rejects_0.jsonl").read_text())["cause"]


def test_processes_of_sharded_weights_run_equally_often_whatever_their_samples(
    annotated, tmp_path, monkeypatch
):
    five_clips = 5 * 5 * 3 * 64 * 64
    monkeypatch.setattr("divot.train.lm_stage.MAX_ENCODED_BYTES", five_clips)
    stage = LanguageStage(dataclasses.replace(annotated, sharded=True))
    dataset, to_batch = stage.data(12, tmp_path / "rejects.jsonl")
    batch = to_batch([dataset[number] for number in range(12)])
    assert len(batch.groups) == 1
    wanted = stage.module.with_tokens(batch)[0]
    calls = []
    stage.module.tokenizer.register_forward_hook(lambda *_: calls.append(1))
    stage.module.num_encodings = num_encodings(batch) + 2
    got = stage.module.with_tokens(batch)[0]
    assert len(calls) == num_encodings(batch) + 2
    assert torch.equal(got.read_tokens, wanted.read_tokens)
    assert torch.equal(got.written_tokens, wanted.written_tokens)


def test_a_run_on_a_store_alone_needs_no_tokenizer_and_goes_on_as_if_never_stopped(
    annotated, tmp_path, monkeypatch
):
    settings = dataclasses.replace(annotated, data=dataclasses.replace(annotated.data, world_share=0.0))
    monkeypatch.setattr(VideoTokenizer, "forward", None)
    train(settings, tmp_path / "unbroken", use_cpu=True)
    train(settings, tmp_path / "run", max_minutes=0.0, use_cpu=True)
    assert len(rows(tmp_path / "run")) < STEPS
    train(settings, tmp_path / "run", use_cpu=True)
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "unbroken")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_store_of_other_clips_than_training_reads_is_told(annotated, tmp_path, caplog):
    LanguageStage(annotated)
    assert not caplog.text
    divot = Divot.from_pretrained(annotated.init_model, device="cpu")
    encode_videos(divot, list_videos([annotated.data.videos]), tmp_path / "store", fit="letterbox")
    language = dataclasses.replace(annotated.language, tokens=str(tmp_path / "store"))
    LanguageStage(dataclasses.replace(annotated, language=language))
    assert "was made with --fit letterbox" in caplog.text


def test_a_store_of_another_tokenizer_is_refused(annotated, other_model_folder, tmp_path):
    settings = dataclasses.replace(annotated, init_model=str(other_model_folder))
    with pytest.raises(DataError, match=r"store: holds tokens of tokenizer .* Encode the videos"):
        train(settings, tmp_path / "run", use_cpu=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"stage": "adapt"}, "the adapt stage reads the videos"), ({"data": DataConfig()}, "world_share is 1")],
)
def test_a_store_that_would_not_be_used_is_refused(annotated, changes, named):
    with pytest.raises(RecipeError, match=named):
        dataclasses.replace(annotated, **changes).check("run")

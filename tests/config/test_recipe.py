"""Recipes and strict settings."""

import pytest

from divot.config.errors import RecipeError
from divot.config.merge import from_mapping
from divot.config.models import UNetConfig
from divot.config.presets import PRESET_NAMES, preset
from divot.config.recipe import parse_changes, read_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_ships_can_be_read(name):
    reads_words = "_lm" in name or "_adapt" in name
    changes = {"language": {"annotations": "some.jsonl"}} if reads_words else {}
    if reads_words or name.endswith(("tokenizer", "distill")):
        changes["init_model"] = "somewhere"
    if not name.endswith("critic"):
        changes["data"] = {"videos": "somewhere", "world_share": 0.5}
    if name.endswith("writing"):
        changes["critic"] = "somewhere"
    config = read_recipe(name, changes)
    # A stage may have several recipes: the first names come first.
    assert name.startswith(f"{config.preset}_{config.stage}")


def test_unknown_recipe_lists_those_that_exist():
    with pytest.raises(RecipeError, match="tiny_tokenizer"):
        read_recipe("tiny_tokeniser")


def test_unknown_key_is_named_by_its_full_path():
    with pytest.raises(RecipeError, match=r"optimizer\.lr"):
        read_recipe("tiny_vae", parse_changes(["optimizer.lr=1"]))


@pytest.mark.parametrize(
    ("assignment", "value"), [("batch_size=x", "batch_size"), ("train_vit=3", "train_vit")]
)
def test_value_of_the_wrong_kind_is_named(assignment, value):
    with pytest.raises(RecipeError, match=value):
        read_recipe("tiny_vae", parse_changes([assignment]))


def test_numbers_without_a_dot_are_read_as_numbers():
    assert (
        read_recipe("tiny_vae", parse_changes(["optimizer.learning_rate=1e-4"])).optimizer.learning_rate
        == 1e-4
    )


@pytest.mark.parametrize(
    "change",
    [
        {"unseen_share": 1.5},
        {"unseen_share": -0.1},
        {"prompt_drop": 1.1},
        {"blind_share": 1.1},
        {"added_variance": -1.0},
        {"token_noise": -0.1},
    ],
)
def test_what_is_out_of_range_is_refused(change):
    with pytest.raises(RecipeError, match="unseen_share"):
        read_recipe("tiny_lm", {"language": change})


def test_detokenizer_stage_without_a_tokenizer_is_refused():
    with pytest.raises(RecipeError, match="init_model"):
        read_recipe("tiny_detokenizer")


def test_lists_become_the_tuples_of_a_config():
    assert from_mapping(UNetConfig, {"channel_mult": [1, 2]}).channel_mult == (1, 2)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_parts_of_a_preset_fit_each_other(name):
    models = preset(name)
    assert models.tokenizer.token_width == models.detokenizer.token_width
    assert models.tokenizer.num_tokens == models.detokenizer.num_tokens
    assert models.detokenizer.autoencoder.latent_channels == models.detokenizer.unet.in_channels


def test_a_task_that_is_named_by_itself_leaves_the_others():
    given = parse_changes(["init_model=x", "language.tasks.question=1e1"])
    tasks = read_recipe("tiny_lm", given).language.tasks
    assert tasks == read_recipe("tiny_lm", {"init_model": "x"}).language.tasks | {"question": 10.0}
    whole = parse_changes(["init_model=x", "language.tasks={question: 2}"])
    assert read_recipe("tiny_lm", whole).language.tasks == {"question": 2.0}
    both = parse_changes(["init_model=x", "language.tasks={question: 2}", "language.tasks.caption=1"])
    assert read_recipe("tiny_lm", both).language.tasks == {"question": 2.0, "caption": 1.0}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("optimizer.ema_decay=1.0", "ema_decay"),
        ("optimizer.clip_norm=-1", "clip_norm"),
        ("condition_drop=0.1", "does not use"),
    ],
)
def test_settings_that_would_train_nothing_or_something_else_are_refused(change, named):
    with pytest.raises(RecipeError, match=named):
        read_recipe("tiny_tokenizer", parse_changes(["init_vae=v", "data.videos=v", change]))


@pytest.mark.parametrize(
    "change", ["language.max_clips=0", "language.max_questions=0", "language.tasks.caption=x"]
)
def test_numbers_of_the_language_stage_are_refused_by_name(change):
    name = change.partition("=")[0].rpartition(".")[2]
    with pytest.raises(RecipeError, match=name):
        read_recipe("tiny_lm", parse_changes(["init_model=x", change]))


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("tiny_lm", ["language.annotations=words.jsonl"], "annotations"),
        ("tiny_adapt", ["language.annotations=words.jsonl"], "annotations"),
        ("tiny_tokenizer", ["data.videos=v", "data.world_share=1.0"], "data.videos"),
        ("tiny_vae", ["data.videos=v", "init_model=x"], "init_model"),
        ("tiny_lm", ["init_vae=x"], "init_vae"),
        ("tiny_adapt", ["init_lm=x", "language.is_new=false"], "init_lm"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(name, changes, named):
    with pytest.raises(RecipeError, match=f"{named}.* is set"):
        read_recipe(name, parse_changes(changes))


@pytest.mark.parametrize(
    ("recipe", "change", "named"),
    [
        ("tiny_lm", {"optimizer": {"learning_rate": -1.0}}, "learning_rate"),
        ("tiny_lm", {"optimizer": {"betas": [1.0, 1.0]}}, "betas"),
        ("tiny_lm", {"seed": -1}, "seed"),
        ("tiny_lm", {"data": {"world_seed": -1}}, "world_seed"),
        ("tiny_lm", {"language": {"head": "foo"}}, "language.head"),
        ("tiny_lm", {"language": {"queries": "foo"}}, "language.queries"),
        ("tiny_lm", {"language": {"head": "diffusion", "prediction": "foo"}}, "language.prediction"),
        ("tiny_tokenizer", {"language": {"annotations": "webvid:a.csv"}}, "reads no words"),
        ("tiny_adapt", {"language": {"prompt_drop": 0.1}}, "prompt_drop"),
        ("tiny_adapt", {"token_noise": 0.1}, "token_noise"),
        ("tiny_tokenizer", {"token_noise": -0.1, "init_vae": "v"}, "token_noise"),
        ("tiny_tokenizer", {"distillation": {"num_tokens": 16}, "init_vae": "v"}, "distillation"),
        ("tiny_tokenizer", {}, "autoencoder"),
        ("tiny_tokenizer", {"init_vae": "v", "train_vit": False}, "ViT"),
        ("tiny_vae", {"start_from_patches": False}, "encoder"),
        ("tiny_detokenizer", {"init_model": "tiny", "init_vit": "start"}, "init_vit"),
        ("tiny_distill", {"distillation": {"num_tokens": 0}}, "distillation"),
        ("tiny_distill", {"init_model": None}, "tokenizer"),
        ("tiny_distill", {"condition_drop": 0.1}, "condition_drop"),
        ("tiny_lm", {"last_timestep_share": 0.5}, "last_timestep_share"),
        ("tiny_lm", {"adaptation": {"true_share": 0.5}}, "adaptation"),
        ("tiny_vae", {"train_vit": False}, "train_vit"),
        ("tiny_adapt_writing", {}, "no critic"),
        ("tiny_detokenizer", {"kl_weight": 3.0, "init_model": "tiny"}, "kl_weight"),
    ],
)
def test_what_would_fail_late_or_do_nothing_is_refused(recipe, change, named):
    with pytest.raises(RecipeError, match=named):
        read_recipe(recipe, change)


def test_a_bare_no_is_a_precision():
    assert read_recipe("tiny_lm", parse_changes(["precision=no"])).precision == "no"

"""What the language model is taught: every task, from the world and from files, the same for the same seed."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from divot.config.errors import DataError, RecipeError
from divot.config.language import LanguageConfig
from divot.config.merge import from_mapping
from divot.config.training import DataConfig, TrainConfig
from divot.data.datasets import read_annotations
from divot.data.mixing import step_size
from divot.data.records import _still_scene, read_record, world_record
from divot.data.tasks import LanguageDataset, world_corpus
from divot.text import SequenceBuilder, add_video_tokens, plain_answer
from divot.text.pieces import learn_pieces
from divot.text.sequence import IGNORED
from divot.world import clip, is_held_out
from divot.world.vocabulary import SHAPES

CLIPS = Path(__file__).parent / "clips"
TASKS = ("caption", "question", "generation", "image_caption", "image_generation")


@pytest.fixture(scope="module")
def builder():
    tokenizer = learn_pieces(world_corpus(0, 20, 16), 400)
    add_video_tokens(tokenizer)
    return SequenceBuilder(tokenizer, num_tokens=8)


def dataset(builder, tasks, config=TrainConfig(stage="lm", init_model="tiny"), **language):
    settings = LanguageConfig(tasks=dict.fromkeys(tasks, 1.0), **language)
    return LanguageDataset(dataclasses.replace(config, language=settings), builder, 16, 1000)


def test_world_asks_the_kinds_that_are_named(builder):
    rows = dataset(builder, ["question"], question_kinds=("change",))
    asked = [question for number in range(12) for question, _ in rows.draw(number)[0].questions]
    # Few scenes have something to ask of that kind: each sample has one all the same.
    assert len(asked) == 12
    assert len({rows.draw(number)[0].captions for number in range(12)}) == 12
    with pytest.raises(RecipeError, match="names size"):
        dataset(builder, ["question"], question_kinds=("shape", "size"))


@pytest.mark.parametrize("task", TASKS)
def test_world_gives_every_task(builder, task):
    for number in range(6):
        sample = dataset(builder, [task])[number]
        assert sample.task == task
        assert sample.seen.shape == (1, 5, 16, 16, 3)
        writes = task.endswith("generation")
        assert sample.written == ((0,) if writes else ())
        assert sample.read == (() if writes else (0,))
        assert sum(sample.sequence.reads) == (0 if writes else 8)
        assert any(label != IGNORED for label in sample.sequence.labels)
        text = builder.tokenizer.decode(sample.sequence.ids)
        assert "[INST]" in text
        assert text.endswith("</s>")
        if task.startswith("image"):
            assert "<img>" in text
            assert (sample.seen[0] == sample.seen[0, 0]).all()


@pytest.mark.parametrize("task", ["generation", "image_generation"])
def test_some_requests_say_nothing_of_the_clip(builder, task):
    rows = dataset(builder, [task], prompt_drop=0.4)
    texts = [builder.tokenizer.decode(rows[n].sequence.ids) for n in range(40)]
    bare = sum(not any(shape in text for shape in SHAPES) for text in texts)
    assert 8 <= bare <= 24


def test_some_conversations_are_about_no_clip(builder):
    rows = dataset(builder, ["question"], blind_share=0.4)
    plain = dataset(builder, ["question"])
    blind = [not any(rows[n].sequence.reads) for n in range(40)]
    assert 8 <= sum(blind) <= 24
    for number, is_blind in enumerate(blind):
        assert len(rows[number].seen) == len(rows[number].read) == (0 if is_blind else 1)
        assert any(label != IGNORED for label in rows[number].sequence.labels)
        assert any(plain[number].sequence.reads)


def test_some_requests_are_typed_in_haste(builder):
    for task in ("question", "generation", "story", "caption"):
        tidy, hasty = (dataset(builder, [task], typed_share=share) for share in (0.0, 1.0))
        for number in range(6):
            asked, typed = (
                re.findall(r"\[INST\](.+?)\[/INST\]", builder.tokenizer.decode(rows[number].sequence.ids))
                for rows in (tidy, hasty)
            )
            assert len(asked) == len(typed)
            assert not set(asked) & set(typed)
            assert [tidy[number].sequence.ids.count(builder.vocab.eos)] == [
                hasty[number].sequence.ids.count(builder.vocab.eos)
            ]


def test_plans_are_said_before_clips_alone_where_they_are_wanted(builder):
    tasks = ("generation", "image_generation", "story", "caption")
    for task in tasks:
        plain = dataset(builder, [task])
        rows = LanguageDataset(plain.config, builder, 16, 1000, has_plans=True)
        for number in range(5):
            record = rows.draw(number)[0]
            assert len(record.plans) == record.num_clips
            text = builder.tokenizer.decode(rows[number].sequence.ids)
            assert text.count(")<vid>") + text.count(")<img>") == len(rows[number].written)
            assert "(" not in builder.tokenizer.decode(plain[number].sequence.ids)
            assert set(re.findall(r"\(([^()]+)\)", text)) <= set(record.plans)


def test_pieces_are_learned_from_plans_where_they_are_said():
    plans = [text for text in world_corpus(0, 4, 16, has_plans=True) if text.startswith("(")]
    assert len(plans) == 4
    assert not set(plans) & set(world_corpus(0, 4, 16))


def test_a_request_that_says_nothing_has_no_plan(builder):
    plain = dataset(builder, ["generation"], prompt_drop=1.0)
    rows = LanguageDataset(plain.config, builder, 16, 1000, has_plans=True)
    assert rows[0].sequence == plain[0].sequence


def test_same_seed_same_samples_and_another_seed_others(builder):
    one, two = (dataset(builder, TASKS)[7] for _ in range(2))
    assert one.sequence == two.sequence
    np.testing.assert_array_equal(one.seen, two.seen)
    other = TrainConfig(stage="lm", init_model="tiny", seed=5)
    rows = [dataset(builder, TASKS, other)[n].sequence.ids for n in range(4)]
    assert rows != [dataset(builder, TASKS)[n].sequence.ids for n in range(4)]


def test_answers_alone_are_learned(builder):
    sample = dataset(builder, ["question"], max_questions=3)[3]
    record = world_record(1, 3, 16)
    learned = [id_ for id_ in sample.sequence.labels if id_ != IGNORED]
    said = builder.tokenizer.decode(learned, skip_special_tokens=False).split("</s>")[:-1]
    answers = {answer for _, answer in record.questions}
    assert len(said) == 3
    assert {plain_answer(text) for text in said} <= answers


def test_pictures_show_nothing_that_is_held_out():
    scenes = [_still_scene(1, number) for number in range(200)]
    names = [(s.colour, s.shape, "stays") for scene in scenes for s in scene.sprites]
    assert not any(is_held_out(*name) for name in names)
    # There are clips whose sprites are all held out at rest.
    begun = [clip(1, number, "train", 16).scene for number in range(200)]
    assert any(all(is_held_out(s.colour, s.shape, "stays") for s in scene.sprites) for scene in begun)


@pytest.fixture
def files(tmp_path):
    shutil.copy(CLIPS / "bbb_butterfly.mp4", tmp_path / "a.mp4")
    lines = [
        {"video": "a.mp4", "caption": "a butterfly flies", "questions": [["what flies?", "a butterfly"]]},
        {"video": "gone.mp4", "caption": "nothing"},
    ]
    (tmp_path / "words.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path


def test_own_videos_with_annotations(builder, files, tmp_path):
    config = TrainConfig(stage="lm", init_model="tiny", data=DataConfig(world_share=0.0, videos=str(files)))
    rejects = tmp_path / "rejects.jsonl"
    settings = LanguageConfig(
        tasks={"caption": 1.0, "question": 1.0, "generation": 1.0}, annotations=str(files / "words.jsonl")
    )
    rows = LanguageDataset(
        dataclasses.replace(config, language=settings), builder, 16, 40, rejects_file=rejects
    )
    told = {rows[number].task for number in range(12)}
    assert told == {"caption", "question", "generation"}
    assert "gone.mp4" in rejects.read_text()
    assert len(rejects.read_text().splitlines()) == 1
    record = read_record(read_annotations(files / "words.jsonl", files)[0], 16, 20)
    assert record.clips.shape[1:] == (16, 16, 16, 3)
    assert 1 <= len(record.clips) <= 20


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "not JSON"),
        ('{"caption": "x"}', "neither a video nor an image"),
        ('{"video": "a.mp4", "image": "b.png", "caption": "x"}', "or both"),
        ('{"video": "a.mp4"}', "neither a caption nor questions"),
        ('{"video": "a.mp4", "questions": [["one"]]}', "a question or an answer without words"),
        ('["a.mp4", "x"]', "no JSON object"),
        ('{"video": 3, "caption": "x"}', "names no file"),
        ("", "holds no annotation"),
    ],
)
def test_wrong_annotations_are_named(tmp_path, line, named):
    path = tmp_path / "words.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=named):
        read_annotations(path, None)


def test_sources_are_mixed_by_their_shares_each_with_its_tasks(builder, video_file, tmp_path):
    files = tmp_path
    shutil.copy(video_file, files / "a.mp4")
    told = {"video": "a.mp4", "questions": [["who?", "nobody"]], "caption": "x"}
    (files / "asked.jsonl").write_text(json.dumps(told))
    (files / "words.jsonl").write_text(json.dumps({"video": "a.mp4", "caption": "a butterfly flies"}))
    mixture = [
        {"annotations": str(files / "words.jsonl"), "share": 3},
        {"annotations": str(files / "asked.jsonl"), "tasks": {"question": 1.0}},
    ]
    settings = {"tasks": {"caption": 1.0}, "mixture": mixture}
    values = {"stage": "lm", "init_model": "tiny", "data": {"world_share": 0.0}, "language": settings}
    config = from_mapping(TrainConfig, values)
    config.check("test")
    # What a run keeps of its settings gives them back.
    assert from_mapping(TrainConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config
    rows = LanguageDataset(config, builder, 16, 60)
    tasks = [rows.draw(number)[1] for number in range(60)]
    assert 8 <= tasks.count("question") <= 22
    assert tasks.count("caption") == 60 - tasks.count("question")


def test_a_step_is_of_one_source_where_one_has_its_own_batch_size(builder, video_file, tmp_path):
    shutil.copy(video_file, tmp_path / "a.mp4")
    for name in ("one", "other"):
        line = {"video": "a.mp4", "caption": name, "questions": [["who?", name]]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line))
    mixture = [
        {"annotations": str(tmp_path / "one.jsonl"), "batch_size": 2},
        {"annotations": str(tmp_path / "other.jsonl"), "tasks": {"question": 1.0}},
    ]
    values = {"stage": "lm", "init_model": "tiny", "batch_size": 4, "data": {"world_share": 0.0}}
    config = from_mapping(TrainConfig, {**values, "language": {"mixture": mixture}})
    rows = LanguageDataset(config, builder, 16, 80)
    drawn = [(rows.draw(number)[0].captions[0], step_size(config, number // 4)) for number in range(80)]
    steps = [drawn[first : first + 4] for first in range(0, 80, 4)]
    assert all(len({*step}) == 1 for step in steps)
    assert {*drawn} == {("one", 2), ("other", 4)}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"annotations": "a.jsonl"}, "stands beside"),
        (
            {"mixture": [{"annotations": "a", "batch_size": 9}]},
            r"mixture\[0\]\.batch_size is 9, that of the run 8",
        ),
        ({"mixture": [{"share": 1.0}]}, r"mixture\[0\] has no annotations"),
        ({"mixture": [{"annotations": "a", "share": 0}]}, "no share above 0"),
        ({"mixture": [{"annotations": "a", "tasks": {"dance": 1}}]}, r"mixture\[0\]\.tasks names 'dance'"),
    ],
)
def test_wrong_mixtures_are_named(changes, named):
    language = {"mixture": [{"annotations": "b.jsonl"}], **changes}
    values = {"stage": "lm", "init_model": "tiny", "data": {"world_share": 0.0}, "language": language}
    with pytest.raises(RecipeError, match=named):
        from_mapping(TrainConfig, values).check("test")


def test_data_without_matter_for_the_tasks_ends_with_a_reason(builder, files):
    (files / "words.jsonl").write_text('{"video": "a.mp4", "questions": [["what?", "that"]]}')
    config = TrainConfig(stage="lm", init_model="tiny", data=DataConfig(world_share=0.0, videos=str(files)))
    settings = LanguageConfig(tasks={"caption": 1.0}, annotations=str(files / "words.jsonl"))
    rows = LanguageDataset(dataclasses.replace(config, language=settings), builder, 16, 4)
    with pytest.raises(DataError, match="gave nothing"):
        rows[0]


def test_own_plans_are_said_only_where_the_model_plans(builder, files):
    (files / "words.jsonl").write_text('{"video": "a.mp4", "caption": "A dog runs.", "plan": "dog left"}')
    config = TrainConfig(stage="lm", init_model="tiny", data=DataConfig(world_share=0.0, videos=str(files)))
    settings = LanguageConfig(tasks={"generation": 1.0}, annotations=str(files / "words.jsonl"))
    for has_plans in (False, True):
        config = dataclasses.replace(config, language=settings)
        sample = LanguageDataset(config, builder, 16, 4, has_plans=has_plans)[0]
        assert ("(dog left)" in builder.tokenizer.decode(sample.sequence.ids)) == has_plans


def test_own_stories_teach_stories_and_name_the_file_that_cannot_be_read(builder, files, tmp_path):
    clips = [{"video": "a.mp4", "start_s": start_s, "text": f"at {start_s}"} for start_s in (0, 2.5)]
    broken = [clips[0], {**clips[1], "video": "gone.mp4"}]
    lines = [{"story": "Tell a story.", "clips": parts} for parts in (clips, broken)]
    (files / "words.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = TrainConfig(stage="lm", init_model="tiny", data=DataConfig(world_share=0.0, videos=str(files)))
    settings = LanguageConfig(tasks={"story": 1.0}, annotations=str(files / "words.jsonl"))
    rejects = tmp_path / "rejects.jsonl"
    rows = LanguageDataset(
        dataclasses.replace(config, language=settings), builder, 16, 4, rejects_file=rejects
    )
    samples = [rows[number] for number in range(4)]
    assert {sample.task for sample in samples} == {"story"}
    for sample in samples:
        assert sample.seen.shape == (2, 5, 16, 16, 3)
        # A story may begin with a clip that is shown.
        assert sample.written in ((0, 1), (1,))
    assert [json.loads(line)["file"] for line in rejects.read_text().splitlines()] == [
        str(files / "gone.mp4")
    ]


def test_a_sample_without_matter_for_its_task_takes_another_one(builder, files, monkeypatch):
    lines = [
        {"video": "a.mp4", "caption": "a butterfly flies"},
        {"video": "a.mp4", "questions": [["what?", "that"]]},
    ]
    (files / "words.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    config = TrainConfig(stage="lm", init_model="tiny", data=DataConfig(world_share=0.0, videos=str(files)))
    # Nine of ten draws of the first line, and all but the rarest of the second, have nothing for the task.
    tasks = {"image_caption": 9.0, "generation": 0.5, "question": 0.01}
    settings = LanguageConfig(tasks=tasks, annotations=str(files / "words.jsonl"))
    rows = LanguageDataset(dataclasses.replace(config, language=settings), builder, 16, 2000, has_plans=True)
    source = rows.sources[0].records
    monkeypatch.setattr(source, "record", lambda number, *_: source.annotation(number))
    drawn = [rows.draw(number) for number in range(2000)]
    assert {(bool(record.captions), task) for record, task, _ in drawn} == {
        (True, "generation"),
        (False, "question"),
    }
    assert 900 < sum(task == "question" for _, task, _ in drawn) < 1100

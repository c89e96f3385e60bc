"""Forms of annotations beside our own: tables, one question a line, conversations in LLaVA's form."""

import json
import random

import numpy as np
import pytest

from divot.config.errors import DataError
from divot.data.annotations import annotation_values, parse_annotation
from divot.data.check import check_samples
from divot.data.datasets import annotation_lines, read_annotations
from divot.data.records import Record
from divot.data.tasks import task_turns
from video.making import make_video

TURNS = ["<video>\nWhat runs?", "A dog.", "What colour is it?<image>", "Brown."]
TALK = [{"from": speaker, "value": text} for speaker, text in zip(("human", "gpt") * 2, TURNS, strict=True)]


def read(folder, text, name="words.jsonl"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_annotations(folder / name, "v")


def line(**values):
    return json.dumps({"video": "a.mp4", **values})


def test_a_table_has_captions_or_questions_and_a_sample_for_each_file(tmp_path):
    text = (
        "\ufeffvideo,image,caption,question,answer\r\n"
        'a.mp4,,"A dog, brown, runs.",What runs?,a dog\r\n'
        ",b.png,A red car.,,\r\n"
        'a.mp4,,"A dog, brown, runs.",Which colour?,"brown\nor red"\r\n'
        "c.mp4,,,,\r\n"
    )
    (tmp_path / "words.CSV").write_text(text, encoding="utf-8", newline="")
    *good, (number, wrong) = annotation_lines(tmp_path / "words.CSV", "v")
    dog = (("What runs?", "a dog"), ("Which colour?", "brown\nor red"))
    assert [(n, str(a.path), a.captions, a.questions, a.is_image) for n, a in good] == [
        (2, "v/a.mp4", ("A dog, brown, runs.",), dog, False),
        (3, "v/b.png", ("A red car.",), (), True),
    ]
    # A row that has two lines is named by its last one, and counts as two.
    assert number == 6
    assert "words.CSV:6: has neither a caption nor questions" in str(wrong)


def test_other_columns_of_a_table_are_passed_over(tmp_path):
    (one,) = read(tmp_path, "image,caption,data,answers\nb.png,A red car.,x,y\n", "words.csv")
    assert (one.captions, one.questions) == (("A red car.",), ())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,caption\na.mp4,x\n", r"words\.csv:1: is not the header"),
        ("video,answer\na.mp4,x\n", r"words\.csv:1: is not the header"),
        ("video,caption\na.mp4,x\nb.mp4,x,y\n", r"words\.csv:3: has more columns"),
        ("video,question,answer\na.mp4,what?,\n", r"words\.csv:2: has a question or an answer without"),
        ("video,caption\n,x\n", r"words\.csv:2: names neither"),
        ('video,caption\na.mp4,"x\n', r"words\.csv:2: is no row of a table"),
        ("video,caption\n", "holds no annotation"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, named):
    with pytest.raises(DataError, match=named):
        read(tmp_path, text, "words.csv")


def test_a_line_may_have_one_question_or_a_conversation(tmp_path):
    lines = [line(question="What runs?", answer="A dog."), line(conversations=TALK, id="7")]
    one, talk = read(tmp_path, "\n".join(lines))
    assert one.questions == (("What runs?", "A dog."),)
    assert talk.questions == (("What runs?", "A dog."), ("What colour is it?", "Brown."))
    assert (one.is_conversation, talk.is_conversation) == (False, True)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"question": "what?"}, "a question or an answer without words"),
        ({"answer": "that"}, "a question or an answer without words"),
        ({"question": "what?", "answer": "that", "questions": []}, "both questions and question"),
        ({"conversations": []}, "does not end with an answer"),
        ({"conversations": "no"}, "does not end with an answer"),
        ({"conversations": TALK[:3]}, "does not end with an answer"),
        ({"conversations": TALK[1:3]}, "turn 1 of the conversation is not of 'human'"),
        ({"conversations": [TALK[0], {"from": "gpt"}]}, "turn 2 of the conversation is not of 'gpt'"),
        (
            {"conversations": [{"from": "human", "value": "<video>"}, TALK[1]]},
            "a question or an answer without words",
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path, values, named):
    with pytest.raises(DataError, match=rf"words\.jsonl:2: .*{named}"):
        read(tmp_path, line(caption="x") + "\n" + line(**values))


def test_a_plan_goes_with_its_clip_through_files_and_back(tmp_path):
    story = {
        "story": "Tell.",
        "clips": [
            {"video": "a.mp4", "start_s": 0, "text": "One.", "plan": "first"},
            {"video": "a.mp4", "start_s": 2, "text": "Two."},
        ],
    }
    text = "\n".join([line(caption="x", plan=" a dog, left "), line(caption="y"), json.dumps(story)])
    planned, plain, told = read(tmp_path, text)
    assert (planned.plan, plain.plan) == ("a dog, left", "")
    assert [part.plan for part in told.story] == ["first", ""]
    written = json.dumps(annotation_values(planned, planned.path.parent))
    assert parse_annotation(written, "again", planned.path.parent) == planned
    assert read(tmp_path, "video,caption,plan\na.mp4,x,a dog\n", "words.csv")[0].plan == "a dog"
    rows = read(tmp_path, "video,caption,plan\na.mp4,x,\na.mp4,y,a dog\n", "words.csv")
    assert [(one.captions, one.plan) for one in rows] == [(("x", "y"), "a dog")]
    for broken in (line(caption="x", plan=3), json.dumps(story).replace('"first"', "[]")):
        with pytest.raises(DataError, match=r"words\.jsonl:1.* has a plan that is no text"):
            read(tmp_path, broken)


def test_a_conversation_keeps_its_order_and_its_beginning():
    asked = tuple((f"{number}?", f"{number}") for number in range(8))
    frames = np.zeros((1, 16, 4, 4, 3), np.uint8)
    turns = task_turns(Record(frames, (), asked, is_conversation=True), "question", random.Random(0), 5)
    assert [turn.request for turn in turns] == [f"{number}?" for number in range(5)]
    mixed = task_turns(Record(frames, (), asked), "question", random.Random(0), 5)
    assert [turn.request for turn in mixed] != [f"{number}?" for number in range(5)]


def test_check_takes_every_form(tmp_path):
    make_video(tmp_path / "a.mp4", num_frames=40, size=(64, 96))
    (tmp_path / "words.jsonl").write_text(line(conversations=TALK))
    (tmp_path / "words.csv").write_text("video,question,answer\na.mp4,x?,x\na.mp4,y?,y\na.mp4,z?,\n")
    assert check_samples(tmp_path / "words.jsonl").good == 1
    report = check_samples(tmp_path / "words.csv")
    assert (report.good, [(bad.line, bad.reason) for bad in report.bad]) == (1, [(4, "empty_caption")])

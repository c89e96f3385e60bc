"""Films to lines of stories: shots in a row, a sentence each, from captions or from a model."""

import json

import numpy as np
import pytest

from divot.config.errors import DataError, RecipeError
from divot.data.datasets import read_annotations
from divot.data.records import read_record
from divot.pipelines.divot import Divot
from divot.pipelines.story_data import caption_teller, model_teller, write_stories
from divot.video import write_video

COLOURS = ((150, 30, 30), (20, 40, 160), (40, 140, 60), (200, 180, 40), (120, 30, 120))


def write_film(path, seconds):
    """A plain shot of another colour for each number of seconds, at 8 fps."""
    shots = [
        np.full((round(8 * length), 32, 32, 3), colour, np.uint8)
        for length, colour in zip(seconds, COLOURS, strict=False)
    ]
    write_video(path, np.concatenate(shots), 8)


@pytest.fixture
def folder(tmp_path):
    write_film(tmp_path / "film.mp4", (3, 1, 2, 4, 2.5))
    captions = [
        {"video": "film.mp4", "start_s": 0, "end_s": 2, "caption": "A red wall."},
        {"video": "film.mp4", "start_s": 2, "end_s": 5, "caption": "It turns blue."},
        {"video": "film.mp4", "start_s": 4, "end_s": 10, "caption": "A green wall."},
        {"video": "other.mp4", "start_s": 0, "end_s": 60, "caption": "Another film."},
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in captions))
    return tmp_path


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_story_is_the_middle_of_shots_in_a_row_with_the_captions_that_overlap_them_most(folder):
    out = folder / "stories.jsonl"
    done = write_stories([folder / "film.mp4"], out, caption_teller(folder / "captions.jsonl"), num_clips=2)
    clips = [
        {"video": "film.mp4", "start_s": 0.5, "text": "A red wall."},
        {"video": "film.mp4", "start_s": 4.0, "text": "A green wall."},
    ]
    assert lines_of(out) == [{"story": "Tell a story that begins like this: A red wall.", "clips": clips}]
    assert (done.num_stories, done.num_shots, done.num_short) == (1, 5, 1)
    # Of the last two shots, from 6 s and from 10 s, the first has a caption and no second one for a story.
    assert (done.num_untold, done.num_unused) == (1, 1)


def test_what_is_written_is_read_as_a_story_of_clean_shots(folder):
    out = folder / "stories.jsonl"
    write_stories([folder / "film.mp4"], out, lambda reader, place: "A wall.", 4, instruction="Tell.")
    record = read_record(read_annotations(out, None)[0], 32, max_clips=1)
    assert (record.instruction, record.sentences) == ("Tell.", ("A wall.",) * 4)
    means = record.clips.mean(axis=(2, 3))
    assert np.ptp(means, axis=1).max() < 3
    wanted = np.array([COLOURS[index] for index in (0, 2, 3, 4)])
    assert np.abs(means.mean(axis=1) - wanted).max() < 12


def test_model_tells_what_it_sees_of_each_clip(folder, language_folder):
    tell = model_teller(Divot.from_pretrained(language_folder, "cpu"))
    assert write_stories([folder / "film.mp4"], folder / "s.jsonl", tell, 2).num_untold == 0
    assert all(clip["text"] for line in lines_of(folder / "s.jsonl") for clip in line["clips"])


def test_video_elsewhere_is_written_with_its_whole_path(folder):
    out = folder / "inside" / "stories.jsonl"
    write_stories([folder / "film.mp4"], out, lambda reader, place: "A wall.", 2)
    assert lines_of(out)[0]["clips"][0]["video"] == str(folder / "film.mp4")


def test_video_that_gives_no_story_is_named_and_the_others_are_written(folder):
    (folder / "bad.mp4").write_text("no film")
    write_film(folder / "short.mp4", (3,))
    left_out = []
    done = write_stories(
        [folder / name for name in ("bad.mp4", "short.mp4", "film.mp4")],
        folder / "s.jsonl",
        lambda reader, place: "A wall.",
        on_failure=lambda name, cause: left_out.append((name, cause)),
    )
    assert dict(left_out) == done.failed
    assert done.failed[f"{folder}/short.mp4"] == (
        "of its 1 shots 0 are shorter than a clip and 0 have no sentence: no 3 in a row are left"
    )
    assert done.stories == {f"{folder}/film.mp4": 1}


def test_a_shot_without_a_sentence_ends_a_row(folder):
    told = {0.5: "One.", 7.0: None}

    def tell(reader, place):
        return told.get(place.start_s, "A wall.")

    done = write_stories([folder / "film.mp4"], folder / "s.jsonl", tell, 2)
    assert [clip["start_s"] for line in lines_of(folder / "s.jsonl") for clip in line["clips"]] == [0.5, 4.0]
    assert (done.num_untold, done.num_unused) == (1, 1)


def test_an_instruction_without_words_is_refused(folder):
    with pytest.raises(RecipeError, match="has no words"):
        write_stories([folder / "film.mp4"], folder / "s.jsonl", lambda reader, place: "A wall.", 2, " ")


def test_without_any_story_nothing_is_written(folder):
    with pytest.raises(DataError, match=r"no video gives a story .*of its 5 shots 1 .*no 5 in a row"):
        write_stories([folder / "film.mp4"], folder / "s.jsonl", lambda reader, place: "A wall.", 5)
    assert not (folder / "s.jsonl").exists()
    with pytest.raises(DataError, match="would be overwritten"):
        write_stories([folder / "film.mp4"], folder / "film.mp4", lambda reader, place: "A wall.")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "is not JSON"),
        ("[]", "is no JSON object"),
        ('{"start_s": 0, "end_s": 1, "caption": "x"}', "names no video"),
        ('{"video": "a.mp4", "start_s": 0, "end_s": 1, "caption": " "}', "has no caption"),
        ('{"video": "a.mp4", "start_s": 2, "end_s": 1, "caption": "x"}', "runs from 2 to 1"),
        ('{"video": "a.mp4", "caption": "x"}', "runs from None to None"),
    ],
)
def test_wrong_line_of_captions_is_named(tmp_path, line, named):
    file = tmp_path / "captions.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(DataError, match=named) as caught:
        caption_teller(file)
    assert str(caught.value).startswith(f"{file}:1: ")

"""Stories from the user's files: lines of an annotations file to clips and sentences."""

import json

import numpy as np
import pytest

from divot.config.errors import DataError, VideoReadError
from divot.data.annotations import NoWordsError
from divot.data.datasets import read_annotations
from divot.data.records import read_record
from divot.data.tasks import tasks_of
from divot.video import VideoReader
from video.making import make_video, numbers_shown

FILM = {"video": "film.mp4"}
STORY = {
    "story": "Tell a story about George.",
    "clips": [
        {**FILM, "start_s": 4.0, "text": "George finds a hat."},
        {"video": "other.mp4", "start_s": 0, "text": "The wind takes it."},
        {**FILM, "start_s": 1.0, "text": "He runs after it."},
    ],
}


def with_clip(**changes):
    return {**STORY, "clips": [STORY["clips"][0], {**STORY["clips"][1], **changes}]}


@pytest.fixture
def films(tmp_path):
    make_video(tmp_path / "film.mp4", num_frames=56, rate_fps=8)
    make_video(tmp_path / "other.mp4", num_frames=12, rate_fps=8)
    return tmp_path


def read_story(folder, story=STORY):
    (folder / "words.jsonl").write_text(json.dumps(story) + "\n")
    return read_annotations(folder / "words.jsonl", None)[0]


def test_story_has_a_clip_and_a_sentence_for_each_line(films):
    record = read_record(read_story(films), 48, max_clips=1)
    assert record.clips.shape == (3, 16, 48, 48, 3)
    assert record.instruction == "Tell a story about George."
    assert record.sentences == ("George finds a hat.", "The wind takes it.", "He runs after it.")
    assert (record.captions, record.questions) == ((), ())
    assert tasks_of(record) == tasks_of(read_story(films)) == {"story"}


def test_clips_of_a_story_are_the_two_seconds_from_their_start(films):
    annotation = read_story(films)
    with VideoReader(films / "film.mp4") as reader:
        places = [part.place(reader.duration_s) for part in (annotation.story[0], annotation.story[2])]
        shown = [numbers_shown(reader.frames_at_times(place.times_s)) for place in places]
        assert shown == [list(range(32, 48)), list(range(8, 24))]
    clips = read_record(annotation, 48, max_clips=1).clips
    # The other video has 12 frames; the last one is held.
    assert (clips[1, 11:] == clips[1, 11]).all()
    assert np.abs(clips[0].astype(int) - clips[2]).max() > 0


def test_story_that_begins_a_clip_behind_the_end_names_the_video(films):
    with pytest.raises(VideoReadError, match=r"other\.mp4: .* begin at 9 s.* ends at 1\.50 s"):
        read_record(read_story(films, with_clip(start_s=9)), 48, max_clips=1)


@pytest.mark.parametrize(
    ("story", "named"),
    [
        ({**STORY, "video": "a.mp4"}, "names a video or an image beside its clips"),
        ({"story": "Tell."}, "without a list of 2 to 20 clips"),
        ({**STORY, "clips": STORY["clips"][:1]}, "without a list of 2 to 20 clips"),
        ({**STORY, "clips": STORY["clips"] * 7}, "without a list of 2 to 20 clips"),
        ({**STORY, "clips": ["a", "b"]}, "clip 1 of the story names no video"),
        (with_clip(video=3), "clip 2 of the story names no video"),
        (with_clip(start_s=-1), "clip 2 of the story has no start_s"),
        (with_clip(start_s="1"), "clip 2 of the story has no start_s"),
        (with_clip(start_s=float("nan")), "clip 2 of the story has no start_s"),
        (with_clip(text=" "), "clip 2 of the story has no text"),
        ({**STORY, "story": ""}, "what the story is asked for"),
    ],
)
def test_wrong_story_is_named_with_its_line(tmp_path, story, named):
    with pytest.raises(DataError, match=named) as caught:
        read_story(tmp_path, story)
    assert str(caught.value).startswith(f"{tmp_path / 'words.jsonl'}:1: ")


def test_blank_words_are_no_words(tmp_path):
    with pytest.raises(NoWordsError, match="a caption without words"):
        read_story(tmp_path, {"video": "a.mp4", "caption": "  "})


def test_words_may_hold_any_character(tmp_path):
    line = {"video": "a.mp4", "caption": "one\u2028two"}
    (tmp_path / "words.jsonl").write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")
    assert read_annotations(tmp_path / "words.jsonl", None)[0].captions == ("one\u2028two",)

"""Data sets as their publishers write them: each by a sample of our own with the publisher's names of fields."""

import csv
import io
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divot.config.errors import DataError, VideoReadError
from divot.config.language import LanguageConfig
from divot.config.training import DataConfig, TrainConfig
from divot.data.annotations import Annotation
from divot.data.check import check_samples
from divot.data.datasets import DATASETS, annotation_lines, read_annotations
from divot.data.records import read_record
from divot.data.shards import write_shards
from divot.data.sources import record_source
from divot.data.tasks import LanguageDataset, world_corpus
from divot.text import SequenceBuilder, add_video_tokens
from divot.text.pieces import learn_pieces
from video.making import make_video, numbers_shown

V = Path("v")
ACTION = "What action does the video show?"


def table(*rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def tabs(*rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def talk(*said):
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]


def asked(name, *pairs, **more):
    return Annotation(V / name, questions=pairs, **more)


def told(name, *captions, **more):
    return Annotation(V / name, captions, **more)


NEXTQA = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")
OPTIONS = "A: runs. B: sits. C: eats. D: sleeps. E: swims."

# Name -> files (the first is the one that is given; text, or values for JSON), and what is read from them.
SAMPLES = {
    # m-bain/webvid, download.py (06fcdf9); m-bain/frozen-in-time, data_loader/WebVid_dataset.py (9d61b2c)
    "webvid": (
        {
            "results_10M_train.csv": table(
                ("videoid", "contentUrl", "duration", "page_dir", "name"),
                ("17", "https://e.x/17.mp4", "PT00H00M09S", "000001_000050", "A dog, brown, runs."),
                ("18", "https://e.x/18.mp4", "PT00H00M05S", "000051_000100", "Waves"),
            )
        },
        [told("000001_000050/17.mp4", "A dog, brown, runs."), told("000051_000100/18.mp4", "Waves")],
    ),
    # snap-research/Panda-70M, dataset_dataloading/README.md (10dd549): names of columns; its
    # video2dataset/subsamplers/clipping_subsampler.py (6ec1ca4): times
    "panda70m": (
        {
            "p.csv": table(
                ("videoID", "url", "timestamp", "caption", "matching_score"),
                (
                    "ab",
                    "https://www.youtube.com/watch?v=ab",
                    "[['0:00:04.605', '0:00:10.910'], ['1:01:02.000', '1:01:05.500']]",
                    "['A cat\\'s bowl.', \"It eats.\"]",
                    "[0.4, 0.5]",
                ),
            )
        },
        [
            told("ab.mp4", "A cat's bowl.", start_s=4.605, end_s=10.91),
            told("ab.mp4", "It eats.", start_s=3662.0, end_s=3665.5),
        ],
    ),
    # mbzuai-oryx/Video-ChatGPT, scripts/convert_instruction_json_to_training_format.py (69ea1db)
    "video-chatgpt": (
        {
            "q.json": [
                {"q": "What runs?", "a": "A dog.", "video_id": "v_1"},
                {"q": "What else?", "a": "A cat.", "video_id": "v_2"},
                {"q": "Where?", "a": "On grass.", "video_id": "v_1"},
            ]
        },
        [
            asked("v_1.mp4", ("What runs?", "A dog."), ("Where?", "On grass.")),
            asked("v_2.mp4", ("What else?", "A cat.")),
        ],
    ),
    # RupertLuo/Valley, valley/data/dataset.py (58f38ff)
    "valley": (
        {
            "v.json": [
                {
                    "id": "0",
                    "video": "7.mp4",
                    "source": "jukin",
                    "conversations": talk("<video>\nWhat?", "A dog."),
                },
                {"id": "1", "video": "8", "conversations": talk("Where?", "Here.", "Why?", "So.")},
            ]
        },
        [
            asked("jukin/7.mp4", ("What?", "A dog."), is_conversation=True),
            asked("webvid/8.mp4", ("Where?", "Here."), ("Why?", "So."), is_conversation=True),
        ],
    ),
    # LLaVA-VL/LLaVA-NeXT, llava/train/train.py (45f2d92); scripts/video/train/exp.yaml (2b1886f): names of files
    "llava-video-178k": (
        {
            "0_30_s_academic_oe_v0_1_qa.json": [
                {
                    "id": "1",
                    "data_source": "0_30_s_academic_v0_1",
                    "video": "academic_source/a/1.mp4",
                    "conversations": talk("<image>\nWhat?", "A dog."),
                }
            ]
        },
        [asked("academic_source/a/1.mp4", ("What?", "A dog."), is_conversation=True)],
    ),
    # The same loader, for pictures
    "llava": (
        {
            "l.json": [
                {"id": "1", "image": "coco/1.jpg", "conversations": talk("What?\n<image>", "A dog.")},
                {"id": "2", "video": "2.mp4", "conversations": talk("What?", "A cat.")},
            ]
        },
        [
            asked("coco/1.jpg", ("What?", "A dog."), is_image=True, is_conversation=True),
            asked("2.mp4", ("What?", "A cat."), is_conversation=True),
        ],
    ),
    # OpenGVLab/Ask-Anything, video_chat2/dataset/it_dataset.py (eb6a79a)
    "videochat2": (
        {
            "train.json": [
                {"video": "a.mp4", "QA": [{"i": "Tell what you see.", "q": "", "a": "A dog."}]},
                {"video": "b.mp4", "QA": [{"q": "", "a": "A cat."}], "start": 1.5, "end": "4"},
                {"image": "c.jpg", "QA": [{"i": "Answer.", "q": "What?", "a": "A cow."}]},
            ]
        },
        [
            asked("a.mp4", ("Tell what you see.", "A dog.")),
            told("b.mp4", "A cat.", start_s=1.5, end_s=4.0),
            asked("c.jpg", ("What?", "A cow."), is_image=True),
        ],
    ),
    # OpenGVLab/Ask-Anything, the same and video_chat2/configs/instruction_data.py (3925143): vqa_ego_qa
    "egoqa": (
        {
            "train.json": [
                {"video": "split/1.mp4", "QA": [{"i": "Answer.", "q": "What do I hold?", "a": "a cup"}]}
            ]
        },
        [asked("split/1.mp4", ("What do I hold?", "a cup"))],
    ),
    # activitynet/ActivityNet, Crawler/Kinetics/download.py (31e12d8)
    "kinetics": (
        {
            "train.csv": table(
                ("label", "youtube_id", "time_start", "time_end", "split"),
                ("clay pottery making", "-0a", "12", "22", "train"),
                ("javelin throw", "b_c", "0", "10", "train"),
            )
        },
        [
            asked("-0a_000012_000022.mp4", (ACTION, "clay pottery making")),
            asked("b_c_000000_000010.mp4", (ACTION, "javelin throw")),
        ],
    ),
    # open-mmlab/mmaction2, tools/data/parse_file_list.py (26fd704), which reads the publisher's files
    "ssv2": (
        {
            "something-something-v2-train.json": [
                {"id": "78687", "label": "holding a spoon", "template": "Holding [something]"},
                {
                    "id": "42326",
                    "label": "putting a cup on a box",
                    "template": "Putting [something] onto [something]",
                },
            ]
        },
        [
            asked("78687.webm", (ACTION, "Holding something")),
            asked("42326.webm", (ACTION, "Putting something onto something")),
        ],
    ),
    # raingo/TGIF-Release, README.md (06c13a1): no header, address and sentence
    "tgif": (
        {
            "tgif-v1.0.tsv": tabs(
                ("https://38.media.e.x/9f6c/tumblr_a_500.gif", 'a man says "hi'),
                ("https://38.media.e.x/9f6d/tumblr_b_400.gif", "a cat runs"),
            )
        },
        [told("tumblr_a_500.gif", 'a man says "hi'), told("tumblr_b_400.gif", "a cat runs")],
    ),
    # YunseokJANG/tgif-qa, dataset/README.md (6bdf6ee), Train_action_question.csv (a43d8c3)
    "tgif-qa": (
        {
            "Train_action_question.csv": tabs(
                ("gif_name", "question", "a1", "a2", "a3", "a4", "a5", "answer", "vid_id", "key"),
                (
                    "tumblr_a",
                    "What does it do 4 times ?",
                    "runs",
                    "sits",
                    "eats",
                    "sleeps",
                    "swims",
                    "2",
                    "ACTION1",
                    "5",
                ),
            )
        },
        [asked("tumblr_a.gif", (f"What does it do 4 times ? {OPTIONS}", "C"))],
    ),
    # doc-doc/NExT-QA, dataloader/sample_loader.py (005bbc9), dataset/nextqa/val.csv (f2dafbf) and
    # map_vid_vidorID.json (af23d01)
    "nextqa": (
        {
            "train.csv": table(
                (*NEXTQA, "a0", "a1", "a2", "a3", "a4"),
                (40, 369, 640, 480, "what does it do", 0, 6, "CH", "runs", "sits", "eats", "sleeps", "swims"),
                (41, 369, 640, 480, "what now", 4, 7, "CH", "runs", "sits", "eats", "sleeps", "swims"),
                (40, 369, 640, 480, "and then", 1, 8, "TN", "runs", "sits", "eats", "sleeps", "swims"),
            ),
            "map_vid_vidorID.json": {"40": "1164/40"},
        },
        [
            asked("1164/40.mp4", (f"what does it do {OPTIONS}", "A"), (f"and then {OPTIONS}", "B")),
            asked("41.mp4", (f"what now {OPTIONS}", "E")),
        ],
    ),
    # data.csail.mit.edu/clevrer/README.txt; chuangg/CLEVRER, executor/run_oe.py and run_mc.py (1a21305)
    "clevrer": (
        {
            "train.json": [
                {
                    "scene_index": 1017,
                    "video_filename": "video_01017.mp4",
                    "questions": [
                        {
                            "question_id": 0,
                            "question": "What shape is red?",
                            "question_type": "descriptive",
                            "program": [],
                            "answer": "cube",
                        },
                        {
                            "question_id": 1,
                            "question": "Which happen?",
                            "question_type": "predictive",
                            "program": [],
                            "choices": [
                                {"choice_id": 0, "choice": "The cubes collide", "answer": "correct"},
                                {"choice_id": 1, "choice": "None", "answer": "wrong"},
                                {"choice_id": 2, "choice": "All stop", "answer": "correct"},
                            ],
                        },
                    ],
                }
            ]
        },
        [
            asked(
                "video_01000-02000/video_01017.mp4",
                ("What shape is red?", "cube"),
                ("Which happen? A: The cubes collide. B: None. C: All stop.", "A, C"),
            )
        ],
    ),
    # LuoweiZhou/ProcNets-YouCook2, script/eval_recall_precision.py (408d52e); `sentence` and `recipe_type` as
    # ninatu/howtocaption, howtocaption/data_loader/video_datasets/youcook2.py (a45051a) reads them
    "youcook2": (
        {
            "youcookii_annotations_trainval.json": {
                "database": {
                    "xy": {
                        "duration": 90.5,
                        "subset": "training",
                        "recipe_type": "101",
                        "annotations": [
                            {"segment": [10, 20], "id": 0, "sentence": "cut the bread"},
                            {"segment": [31, 40], "id": 1, "sentence": "fry it"},
                        ],
                    }
                }
            }
        },
        [
            told("training/101/xy.mp4", "cut the bread", start_s=10.0, end_s=20.0),
            told("training/101/xy.mp4", "fry it", start_s=31.0, end_s=40.0),
        ],
    ),
    # google-deepmind/perception_test, README.md (003f5bb) and data_visualisation.ipynb (551fa76)
    "perceptiontest": (
        {
            "mc_question_train.json": {
                "video_10": {
                    "metadata": {"video_id": "video_10", "split": "train"},
                    "mc_question": [
                        {
                            "id": 0,
                            "question": "What falls?",
                            "options": ["a cup", "a pen.", "none"],
                            "answer_id": 1,
                        }
                    ],
                }
            }
        },
        [asked("video_10.mp4", ("What falls? A: a cup. B: a pen. C: none.", "B"))],
    ),
    # MILVLG/activitynet-qa, dataset/README.md (0830fe6)
    "activitynetqa": (
        {
            "train_q.json": [
                {"question": "is it day", "video_name": "x1", "question_id": "x1_0"},
                {"question": "who sings", "video_name": "x1", "question_id": "x1_1"},
            ],
            "train_a.json": [
                {"answer": "a man", "type": 5, "question_id": "x1_1"},
                {"answer": "yes", "type": 3, "question_id": "x1_0"},
            ],
        },
        [asked("v_x1.mp4", ("is it day", "yes"), ("who sings", "a man"))],
    ),
    # TencentARC/Divot, src/data/control_video.py (675afcc): decode_video_caption_jsonl_data_decord and
    # decode_video_qa_jsonl_data_decord
    "divot": (
        {
            "annos.jsonl": "\n".join(
                json.dumps(line)
                for line in (
                    {"video": "a.mp4", "caption": ["A dog.", "One dog."]},
                    {"video": "b.mp4", "question": "<video>\nWhat?", "answer": "A cat."},
                    {
                        "video": "c.mp4",
                        "questions": ["<video>\nWhat?", "Where?"],
                        "answers": ["A cow.", "Here."],
                    },
                    {"image": "d.jpg", "data": ["What?", "A hen.", "Why?", "So."]},
                )
            )
        },
        [
            told("a.mp4", "A dog.", "One dog."),
            asked("b.mp4", ("What?", "A cat.")),
            asked("c.mp4", ("What?", "A cow."), ("Where?", "Here."), is_conversation=True),
            asked("d.jpg", ("What?", "A hen."), ("Why?", "So."), is_image=True, is_conversation=True),
        ],
    ),
}
FOLDERS = ("cc3m", "capsfusion", "laion-coco", "journeydb", "captioned-files")


def write(folder, files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / next(iter(files))


@pytest.mark.parametrize("name", SAMPLES)
def test_a_data_set_is_read_as_its_publisher_writes_it(tmp_path, name):
    files, wanted = SAMPLES[name]
    assert read_annotations(f"{name}:{write(tmp_path, files)}", V) == wanted


def test_every_data_set_that_is_read_has_a_sample_here_and_its_source_in_the_docs():
    supported = {one.name for one in DATASETS.values() if one.is_supported}
    assert supported == {*SAMPLES, *FOLDERS}
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in DATASETS)


def test_the_lines_of_the_official_training_need_no_name(tmp_path):
    files, wanted = SAMPLES["divot"]
    assert read_annotations(write(tmp_path, files), V) == wanted


def test_questions_without_options_are_open(tmp_path):
    # YunseokJANG/tgif-qa, dataset/Test_frameqa_question.csv (6bdf6ee)
    gifs = tabs(("gif_name", "question", "answer", "type", "vid_id"), ("g", "how many ?", "two", "1", "F1"))
    # doc-doc/NExT-OE, dataset/nextqa/val.csv (7cdcc4d)
    videos = table(
        NEXTQA,
        (7, 9, 6, 4, "why", "fun", 3, "CW"),
    )
    assert read_annotations(f"tgif-qa:{write(tmp_path, {'a.csv': gifs})}", V) == [
        asked("g.gif", ("how many ?", "two"))
    ]
    assert read_annotations(f"nextqa:{write(tmp_path, {'b.csv': videos})}", V) == [
        asked("7.mp4", ("why", "fun"))
    ]


def test_a_video_is_found_by_its_ending_and_with_or_without_its_folder(tmp_path):
    (tmp_path / "v").mkdir()
    for name in ("v_x1.webm", "video_01017.mp4"):
        (tmp_path / "v" / name).touch()
    for name, file in (("activitynetqa", "v_x1.webm"), ("clevrer", "video_01017.mp4")):
        found = read_annotations(f"{name}:{write(tmp_path, SAMPLES[name][0])}", tmp_path / "v")
        assert [one.path for one in found] == [tmp_path / "v" / file]


@pytest.mark.parametrize(
    ("told_as", "files", "named"),
    [
        ("webvid", {"w.csv": "videoid,name\n17,A dog.\n"}, r"w\.csv:2: has no field 'page_dir', it has videoid, name.*"
         r"Give results_10M_train\.csv of WebVid-10M"),
        ("nextqa", {"n.csv": "video,question\n17,why\n"}, r"n\.csv:2: has no field 'answer'"),
        ("clevrer", {"c.json": [{"scene_index": 0, "video_filename": "a", "questions": [{"question": "x"}]}]},
         r"c\.json, entry 1, questions\[0\]: has no field 'answer'"),
        ("youcook2", {"y.json": {"xy": {}}}, r"y\.json: has no field 'database', it has xy"),
        ("llava", {"l.json": [{"video": "a.mp4"}]}, r"l\.json, entry 1: has no field 'conversations'"),
        ("llava", {"l.json": ["a.mp4"]}, r"l\.json, entry 1: is no object"),
        ("llava", {"l.json": "{"}, r"l\.json: cannot be read as JSON"),
        ("llava", {"l.json": "[]"}, "holds no annotation"),
        ("webvid", {"w.csv": b"\xff\xfe".decode("latin-1")}, "holds no annotation"),
        ("activitynetqa", {"train_q.json": []}, r"train_a\.json: cannot be read as JSON"),
        ("activitynetqa", {"train.json": []}, r"is not named \*_q\.json"),
        ("cc3m", {"t.tsv": "A dog.\thttps://e.x/a.jpg\n"}, r"t\.tsv: is no folder"),
        ("webvids", {"w.csv": "x"}, "names no known data set: 'webvids'. Known: webvid, panda70m"),
        ("curious-george", {"w.csv": "x"}, "cannot be read: it was made for the paper"),
    ],
)  # fmt: skip
def test_another_file_is_named_with_its_row_and_what_is_missing(tmp_path, told_as, files, named):
    with pytest.raises(DataError, match=named):
        read_annotations(f"{told_as}:{write(tmp_path, files)}", V)


def test_rows_that_hold_nothing_are_left_out_and_counted_and_check_names_each(tmp_path, caplog):
    make_video(tmp_path / "a.mp4", num_frames=40, size=(64, 96))
    entries = [
        {"id": "1", "conversations": talk("What is 1 + 1?", "2")},
        {"id": "2", "image": ["a.jpg", "b.jpg"], "conversations": talk("What?", "Dogs.")},
        {"id": "3", "video": "a.mp4", "conversations": talk("<video>", "A dog.")},
        {"id": "4", "video": "a.mp4", "conversations": talk("What?", "A dog.")},
        {"id": "5", "video": "gone.mp4", "conversations": talk("What?", "A dog.")},
    ]
    given = f"llava:{write(tmp_path, {'l.json': entries})}"
    with caplog.at_level(logging.WARNING):
        found = read_annotations(given, None)
    assert [one.path.name for one in found] == ["a.mp4", "gone.mp4"]
    assert "left out: 3 of 5 rows" in caplog.text
    assert "entry 1: is about neither one video nor one picture" in caplog.text
    report = check_samples(given)
    assert (report.good, [(bad.line, bad.reason) for bad in report.bad]) == (
        1,
        [(1, "unreadable"), (2, "unreadable"), (3, "empty_caption"), (5, "unreadable")],
    )
    assert report.bad[3].file == str(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    ("name", "row", "cause"),
    [
        ("panda70m", {"timestamp": "[['0:00:01.0', '0:00:03.0']]"}, "has 1 clips and 2 captions"),
        ("panda70m", {"timestamp": "[['1', '3'], ['0:00:04.0', '0:00:05.0']]"}, "not pairs of times"),
        ("panda70m", {"timestamp": "[['0:00:03.0', '0:00:01.0'], ['0:00:03.0', '0:00:04.0']]"}, "is not after 3"),
        ("panda70m", {"timestamp": "[["}, "not a list"),
        ("panda70m", {"url": "https://e.x/a.mp4"}, "not the address of a YouTube video"),
        ("panda70m", {"timestamp": "[1, ['0:00:04.0', '0:00:05.0']]"}, "not pairs of times"),
        ("kinetics", {"time_start": "x"}, "not a number"),
        ("kinetics", {"time_end": "nan"}, "not a number"),
        ("tgif-qa", {"answer": "1.5"}, "has answer 1.5 of 5 options"),
        ("tgif-qa", {"answer": "5"}, "has answer 5 of 5 options"),
        ("webvid", {"name": " "}, "has nothing usable in 'name'"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_has_its_cause(tmp_path, name, row, cause):
    text = next(iter(SAMPLES[name][0].values()))
    delimiter, write_rows = ("\t", tabs) if "\t" in text else (",", table)
    values = next(csv.DictReader(io.StringIO(text), delimiter=delimiter)) | row
    file = write(tmp_path, {"a.csv": write_rows(values.keys(), values.values())})
    [(line, wrong)] = [one for one in annotation_lines(f"{name}:{file}", V) if isinstance(one[1], DataError)]
    assert line == 2
    assert str(wrong).startswith(f"{file}:2: ")
    assert cause in str(wrong)


def test_of_a_row_with_several_clips_the_others_are_kept(tmp_path):
    steps = [
        {"segment": [1, 2], "sentence": "cut"},
        {"segment": [3], "sentence": "fry"},
        {"segment": [4, 5], "sentence": " "},
        {"segment": [6, 7], "sentence": "eat"},
    ]
    recipe = {"subset": "training", "recipe_type": "101", "annotations": steps}
    given = f"youcook2:{write(tmp_path, {'y.json': {'database': {'xy': recipe}}})}"
    found = [one for _, one in annotation_lines(given, V)]
    assert [one.captions for one in found if not isinstance(one, DataError)] == [("cut",), ("eat",)]
    half, empty = [str(one) for one in found if isinstance(one, DataError)]
    assert "annotations[1]: has '[3]' in 'segment', not a beginning and an end" in half
    assert "annotations[2]: has nothing usable in 'sentence'" in empty
    spans = [("0:00:01.0", "0:00:03.0"), ("1", "3"), ("0:00:04.0", "0:00:08.0")]
    row = ("https://www.youtube.com/watch?v=ab", [list(span) for span in spans], ["one", "two", "three"])
    given = f"panda70m:{write(tmp_path, {'p.csv': table(('url', 'timestamp', 'caption'), row)})}"
    found = [one for _, one in annotation_lines(given, V)]
    assert [one.captions for one in found if not isinstance(one, DataError)] == [("one",), ("three",)]
    assert [one.start_s for one in found if not isinstance(one, DataError)] == [1.0, 4.0]


def picture(value, suffix="jpeg"):
    content = io.BytesIO()
    Image.fromarray(np.full((80, 90, 3), value, np.uint8)).save(content, suffix)
    return content.getvalue()


# rom1504/img2dataset, README.md (003aaab): NAME.jpg beside NAME.txt, in folders or tar files;
# TencentARC/Divot, src/data/control_video.py (675afcc): decode_videogen_img_tar_data
CAPTIONED = {
    "000000000.jpg": picture(10),
    "000000000.txt": b"A dog.\n",
    "000000000.json": b"{}",
    "000000001.txt": "Eine Kuh, größer.".encode(),
    "000000001.webp": picture(90, "webp"),
    "000000002.jpg": picture(170),
    "000000003.jpg": b"broken",
    "000000003.txt": b"A hen.",
}


def pack(tar_file, files):
    with tarfile.open(tar_file, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture(params=["tar", "files"])
def captioned(request, tmp_path):
    folder = tmp_path / "cc3m"
    (folder / "00000").mkdir(parents=True)
    if request.param == "files":
        for name, content in CAPTIONED.items():
            (folder / "00000" / name).write_bytes(content)
        return folder
    pack(folder / "00000" / "00000.tar", CAPTIONED)
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_pictures_beside_their_captions_are_read_from_tar_files_and_from_folders(captioned, name):
    dog, cow, hen = read_annotations(f"{name}:{captioned}", None)
    assert [(one.captions, one.is_image) for one in (dog, cow)] == [
        (("A dog.",), True),
        (("Eine Kuh, größer.",), True),
    ]
    assert abs(int(read_record(cow, 16, 1).clips.mean()) - 90) < 3
    assert hen.name.endswith("000000003.jpg")


def test_captioned_files_are_checked_and_packed_as_any_others(captioned, tmp_path):
    report = check_samples(f"cc3m:{captioned}")
    assert (report.good, [(Path(bad.file).name[-13:], bad.reason) for bad in report.bad]) == (
        2,
        [("000000002.jpg", "empty_caption"), ("000000003.jpg", "unreadable")],
    )
    index = write_shards(f"cc3m:{captioned}", tmp_path / "shards")
    assert index.num_samples == 3
    assert write_shards(f"cc3m:{captioned}", tmp_path / "shards") == index
    packed = record_source(tmp_path / "shards", None, None)
    assert packed.annotation(1).captions == ("Eine Kuh, größer.",)
    assert abs(int(packed.record(0, 16, 1).clips.mean()) - 10) < 3


def test_a_damaged_tar_file_is_left_out(tmp_path, caplog):
    pack(tmp_path / "a.tar", CAPTIONED)
    (tmp_path / "b.tar").write_bytes(b"no tar file" * 100)
    assert len(read_annotations(f"cc3m:{tmp_path}", None)) == 3
    assert "left out: 2 of 5 rows" in caplog.text


def test_a_tar_file_that_is_gone_is_an_error_of_its_samples(tmp_path):
    pack(tmp_path / "a.tar", CAPTIONED)
    dog = read_annotations(f"cc3m:{tmp_path}", None)[0]
    (tmp_path / "a.tar").unlink()
    with pytest.raises(VideoReadError, match=r"a\.tar.*000000000\.jpg"):
        read_record(dog, 16, 1)


def test_only_the_part_between_its_times_is_read(tmp_path):
    # Frame n is shown from n / 10 s on.
    make_video(tmp_path / "ab.mp4", num_frames=100, rate_fps=10)
    rows = [("url", "timestamp", "caption")]
    spans = [("0:00:01.000", "0:00:03.000"), ("0:00:04.000", "0:00:08.000"), ("0:00:09.000", "0:00:09.500")]
    rows.append(
        ("https://www.youtube.com/watch?v=ab", [list(span) for span in spans], ["one", "two", "three"])
    )
    late = [["0:00:20.000", "0:00:22.000"]]
    rows.append(("https://www.youtube.com/watch?v=ab", late, ["late"]))
    given = f"panda70m:{write(tmp_path, {'p.csv': table(*rows)})}"
    source = record_source(given, None, None)
    one, two, three = ([numbers_shown(clip) for clip in source.record(n, 48, 20).clips] for n in range(3))
    assert [(clip[0], clip[-1]) for clip in one] == [(10, 28)]
    assert [(clip[0], clip[-1]) for clip in two] == [(40, 58), (60, 78)]
    # The last frame of the part is held, not the one that begins where it ends.
    assert three[0][0] == 90
    assert set(three[0][4:]) == {94}
    assert source.record(0, 48, 20).captions == ("one",)
    report = check_samples(given, min_side_px=48)
    assert (report.good, [(bad.reason, bad.cause) for bad in report.bad]) == (
        2,
        [
            ("too_short", "it has 0.50 s, a clip takes 2 s"),
            ("unreadable", "what is told begins at 20 s, the video ends at 10.00 s"),
        ],
    )
    write_shards(given, tmp_path / "shards")
    packed = record_source(tmp_path / "shards", None, None)
    assert [packed.annotation(n).end_s for n in range(4)] == [3.0, 8.0, 9.5, 22.0]
    assert numbers_shown(packed.record(1, 48, 20).clips[0])[0] == 40


def test_lines_and_tables_of_our_own_may_have_times(tmp_path):
    text = table(("video", "caption", "start_s", "end_s"), ("a.mp4", "x", "1.5", "4"), ("a.mp4", "y", "", ""))
    timed, whole = read_annotations(write(tmp_path, {"a.csv": text}), V)
    assert (timed, whole) == (told("a.mp4", "x", start_s=1.5, end_s=4.0), told("a.mp4", "y"))
    for wrong in ({"end_s": 0}, {"start_s": -1}, {"start_s": "x"}, {"start_s": 4, "end_s": 3}):
        with pytest.raises(DataError, match=r"a\.jsonl:1: has (start|end)_s"):
            read_annotations(write(tmp_path, {"a.jsonl": {"video": "a.mp4", "caption": "x", **wrong}}), V)
    with pytest.raises(DataError, match="a picture has none"):
        read_annotations(write(tmp_path, {"a.jsonl": {"image": "a.png", "caption": "x", "end_s": 3}}), V)


def test_a_training_learns_from_a_data_set_by_its_name(tmp_path):
    (tmp_path / "000001_000050").mkdir()
    for number in (17, 18):
        make_video(tmp_path / "000001_000050" / f"{number}.mp4", num_frames=40, rate_fps=10)
    rows = [("videoid", "contentUrl", "duration", "page_dir", "name")]
    rows += [(number, "u", "d", "000001_000050", f"caption {number}") for number in (17, 18, 19)]
    file = write(tmp_path, {"results_10M_train.csv": table(*rows)})
    tokenizer = learn_pieces(world_corpus(0, 20, 16), 400)
    add_video_tokens(tokenizer)
    config = TrainConfig(
        stage="lm",
        init_model="tiny",
        data=DataConfig(world_share=0.0, videos=str(tmp_path)),
        language=LanguageConfig(tasks={"caption": 1.0}, annotations=f"webvid:{file}"),
    )
    rejects = tmp_path / "rejects.jsonl"
    rows = LanguageDataset(config, SequenceBuilder(tokenizer, num_tokens=8), 16, 12, rejects_file=rejects)
    samples = [rows[number] for number in range(12)]
    said = {tokenizer.decode(sample.sequence.ids) for sample in samples}
    assert {any(f"caption {n}" in text for text in said) for n in (17, 18)} == {True}
    assert all(sample.seen.shape == (2, 5, 16, 16, 3) for sample in samples)
    [reject] = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert (Path(reject["file"]).name, reject["cause"]) == ("19.mp4", "there is no such file")


def test_stories_of_one_film_stay_apart_under_a_name(tmp_path):
    clips = [{"video": "a.mp4", "start_s": start_s, "text": f"{start_s}"} for start_s in (0, 2, 4)]
    stories = [{"story": "Tell one.", "clips": some} for some in (clips[:2], [clips[0], clips[2]])]
    (tmp_path / "stories.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in stories))
    plain = read_annotations(tmp_path / "stories.jsonl", V)
    assert len(plain) == 2
    assert read_annotations(f"divot:{tmp_path / 'stories.jsonl'}", V) == plain

import json
from pathlib import Path

import pytest
from PIL import Image

from divot import world
from divot.evaluation import Interval, NamedClip, evaluate_reconstruction, write_report
from divot.evaluation.measures import DEFINITIONS, OF_WORLD
from divot.evaluation.report import measure_text

from .fakes import ColourDetokenizer, FakeTokenizer, random_clips

DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def result():
    clips = [NamedClip(f"<{clip.name}>", clip.frames) for clip in random_clips(3)]
    facts = {"rejected": {"a&b.mp4": "is empty"}}
    return evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), clips, run=facts)


def test_report_is_json_page_and_sheet_of_one_name(result, tmp_path):
    paths = write_report(result, tmp_path / "inner" / "out.json")
    assert [path.name for path in paths] == ["out.json", "out.html", "out.png"]
    assert json.loads(paths[0].read_text()) == result.to_json()
    page = paths[1].read_text()
    assert 'src="out.png"' in page
    assert "a&amp;b.mp4: is empty" in page
    assert all(f"<td>{name}</td>" in page for name in DEFINITIONS if name not in OF_WORLD)
    with Image.open(paths[2]) as sheet:
        assert sheet.width >= 16 * 128


def test_report_wants_a_json_name(result, tmp_path):
    with pytest.raises(ValueError, match=r"wanted \.json"):
        write_report(result, tmp_path / "out.html")


def test_clips_of_the_world_are_read_by_the_verifier():
    true = world.clip(0, 0, "test", FakeTokenizer().config.frame_size)
    result = evaluate_reconstruction(
        FakeTokenizer(), ColourDetokenizer(), [NamedClip("one", true.frames, true.scene)]
    )
    assert set(OF_WORLD) <= result.measures.keys()
    assert result.measures["verifier_all"].mean == 0.0
    assert measure_text("verifier_all", Interval(0.5, None, None, 1)) == "0.500"


def test_measures_read_as_mean_and_interval():
    assert measure_text("psnr", Interval(24.104, 23.8, 24.4, 9)) == "24.10 dB [23.80, 24.40]"
    assert measure_text("ssim", Interval(0.9, None, None, 1)) == "0.900"
    assert measure_text("psnr_moving", Interval(None, None, None, 0)) == "none"


def test_docs_define_every_measure_in_the_words_of_the_code():
    text = DOCS.read_text()
    missing = [name for name, words in DEFINITIONS.items() if f"| `{name}` | {words} |" not in text]
    assert not missing

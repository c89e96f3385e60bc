import json

import pytest
from PIL import Image

from divot.world import Scene, sample_scene, write_preview


def test_a_preview_holds_a_sheet_a_gif_for_each_clip_and_the_captions(tmp_path):
    sheet = write_preview(tmp_path / "new" / "folder", seed=2, count=3, split="test", size=32)
    folder = sheet.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "captions.jsonl",
        "clip_000.gif",
        "clip_001.gif",
        "clip_002.gif",
        "sheet.png",
    ]
    with Image.open(sheet) as picture:
        assert picture.height > 3 * 32
    records = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    assert [record["index"] for record in records] == [0, 1, 2]
    assert Scene.from_dict(records[1]["scene"]) == sample_scene(2, 1, "test")


def test_a_gif_plays_two_seconds_for_ever(tmp_path):
    write_preview(tmp_path, count=1)
    with Image.open(tmp_path / "clip_000.gif") as gif:
        assert gif.info["loop"] == 0
        duration_ms = 0
        for frame in range(gif.n_frames):
            gif.seek(frame)
            duration_ms += gif.info["duration"]
    assert 1800 <= duration_ms <= 2000


def test_no_clips_are_refused(tmp_path):
    with pytest.raises(ValueError, match="count: got 0, wanted 1 or more"):
        write_preview(tmp_path, count=0)

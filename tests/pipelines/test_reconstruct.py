import json
import shutil

import pytest

from divot.config.errors import DataError
from divot.pipelines import Divot, write_reconstruction
from divot.pipelines.reconstruct import check_outputs
from divot.video import VideoReader


def test_outputs_carry_a_record_that_says_how_they_were_made(model_folder, video_file, tmp_path):
    divot = Divot.from_pretrained(model_folder, device="cpu")
    result = divot.reconstruct(video_file, seed=7, steps=1, eta=0.5)
    record = write_reconstruction(result, tmp_path / "out.mp4", divot, video_file, seed=7)
    assert json.loads((tmp_path / "out.mp4.json").read_text()) == record
    assert record["seed"] == 7
    assert record["model"]["source"] == str(model_folder)
    assert record["model"]["tokenizer_hash"] == divot.folder.tokenizer_hash
    assert record["detokenizer"]["name"] == "reconstruction"
    assert record["detokenizer"]["detokenizer_hash"] == divot.folder.detokenizer_hash("reconstruction")
    assert record["detokenizer"]["sampler"]["num_steps"] == 1
    assert record["detokenizer"]["sampler"]["eta"] == 0.5
    assert {"python", "divot-video", "torch"} <= set(record["versions"])
    names = {"out.mp4", "out.mp4.json", "out_side_by_side.mp4", "out_sheet.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    with VideoReader(tmp_path / "out.mp4") as reader:
        assert reader.duration_s == pytest.approx(2.5, abs=0.01)


@pytest.mark.parametrize("name", ["out.mp4", "out_side_by_side.mp4"])
def test_video_is_never_overwritten_by_its_own_reconstruction(model_folder, video_file, tmp_path, name):
    video = tmp_path / name
    shutil.copy(video_file, video)
    (tmp_path / "folder").symlink_to(tmp_path)
    for out in (tmp_path / "out.mp4", tmp_path / "folder" / "out.mp4"):
        with pytest.raises(DataError, match="would be overwritten"):
            check_outputs(video, out)
    check_outputs(video, tmp_path / "other.mp4")
    check_outputs(tmp_path / "none.mp4", tmp_path / "none.mp4")

import json

import numpy as np
import pytest
import torch

from divot.config.errors import CheckpointError
from divot.config.models import SamplerConfig, TokenizerConfig
from divot.evaluation import (
    evaluate_reconstruction,
    evaluate_video_reconstruction,
    evaluate_world_reconstruction,
)
from divot.evaluation.measures import DEFINITIONS
from divot.evaluation.run_info import weights_sha256
from divot.pipelines.fidelity import MAX_PSNR_DB, psnr
from divot.video import SEEN_FRAMES

from .fakes import (
    SIZE_PX,
    ColourDetokenizer,
    FakeModel,
    FakeTokenizer,
    RecallDetokenizer,
    flat_clip,
    random_clips,
)
from .test_clip_sets import write_moving_square

GREYS = [flat_clip(level) for level in (0, 40, 100, 230)]


def means(result):
    return {name: interval.mean for name, interval in result.measures.items()}


def without_seconds(result):
    return {name: value for name, value in result.measures.items() if not name.startswith("seconds")}


def test_perfect_detokenizer_gets_the_cap():
    clips = random_clips(3)
    result = evaluate_reconstruction(FakeTokenizer(), RecallDetokenizer(clips), clips)
    measured = means(result)
    assert measured["psnr"] == measured["psnr_unseen"] == measured["psnr_moving"] == MAX_PSNR_DB
    assert measured["psnr_vae"] == MAX_PSNR_DB
    assert measured["ssim"] == pytest.approx(1, abs=1e-6)
    assert measured["psnr_still"] < 20


def test_detokenizer_that_ignores_its_tokens_gains_nothing_over_swapped_ones():
    class BlindTokenizer(FakeTokenizer):
        def __call__(self, frames_BFCHW):
            return torch.zeros_like(super().__call__(frames_BFCHW))

    result = evaluate_reconstruction(BlindTokenizer(), ColourDetokenizer(), GREYS)
    gain = result.measures["gain_over_swapped"]
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_swapped_tokens_are_those_of_the_clip_half_a_set_away():
    result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), GREYS)
    pairs = [(0, 2), (1, 3), (2, 0), (3, 1)]
    expected = [psnr(GREYS[a].frames, GREYS[b].frames) for a, b in pairs]
    assert result.measures["psnr_swapped"].mean == pytest.approx(np.mean(expected))
    assert result.measures["gain_over_swapped"].mean == pytest.approx(MAX_PSNR_DB - np.mean(expected))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_clip_is_swapped_with_itself(count):
    clips = random_clips(count)
    result = evaluate_reconstruction(FakeTokenizer(), RecallDetokenizer(clips), clips)
    # Unlike random clips are at about 8 dB; one clip held against itself would lift the mean by 18 or more.
    assert result.measures["psnr_swapped"].mean < 10


def test_one_clip_has_nothing_to_swap_with_and_no_interval():
    result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), GREYS[:1])
    assert result.measures["psnr_swapped"].n == result.measures["gain_over_swapped"].n == 0
    assert result.measures["psnr"].low is None
    assert [example.place for example in result.examples] == ["best"]


def test_clips_without_motion_are_counted_and_left_out_of_the_moving_measures():
    clips = [*GREYS, *random_clips(3)]
    result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), clips)
    assert result.measures["psnr"].n == 7
    assert result.measures["psnr_moving"].n == result.measures["gain_moving_over_nearest_seen"].n == 3
    assert result.run["clips_without_motion"] == 4


def test_gains_are_differences_clip_by_clip():
    result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(0.1), random_clips(4))
    measured = means(result)
    for name, minuend, subtrahend in (
        ("gain_over_swapped", "psnr", "psnr_swapped"),
        ("gain_over_constant_frame", "psnr", "psnr_constant_frame"),
        ("gain_moving_over_nearest_seen", "psnr_moving", "psnr_moving_nearest_seen"),
    ):
        assert measured[name] == pytest.approx(measured[minuend] - measured[subtrahend])


def test_clip_i_is_decoded_from_seed_plus_i_with_the_sampler_asked_for():
    detokenizer, sampler = ColourDetokenizer(), SamplerConfig(num_steps=3)
    result = evaluate_reconstruction(FakeTokenizer(), detokenizer, GREYS, seed=7, sampler=sampler)
    assert [seed for _, seed, _ in detokenizer.calls] == [7, 8, 9, 10]
    assert all(used is sampler for _, _, used in detokenizer.calls)
    assert result.run["sampler"]["num_steps"] == 3


def test_corrections_compare_with_the_tokens_of_the_tokenizer():
    detokenizer = ColourDetokenizer()
    evaluate_reconstruction(FakeTokenizer(), detokenizer, GREYS)
    frames = torch.linspace(-1, 1, 16)[None, :, None, None, None].expand(1, 16, 3, SIZE_PX, SIZE_PX)
    assert len(detokenizer.encoders) == len(GREYS)
    for encode in detokenizer.encoders:
        torch.testing.assert_close(encode(frames), FakeTokenizer()(frames[:, list(SEEN_FRAMES)]))


def test_batch_size_changes_nothing_but_the_batches():
    clips = random_clips(5)
    results = []
    for batch_size, wanted in ((2, [2, 2, 1]), (8, [5])):
        tokenizer = FakeTokenizer()
        results.append(
            evaluate_reconstruction(tokenizer, ColourDetokenizer(0.1), clips, batch_size=batch_size)
        )
        # The first call is the one before the clock runs.
        assert tokenizer.batch_sizes[1:] == wanted
    assert without_seconds(results[0]) == without_seconds(results[1])


def test_one_seed_gives_one_result_and_another_seed_another():
    first, again, other = (
        evaluate_world_reconstruction(FakeModel(ColourDetokenizer(0.3)), seed=seed, count=4)
        for seed in (1, 1, 2)
    )
    assert without_seconds(first) == without_seconds(again)
    assert without_seconds(first) != without_seconds(other)


def test_first_decoding_is_not_timed_unless_it_is_the_only_one():
    for count, timed in ((1, 1), (4, 3)):
        result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), GREYS[:count])
        assert result.measures["seconds_decode"].n == timed
        assert result.measures["seconds_encode"].n == count


def test_progress_is_told_clip_by_clip():
    told = []
    evaluate_reconstruction(
        FakeTokenizer(), ColourDetokenizer(), GREYS, on_progress=lambda *numbers: told.append(numbers)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_examples_are_the_best_the_median_and_the_worst_clip():
    clips = [flat_clip(100), *random_clips(1), flat_clip(200)]
    clips[2].frames[:8] = 0
    result = evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), clips)
    assert [example.place for example in result.examples] == ["best", "median", "worst"]
    psnrs = [example.psnr for example in result.examples]
    assert psnrs == sorted(psnrs, reverse=True)
    assert result.examples[0].name == "grey 100"


def test_world_result_is_json_with_one_key_a_measure_and_the_run():
    result = evaluate_world_reconstruction(FakeModel(), seed=3, count=2)
    saved = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert set(saved) == {*DEFINITIONS, "run"}
    assert set(saved["psnr"]) == {"mean", "low", "high", "n"}
    run = saved["run"]
    assert run["set"] == {"source": "world", "seed": 3, "count": 2, "split": "test", "size_px": 16}
    assert run["model"]["source"] == "fake"
    assert run["detokenizer"] == {"task": "reconstruct", "name": None, "detokenizer_hash": None}
    assert run["hardware"]["cpu"]
    assert run["versions"]["torch"] == torch.__version__
    assert run["rejected"] == {}


def test_bad_videos_are_named_in_the_run(tmp_path):
    write_moving_square(tmp_path / "good.mp4", 24)
    (tmp_path / "bad.mp4").write_text("no video")
    result = evaluate_video_reconstruction(FakeModel(), tmp_path)
    assert list(result.run["rejected"]) == ["bad.mp4"]
    assert result.run["set"]["clips_of_video"] == {"good.mp4": 2}
    assert result.measures["psnr"].n == 2


def test_tokenizer_and_detokenizer_for_other_sizes_are_refused(tmp_path):
    model = FakeModel()
    model.tokenizer.config = TokenizerConfig(frame_size=24)
    with pytest.raises(CheckpointError, match=r"24 pixels.*16"):
        evaluate_video_reconstruction(model, tmp_path)
    with pytest.raises(CheckpointError, match=r"24 pixels.*16"):
        evaluate_world_reconstruction(model, seed=0, count=1)


def test_bad_arguments_are_refused_with_both_values():
    with pytest.raises(ValueError, match="clips: got none"):
        evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), [])
    with pytest.raises(ValueError, match="batch_size: got 0"):
        evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), GREYS, batch_size=0)
    short = type(GREYS[0])("short", GREYS[0].frames[:5])
    with pytest.raises(ValueError, match="clip short: got shape"):
        evaluate_reconstruction(FakeTokenizer(), ColourDetokenizer(), [GREYS[0], short])


def test_hash_of_weights_tells_models_apart():
    first, same, other = (torch.nn.Linear(2, 2) for _ in range(3))
    same.load_state_dict(first.state_dict())
    assert weights_sha256(first) == weights_sha256(same) != weights_sha256(other)
    assert weights_sha256(torch.nn.BatchNorm1d(2).to(torch.bfloat16))
    assert weights_sha256(FakeTokenizer()) is None

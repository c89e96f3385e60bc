"""Divot: file to tokens to frames."""

import dataclasses

import numpy as np
import pytest
import torch

from divot.config.errors import CheckpointError, RecipeError
from divot.config.models import DetokenizerConfig, SamplerConfig
from divot.pipelines import Divot
from divot.pipelines.clips import count_clips, whole_clips
from divot.pipelines.load import resolve_sampler
from divot.video import (
    SEEN_FRAMES,
    SquareFit,
    VideoReader,
    load_clip,
    official_comprehension_indices,
    official_reconstruction_indices,
    to_uint8,
)


@pytest.fixture(scope="module")
def divot(model_folder):
    return Divot.from_pretrained(model_folder, device="cpu")


def test_video_becomes_one_row_of_tokens_a_clip(divot, video_file):
    tokens = divot.encode(video_file)
    assert tuple(tokens.shape) == (2, 64, 8)
    frames = load_clip(video_file, size_px=32)
    assert torch.equal(tokens[0], divot.encode_clip(frames))
    assert torch.equal(tokens[0], divot.encode_clip(frames[list(SEEN_FRAMES)]))
    assert torch.allclose(tokens[0], divot.encode_clip(to_uint8(frames)), atol=1e-5)


def test_clip_of_other_length_is_refused(divot):
    with pytest.raises(ValueError, match="wanted 16 or 5 frames"):
        divot.encode_clip(np.zeros((7, 32, 32, 3), np.uint8))


def test_reading_from_the_middle_gives_the_same_tokens(divot, video_file):
    frames = np.random.default_rng(0).integers(0, 256, (16 * 5, 32, 32, 3), np.uint8)
    whole = divot.encode(frames, batch_size=2)
    rest = [tokens for _, tokens in divot.iterate_tokens(frames, skip=2, batch_size=2)]
    assert torch.equal(whole[2:], torch.stack(rest))


def test_reading_from_within_a_batch_gives_the_same_tokens(divot):
    frames = np.random.default_rng(0).integers(0, 256, (16 * 7, 32, 32, 3), np.uint8)
    whole = divot.encode(frames, batch_size=3)
    rest = list(divot.iterate_tokens(frames, skip=4, batch_size=3))
    assert [clip.index for clip, _ in rest] == [4, 5, 6]
    assert torch.equal(whole[4:], torch.stack([tokens for _, tokens in rest]))


def test_tokenizer_is_given_frames_of_its_frame_size(model_folder, video_file, monkeypatch):
    divot = Divot.from_pretrained(model_folder, device="cpu")
    config = dataclasses.replace(divot.tokenizer.config, frame_size=48)
    monkeypatch.setattr(divot.tokenizer, "config", config)
    shapes = []
    divot.tokenizer.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    divot.encode(video_file, batch_size=2)
    assert shapes == [(2, 5, 3, 48, 48)]
    with pytest.raises(CheckpointError, match="frames of 48 pixels and a de-tokenizer for 32"):
        divot.reconstruct(video_file)


def test_official_samplings_read_the_official_frames(divot, video_file):
    with VideoReader(video_file) as reader:
        rows = official_comprehension_indices(reader.num_frames, reader.rate_fps)
        first = official_reconstruction_indices(reader.num_frames, reader.rate_fps)
        wanted = [divot.encode_clip(reader.frames_at(row, SquareFit(32))) for row in (*rows, first)]
    assert len(rows) == count_clips(video_file, "official-comprehension") == 2
    assert torch.equal(divot.encode(video_file, sampling="official-comprehension"), torch.stack(wanted[:2]))
    assert torch.equal(divot.encode(video_file, sampling="official-reconstruction")[0], wanted[2])
    # The second clip is squeezed into the half second that is left.
    assert not torch.equal(divot.encode(video_file)[1], wanted[1])
    with pytest.raises(RecipeError, match="'random' is not known"):
        divot.encode(video_file, sampling="random")


def test_official_samplings_read_frames_in_memory_too(divot):
    frames = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    tokens = divot.encode(frames, sampling="official-comprehension")
    assert torch.equal(tokens[:2], divot.encode(frames)[:2])
    assert len(divot.encode(frames, sampling="official-reconstruction")) == 1


def test_same_seed_gives_same_frames_and_clips_do_not_depend_on_each_other(divot, video_file):
    tokens = divot.encode(video_file)
    frames = divot.decode(tokens, seed=3)
    assert frames.shape == (32, 32, 32, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, divot.decode(tokens, seed=3))
    assert np.array_equal(frames[16:], divot.decode(tokens[1], seed=4))
    assert not np.array_equal(frames, divot.decode(tokens, seed=5))
    first = next(divot.iterate_frames(tokens, seed=3))
    assert np.array_equal(first, frames[:16])


def test_reconstruction_is_as_long_as_the_video(divot, video_file):
    shares = []
    result = divot.reconstruct(video_file, on_progress=lambda share, clips: shares.append((share, clips)))
    # 2.5 s: one clip and four frames of the second.
    assert result.frames.shape == result.original.shape == (20, 32, 32, 3)
    assert torch.equal(result.tokens, divot.encode(video_file))
    assert np.array_equal(result.frames, divot.decode(result.tokens, clips=result.clips))
    assert np.array_equal(result.original[:16], to_uint8(load_clip(video_file, size_px=32)))
    assert shares[-1] == (1.0, 2)
    assert shares == sorted(shares)


def test_only_the_first_clips_are_reconstructed_if_asked(divot, video_file):
    assert len(divot.reconstruct(video_file, max_clips=1, steps=1).frames) == 16


def test_what_follows_the_first_clips_may_be_damaged(divot, video_file, monkeypatch):
    def damaged(*arguments):
        yield next(whole_clips(*arguments))
        pytest.fail("read on")

    monkeypatch.setattr("divot.pipelines.divot.whole_clips", damaged)
    assert len(divot.reconstruct(video_file, max_clips=1, steps=1).frames) == 16


def test_frames_in_memory_are_a_video_too(divot):
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    result = divot.reconstruct(frames, steps=1)
    assert np.array_equal(result.original, frames)


def test_options_out_of_range_are_refused(divot, model_folder):
    tokens = torch.zeros(1, 64, 8)
    for option, value in (
        ("steps", 0),
        ("steps", 1001),
        ("guidance", -1.0),
        ("corrections", -1),
        ("solver", "magic"),
        ("eta", 2.0),
    ):
        with pytest.raises(RecipeError, match=option):
            divot.decode(tokens, **{option: value})
    with pytest.raises(ValueError, match=r"wanted \[K, 64, 8\]"):
        divot.decode(torch.zeros(1, 64, 9))
    with pytest.raises(ValueError, match="not finite"):
        divot.decode(tokens * float("nan"))
    with pytest.raises(CheckpointError, match="reconstruction"):
        divot.decode(tokens, detokenizer="other")
    with pytest.raises(RecipeError, match="'moon' is no device"):
        Divot.from_pretrained(model_folder, device="moon")
    with pytest.raises(RecipeError, match="int8"):
        Divot.from_pretrained(model_folder, dtype="int8")


def test_only_ddim_knows_eta_and_the_official_spacing(caplog):
    config = DetokenizerConfig(sampler=SamplerConfig(spacing="uniform", eta=1.0))
    assert resolve_sampler(config, eta=0.5).eta == 0.5
    resolve_sampler(config, steps=4)
    assert not caplog.text
    resolve_sampler(config, steps=3)
    assert "take 4 or more" in caplog.text
    with pytest.raises(RecipeError, match=r"0\.5 means nothing to the solver euler"):
        resolve_sampler(config, solver="euler", eta=0.5)
    settings = resolve_sampler(config, solver="euler")
    assert (settings.eta, settings.spacing) == (0.0, "trailing")


def test_device_that_is_not_here_is_refused(model_folder):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecipeError, match="not on this machine"):
        Divot.from_pretrained(model_folder, device="cuda")


def test_bfloat16_works(model_folder, video_file):
    divot = Divot.from_pretrained(model_folder, device="cpu", dtype="bfloat16")
    result = divot.reconstruct(video_file, max_clips=1, steps=1)
    assert result.tokens.dtype == torch.bfloat16
    assert result.frames.dtype == np.uint8

"""What tests of several folders share: a model folder with random weights, small enough for one slow core."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

CLIPS = Path(__file__).parent / "data" / "clips"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that are marked slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        chosen = [item for item in items if item.get_closest_marker("slow") is None]
        items[:] = chosen


def _small_config():
    from divot.config.models import ModelConfig
    from divot.config.presets import preset

    tiny = preset("tiny")
    vit = dataclasses.replace(tiny.tokenizer.vit, image_size=32, width=32, num_layers=1, mlp_width=32)
    tokenizer = dataclasses.replace(
        tiny.tokenizer,
        vit=vit,
        frame_size=32,
        temporal_width=32,
        hidden_width=32,
        pool_size=4,
        resampler_depth=1,
        token_width=8,
    )
    detokenizer = dataclasses.replace(
        tiny.detokenizer,
        frame_size=32,
        token_width=8,
        projector=dataclasses.replace(tiny.detokenizer.projector, width=32),
        unet=dataclasses.replace(
            # A checkpoint takes its time by the number of its tensors, small as they are.
            tiny.detokenizer.unet,
            model_channels=32,
            context_width=32,
            # The middle has one always.
            attention_resolutions=(),
        ),
        sampler=dataclasses.replace(tiny.detokenizer.sampler, num_steps=2),
    )
    return ModelConfig(tokenizer, detokenizer)


def _write_small_model(folder, seed):
    import torch

    from divot.detokenizer import VideoDetokenizer
    from divot.tokenizer import VideoTokenizer
    from divot.weights.store import write_model_folder

    config = _small_config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer, detokenizer = VideoTokenizer(config.tokenizer), VideoDetokenizer(config.detokenizer)
    write_model_folder(folder, tokenizer, {"reconstruction": detokenizer}, dtype=None)
    return folder


def _small_language_model(width=32):
    import torch

    from divot.config.models import HeadConfig, LanguageModelConfig
    from divot.data.tasks import world_corpus
    from divot.lm.model import DivotLM
    from divot.text.pieces import learn_pieces

    settings = LanguageModelConfig(
        token_width=8,
        head=HeadConfig(num_components=2),
        backbone={
            "model_type": "mistral",
            "hidden_size": width,
            "intermediate_size": width,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DivotLM.new(settings, learn_pieces(world_corpus(0, 20, 16), 400))


@pytest.fixture(scope="session")
def language_folder(model_folder, tmp_path_factory):
    """The same model with a language model of random weights."""
    import shutil

    from divot.weights.store import add_language_model

    folder = tmp_path_factory.mktemp("models") / "language"
    shutil.copytree(model_folder, folder)
    add_language_model(folder, "default", _small_language_model(), dtype=None)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A whole model of random weights."""
    return _write_small_model(tmp_path_factory.mktemp("models") / "small", seed=0)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory):
    """The same sizes, other weights."""
    return _write_small_model(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def video_file(tmp_path_factory):
    """2.5 s of a moving bar, 48 x 36 at 16 fps: one whole clip and a partial one."""
    from divot.video import write_video

    path = tmp_path_factory.mktemp("videos") / "bar.mp4"
    write_video(path, moving_bar(40), 16)
    return path


def moving_bar(num_frames, height=36, width=48):
    frames = np.full((num_frames, height, width, 3), 60, np.uint8)
    for t in range(num_frames):
        left = t % (width - 8)
        frames[t, :, left : left + 8] = (220, 80, 40)
    return frames

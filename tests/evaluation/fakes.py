"""Models that stand in for trained ones: what they do to a clip is known."""

import numpy as np
import torch

from divot.config.models import DetokenizerConfig, TokenizerConfig, ViTConfig
from divot.evaluation import NamedClip
from divot.video import SEEN_FRAMES

SIZE_PX = 16


class _OnCpu:
    device = torch.device("cpu")
    dtype = torch.float32


class FakeTokenizer(_OnCpu):
    """Its tokens are the mean colour of the seen frames, [B, 1, 3]."""

    config = TokenizerConfig(vit=ViTConfig(image_size=8), frame_size=SIZE_PX)

    def __init__(self):
        self.batch_sizes = []

    def __call__(self, frames_BFCHW):
        size_px = self.config.frame_size
        assert frames_BFCHW.shape[1:] == (len(SEEN_FRAMES), 3, size_px, size_px)
        self.batch_sizes.append(len(frames_BFCHW))
        return frames_BFCHW.mean(dim=(1, 3, 4))[:, None]


class ColourDetokenizer(_OnCpu):
    """Shows the colour that the tokens hold, with some noise of the seed; its autoencoder changes nothing."""

    config = DetokenizerConfig(frame_size=SIZE_PX)

    def __init__(self, noise=0.0):
        self.noise = noise
        self.calls = []
        self.encoders = []

    def decode(self, tokens_BND, seed=0, sampler=None, encode=None):
        self.calls.append((tokens_BND.clone(), seed, sampler))
        self.encoders.append(encode)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, 16, 3, SIZE_PX, SIZE_PX, generator=generator)
        return (tokens_BND[:, 0, None, :, None, None] + self.noise * noise).clamp(-1, 1)

    def encode_frames(self, frames_BFCHW):
        return frames_BFCHW

    def decode_latents(self, latents_BCFHW):
        return latents_BCFHW


class RecallDetokenizer(ColourDetokenizer):
    """Knows the clips by their seeds: gives clip `seed` back as it was."""

    def __init__(self, clips):
        super().__init__()
        self.clips = clips

    def decode(self, tokens_BND, seed=0, sampler=None, encode=None):
        frames = torch.from_numpy(self.clips[seed].frames)
        return (frames.permute(0, 3, 1, 2).float() / 127.5 - 1)[None]


class FakeModel:
    """A whole model of such parts."""

    source = "fake"

    def __init__(self, detokenizer=None):
        self.tokenizer = FakeTokenizer()
        self._detokenizer = detokenizer or ColourDetokenizer()

    def detokenizer(self, task, name=None):
        assert task == "reconstruct"
        return self._detokenizer


def flat_clip(level):
    """A clip of one grey."""
    return NamedClip(f"grey {level}", np.full((16, SIZE_PX, SIZE_PX, 3), level, np.uint8))


def random_clips(count):
    """Clips in which every pixel of every frame is another."""
    rng = np.random.default_rng(0)
    shape = (16, SIZE_PX, SIZE_PX, 3)
    return [NamedClip(f"random {i}", rng.integers(0, 256, shape).astype(np.uint8)) for i in range(count)]

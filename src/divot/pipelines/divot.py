"""Divot: one model, and the three things it does with a video.

divot = Divot.from_pretrained("tiny")
tokens = divot.encode("clip.mp4")      # [K, 64, D]: 64 tokens for every two seconds
frames = divot.decode(tokens, seed=0)  # uint8 [K * 16, S, S, 3] at 8 frames a second
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from divot.config.models import DetokenizerConfig, SamplerConfig, TokenizerConfig
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic
from divot.pipelines.clips import (
    MAX_SPREAD_CLIPS,
    Sampling,
    Source,
    count_clips,
    seen_clips,
    true_frames,
    whole_clip_encoder,
    whole_clips,
)
from divot.pipelines.fidelity import psnr, ssim
from divot.pipelines.load import (
    SamplerChanges,
    corrections_beside,
    resolve_device,
    resolve_dtype,
    resolve_sampler,
    shared_frame_size,
)
from divot.tokenizer import VideoTokenizer
from divot.video import CLIP_FRAMES, SEEN_FRAMES, Clip, Fit, from_uint8, to_uint8, views_of
from divot.weights.store import ModelFolder

if TYPE_CHECKING:
    from divot.lm.generate import Judge
    from divot.lm.model import DivotLM
    from divot.lm.sampling import TextSampling, TokenSampling
    from divot.pipelines.describe import Chat
    from divot.pipelines.film import Seam
    from divot.pipelines.generate import GeneratedClip

Progress = Callable[[float, int], None]
"""Called with the share of the work that is done, 0 to 1, and the number of clips done."""


@dataclass(frozen=True)
class Reconstruction:
    """A video that went through tokens and back, beside the original.

    Attributes:
        frames: uint8 [T, S, S, 3], 8 a second.
        original: the same moments of the original, same shape.
        tokens: [K, N, D].
        clips: the K clips' places in the video.
        detokenizer: name of the de-tokenizer that made the frames.
        sampler: its settings.
        refinements: steps by which each clip's tokens were refined.
        psnr_db: over all frames.
        ssim: mean over frames.
        seconds: how long it took, reading included.
    """

    frames: np.ndarray
    original: np.ndarray
    tokens: Tensor
    clips: tuple[Clip, ...]
    detokenizer: str
    sampler: SamplerConfig
    refinements: int
    psnr_db: float
    ssim: float
    seconds: float


class Divot:
    """A tokenizer with its de-tokenizers on one device; each part is loaded when it is first used.

    Args:
        folder: the model.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: type of the weights in memory: `float32`, `float16` or `bfloat16`.

    Raises:
        RecipeError: if the device or the type is not there.
    """

    def __init__(
        self,
        folder: ModelFolder,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
    ) -> None:
        self.folder = folder
        self.device, self.dtype = resolve_device(device), resolve_dtype(dtype)
        self._detokenizers: dict[str, VideoDetokenizer] = {}
        self._language_models: dict[str, DivotLM] = {}

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "tiny",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
    ) -> Divot:
        """Open a model.

        Args:
            source: name of a preset with bundled weights, a model folder, or a hub id.
            device: where it runs.
            dtype: type of the weights in memory.

        Raises:
            CheckpointError: if there is no such model.
            RecipeError: if the device or the type is not there.
        """
        return cls(ModelFolder.open(source), device, dtype)

    @cached_property
    def tokenizer(self) -> VideoTokenizer:
        """The tokenizer."""
        return self.folder.tokenizer(dtype=self.dtype).to(self.device)

    def detokenizer(self, task: str = "decode", name: str | None = None) -> VideoDetokenizer:
        """The de-tokenizer of that name, or else the one that the task asks for.

        Raises:
            CheckpointError: if the model has none of that name or for that task.
        """
        name = self.folder.detokenizer_name(task) if name is None else name
        if name not in self._detokenizers:
            model = self.folder.detokenizer(name=name, dtype=self.dtype)
            self._detokenizers[name] = model.to(self.device)
        return self._detokenizers[name]

    def language_model(self, task: str = "ask") -> DivotLM:
        """The language model that the task asks for.

        Raises:
            CheckpointError: if the model has none for it.
        """
        name = self.folder.language_model_name(task)
        if name not in self._language_models:
            self._language_models[name] = self.folder.language_model(name, self.dtype).to(self.device)
        return self._language_models[name]

    @cached_property
    def critic(self) -> ShapeCritic | None:
        """The critic of the model's latents, if it has one."""
        critic = self.folder.critic(self.dtype)
        return None if critic is None else critic.to(self.device)

    def judge(self, task: str) -> Judge | None:
        """What chooses among clips that the language model wrote for a task; None for a model without a critic."""
        from divot.pipelines.judge import CriticJudge

        return None if self.critic is None else CriticJudge(self, task)

    def ask(self, source: Source, question: str, fit: Fit = "crop", max_clips: int = MAX_SPREAD_CLIPS) -> str:
        """The answer to a question about a video or a picture; for turns and sampling see `chat`."""
        return self.chat(source, fit, max_clips=max_clips).say(question)

    def caption(self, source: Source, fit: Fit = "crop", max_clips: int = MAX_SPREAD_CLIPS) -> str:
        """What the video or picture shows, in words."""
        return self.chat(source, fit, max_clips=max_clips).caption()

    def chat(
        self,
        source: Source | None = None,
        fit: Fit = "crop",
        sampling: TextSampling | None = None,
        seed: int = 0,
        max_clips: int = MAX_SPREAD_CLIPS,
        views: int | None = None,
    ) -> Chat:
        """A conversation about one video; arguments and errors as `divot.pipelines.describe.Chat`."""
        from divot.lm.sampling import TextSampling
        from divot.pipelines.describe import Chat

        how = TextSampling() if sampling is None else sampling
        return Chat(self, source, fit, how, seed, max_clips, views)

    def generate(
        self,
        text: str,
        count: int = 1,
        seed: int = 0,
        sampling: TokenSampling | None = None,
        is_image: bool = False,
        clips: int = 1,
        seam: Seam = "cut",
        on_progress: Progress | None = None,
        **changes: Unpack[SamplerChanges],
    ) -> list[GeneratedClip]:
        """Clips that show what the text says; as `divot.pipelines.generate.each_generated`, all at once."""
        from divot.lm.sampling import TokenSampling
        from divot.pipelines.generate import each_generated

        how = TokenSampling() if sampling is None else sampling
        return list(
            each_generated(self, text, count, seed, how, is_image, clips, seam, on_progress, **changes)
        )

    @property
    def source(self) -> str:
        """What the user called the model."""
        return self.folder.source

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        """Sizes of the tokenizer."""
        return self.tokenizer.config

    def encode_clip(self, frames: np.ndarray | Tensor) -> Tensor:
        """One clip to tokens.

        `encode` gives it squares of the tokenizer's `frame_size`; frames of another size are stretched.

        Args:
            frames: uint8 [F, H, W, 3], or float [F, 3, H, W] in [-1, 1]; 16 frames, of which the tokenizer
                sees its 5, or those 5.

        Returns:
            [N, D], on the CPU.

        Raises:
            ValueError: if the frames have another shape.
        """
        return self.encode_views(frames, 1)[0]

    @torch.no_grad()
    def encode_views(self, frames: np.ndarray | Tensor, count: int) -> Tensor:
        """One clip to the tokens [V, N, D] of so many views of it, see `divot.video.views`; the first is the clip as it
        is. Arguments and errors as of `encode_clip`."""
        tensor = from_uint8(frames) if isinstance(frames, np.ndarray) else frames
        if tensor.ndim != 4 or tensor.shape[1] != 3 or len(tensor) not in (CLIP_FRAMES, len(SEEN_FRAMES)):
            wanted = f"{CLIP_FRAMES} or {len(SEEN_FRAMES)} frames"
            raise ValueError(f"frames: got shape {list(frames.shape)}, wanted {wanted}")
        seen = tensor[list(SEEN_FRAMES)] if len(tensor) == CLIP_FRAMES else tensor
        # Half a patch: as far as can be from the same borders of patches.
        step_px = max(1, self.tokenizer_config.vit.patch_size // 2)
        views = views_of(seen, count, step_px)
        return self.tokenizer(views.to(self.device, self.dtype)).cpu()

    @torch.no_grad()
    def iterate_tokens(
        self,
        source: Source,
        fit: Fit = "crop",
        skip: int = 0,
        batch_size: int = 1,
        sampling: Sampling = "consecutive",
        max_clips: int = MAX_SPREAD_CLIPS,
    ) -> Iterator[tuple[Clip, Tensor]]:
        """Tokens of a video of any length, clip by clip, in constant memory.

        Args:
            source: a video file, or frames uint8 [T, H, W, 3] at 8 a second.
            fit: how frames are made square.
            skip: clips to leave out at the start.
            batch_size: clips that go through the tokenizer at once.
            sampling: which clips are read, see `divot.pipelines.clips.Sampling`.
            max_clips: most clips of the sampling `spread`.

        Yields:
            The clip's place in the video, and its tokens [N, D] on the CPU.

        Raises:
            RecipeError: if there is no such sampling.
            VideoReadError: if the file cannot be read, or not further.
        """
        waiting: list[tuple[Clip, Tensor]] = []
        # Batches are the same wherever reading began, and so are the numbers, to the last bit.
        first = skip - skip % batch_size
        size_px = self.tokenizer_config.frame_size
        for clip, frames in seen_clips(source, size_px, fit, first, sampling, max_clips):
            waiting.append((clip, frames))
            if (clip.index + 1) % batch_size == 0:
                yield from self._tokens_of(waiting, skip)
                waiting = []
        yield from self._tokens_of(waiting, skip)

    def _tokens_of(self, waiting: list[tuple[Clip, Tensor]], skip: int) -> Iterator[tuple[Clip, Tensor]]:
        if waiting:
            frames = torch.stack([frames for _, frames in waiting]).to(self.device, self.dtype)
            rows = zip([clip for clip, _ in waiting], self.tokenizer(frames).cpu(), strict=True)
            yield from ((clip, tokens) for clip, tokens in rows if clip.index >= skip)

    def encode(
        self,
        source: Source,
        fit: Fit = "crop",
        batch_size: int = 1,
        sampling: Sampling = "consecutive",
        max_clips: int = MAX_SPREAD_CLIPS,
    ) -> Tensor:
        """A video to tokens [K, N, D], a row for every clip of two seconds; see `iterate_tokens`."""
        rows = self.iterate_tokens(source, fit, batch_size=batch_size, sampling=sampling, max_clips=max_clips)
        return torch.stack([tokens for _, tokens in rows])

    def decode(
        self,
        tokens: Tensor,
        seed: int = 0,
        task: str = "decode",
        detokenizer: str | None = None,
        clips: Sequence[Clip] | None = None,
        on_progress: Progress | None = None,
        **changes: Unpack[SamplerChanges],
    ) -> np.ndarray:
        """Tokens to frames, uint8 [T, S, S, 3] at 8 a second; arguments and errors as `iterate_frames`."""
        parts = self.iterate_frames(tokens, seed, task, detokenizer, clips, on_progress, **changes)
        return np.concatenate(list(parts))

    def iterate_frames(
        self,
        tokens: Tensor,
        seed: int = 0,
        task: str = "decode",
        detokenizer: str | None = None,
        clips: Sequence[Clip] | None = None,
        on_progress: Progress | None = None,
        **changes: Unpack[SamplerChanges],
    ) -> Iterator[np.ndarray]:
        """Tokens to frames, clip by clip, in constant memory.

        Args:
            tokens: [K, N, D] or [N, D].
            seed: clip k starts from the noise of seed + k.
            task: chooses the de-tokenizer.
            detokenizer: its name, whatever the task.
            clips: the clips' places in their video; the frames past the end of a partial one are left out.
            on_progress: called as the work goes on.
            **changes: to the sampler's settings: steps, guidance, solver, eta, corrections (see `SamplerChanges`).

        Yields:
            Of each clip uint8 [T, S, S, 3] at 8 frames a second; T is 16 where nothing is left out.

        Raises:
            CheckpointError: if there is no such de-tokenizer.
            RecipeError: if a setting is out of range.
            ValueError: if the tokens are not of the model's shape, or not finite.
        """
        model = self.detokenizer(task, detokenizer)
        settings = resolve_sampler(model.config, **changes)
        tokens = tokens if tokens.ndim == 3 else tokens[None]
        _check_tokens(tokens, model.config)
        for index, row in enumerate(tokens):
            on_step = _step(on_progress, index, len(tokens), settings)
            frames = self._decode_clip(model, row, seed + index, settings, on_step)
            yield frames if clips is None else frames[true_frames([clips[index]])]
            if on_progress is not None:
                on_progress((index + 1) / len(tokens), index + 1)

    def _decode_clip(
        self,
        model: VideoDetokenizer,
        tokens_ND: Tensor,
        seed: int,
        settings: SamplerConfig,
        on_step: Callable[[int], None] | None,
    ) -> np.ndarray:
        def watch(done: int, _x: Tensor, _x0: Tensor) -> None:
            if on_step is not None:
                on_step(done)

        frames = model.decode(
            tokens_ND[None], seed=seed, sampler=settings, on_step=watch, encode=self.encoder_of(settings)
        )
        return to_uint8(frames[0])

    def encoder_of(self, settings: SamplerConfig) -> Callable[[Tensor], Tensor] | None:
        """Frames [B, 16, 3, H, W] in [-1, 1] to tokens, for the corrections of these settings; None where there are
        none, for which no tokenizer has to be loaded."""
        return whole_clip_encoder(self.tokenizer, self.dtype) if settings.num_corrections else None

    def reconstruct(
        self,
        source: Source,
        seed: int = 0,
        fit: Fit = "crop",
        max_clips: int | None = None,
        detokenizer: str | None = None,
        on_progress: Progress | None = None,
        refinements: int = 0,
        **changes: Unpack[SamplerChanges],
    ) -> Reconstruction:
        """A video to tokens and back.

        Args:
            source: a video file, or frames uint8 [T, H, W, 3] at 8 a second.
            seed: clip k starts from the noise of seed + k.
            fit: how frames are made square.
            max_clips: only the first so many clips.
            detokenizer: name of the de-tokenizer; None takes the one for reconstruction.
            on_progress: called as the work goes on.
            refinements: steps by which each clip's tokens are moved to what shows it better, see
                `divot.detokenizer.refinement`; with any, there are no corrections unless they are asked for.
            **changes: to the sampler's settings: steps, guidance, solver, eta, corrections (see `SamplerChanges`).

        Raises:
            CheckpointError: if there is no such de-tokenizer, or it is for frames of another size than the
                tokenizer.
            RecipeError: if a setting is out of range.
            VideoReadError: if the file cannot be read.
        """
        begin = time.perf_counter()
        name = self.folder.detokenizer_name("reconstruct") if detokenizer is None else detokenizer
        total = count_clips(source) if max_clips is None else min(max_clips, count_clips(source))
        model = self.detokenizer(name=name)
        changes["corrections"] = corrections_beside(refinements, changes.get("corrections"))
        settings = resolve_sampler(model.config, **changes)
        size_px = shared_frame_size(self.source, self.tokenizer_config, model.config)
        clips, tokens, frames, original = [], [], [], []
        # No further: what follows may be damaged.
        for clip, clip_frames in islice(whole_clips(source, size_px, fit), total):
            clips.append(clip)
            own, place = self.encode_clip(clip_frames)[None], seed + clip.index
            on_refined = _step(on_progress, clip.index, total, settings, refinements)
            if refinements:
                own = model.refine(
                    own, clip_frames[None], SEEN_FRAMES, refinements, place, settings, on_refined
                ).cpu()
            tokens.append(own[0])
            original.append(to_uint8(clip_frames))
            on_step = _step(on_progress, clip.index, total, settings, refinements, refinements)
            frames.append(self._decode_clip(model, tokens[-1], place, settings, on_step))
            if on_progress is not None:
                on_progress((clip.index + 1) / total, clip.index + 1)
        kept = true_frames(clips)
        made, wanted = np.concatenate(frames)[kept], np.concatenate(original)[kept]
        scores = psnr(made, wanted), ssim(made, wanted)
        seconds = time.perf_counter() - begin
        return Reconstruction(
            made, wanted, torch.stack(tokens), tuple(clips), name, settings, refinements, *scores, seconds
        )


def _step(
    on_progress: Progress | None,
    index: int,
    total: int,
    settings: SamplerConfig,
    refinements: int = 0,
    before: int = 0,
) -> Callable[[int], None] | None:
    """What tells of the steps of one clip, after the `before` that were done of it."""
    if on_progress is None:
        return None
    num_steps = refinements + settings.num_steps * (1 + settings.num_corrections)
    # Official settings may take a step more than they name.
    return lambda done: on_progress((index + min(1.0, (before + done) / num_steps)) / total, index)


def _check_tokens(tokens: Tensor, config: DetokenizerConfig) -> None:
    wanted = (config.num_tokens, config.token_width)
    if tokens.ndim != 3 or tuple(tokens.shape[1:]) != wanted or not len(tokens):
        raise ValueError(f"tokens: got shape {list(tokens.shape)}, wanted [K, {wanted[0]}, {wanted[1]}]")
    if not bool(torch.isfinite(tokens).all()):
        raise ValueError("tokens: hold numbers that are not finite")

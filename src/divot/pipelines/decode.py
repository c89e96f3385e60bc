"""Tokens from a store or a file to a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from divot.config.errors import DataError
from divot.config.files import refuse_overwriting, refuse_unwritable
from divot.data.tokens import TokenStore, is_token_store, read_token_file
from divot.pipelines.divot import Divot, Progress
from divot.pipelines.load import SamplerChanges, resolve_sampler
from divot.pipelines.sidecar import describe_detokenizer, write_sidecar
from divot.video import CLIP_RATE_FPS, Clip, write_video


@dataclass(frozen=True)
class FoundTokens:
    """Tokens of one video.

    Attributes:
        tokens: [K, N, D].
        clips: their places in the video, if known.
        tokenizer_hash: whose they are, if known.
        video: name of the video, if known.
    """

    tokens: Tensor
    clips: tuple[Clip, ...] | None
    tokenizer_hash: str | None
    video: str | None = None


def find_tokens(source: str | Path, video: str | None = None) -> FoundTokens:
    """The tokens of one video, from a token store or a safetensors file.

    Args:
        source: the store or file.
        video: name in the store; may be left out if it holds one video only.

    Raises:
        DataError: if there are no such tokens.
    """
    path = Path(source)
    if path.is_dir() or is_token_store(path):
        store = TokenStore(path)
        names = [stored.name for stored in store.videos]
        if video is None and len(names) != 1:
            some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            remedy = (
                f"Choose one with --video NAME. It holds: {some}" if names else "Encode a video into it first"
            )
            raise DataError(path, f"holds {len(names)} videos", remedy)
        chosen = store.video(names[0] if video is None else video)
        # Clips of an official sampling may be squeezed in time: all their frames are wanted.
        is_squeezed = store.manifest.settings.get("sampling", "").startswith("official")
        clips = None if is_squeezed else chosen.clips
        return FoundTokens(store.read(chosen.name), clips, store.manifest.tokenizer_hash, chosen.name)
    if video is not None:
        raise DataError(path, "is no token store, so --video means nothing", "Leave --video out")
    found = read_token_file(path)
    return FoundTokens(found.tokens, found.clips, found.tokenizer_hash)


def decode_tokens(
    divot: Divot,
    found: FoundTokens,
    out: str | Path,
    seed: int = 0,
    detokenizer: str | None = None,
    source: str | Path | None = None,
    on_progress: Progress | None = None,
    **changes: Unpack[SamplerChanges],
) -> dict[str, Any]:
    """Decode tokens and write the video with its record.

    Args:
        divot: the model.
        found: the tokens.
        out: an mp4, gif or webp file.
        seed: clip k starts from the noise of seed + k.
        detokenizer: name of the de-tokenizer; None takes the one for decoding.
        source: where the tokens are from, for the record.
        on_progress: called as the work goes on.
        **changes: to the sampler's settings, see `SamplerChanges`.

    Returns:
        The record.

    Raises:
        CheckpointError: if there is no such de-tokenizer.
        DataError: if the tokens are of another tokenizer or shape, or if the file to be written is that of the tokens
            or the video that they were made from, or cannot be written.
        RecipeError: if a setting is out of range.
    """
    for read in (source, found.video):
        if read is not None:
            refuse_overwriting(read, [out])
    refuse_unwritable([out])
    ours = divot.folder.tokenizer_hash
    if found.tokenizer_hash is not None and found.tokenizer_hash != ours:
        raise DataError(
            source or "tokens",
            f"are of tokenizer {found.tokenizer_hash}, and this model has {ours}",
            "Give the model that made them with --model",
        )
    name = divot.folder.detokenizer_name("decode") if detokenizer is None else detokenizer
    config = divot.detokenizer(name=name).config
    sampler = resolve_sampler(config, **changes)
    if tuple(found.tokens.shape[1:]) != (config.num_tokens, config.token_width):
        raise DataError(
            source or "tokens",
            f"hold {list(found.tokens.shape[1:])} numbers a clip, the model reads "
            f"{[config.num_tokens, config.token_width]}",
            "Give the model that made them with --model",
        )
    if not bool(torch.isfinite(found.tokens).all()):
        raise DataError(source or "tokens", "hold numbers that are not finite", "Encode the video again")
    parts = divot.iterate_frames(
        found.tokens,
        seed,
        detokenizer=name,
        clips=found.clips,
        on_progress=on_progress,
        **changes,
    )
    num_frames = write_video(out, parts, CLIP_RATE_FPS)
    return write_sidecar(
        out,
        "decode",
        divot,
        detokenizer=describe_detokenizer(divot, name, "decode", sampler),
        seed=seed,
        input=None if source is None else str(source),
        video=found.video,
        clips=len(found.tokens),
        frames=num_frames,
        rate_fps=CLIP_RATE_FPS,
    )

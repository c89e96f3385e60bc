"""The tokenizer of the released language models: from sentencepiece to a tokenizer.json that needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from divot.config.errors import CheckpointError
from divot.text.vocab import VideoVocab

SENTENCEPIECE, ADDED, TOKENIZER_JSON = "tokenizer.model", "added_tokens.json", "tokenizer.json"
_SPACE = "▁"
"""Stands for a space in the pieces."""
_PROBES = (
    "[INST] Describe the video. [/INST]",
    " two  spaces   three\n\tend ",
    "Größe 12,5 é 日本 \U0001f642",
)
"""Texts whose pieces are compared: spaces, an accent, and characters that have no piece."""


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A released tokenizer; every id is the released one.

    Args:
        folder: with tokenizer.model and added_tokens.json, or with tokenizer.json.

    Raises:
        CheckpointError: if a file is missing or damaged, the special tokens for video are not all there, or
            sentencepiece is needed and not installed.
    """
    if (folder / TOKENIZER_JSON).is_file():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:
            # transformers and tokenizers raise many kinds; for the user they are one.
            raise CheckpointError(folder, f"is no tokenizer ({error})", "Copy the folder again") from error
    else:
        pieces = _read_pieces(folder / SENTENCEPIECE)
        tokenizer = _fast(pieces, _read_added(folder / ADDED, pieces.get_piece_size()))
        for text in _PROBES:
            if tokenizer.encode(text, add_special_tokens=False) != pieces.encode(text):
                cause = f"splits {text!r} as no tokenizer of Mistral does"
                raise CheckpointError(folder / SENTENCEPIECE, cause, "Give the released tokenizer")
    VideoVocab.of(tokenizer)
    return tokenizer


def _read_pieces(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(path, "is missing", "Give the released tokenizer beside the language models")
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        cause = "can only be read with sentencepiece, which is not installed"
        raise CheckpointError(path, cause, "pip install sentencepiece (for the conversion only)") from error
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(path, "is no sentencepiece model, or damaged", "Copy it again") from error


def _read_added(path: Path, first: int) -> list[str]:
    """The added tokens, whose ids follow on those of the pieces."""
    try:
        ids: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        tokens = sorted((token for token in ids if ids[token] >= first), key=ids.__getitem__)
    except FileNotFoundError as error:
        raise CheckpointError(path, "is missing", "Copy the released tokenizer again") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(path, "is no table of tokens and ids", "Copy it again") from error
    if [ids[token] for token in tokens] != list(range(first, first + len(tokens))):
        cause = f"has ids that do not follow on the {first} pieces one by one"
        raise CheckpointError(path, cause, "Give the released tokenizer")
    return tokens


def _fast(pieces: Any, added: list[str]) -> PreTrainedTokenizerFast:
    """The same tokenizer without sentencepiece.

    transformers can convert it too, but takes the order of the pieces for the order of the merges (pieces of
    spaces come first then, and not last), and takes a space at the beginning away.
    """
    count = pieces.get_piece_size()
    vocab = {pieces.id_to_piece(index): index for index in range(count)}
    bos, eos, unknown = (pieces.id_to_piece(i) for i in (pieces.bos_id(), pieces.eos_id(), pieces.unk_id()))
    model = BPE(vocab, _merges(pieces, vocab), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    fast = Tokenizer(model)
    # Each text, also one between two special tokens, gets a space in front.
    fast.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE)])
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace(_SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, pieces.bos_id())]
    )
    fast.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in (unknown, bos, eos, *added)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        clean_up_tokenization_spaces=False,
    )


def _merges(pieces: Any, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a piece together from two, those of the best score first."""
    learned = [
        piece
        for piece, index in vocab.items()
        if not (pieces.is_byte(index) or pieces.is_control(index) or pieces.is_unknown(index))
    ]
    learned.sort(key=lambda piece: (-pieces.get_score(vocab[piece]), vocab[piece]))
    return [
        (piece[:cut], piece[cut:])
        for piece in learned
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]

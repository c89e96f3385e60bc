"""A tokenizer of its own for a language model that starts from nothing: byte-level word pieces learned from texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def learn_pieces(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Byte-pair pieces of some texts. Any text can be written with them: what they lack is spelled byte by byte.

    Args:
        texts: what the pieces are learned from.
        vocab_size: at most so many, the 256 bytes and the three control tokens among them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # A space in front of each piece of text, so that a word is the same piece at its start and inside.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )

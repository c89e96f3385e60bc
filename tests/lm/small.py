"""A language model small enough for tests."""

import torch

from divot.config.models import HeadConfig, LanguageModelConfig
from divot.lm.batch import LanguageBatch, collate
from divot.lm.model import DivotLM
from divot.text import ReadClips, SequenceBuilder, Words, WriteClip
from divot.text.pieces import learn_pieces
from divot.text.sequence import End

NUM_TOKENS, WIDTH = 6, 4
TEXTS = ("[INST] what is it? [/INST]", "a red star moves left", "a blue ring stays still")
FAMILIES = {
    "mistral": {},
    "llama": {},
    "qwen2": {},
    # Its layers differ: all positions, or the last few.
    "gemma3_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 12,
        "head_dim": 32,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("sliding_attention", "full_attention")
        },
    },
}


def small_lm(
    head: str = "gmm",
    queries: str = "bidirectional",
    family: str = "mistral",
    keeps_places: bool = False,
    **settings,
) -> DivotLM:
    torch.manual_seed(0)
    config = LanguageModelConfig(
        token_width=WIDTH,
        num_tokens=NUM_TOKENS,
        head=HeadConfig(head, num_components=3, width=16, depth=1, num_steps=4),
        queries=queries,
        keeps_places=keeps_places,
        backbone={
            "model_type": family,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "sliding_window": None,
            **FAMILIES.get(family, {}),
            **settings,
        },
    )
    return DivotLM.new(config, learn_pieces(TEXTS, 300)).eval()


def clip_tokens(count: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, NUM_TOKENS, WIDTH, generator=generator))


def segments() -> list[list]:
    """A caption of two clips, and a generation."""
    return [
        [Words("what is it?"), ReadClips(2), Words("a red star moves left", is_learned=True), End()],
        [Words("make a blue ring that stays still"), WriteClip(), End()],
    ]


def batch_of(lm: DivotLM, rows: list[list] | None = None) -> LanguageBatch:
    builder = SequenceBuilder(lm.tokenizer, NUM_TOKENS)
    sequences = [builder.build(row) for row in rows or segments()]
    read = clip_tokens(sum(len(sequence.clips_read) for sequence in sequences))
    written = clip_tokens(sum(sequence.clips_written for sequence in sequences), seed=2)
    return collate(sequences, read, written, lm.vocab.pad, (NUM_TOKENS, WIDTH))

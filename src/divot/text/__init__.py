"""Words to ids and back, with places for video.

Files, in the order of the flow:

    vocab.py       the special tokens, added to any Hugging Face tokenizer
    templates.py   requests and answers to segments
    sequence.py    segments to ids, labels, places that are read and places that are written
"""

from divot.text.sequence import End, ReadClips, Segment, Sequence, SequenceBuilder, Words, WriteClip
from divot.text.templates import (
    STORY_FROM_CLIP,
    Turn,
    as_typed,
    caption_request,
    conversation,
    opens_plan,
    plain_answer,
    planned,
    sentence_and_plan,
    story_segments,
    video_request,
)
from divot.text.vocab import SPECIAL_TOKENS, VideoVocab, add_video_tokens

__all__ = [
    "SPECIAL_TOKENS",
    "STORY_FROM_CLIP",
    "End",
    "ReadClips",
    "Segment",
    "Sequence",
    "SequenceBuilder",
    "Turn",
    "VideoVocab",
    "Words",
    "WriteClip",
    "add_video_tokens",
    "as_typed",
    "caption_request",
    "conversation",
    "opens_plan",
    "plain_answer",
    "planned",
    "sentence_and_plan",
    "story_segments",
    "video_request",
]

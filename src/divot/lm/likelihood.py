"""How likely Divot-LLM finds words of a clip that it reads: what chooses among the clips that it wrote.

Letters: B clips, L length, N tokens a clip, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import torch
from torch import Tensor

from divot.lm.batch import collate
from divot.lm.model import DivotLM
from divot.text import Turn, caption_request
from divot.text.sequence import IGNORED


@torch.no_grad()
def caption_log_likelihoods(
    model: DivotLM, tokens_BND: Tensor, captions: Many[str], is_image: bool = False
) -> Tensor:
    """Log-likelihood [B] of each caption, all of its words, as the answer of a model that is shown the clip.

    Args:
        model: in evaluation mode.
        tokens_BND: of the clips.
        captions: one a clip.
        is_image: ask as of pictures.
    """
    shape = (model.config.num_tokens, model.config.token_width)
    builder, request = model.builder(), caption_request(is_image=is_image)
    turns = [Turn(request, caption, clips=1, is_image=is_image) for caption in captions]
    sequences = [builder.build(model.segments([turn])) for turn in turns]
    batch = collate(sequences, list(tokens_BND), [], model.vocab.pad, shape).to(model.device)
    hidden_BLH, labels_BL = model.states(batch)[:, :-1], batch.labels[:, 1:]
    is_said = labels_BL != IGNORED
    likelihoods = torch.zeros(labels_BL.shape, device=model.device)
    # The vocabulary's scores are made only where they count.
    scores = model.logits(hidden_BLH[is_said]).log_softmax(dim=-1)
    likelihoods[is_said] = scores.gather(-1, labels_BL[is_said][:, None])[:, 0]
    return likelihoods.sum(dim=1)

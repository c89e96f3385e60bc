"""How what is said is chosen, and how the tokens of a clip are drawn from what the head predicts.

Letters: B batch, K positions said, N tokens a clip, D width of a token, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from divot.config.errors import RecipeError
from divot.lm.chance import Chance
from divot.lm.heads import GaussianMixtureHead, RegressionHead
from divot.lm.model import DivotLM
from divot.text.vocab import VideoVocab

# Draws of a token among which guidance chooses.
_GUIDED_DRAWS = 32
# Scores over less than this would leave the range of numbers.
_LEAST_TEMPERATURE = 1e-3


@dataclass(frozen=True)
class TextSampling:
    """How the next word piece is chosen."""

    temperature: float = 0.0
    """0 takes the likeliest; the official code takes 0.7."""
    top_p: float = 1.0
    """Smallest set of pieces with so much probability; the official code takes 0.5."""
    top_k: int = 0
    """So many likeliest pieces; 0: all. In the official code 50, the default of transformers."""
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        ranges = {
            "temperature": (
                self.temperature == 0 or _LEAST_TEMPERATURE <= self.temperature < math.inf,
                f"0, or {_LEAST_TEMPERATURE} or more",
            ),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "above 0"),
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
        }
        for name, (is_fine, wanted) in ranges.items():
            if not is_fine:
                raise RecipeError(name, f"is {getattr(self, name)}", f"Give {wanted}")

    def processors(self) -> LogitsProcessorList:
        """The same as transformers' processors, in its order."""
        chain = LogitsProcessorList()
        if self.repetition_penalty != 1.0:
            chain.append(RepetitionPenaltyLogitsProcessor(self.repetition_penalty))
        if self.temperature > 0:
            chain.append(TemperatureLogitsWarper(self.temperature))
            if self.top_k:
                chain.append(TopKLogitsWarper(self.top_k))
            if self.top_p < 1:
                chain.append(TopPLogitsWarper(self.top_p))
        return chain


@dataclass(frozen=True)
class TokenSampling:
    """How the tokens of a clip are drawn from what the head predicts; what is None is as the model's config says."""

    is_mean: bool = False
    """Take the mean of the prediction instead of a draw."""
    temperature: float | None = None
    """Of a mixture: factor on its variances; the official generation takes 0.1."""
    component_temperature: float | None = None
    """Of a mixture: below 1 likelier components are drawn more often, 0 takes the likeliest."""
    text_guidance: float | None = None
    """Of a mixture: above 1 each draw leans towards what the words make likelier than no words do, see
    `Mixture.guided`; 1 is no guidance."""
    candidates: int | None = None
    """Clips that are drawn for one: kept is that of which the model, reading them, finds the words likeliest."""

    def __post_init__(self) -> None:
        least = {"temperature": 0, "component_temperature": 0, "text_guidance": 1, "candidates": 1}
        for name, wanted in least.items():
            value = getattr(self, name)
            if value is not None and not wanted <= value < math.inf:
                raise RecipeError(name, f"is {value}", f"Give {wanted} or more")


@dataclass(frozen=True)
class SettledSampling:
    """`TokenSampling` with what it left to the model; the fields mean the same."""

    is_mean: bool
    temperature: float
    component_temperature: float
    text_guidance: float
    """1 for a mean, and for a head that has no density to guide by."""
    candidates: int
    """1 where every draw is the same."""


def settled(model: DivotLM, sampling: TokenSampling) -> SettledSampling:
    """How a model draws: what is asked for, else what its config says.

    Raises:
        RecipeError: if what is asked for has no effect on this head, on the mean, or without a chance.
    """
    config, has_density = model.config, isinstance(model.head, GaussianMixtureHead)
    is_drawn = not sampling.is_mean and not isinstance(model.head, RegressionHead)
    for name, is_used, unused in (
        ("temperature", is_drawn and has_density, None),
        ("component_temperature", is_drawn and has_density, None),
        ("text_guidance", is_drawn and has_density, 1),
        ("candidates", is_drawn, 1),
    ):
        asked = getattr(sampling, name)
        if not is_used and asked not in (None, unused):
            what = "the mean is taken" if sampling.is_mean else f"the head is {config.head.kind}"
            raise RecipeError(name, f"is {asked}, but {what}", "Leave it out")
    names = ("temperature", "component_temperature", "text_guidance", "candidates")
    values = {
        name: getattr(config, name) if getattr(sampling, name) is None else getattr(sampling, name)
        for name in names
    }
    if not (is_drawn and has_density):
        values["text_guidance"] = 1.0
    if not is_drawn:
        values["candidates"] = 1
    if values["text_guidance"] != 1 and not values["temperature"] and not values["component_temperature"]:
        if sampling.text_guidance is not None:
            remedy = "Leave it out, or give --temperature above 0"
            raise RecipeError(
                "text_guidance", "chooses among draws, and those of temperature 0 are one", remedy
            )
        values["text_guidance"] = 1.0
    return SettledSampling(sampling.is_mean, **values)


def without_places(
    scores_BV: Tensor, vocab: VideoVocab, may_write_clip: bool, may_end: bool = True
) -> Tensor:
    """Scores in which no place of a clip can be said, `<vid>`, `<img>` only where a clip may be written, and the end
    only where it may come."""
    scores_BV = scores_BV.clone()
    banned = set(vocab.special)
    if may_write_clip:
        banned -= {vocab.video_start, vocab.image_start}
    if not may_end:
        banned.add(vocab.eos)
    scores_BV[:, sorted(banned)] = float("-inf")
    return scores_BV


def official_scores(ids_BK: Tensor, scores_BV: Tensor, run_ids: Many[int]) -> Tensor:
    """What the official code makes of the scores, for its numbers.

    Inside a run of places the next one is raised above all; elsewhere all but the first id of the run get the score 0,
    which leaves them possible, where they should have been ruled out.

    Args:
        ids_BK: said so far.
        scores_BV: of the next id.
        run_ids: `<frame>`, the places, `</frame>`.
    """
    scores_BV = scores_BV.clone()
    following = dict(pairwise(run_ids))
    for ids, scores in zip(ids_BK.tolist(), scores_BV, strict=True):
        if ids[-1] in following:
            scores[following[ids[-1]]] = scores.max() + 10.0
        else:
            scores[list(run_ids[1:])] = 0.0
    return scores_BV


def draw_tokens(
    model: DivotLM,
    states_BNH: Tensor,
    sampling: SettledSampling,
    generator: Chance = None,
    without_BNH: Tensor | None = None,
) -> Tensor:
    """Tokens [B, N, D] from the hidden states of queries.

    Args:
        model: whose head it is.
        states_BNH: last hidden states of the queries.
        sampling: how they are drawn; of the candidates this is one.
        generator: chance of the draw.
        without_BNH: the same where no words say what the clip shows; None draws without guidance.
    """
    head = model.head
    if sampling.is_mean:
        drawn = head.mean(states_BNH)
    elif not isinstance(head, GaussianMixtureHead):
        drawn = head.sample(states_BNH, generator)
    elif without_BNH is None:
        drawn = head.sample(states_BNH, generator, sampling.temperature, sampling.component_temperature)
    else:
        mixture = head(states_BNH)
        sharper = mixture.scaled(sampling.temperature, sampling.component_temperature)
        draws = sharper.samples(_GUIDED_DRAWS, generator)
        drawn = mixture.guided(head(without_BNH), draws, sampling.text_guidance, generator)
    return model.to_tokens(drawn)

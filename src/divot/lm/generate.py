"""Writing with Divot-LLM: text token by token, a clip by its queries in one pass, both on the same cache.

Letters: B batch, K positions in the cache, N tokens a clip, D width of a token, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from divot.config.errors import RecipeError
from divot.lm.batch import collate
from divot.lm.chance import Chance, choices
from divot.lm.heads import GaussianMixtureHead
from divot.lm.model import DivotLM
from divot.text import Turn, WriteClip, video_request
from divot.text.sequence import NO_BLOCK, Sequence
from divot.text.vocab import VideoVocab

# Draws of a token among which guidance chooses.
_CANDIDATES = 32


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
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "top_k": (self.top_k >= 0, "0 or more"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
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
    """How the tokens of a clip are drawn from what the head predicts."""

    is_mean: bool = False
    """Take the mean of the prediction instead of a draw."""
    temperature: float = 0.1
    """Of a mixture: factor on its variances; the official generation takes 0.1."""
    component_temperature: float = 1.0
    """Of a mixture: below 1 likelier components are drawn more often, 0 takes the likeliest."""
    text_guidance: float | None = None
    """Of a mixture: above 1 each draw leans towards what the words make likelier than no words do, see
    `Mixture.guided`; 1 is no guidance, None takes that of the model."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.component_temperature < 0:
            raise RecipeError("temperature", "is below 0", "Give 0 or more")
        if self.text_guidance is not None and self.text_guidance < 1:
            raise RecipeError("text_guidance", f"is {self.text_guidance}", "Give 1 or more")


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
    sampling: TokenSampling,
    generator: Chance = None,
    without_BNH: Tensor | None = None,
) -> Tensor:
    """Tokens [B, N, D] from the hidden states of queries.

    Args:
        model: whose head it is.
        states_BNH: last hidden states of the queries.
        sampling: how they are drawn.
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
        candidates = sharper.samples(_CANDIDATES, generator)
        scale = text_guidance(model, sampling)
        drawn = mixture.guided(head(without_BNH), candidates, scale, generator)
    return model.to_tokens(drawn)


def text_guidance(model: DivotLM, sampling: TokenSampling) -> float:
    """The guidance by which a model draws: 1 for a mean, and for a head that has no density to guide by.

    Raises:
        RecipeError: if it is asked of such a head.
    """
    asked = sampling.text_guidance
    if not isinstance(model.head, GaussianMixtureHead):
        if asked not in (None, 1.0):
            raise RecipeError(
                "text_guidance", f"is {asked}, the head is {model.config.head.kind}", "Leave it out"
            )
        return 1.0
    if sampling.is_mean:
        return 1.0
    return model.config.text_guidance if asked is None else asked


def settled(model: DivotLM, sampling: TokenSampling) -> TokenSampling:
    """The same with the guidance by which the model draws, for a record; errors as of `text_guidance`."""
    return replace(sampling, text_guidance=text_guidance(model, sampling))


def unprompted(model: DivotLM, answer: WriteClip | None = None, is_image: bool = False) -> Sequence:
    """The request for a clip of which nothing is said; with an answer, the clip's places after it."""
    turn = Turn(video_request("", is_image=is_image), answer, is_image=is_image)
    return model.builder().build(model.segments([turn]))


class Dialogue:
    """Sequences in the cache of a model, to which words and clips are added; all rows go on side by side.

    Args:
        model: in evaluation mode.
        sequences: B of them, to begin with.
        clips: tokens [N, D] of the clips that they read, over all rows in order.
        generator: chance of every draw: with one a row, each row draws what it would draw alone.
        written: as of `read`.
    """

    def __init__(
        self,
        model: DivotLM,
        sequences: Many[Sequence],
        clips: Many[Tensor] = (),
        generator: Chance = None,
        written: Many[Tensor] = (),
    ) -> None:
        self.model, self.generator = model, generator
        self._cache = DynamicCache(config=model.backbone.config)
        self._present = torch.zeros(len(sequences), 0, dtype=torch.bool, device=model.device)
        self._said: list[list[int]] = [[] for _ in sequences]
        self._last: Tensor | None = None
        self.read(sequences, clips, written)

    @property
    def batch_size(self) -> int:
        """B."""
        return len(self._said)

    @property
    def length(self) -> int:
        """K."""
        return self._present.shape[1]

    @torch.no_grad()
    def read(self, sequences: Many[Sequence], clips: Many[Tensor] = (), written: Many[Tensor] = ()) -> Tensor:
        """Add a sequence to each row; gives the last hidden states [B, L, H] of the new positions.

        Args:
            sequences: B of them.
            clips: tokens [N, D] of the clips that they read, over all rows in order.
            written: tokens of the clips that were written in them before; needed for autoregressive queries alone.
        """
        shape = (self.model.config.num_tokens, self.model.config.token_width)
        batch = collate(sequences, clips, written, self.model.vocab.pad, shape, pads_left=True).to(
            self.model.device
        )
        for said, sequence in zip(self._said, sequences, strict=True):
            said.extend(sequence.ids)
        return self._feed(self.model.embed(batch), batch.is_present, batch.blocks)

    def _feed(self, embeddings_BLH: Tensor, is_present_BL: Tensor, blocks_BL: Tensor) -> Tensor:
        known = self._present.sum(dim=1, keepdim=True)
        positions = (known + is_present_BL.cumsum(dim=1) - 1).clamp(min=0)
        self._present = torch.cat([self._present, is_present_BL], dim=1)
        hidden = self.model.hidden(embeddings_BLH, self._present, blocks_BL, positions, self._cache)
        last = hidden[:, -1]
        if self._last is not None:
            # A row that had nothing new keeps what it would have said.
            last = torch.where(is_present_BL[:, -1:], last, self._last)
        self._last = last
        return hidden

    def next_scores(self) -> Tensor:
        """Scores of the next id, float32 [B, V]."""
        assert self._last is not None
        return self.model.logits(self._last)

    @torch.no_grad()
    def write_text(
        self, sampling: TextSampling = TextSampling(), may_write_clip: bool = False, may_end: bool = True
    ) -> Iterator[list[int | None]]:
        """Say word pieces until every row has ended, or wants a clip.

        Args:
            sampling: how they are chosen.
            may_write_clip: let `<vid>` and `<img>` be said; a row stops there, and `write_clip` goes on.
            may_end: let the end be said; without it a row goes on to a clip, or to its longest.

        Yields:
            Of each row the id, None for a row that has stopped. End tokens are yielded too; the last id of a row is
            not in the cache yet.
        """
        vocab, chain = self.model.vocab, sampling.processors()
        stops = {vocab.eos, vocab.video_start, vocab.image_start}
        is_open = [True] * self.batch_size
        for step in range(sampling.max_new_tokens):
            scores = without_places(self.next_scores(), vocab, may_write_clip, may_end)
            ids = self._choose(scores, sampling, chain)
            yield [id_ if open_ else None for id_, open_ in zip(ids, is_open, strict=True)]
            goes_on = [open_ and id_ not in stops for id_, open_ in zip(ids, is_open, strict=True)]
            if not any(goes_on) or step + 1 == sampling.max_new_tokens:
                return
            is_open = goes_on
            self._say(ids, is_open)

    def _choose(self, scores_BV: Tensor, sampling: TextSampling, chain: LogitsProcessorList) -> list[int]:
        if len(chain):
            rows = [
                chain(torch.tensor([said], device=scores_BV.device), scores[None])[0]
                for said, scores in zip(self._said, scores_BV, strict=True)
            ]
            scores_BV = torch.stack(rows)
        if sampling.temperature == 0:
            return [int(index) for index in scores_BV.argmax(dim=-1)]
        chosen_B1 = choices(scores_BV.softmax(dim=-1).cpu(), 1, self.generator)
        return chosen_B1[:, 0].tolist()

    def _say(self, ids: list[int], is_open: list[bool]) -> None:
        device = self.model.device
        for said, id_, open_ in zip(self._said, ids, is_open, strict=True):
            if open_:
                said.append(id_)
        ids_B1 = torch.tensor(ids, device=device)[:, None]
        present = torch.tensor(is_open, device=device)[:, None]
        embeddings = self.model.backbone.get_input_embeddings()(ids_B1)
        self._feed(embeddings, present, torch.full_like(ids_B1, -1))

    @torch.no_grad()
    def write_clip(self, sampling: TokenSampling = TokenSampling(), is_image: bool = False) -> Tensor:
        """Write a clip in every row: `<vid> <frame>`, the queries, `</frame> </vid>`; gives tokens [B, N, D]."""
        builder = self.model.builder()
        before = Sequence()
        before.add(builder.opening(is_image))
        after = Sequence()
        after.add(builder.closing(is_image))
        rows = self.batch_size
        dialogues = [self]
        if text_guidance(self.model, sampling) != 1:
            dialogues.append(Dialogue(self.model, [unprompted(self.model, None, is_image)] * rows))
        if self.model.config.queries == "autoregressive":
            for dialogue in dialogues:
                dialogue.read([before] * rows)
            tokens = self._write_token_by_token(dialogues, sampling)
            self.read([after] * rows)
            return tokens
        whole = Sequence()
        whole.add(before.ids)
        whole.add(builder.places, block=0)
        whole.add(after.ids)
        places = slice(len(before), len(before) + self.model.config.num_tokens)
        states = [dialogue.read([whole] * rows)[:, places] for dialogue in dialogues]
        return draw_tokens(self.model, states[0], sampling, self.generator, *states[1:])

    def _write_token_by_token(self, dialogues: Many[Dialogue], sampling: TokenSampling) -> Tensor:
        """The tokens drawn after the first of the dialogues, guided by the second; each hears them."""
        model = self.model
        places = torch.tensor(model.builder().places, device=model.device).expand(self.batch_size, -1)
        of_places = model.backbone.get_input_embeddings()(places)
        present = torch.ones(self.batch_size, 1, dtype=torch.bool, device=model.device)
        blocks = torch.full((self.batch_size, 1), NO_BLOCK, device=model.device)
        tokens: list[Tensor] = []
        for number in range(model.config.num_tokens):
            embeddings = of_places[:, number : number + 1]
            if tokens:
                before = model.embed_tokens(tokens[-1]).to(embeddings.dtype)
                embeddings = before + embeddings if model.config.keeps_places else before
            states = [dialogue._feed(embeddings, present, blocks) for dialogue in dialogues]
            tokens.append(draw_tokens(model, states[0], sampling, self.generator, *states[1:]))
        return torch.cat(tokens, dim=1)

"""Writing with Divot-LLM: text token by token, a clip by its queries in one pass, both on the same cache.

Letters: B batch, K positions in the cache, N tokens a clip, D width of a token, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.generation.logits_process import LogitsProcessorList

from divot.lm.batch import collate, padded_ids
from divot.lm.chance import Chance, choices, spawned
from divot.lm.likelihood import caption_log_likelihoods
from divot.lm.model import DivotLM
from divot.lm.sampling import (
    SettledSampling,
    TextSampling,
    TokenSampling,
    draw_tokens,
    settled,
    without_places,
)
from divot.text import WriteClip, sentence_and_plan
from divot.text.sequence import NO_BLOCK, Sequence, said_last

# Chosen as the words of a story are: two draws may go two ways. A plan that has no end is cut at its longest.
PLAN_WORDS = TextSampling(temperature=0.7, top_p=0.9, max_new_tokens=192)

Judge = Callable[[Tensor, Many[str], Many[str]], Tensor]
"""Of clips [M, N, D], the words that each is to show and what was planned for each: float [M], more for better ones, in
nats, to be added to the log-likelihood of the words."""


def unprompted(model: DivotLM, answer: WriteClip | None = None, is_image: bool = False) -> Sequence:
    """The request for a clip of which nothing is said; with an answer, the clip's places after it."""
    return model.builder().build(model.segments([model.clip_turn("", answer, is_image)]))


class Dialogue:
    """Sequences in the cache of a model, to which words and clips are added; all rows go on side by side.

    Args:
        model: in evaluation mode.
        sequences: B of them, to begin with.
        clips: tokens [N, D] of the clips that they read, over all rows in order.
        generator: chance of every draw: with one a row, each row draws what it would draw alone.
        written: as of `read`.
        views: rows that say one thing together, one behind the other: the likeliest of the mean of their log
            probabilities. They hold the same words, of one clip in several views. Such rows write no clips.
    """

    def __init__(
        self,
        model: DivotLM,
        sequences: Many[Sequence],
        clips: Many[Tensor] = (),
        generator: Chance = None,
        written: Many[Tensor] = (),
        views: int = 1,
    ) -> None:
        self.model, self.generator, self.views = model, generator, views
        self.plans = [""] * len(sequences)
        """Of each row, what was planned for the clip that was written last."""
        # Without the config: its layers with a window would forget by places of the cache, gaps among them.
        self._cache = DynamicCache()
        self._present = torch.zeros(len(sequences), 0, dtype=torch.bool, device=model.device)
        self._said: list[list[int]] = [[] for _ in sequences]
        # Of these, which the model said itself, as in `Sequence`.
        self._labels: list[list[int]] = [[] for _ in sequences]
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
        for row, sequence in enumerate(sequences):
            self._said[row].extend(sequence.ids)
            self._labels[row].extend(sequence.labels)
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
        """Scores of the next id, float32 [B, V]; of rows that say one thing together [B / views, V]."""
        assert self._last is not None
        scores_BV = self.model.logits(self._last)
        if self.views == 1:
            return scores_BV
        return scores_BV.log_softmax(dim=-1).unflatten(0, (-1, self.views)).mean(dim=1)

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
            Of each row, or rows that say one thing together, the id, None for a row that has stopped. End tokens are
            yielded too; the last id of a row is not in the cache yet.
        """
        vocab, chain = self.model.vocab, sampling.processors()
        stops = {vocab.eos, vocab.video_start, vocab.image_start}
        is_open = [True] * (self.batch_size // self.views)
        for step in range(sampling.max_new_tokens):
            scores = without_places(self.next_scores(), vocab, may_write_clip, may_end)
            ids = self._choose(scores, sampling, chain, is_open)
            yield [id_ if open_ else None for id_, open_ in zip(ids, is_open, strict=True)]
            goes_on = [open_ and id_ not in stops for id_, open_ in zip(ids, is_open, strict=True)]
            if not any(goes_on) or step + 1 == sampling.max_new_tokens:
                return
            is_open = goes_on
            self._say(ids, is_open)

    def _choose(
        self, scores_BV: Tensor, sampling: TextSampling, chain: LogitsProcessorList, is_open: list[bool]
    ) -> list[int]:
        if len(chain):
            rows = [
                chain(torch.tensor([said], device=scores_BV.device), scores[None])[0]
                for said, scores in zip(self._said[:: self.views], scores_BV, strict=True)
            ]
            scores_BV = torch.stack(rows)
        if sampling.temperature == 0:
            return [int(index) for index in scores_BV.argmax(dim=-1)]
        weights_BV, chance = scores_BV.softmax(dim=-1).cpu(), self.generator
        if isinstance(chance, Many):
            # A row that has stopped draws nothing, as it would alone.
            ids = [self.model.vocab.eos] * len(is_open)
            for row in (row for row, open_ in enumerate(is_open) if open_):
                ids[row] = int(choices(weights_BV[row : row + 1], 1, chance[row]))
            return ids
        return choices(weights_BV, 1, chance)[:, 0].tolist()

    def _say(self, ids: list[int], is_open: list[bool]) -> None:
        device = self.model.device
        ids = [id_ for id_ in ids for _ in range(self.views)]
        is_open = [open_ for open_ in is_open for _ in range(self.views)]
        for row, (id_, open_) in enumerate(zip(ids, is_open, strict=True)):
            if open_:
                self._said[row].append(id_)
                self._labels[row].append(id_)
        ids_B1 = torch.tensor(ids, device=device)[:, None]
        present = torch.tensor(is_open, device=device)[:, None]
        embeddings = self.model.backbone.get_input_embeddings()(ids_B1)
        self._feed(embeddings, present, torch.full_like(ids_B1, -1))

    @torch.no_grad()
    def write_clip(
        self,
        sampling: TokenSampling = TokenSampling(),
        is_image: bool = False,
        words: Many[str] = (),
        judge: Judge | None = None,
    ) -> Tensor:
        """Write a clip in every row: `<vid> <frame>`, the queries, `</frame> </vid>`; gives tokens [B, N, D].

        A model that plans its clips says the plan first.

        Args:
            sampling: how they are drawn.
            is_image: write a picture.
            words: of each row, what its clip shall show; without them there is nothing to choose candidates by, and
                one is written.
            judge: what candidates show; asked about the half of them in which the model finds the words likeliest.
        """
        how = settled(self.model, sampling)
        if how.candidates == 1 or not words:
            return self._write_clip(how, is_image)
        rows, own = self.batch_size, self.generator
        self._take_rows([row for row in range(rows) for _ in range(how.candidates)])
        self.generator = spawned(own, rows, how.candidates)
        written = self._write_clip(how, is_image)
        of_each = [text for text in words for _ in range(how.candidates)]
        likely = caption_log_likelihoods(self.model, written, of_each, is_image)
        kept = self._best(likely.view(rows, how.candidates), written, of_each, judge)
        self._take_rows(kept)
        self.generator = own
        return written[kept]

    def _best(self, likely_RC: Tensor, written: Tensor, words: Many[str], judge: Judge | None) -> list[int]:
        """The number of the best of C candidates for each of R clips, among all of them."""
        rows, candidates = likely_RC.shape
        scores_RJ, index_RJ = likely_RC.cpu().topk(1 if judge is None else max(2, candidates // 2))
        index_RJ = index_RJ + candidates * torch.arange(rows)[:, None]
        if judge is not None:
            chosen = index_RJ.flatten().tolist()
            texts = [words[index] for index in chosen], [self.plans[index] for index in chosen]
            scores_RJ = scores_RJ + judge(written[chosen], *texts).view_as(scores_RJ)
        best: list[int] = index_RJ.gather(1, scores_RJ.argmax(dim=1, keepdim=True)).flatten().tolist()
        return best

    def _take_rows(self, chosen: list[int]) -> None:
        """Go on with these rows, of which one may come several times."""
        index = torch.tensor(chosen, device=self.model.device)
        self._cache.batch_select_indices(index)
        self._present = self._present[index]
        self._said = [list(self._said[row]) for row in chosen]
        self._labels = [list(self._labels[row]) for row in chosen]
        self.plans = [self.plans[row] for row in chosen]
        self._last = None if self._last is None else self._last[index]

    def _plan(self, sampling: SettledSampling) -> None:
        words = dataclasses.replace(PLAN_WORDS, temperature=0.0) if sampling.is_mean else PLAN_WORDS
        # What ends a row is not said here, but by the clip that follows.
        steps = list(self.write_text(words, may_write_clip=True, may_end=False))
        rows = zip(*steps, strict=True)
        told = [self.model.words([id_ for id_ in row if id_ is not None]) for row in rows]
        self.plans = [sentence_and_plan(words)[1] for words in told]

    def _write_clip(self, sampling: SettledSampling, is_image: bool) -> Tensor:
        if self.model.config.plans:
            self._plan(sampling)
        builder = self.model.builder()
        before = Sequence()
        before.add(builder.opening(is_image))
        after = Sequence()
        after.add(builder.closing(is_image))
        rows = self.batch_size
        dialogues = [self]
        if sampling.text_guidance != 1:
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
        states = []
        for dialogue in dialogues:
            said = [[*said_last(labels), before.ids[0]] for labels in dialogue._labels]
            hidden = dialogue.read([whole] * rows)[:, places]
            states.append(self.model.connected(hidden, padded_ids(said).to(self.model.device)))
        return draw_tokens(self.model, states[0], sampling, self.generator, *states[1:])

    def _write_token_by_token(self, dialogues: Many[Dialogue], sampling: SettledSampling) -> Tensor:
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

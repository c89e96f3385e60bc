"""De-tokenizer adaptation: the de-tokenizer goes on de-noising real clips, under tokens that the language model draws.

What a language model writes is not what the tokenizer writes: each token is drawn from the mixture that is predicted
for it. Trained under such draws, the de-tokenizer learns to make a clip of what it will really be given.

The mixture of a token is that for the clip's caption; where tokens are written one by one, for the clip's own tokens
before it as well. Drawn on from each other, tokens would be those of another clip that fits the caption, with its
sprites elsewhere, and a de-tokenizer that is to make the true clip of them learns to draw nothing.

Or the other way round (`adaptation.trains: writing`): what writes tokens learns to write such as the de-tokenizer draws
the clip from. A tokenizer says some things less clearly than a de-tokenizer could draw them; the language model knows
from the words that there is a star, and learns how to say it.

Letters: B clips, N tokens a clip, D width of a token, H of what the head is given.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from divot.config.errors import RecipeError
from divot.config.training import TrainConfig
from divot.data.shards import annotations_hash
from divot.data.tars import is_tars
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic
from divot.lm.batch import collate
from divot.lm.chance import Chance
from divot.lm.generate import unprompted
from divot.lm.heads.diffusion import DiffusionHead
from divot.lm.model import DivotLM
from divot.lm.sampling import SettledSampling, TokenSampling, draw_tokens, settled
from divot.text import WriteClip
from divot.text.sequence import Sequence
from divot.tokenizer import VideoTokenizer
from divot.train.adapt_batch import AdaptationBatch, AdaptationDataset, to_adaptation_batch
from divot.train.adapt_cache import TokenCache
from divot.train.batches import sample_chance
from divot.train.diffusion_stage import NUM_SHOWN, denoising_loss, load_critic, save_detokenizer
from divot.train.lm_start import language_dataset
from divot.train.stage import Stage
from divot.video.clips import SEEN_FRAMES
from divot.video.transform import signed, to_uint8
from divot.weights.store import ModelFolder, add_language_model, changed_copy

TASK = "generate"


class AdaptationModule(nn.Module):
    """A de-tokenizer that learns under a tokenizer and a language model that do not; or the writing of that model,
    under a tokenizer and a de-tokenizer that do not.

    Source: Divot (arXiv 2412.04432), section 3.3.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        lm: DivotLM,
        detokenizer: VideoDetokenizer,
        config: TrainConfig,
        critic: ShapeCritic | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer, self.lm, self.detokenizer, self.critic = tokenizer, lm, detokenizer, critic
        self.config = config
        self.trains_writing = config.adaptation.trains == "writing"
        for frozen in self._frozen():
            frozen.requires_grad_(False)
        if self.trains_writing:
            for part in (lm.head, lm.connector):
                if part is not None:
                    part.requires_grad_(True)
        self.cache: TokenCache | None = None
        """Where the tokens of the first samples are kept."""

    def _frozen(self) -> list[nn.Module]:
        other = self.detokenizer if self.trains_writing else self.detokenizer.vae
        return [self.tokenizer, self.lm, other, *([] if self.critic is None else [self.critic])]

    def train(self, mode: bool = True) -> AdaptationModule:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for frozen in self._frozen():
            frozen.eval()
        return self

    @torch.no_grad()
    def true_tokens(self, batch: AdaptationBatch) -> Tensor:
        """The clips' own tokens [B, N, D]."""
        return self.tokenizer(signed(batch.clips[:, list(SEEN_FRAMES)]).to(self.tokenizer.dtype))

    @property
    def sampling(self) -> SettledSampling:
        """How the tokens are drawn."""
        settings = self.config.adaptation
        asked = TokenSampling(False, settings.temperature, settings.component_temperature)
        return settled(self.lm, asked)

    def queried(self, sequences: Many[Sequence], true_BND: Tensor) -> Tensor:
        """What the head is given, [B, N, H], of clips that sequences write; no gradient goes behind the connector."""
        lm = self.lm
        shape = (lm.config.num_tokens, lm.config.token_width)
        written = collate(sequences, (), list(true_BND.float()), lm.vocab.pad, shape).to(lm.device)
        with torch.no_grad():
            states = lm.states(written)
        return lm.query_states(states, written)

    def draw(
        self, batch: AdaptationBatch, true_BND: Tensor, chances: Chance, queried_BNH: Tensor | None = None
    ) -> Tensor:
        """Tokens [B, N, D] drawn as in generation, each in the place of the true one.

        Args:
            batch: with the sequences.
            true_BND: the clips' own tokens.
            chances: of the draw.
            queried_BNH: what the head is given of them, where that is known.
        """
        states = self.queried(batch.sequences, true_BND) if queried_BNH is None else queried_BNH
        without = None
        if self.sampling.text_guidance != 1:
            unsaid = (unprompted(self.lm, WriteClip()),) * len(batch.sequences)
            without = self.queried(unsaid, true_BND)
        return draw_tokens(self.lm, states, self.sampling, chances, without)

    def forward(
        self, batch: AdaptationBatch, chances: list[torch.Generator]
    ) -> tuple[Tensor, dict[str, float]]:
        """The de-noising loss under drawn tokens, `true_share` of them the clips' own; where the writing is trained,
        weighted and beside the loss of the head."""
        clips = signed(batch.clips)
        if self.trains_writing:
            true = self.true_tokens(batch)
            queried = self.queried(batch.sequences, true)
            head = self.lm.head.loss(queried, self.lm.scaled(true))
            tokens = self.draw(batch, true, chances, queried)
            drawn, measures = denoising_loss(
                self.detokenizer, clips, tokens, self.config, chances, self.critic
            )
            measures |= {"head": float(head.detach()), "drawn": float(drawn.detach())}
            return head + self.config.adaptation.draw_weight * drawn, measures
        with torch.no_grad():
            tokens = self._tokens(batch, chances)
        return denoising_loss(self.detokenizer, clips, tokens, self.config, chances, self.critic)

    def _tokens(self, batch: AdaptationBatch, chances: list[torch.Generator]) -> Tensor:
        share = self.config.adaptation.true_share
        if self.cache is None or share > 0:
            true = self.true_tokens(batch)
        if self.cache is None:
            tokens = self.draw(batch, true, chances)
        else:
            tokens = self.cache.tokens_of(batch).to(batch.clips.device)
        if share > 0:
            drawn = torch.cat([torch.rand(1, generator=chance) for chance in chances])
            is_true = (drawn < share).to(tokens.device)
            tokens = torch.where(is_true[:, None, None], true.to(tokens), tokens)
        return tokens


class AdaptationStage(Stage):
    """Adapts the de-tokenizer of a model to its language model."""

    module: AdaptationModule

    def __init__(self, config: TrainConfig) -> None:
        assert config.init_model is not None
        # A set of annotations may be meant for other tasks too; here it gives captions.
        mixture = tuple(replace(part, tasks=None) for part in config.language.mixture)
        language = replace(config.language, tasks={"generation": 1.0}, mixture=mixture)
        self.config = replace(config, language=language)
        self.folder = ModelFolder.open(config.init_model)
        self.lm_name = self.folder.language_model_name(TASK)
        lm, detokenizer = self.folder.language_model(self.lm_name), self.folder.detokenizer(TASK)
        if config.adaptation.trains == "writing" and isinstance(lm.head, DiffusionHead):
            raise RecipeError(
                "adaptation.trains",
                "is writing, but a head of diffusion draws without a gradient",
                "Take a language model with a mixture or a regression",
            )
        critic = load_critic(config.critic, detokenizer)
        self.module = AdaptationModule(self.folder.tokenizer(), lm, detokenizer, self.config, critic)

    def prepare(self) -> None:
        """Draw the tokens of the cache, or read them."""
        if self.config.adaptation.cache is not None:
            self.module.cache = self._cached(Path(self.config.adaptation.cache))

    def _data(self, length: int, rejects_file: Path | None) -> AdaptationDataset:
        size_px = self.module.detokenizer.config.frame_size
        language = language_dataset(self.config, self.module.lm, size_px, length, rejects_file)
        settings = self.config.adaptation
        period = None if settings.cache is None else settings.cache_size
        # Without a limit of length: each caption has to be followed by its clip.
        return AdaptationDataset(language, self.module.lm.builder(), period)

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Clips with their captions as prompts."""
        return self._data(length, rejects_file), to_adaptation_batch

    @torch.no_grad()
    def _cached(self, file: Path) -> TokenCache:
        """The tokens of the cache; if the file is not there they are drawn now, by each process its share."""
        settings, data = self.config.adaptation, self.config.data
        sampling = self.module.sampling
        label = {
            "tokenizer": self.folder.tokenizer_hash,
            "language_model": self.folder.language_model_hash(self.lm_name),
            "samples": f"{settings.cache_size} of seed {self.config.seed}",
            "data": f"{data.world_share} of world {data.world_seed}, {data.videos}, {self._annotations()}, "
            # They decide which clips there are.
            f"{self.config.language.question_kinds}",
            "sampling": f"{sampling.temperature} {sampling.component_temperature} {sampling.text_guidance}",
        }
        # Nobody writes before all have looked.
        is_there = file.exists()
        PartialState().wait_for_everyone()
        if is_there:
            return TokenCache.read(file, label)
        module, shape = self.module, (self.module.lm.config.num_tokens, self.module.lm.config.token_width)

        def draw(batch: AdaptationBatch) -> Tensor:
            # By samples, so that the tokens are the same for any number of processes.
            chances = [sample_chance(self.config.seed, number) for number in batch.numbers]
            return module.draw(batch, module.true_tokens(batch), chances)

        module.to(PartialState().device)
        cache = TokenCache.draw(file, label, self._data(settings.cache_size, None), shape, draw)
        module.cpu()
        return cache

    def _annotations(self) -> list[str]:
        """What the annotations are known by."""
        known = []
        for source in self.config.sources if self.config.data.world_share < 1 else ():
            content = "" if is_tars(source.annotations) else annotations_hash(source.annotations)
            known.append(f"{source.share} of {source.annotations} {content} in {source.videos}")
        return known

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A contact sheet: clips, and what is made of the tokens drawn for them, in turn."""
        assert isinstance(module, AdaptationModule)
        from divot.video.sheets import contact_sheet

        generator = torch.Generator().manual_seed(0)
        drawn = module.draw(batch, module.true_tokens(batch), generator)[:NUM_SHOWN]
        decoded = module.detokenizer.decode(drawn)
        pairs = zip(signed(batch.clips[:NUM_SHOWN]), decoded, strict=True)
        contact_sheet([to_uint8(video) for pair in pairs for video in pair], path.with_suffix(".png"))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a model folder: that of init_model with this de-tokenizer, or this language model, float16 on disk."""
        assert isinstance(module, AdaptationModule)
        if module.trains_writing:
            with changed_copy(self.folder, folder) as beside:
                add_language_model(beside, self.lm_name, module.lm)
            return
        save_detokenizer(self.folder, self.config.adaptation.name, module.detokenizer, folder)

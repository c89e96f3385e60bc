"""Divot-LLM: a causal language model that reads video tokens and, at its queries, writes them.

Letters: B batch, L length, R clips read, W clips written, N tokens a clip, D width of a token, H width of the backbone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from divot.config.errors import CheckpointError, RecipeError
from divot.config.models import QUERY_KINDS, ConnectorConfig, HeadConfig, LanguageModelConfig
from divot.layers.component import WEIGHTS_FILE, local_folder
from divot.lm.backbone import add_lora, as_cache, attention_mask, head_scores, new_backbone
from divot.lm.batch import NO_ID, LanguageBatch
from divot.lm.connector import Connector, places
from divot.lm.folder import StoredModel, read_adapter, read_folder, write_folder
from divot.lm.heads import GaussianMixtureHead, build_head
from divot.lm.units import principal_units
from divot.text import Turn, WriteClip, conversation, plain_answer, video_request
from divot.text.sequence import IGNORED, NO_BLOCK, Segment, SequenceBuilder
from divot.text.vocab import add_video_tokens

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedTokenizerBase

    from divot.config.language import LoRAConfig


@dataclass(frozen=True)
class LanguageLosses:
    """The two losses of a batch; each is 0, and without gradient, where the batch has nothing of its kind."""

    text: Tensor
    """Cross-entropy, nats a learned position."""
    video: Tensor
    """The head's loss, mean over the written tokens."""
    num_words: int
    """Learned positions."""
    num_clips: int
    """Clips written."""


def _input_projection(token_width: int, hidden_width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(token_width, hidden_width), nn.GELU(), nn.Linear(hidden_width, hidden_width)
    )


def _check_writing(config: LanguageModelConfig) -> None:
    if config.queries not in QUERY_KINDS:
        raise RecipeError(f"queries {config.queries!r}", "is not a kind", f"Take {', '.join(QUERY_KINDS)}")
    sizes = config.connector
    is_small = min(sizes.width, sizes.num_heads, sizes.depth, sizes.words_depth + 1) < 1
    if sizes.depth and (is_small or sizes.width % 2 or sizes.width % sizes.num_heads):
        raise RecipeError(
            f"connector {sizes}",
            "cannot be built",
            "Give sizes of 1 or more, and an even width that its heads divide",
        )
    if sizes.depth and config.queries == "autoregressive":
        raise RecipeError(
            "queries 'autoregressive'",
            "write token by token; a connector makes all places at once",
            "Take bidirectional ones, or language.connector=false",
        )


class DivotLM(nn.Module):
    """A backbone with an input projection and a head.

    Args:
        config: sizes and head.
        backbone: the language model; its embedding is enlarged for the special tokens where it must be.
        tokenizer: of the backbone; the special tokens are added where it lacks them.

    Raises:
        RecipeError: if the settings contradict each other.

    Source: Divot (arXiv 2412.04432), section 3.2 and appendix A.2.
    """

    token_mean: Tensor
    """[D]."""
    token_axes: Tensor
    """[D, D]: tokens less their mean, times this, are in the model's units; see `set_token_statistics`."""

    def __init__(
        self, config: LanguageModelConfig, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        _check_writing(config)
        self.config, self.tokenizer = config, tokenizer
        self.vocab = add_video_tokens(tokenizer)
        if backbone.get_input_embeddings().num_embeddings < len(tokenizer):
            # Without weights, for a plan, there is nothing to take a mean of.
            has_weights = not backbone.get_input_embeddings().weight.is_meta
            backbone.resize_token_embeddings(len(tokenizer), mean_resizing=has_weights)
        self.backbone = backbone
        hidden_width = backbone.config.get_text_config().hidden_size
        self.input_projection = _input_projection(config.token_width, hidden_width)
        self.head = build_head(config.head, hidden_width, config.token_width)
        self._start_units()
        self.connector = self._new_connector()
        self.adapted: list[nn.Module] = []
        """The backbone as peft has wrapped it, if there is a LoRA on it; outside the registered modules, since it holds
        the backbone a second time."""

    @classmethod
    def new(cls, config: LanguageModelConfig, tokenizer: PreTrainedTokenizerBase) -> DivotLM:
        """A model whose backbone has new weights."""
        add_video_tokens(tokenizer)
        lm = cls(config, new_backbone(config.backbone, len(tokenizer)), tokenizer)
        if config.keeps_places:
            lm.start_places()
        return lm

    def _start_units(self) -> None:
        """Tokens as they are, until their statistics are taken."""
        self.register_buffer("token_mean", torch.zeros(self.config.token_width))
        self.register_buffer("token_axes", torch.eye(self.config.token_width))

    @torch.no_grad()
    def start_places(self) -> None:
        """Begin the embeddings of the places as sines, see `places`."""
        embeddings = self.backbone.get_input_embeddings().weight
        ids = list(self.vocab.places[: self.config.num_tokens])
        embeddings[ids] = places(len(ids), embeddings.shape[1]).to(embeddings)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.token_mean.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the backbone's parameters."""
        return self.backbone.dtype

    def builder(self, max_length: int | None = None) -> SequenceBuilder:
        """A sequence builder with this model's tokenizer and clip size."""
        return SequenceBuilder(self.tokenizer, self.config.num_tokens, max_length)

    def segments(self, turns: Many[Turn]) -> list[Segment]:
        """Segments of a conversation in the template of this model."""
        chat_tokenizer = self.tokenizer if self.config.uses_chat_template else None
        return conversation(turns, chat_tokenizer, self.config.official_prompts)

    def clip_turn(self, text: str, answer: WriteClip | None = None, is_image: bool = False) -> Turn:
        """The request for a clip, or a picture, of what a text says, as this model knows it best."""
        request = video_request(text, is_image=is_image, is_official=self.config.official_prompts)
        return Turn(request, answer, is_image=is_image)

    def words(self, ids: Many[int]) -> str:
        """What ids say, without those of special tokens, the end among them."""
        return plain_answer(self.tokenizer.decode(ids, skip_special_tokens=True))

    @property
    def context(self) -> int | None:
        """Positions that the backbone holds; None: it has no limit."""
        return getattr(self.backbone.config.get_text_config(), "max_position_embeddings", None)

    def set_token_statistics(self, tokens_KND: Tensor, keeps_axes: bool = False) -> None:
        """Take the units to read and write tokens in from sample tokens: along their principal axes, each with mean 0
        and deviation 1. An axis along which the tokens hardly differ stays below that.

        The numbers of a token go together, and the mixture takes those of a component for independent: along the
        principal axes that is nearer to the truth, and there a small difference counts as much as a large one.

        Args:
            tokens_KND: the samples.
            keeps_axes: turn the axes towards those of now, that the weights know: for a tokenizer trained further.
        """
        flat = tokens_KND.double().flatten(0, -2)
        known = self.scaled(tokens_KND).double().flatten(0, -2) if keeps_axes else None
        mean, axes = principal_units(flat, known)
        self.token_mean.copy_(mean)
        self.token_axes.copy_(axes)

    def embed_tokens(self, tokens_RND: Tensor, noise_RND: Tensor | None = None) -> Tensor:
        """Video tokens [R, N, D] to embeddings [R, N, H]; noise is in the model's own units."""
        scaled = self.scaled(tokens_RND.to(self.device))
        if noise_RND is not None:
            scaled = scaled + noise_RND
        return self.input_projection(scaled.to(next(self.input_projection.parameters()).dtype))

    def scaled(self, tokens: Tensor) -> Tensor:
        """Tokens [..., D] in the units that the model reads and its head predicts, float32; `to_tokens` undoes it."""
        # In float32 also under autocast, and in a model of half precision: small differences between tokens count.
        with torch.autocast(tokens.device.type, enabled=False):
            return (tokens.float() - self.token_mean.float()) @ self.token_axes.float()

    def to_tokens(self, predicted: Tensor) -> Tensor:
        """What a head gives, [..., D], in the tokenizer's own units."""
        with torch.autocast(predicted.device.type, enabled=False):
            return predicted.float() @ torch.linalg.inv(self.token_axes.float()) + self.token_mean.float()

    def embed(self, batch: LanguageBatch) -> Tensor:
        """Embeddings [B, L, H] of a batch, clips in their places."""
        embeddings = self.backbone.get_input_embeddings()(batch.ids)
        if len(batch.read_tokens):
            read = self.embed_tokens(batch.read_tokens).flatten(0, 1).to(embeddings.dtype)
            if self.config.keeps_places:
                read = read + embeddings[batch.reads]
            embeddings = embeddings.masked_scatter(batch.reads[..., None], read)
        if self.config.queries == "autoregressive" and len(batch.written_tokens):
            # The first place keeps its own embedding, the others hold the token before them.
            before = self.embed_tokens(batch.written_tokens, batch.noise)[:, :-1].to(embeddings.dtype)
            follows = self._follows(batch)
            written = before.flatten(0, 1)
            if self.config.keeps_places:
                written = written + embeddings[follows]
            # A bare place keeps its own, as the first one does.
            written = torch.where(batch.bare[follows][:, None], embeddings[follows], written)
            embeddings = embeddings.masked_scatter(follows[..., None], written)
        return embeddings

    def _follows(self, batch: LanguageBatch) -> Tensor:
        """Places of a written clip but its first."""
        follows = batch.writes.clone()
        follows[:, 1:] &= batch.blocks[:, 1:] == batch.blocks[:, :-1]
        follows[:, 0] = False
        return follows

    def hidden(
        self,
        embeddings_BLH: Tensor,
        is_present_BK: Tensor | None,
        blocks_BL: Tensor,
        positions_BL: Tensor,
        cache: Cache | None = None,
    ) -> Tensor:
        """Last hidden states [B, L, H], after the final norm.

        Args:
            embeddings_BLH: of the new positions.
            is_present_BK: bool; False for padding, the cached positions first. None, without a cache: rows of packed
                sequences, of which each sees itself alone.
            blocks_BL: block ids of the new positions, -1 for none.
            positions_BL: position ids; those of packed sequences begin at 0.
            cache: of what was before; grows by the new positions.
        """
        if self.config.queries != "bidirectional":
            blocks_BL = torch.full_like(blocks_BL, NO_BLOCK)
        mask = attention_mask(
            self.backbone.config.get_text_config(),
            embeddings_BLH,
            is_present_BK,
            blocks_BL,
            positions_BL,
            cache,
        )
        decoder = self.backbone.get_decoder()
        out = decoder(
            inputs_embeds=embeddings_BLH,
            attention_mask=mask,
            position_ids=positions_BL,
            use_cache=cache is not None,
            **as_cache(decoder.forward, cache),
        )
        return out.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next id, float32 [..., V], from hidden states [..., H]."""
        return head_scores(self.backbone, hidden)

    def states(self, batch: LanguageBatch) -> Tensor:
        """Last hidden states [B, L, H] of a batch that is padded on the right."""
        is_present = None if batch.is_packed else batch.is_present
        embeddings = self.embed(batch)
        return self.hidden(embeddings, is_present, batch.blocks, batch.positions)

    def forward(self, batch: LanguageBatch) -> LanguageLosses:
        """Both losses of a batch that is padded on the right."""
        hidden = self.states(batch)
        labels = batch.labels[:, 1:]
        is_learned = labels != IGNORED
        # The vocabulary's scores are made only where they count.
        if bool(is_learned.any()):
            text = F.cross_entropy(self.logits(hidden[:, :-1][is_learned]), labels[is_learned])
        else:
            # Every parameter takes part all the same: other processes wait for its gradient.
            text = 0.0 * self.logits(hidden[:, :1]).sum()
        video = hidden.new_zeros((), dtype=torch.float32)
        if len(batch.written_tokens):
            video = self.head.loss(self.query_states(hidden, batch), self.scaled(batch.written_tokens))
        return LanguageLosses(text, video, batch.num_words, len(batch.written_tokens))

    def query_states(self, hidden_BLH: Tensor, batch: LanguageBatch) -> Tensor:
        """What the head is given of the written clips' places, [W, N, H]."""
        states_WNH = hidden_BLH[batch.writes].unflatten(0, (-1, self.config.num_tokens))
        return self.connected(states_WNH, batch.said)

    def connected(self, states_WNH: Tensor, said_WM: Tensor) -> Tensor:
        """What the head is given, [W, N, H]: the hidden states of the places, or what the connector makes of them and
        of the words said for their clips, `NO_ID` behind."""
        if self.connector is None:
            return states_WNH
        words_WMH = self.backbone.get_input_embeddings()(said_WM.clamp(min=0))
        return self.connector(states_WNH, words_WMH, said_WM != NO_ID)

    def _new_connector(self) -> Connector | None:
        if not self.config.connector.depth:
            return None
        hidden_width = self.backbone.config.get_text_config().hidden_size
        return Connector(self.config.connector, hidden_width, self.config.num_tokens).to(self.device)

    def take_writing(self, queries: str | None = None, connector: ConnectorConfig | None = None) -> None:
        """Write clips in another way from the next clip on.

        Args:
            queries: one of `QUERY_KINDS`; None keeps them.
            connector: of a new connector; with a depth of 0 there is none; None keeps what is there.

        Raises:
            RecipeError: if there are no such queries, or the connector does not go with them or cannot be built.
        """
        config = dataclasses.replace(
            self.config,
            queries=self.config.queries if queries is None else queries,
            connector=self.config.connector if connector is None else connector,
        )
        _check_writing(config)
        self.config = config
        if connector is not None:
            self.connector = self._new_connector()

    def take_plans(self, plans: bool) -> None:
        """Say a plan before each clip that is written, or say none, from the next clip on."""
        self.config = dataclasses.replace(self.config, plans=plans)

    def take_added_variance(self, value: float) -> None:
        """Add another variance to those that the Gaussian mixture head predicts.

        Raises:
            RecipeError: if the head is another one.
        """
        if not isinstance(self.head, GaussianMixtureHead):
            raise RecipeError(
                "language.added_variance", f"is set, the head is {self.config.head.kind}", "Leave it out"
            )
        self.config = dataclasses.replace(
            self.config, head=dataclasses.replace(self.config.head, added_variance=value)
        )
        self.head.added_variance = value

    def take_new_head(self, config: HeadConfig) -> None:
        """Put a head of new weights in the place of the one that is there.

        Raises:
            RecipeError: if there is none of that name.
        """
        self.config = dataclasses.replace(self.config, head=config)
        hidden_width = self.backbone.config.get_text_config().hidden_size
        self.head = build_head(config, hidden_width, self.config.token_width).to(self.device)

    def take_new_tokens(self, num_tokens: int, token_width: int) -> None:
        """Read and write clips of other tokens from now on: words are kept, what knows of tokens begins anew."""
        self.config = dataclasses.replace(self.config, num_tokens=num_tokens, token_width=token_width)
        hidden_width = self.backbone.config.get_text_config().hidden_size
        self.input_projection = _input_projection(token_width, hidden_width)
        self._start_units()
        self.take_new_head(self.config.head)
        self.connector = self._new_connector()
        if self.config.keeps_places:
            self.start_places()

    def add_lora(self, config: LoRAConfig) -> None:
        """Freeze the backbone but for a LoRA, its norms and the rows of the special tokens."""
        self.adapted = [add_lora(self.backbone, config, self.vocab.special)]

    def merge_lora(self) -> None:
        """Fold the LoRA into the backbone's weights."""
        if self.adapted:
            self.backbone = cast(Any, self.adapted[0]).merge_and_unload()
            self.adapted = []

    @property
    def has_lora(self) -> bool:
        """Whether a LoRA lies on the backbone."""
        return bool(self.adapted)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write the model as one whole folder; a LoRA is written beside its untouched backbone.

        Args:
            folder: new or empty, or a folder of such a model, which is replaced.
            dtype: type of the weights on disk; None keeps the type in memory.

        Raises:
            CheckpointError: if the folder holds something else.
        """
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("backbone.")}
        stored = StoredModel(self.config, self.backbone, self.tokenizer, own)
        write_folder(Path(folder), stored, self.adapted[0] if self.adapted else None, dtype)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        subfolder: str = "",
        dtype: torch.dtype | None = torch.float32,
        attention: str = "sdpa",
    ) -> DivotLM:
        """Load a model in evaluation mode; a LoRA beside it is put on.

        Raises:
            CheckpointError: if a file is missing or damaged, or does not fit.
        """
        folder = local_folder(path_or_id, subfolder)
        config, backbone, tokenizer, state = read_folder(folder, dtype, attention)
        model = cls(config, backbone, tokenizer)
        expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("backbone.")}
        if {k: v.shape for k, v in state.items()} != expected:
            raise CheckpointError(
                folder / WEIGHTS_FILE, "does not fit its config", "Take all files from the same save"
            )
        model.load_state_dict(state, strict=False)
        for part in (model.input_projection, model.connector, model.head):
            if part is not None:
                part.to(backbone.dtype)
        adapted = read_adapter(folder, backbone)
        model.adapted = [] if adapted is None else [adapted]
        return model.eval()

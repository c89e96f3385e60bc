"""The settings of the lm stage: what the language model is taught, and from what."""

from __future__ import annotations

from dataclasses import dataclass, field

from divot.config.errors import RecipeError
from divot.config.models import HEAD_KINDS, PREDICTIONS, QUERY_KINDS

TASKS = ("caption", "question", "generation", "story", "image_caption", "image_generation")


@dataclass(frozen=True)
class LoRAConfig:
    """A LoRA on the language model; the norms are trained whole beside it. Source: the official training scripts."""

    rank: int = 32
    """0 trains the whole language model."""
    alpha: int = 32
    dropout: float = 0.05
    target_modules: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


@dataclass(frozen=True)
class SourceConfig:
    """One set of annotated videos among several that a run learns from."""

    annotations: str = ""
    """As `LanguageConfig.annotations`."""
    videos: str | None = None
    """Folder of the paths in the annotations; None: beside the file."""
    tokens: str | None = None
    """As `LanguageConfig.tokens`."""
    share: float = 1.0
    """Of the samples that are not Sprite World's, beside the shares of the other sources."""
    tasks: dict[str, float] | None = None
    """What it teaches, in shares; None: the tasks of the run."""
    batch_size: int | None = None
    """Samples of a step of its own, at most those of the run; None: as many as the run has. As soon as a source has its
    own size all samples of a step are of one source (`share` is then of the steps), else each is drawn by itself."""


@dataclass(frozen=True)
class LanguageConfig:
    """What the lm stage adds: the language model to begin with, what it is taught, how its losses are weighed."""

    tasks: dict[str, float] = field(
        default_factory=lambda: {"caption": 1.0, "question": 1.0, "generation": 1.0}
    )
    """Task (see `TASKS`) -> share among the samples."""
    annotations: str | None = None
    """A file of captions, questions and answers for files in `data.videos`, a data set as it is published (NAME:PATH,
    see docs/datasets.md), or a folder of shards; see docs/data.md."""
    tokens: str | None = None
    """A token store of the annotated videos: their tokens are taken from it, and they are not read or encoded again."""
    mixture: tuple[SourceConfig, ...] = ()
    """Several sets of annotated videos, each with its share and its tasks, instead of `annotations` and `tokens`."""
    max_clips: int = 20
    """Most clips of a video that a caption or question is about."""
    max_questions: int = 6
    """Most turns of one conversation."""
    question_kinds: tuple[str, ...] = ()
    """Of Sprite World's questions, the kinds that are asked (`divot.world.questions.KINDS`); none named asks all."""
    max_length: int = 2048
    """Longest sequence; clips are never cut in half."""
    packed_length: int = 0
    """Positions of a row into which several sequences are packed, none of which sees another; 0 pads each by itself."""
    plans: bool | None = None
    """Teach the model to say a plan of each clip before it writes it, where one is known, as of all Sprite World's
    clips (`divot.world.plans`); None goes on as the language model is."""
    video_weight: float = 1.0
    """Of the head's loss, beside 1 for the text."""
    unseen_share: float = 0.0
    """Of clips written token by token, those from which some of the tokens are kept from the ones after them: up to all
    of them, so that what is written follows the words and not only what was written before."""
    token_noise: float = 0.0
    """Of clips written token by token, the most noise on the tokens that are held by the places after them: each clip's
    variance is drawn from 0 to this, in squared units of the tokens as they are predicted. What a model draws differs
    from what it was taught on; taught on such tokens, it does not take every difference for something to go on with."""
    prompt_drop: float = 0.0
    """Share of the clips and pictures to write of which the request says nothing: text guidance compares with these."""
    blind_share: float = 0.0
    """Share of the conversations from which the video is left out: who is asked without one then says what is likely,
    and not what comes first to a model that never saw such a request."""
    typed_share: float = 0.0
    """Share of the requests that are put as people type them in haste, without the first capital, the last mark, or
    both: a language model that begins new knows only what it was asked, letter by letter."""
    backbone: str | None = None
    """Hugging Face folder or hub id of a pre-trained language model; None: that of init_model, or a new one."""
    uses_chat_template: bool | None = None
    """Lay requests to a new `backbone` in its own chat template, else in [INST] ... [/INST]; None: if it has one."""
    is_new: bool = False
    """Begin with a new language model though init_model has one."""
    name: str = "default"
    """Of the language model in the model folder that is left, and of that in init_model which the run begins with, if
    there is one of that name: `comprehension`, `generation` or `story` serves its own tasks beside the others,
    `default` takes the place of all."""
    head: str | None = None
    """A new head: `gmm`, `regression` or `diffusion`; None: that of the language model, or the preset's."""
    prediction: str | None = None
    """Of a new head of diffusion: `v_prediction` or `epsilon`; None: the preset's."""
    cosine_weight: float | None = None
    """Of a new head of regression: weight of 1 - cosine similarity beside the squared error; None: the preset's."""
    added_variance: float | None = None
    """Added to each variance that the Gaussian mixture head predicts; None: that of the language model, or the
    preset's."""
    connector: bool | None = None
    """A new connector of the preset's sizes between backbone and head, or none; None: that of the language model, or
    the preset's."""
    queries: str | None = None
    """`bidirectional`, `causal` or `autoregressive`; None: those of the language model, or the preset's."""
    vocab_size: int = 768
    """Word pieces of a new backbone's tokenizer, learned from the captions; the places for video come on top."""
    lora: LoRAConfig = field(default_factory=LoRAConfig)

    def check(self, source: str) -> None:
        """Refuse settings that contradict each other; `source` is what the errors name.

        Raises:
            RecipeError: names the setting.
        """
        _check_tasks(self.tasks, "language.tasks", source)
        if self.mixture and (self.annotations is not None or self.tokens is not None):
            raise RecipeError(
                source, "language.mixture stands beside annotations or tokens", "Put them into the mixture"
            )
        for index, part in enumerate(self.mixture):
            place = f"language.mixture[{index}]"
            if not part.annotations or part.share <= 0:
                raise RecipeError(
                    source, f"{place} has no annotations, or no share above 0", "Give each source both"
                )
            if part.tasks is not None:
                _check_tasks(part.tasks, f"{place}.tasks", source)
        if min(self.max_clips, self.max_questions) < 1:
            raise RecipeError(source, "language.max_clips or max_questions is below 1", "Give 1 or more")
        shares = (self.unseen_share, self.prompt_drop, self.blind_share, self.typed_share)
        least = min(self.added_variance or 0.0, self.token_noise)
        if least < 0 or not all(0 <= share <= 1 for share in shares):
            raise RecipeError(
                source,
                "language.added_variance or token_noise is below 0, or unseen_share, prompt_drop, blind_share or "
                "typed_share not from 0 to 1",
                "Give 0 or more, and shares",
            )
        for name, known in (("head", HEAD_KINDS), ("prediction", PREDICTIONS), ("queries", QUERY_KINDS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise RecipeError(source, f"language.{name} is {value!r}", f"Known: {', '.join(known)}")
        for name, head in (("prediction", "diffusion"), ("cosine_weight", "regression")):
            if getattr(self, name) is not None and self.head != head:
                raise RecipeError(
                    source, f"language.{name} is set, language.head is {self.head}", f"Set it to {head}"
                )
        if min(self.video_weight, self.cosine_weight or 0.0) < 0 or self.max_length < 1:
            raise RecipeError(
                source,
                "language.video_weight or cosine_weight is below 0, or max_length below 1",
                "Give weights of 0 or more, and positions of a sequence",
            )
        if self.packed_length < 0:
            raise RecipeError(
                source, f"language.packed_length is {self.packed_length}", "Give 0, or positions of a row"
            )


def _check_tasks(tasks: dict[str, float], place: str, source: str) -> None:
    if unknown := sorted(tasks.keys() - set(TASKS)):
        raise RecipeError(source, f"{place} names {unknown[0]!r}", f"Known: {', '.join(TASKS)}")
    if min(tasks.values(), default=-1.0) < 0 or not sum(tasks.values()):
        raise RecipeError(source, f"{place} has no share above 0", "Give shares of 0 or more")

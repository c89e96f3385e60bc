"""The settings of a training run, one value for all stages."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from divot.config.errors import RecipeError
from divot.config.language import LanguageConfig, SourceConfig
from divot.config.presets import PRESET_NAMES

STAGES = ("vae", "tokenizer", "distill", "critic", "detokenizer", "lm", "adapt")
# Which stages use what is not for all.
_USES = {
    "init_model": ("tokenizer", "distill", "critic", "detokenizer", "lm", "adapt"),
    "init_lm": ("lm",),
    "init_vae": ("vae", "tokenizer", "detokenizer"),
    "init_unet": ("tokenizer", "detokenizer"),
    "init_vit": ("tokenizer",),
    "last_timestep_share": ("tokenizer", "detokenizer", "adapt"),
    "condition_drop": ("detokenizer", "adapt"),
    "critic": ("tokenizer", "detokenizer", "adapt"),
    "critic_weight": ("tokenizer", "detokenizer", "adapt"),
    "adaptation": ("adapt",),
    "train_vit": ("tokenizer",),
    "train_vae_encoder": ("vae",),
    "start_from_patches": ("vae",),
    "kl_weight": ("vae",),
}


@dataclass(frozen=True)
class DataConfig:
    """Where the clips come from."""

    world_share: float = 1.0
    """Share of Sprite World clips in a batch, 0 to 1; the rest are drawn from `videos`."""
    world_seed: int = 1
    videos: str | None = None
    """A folder of video files, read with all its sub-folders."""
    flip: bool = True
    """Mirror half of the clips from `videos`."""
    num_workers: int = 0
    max_reject_share: float = 0.5
    """Share of the files drawn that may be unreadable; above it the run stops."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Muon for the matrices and AdamW for the rest, or AdamW for all; cosine schedule with warm-up."""

    learning_rate: float = 1e-4
    use_muon: bool = False
    """Muon for matrices and filters."""
    muon_learning_rate: float = 5e-4
    """Muon's steps are scaled to the size of AdamW's; it bears, and wants, a few times the rate."""
    betas: tuple[float, ...] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 500
    final_share: float = 0.05
    """The learning rate at the end, as a share of the highest."""
    clip_norm: float = 1.0
    """Largest norm of the gradient, which is scaled down to it; 0 leaves it as it is."""
    spike_factor: float = 0.0
    """Leave out a step whose gradient norm is so many times the median of the last ones; 0 leaves out none."""
    ema_decay: float = 0.999
    """Of the moving average of the weights, which is what a run leaves; 0 keeps none."""


@dataclass(frozen=True)
class AdaptationConfig:
    """What the adapt stage adds: how the language model's tokens are drawn. Captions come from where those of the lm
    stage come from, see `LanguageConfig.annotations`."""

    temperature: float | None = None
    """Factor on the variances of the mixture; None: as in generation."""
    component_temperature: float | None = None
    """How evenly the components are drawn; None: as in generation."""
    true_share: float = 0.0
    """Share of the clips that are de-noised under their own tokens, so that reconstruction is not forgotten."""
    cache: str | None = None
    """A safetensors file that keeps the tokens of the first `cache_size` samples, over which the run then goes again
    and again without the language model; None draws new ones in each step."""
    cache_size: int = 4096
    name: str = "generation"
    """Of the de-tokenizer in the model folder; `reconstruction` puts it in the place of the one for everything."""
    trains: str = "detokenizer"
    """`detokenizer`, or `writing`: the language model's head, and its connector where it has one, learn to write
    tokens that the de-tokenizer draws the clip from; the de-tokenizer stays as it is."""
    draw_weight: float = 0.5
    """With `trains: writing`, of what is drawn of the tokens, beside 1 for the head's own loss, which sees to it that
    they stay tokens of the clip."""


@dataclass(frozen=True)
class DistillationConfig:
    """What the distill stage adds: sizes of the new tokens, and of what writes and reads them; None: as they are."""

    num_tokens: int | None = None
    token_width: int | None = None
    resampler_depth: int | None = None
    projector_depth: int | None = None


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    stage: str = "tokenizer"
    preset: str = "tiny"
    seed: int = 0
    batch_size: int = 8
    """Clips a step, over all processes (frames, for the vae stage)."""
    grad_accumulation: int = 1
    """Parts of a step's batch that go through the model one after the other: less memory, the same step."""
    num_steps: int = 1000
    precision: str = "no"
    """`no` for float32, `bf16` for autocast."""
    sharded: bool = False
    """Spread weights, gradients and optimizer states over the processes (FSDP2) instead of a copy in each (DDP)."""
    recompute: bool = False
    """Run each block again on the way back instead of keeping its activations (gradient checkpointing)."""
    compile: bool = False
    """Compile the blocks (torch.compile): slow to begin, faster on GPUs."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    last_timestep_share: float = 0.0
    """Share of the clips that are noised to the very last time of the schedule, where tokens are all there is."""
    condition_drop: float = 0.0
    """Share of the clips whose tokens are replaced by the null tokens (for guidance)."""
    critic: str | None = None
    """A model with a critic, as `divot train critic` makes one: what is drawn must look to it as the true clip does."""
    critic_weight: float = 0.002
    """Of the critic's verdict, nats a latent position, beside the error of v."""
    token_noise: float = 0.0
    """In the tokenizer, distill and de-tokenizer stages, the most noise on the tokens: each clip's variance is drawn
    from 0 to this, as a share of the mean square of its tokens. What is to survive it cannot be told in their last
    digits, which no language model writes right. (The lm stage has `language.token_noise`.)"""
    train_vit: bool = True
    """Train the ViT with the rest of the tokenizer; false keeps it frozen."""
    train_vae_encoder: bool = True
    """In the vae stage, false trains the decoder alone: latents stay what they were."""
    start_from_patches: bool = False
    """In the vae stage, begin with the principal components of patches instead of random weights (three levels)."""
    kl_weight: float = 1e-5
    """In the vae stage, weight of the KL term, nats a latent position."""
    init_model: str | None = None
    """Model folder or preset whose tokenizer and de-tokenizer the run starts from."""
    init_lm: str | None = None
    """In the lm stage, the model folder or preset whose language model the run begins with, the units of its tokens
    measured again: for a tokenizer that was trained further. Where tokens have other sizes it keeps its words, and
    reads and writes tokens with new weights."""
    init_vae: str | None = None
    """Folder of an AutoencoderKL in diffusers' form."""
    init_unet: str | None = None
    """Folder made by `divot convert dynamicrafter`: its U-Net."""
    init_vit: str | None = None
    """Folder made by `divot convert dynamicrafter`: its ViT."""
    log_every: int = 20
    sample_every: int = 500
    checkpoint_every: int = 200
    keep_checkpoints: int = 2

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """The annotated videos of the lm and adapt stages: those of the mixture, or the one set."""
        language = self.language
        if language.mixture or language.annotations is None:
            return language.mixture
        return (SourceConfig(language.annotations, self.data.videos, language.tokens),)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Those that the steps of the run may have: its own, and those of sources that have their own."""
        own = {source.batch_size for source in self.sources if source.batch_size is not None}
        return tuple(sorted({self.batch_size, *own}))

    def missing(self) -> dict[str, str]:
        """What the user must name and has not: the setting -> why it is needed."""
        found = {}
        if self.stage in ("distill", "critic", "detokenizer", "lm", "adapt") and self.init_model is None:
            needed = "an autoencoder" if self.stage == "critic" else "a tokenizer"
            found["init_model=FOLDER"] = f"the {self.stage} stage needs {needed}"
        if self.stage == "tokenizer" and self.init_model is None and self.init_vae is None:
            cause = "the tokenizer stage needs an autoencoder, which it does not train"
            found["init_vae=FOLDER or init_model=FOLDER"] = cause
        if not self.train_vit and self.init_model is None and self.init_vit is None:
            found["init_vit=FOLDER or init_model=FOLDER"] = (
                "train_vit is false, and the ViT has random weights"
            )
        if (
            self.stage == "vae"
            and not self.train_vae_encoder
            and not self.start_from_patches
            and self.init_vae is None
        ):
            found["init_vae=FOLDER"] = "train_vae_encoder is false, and the encoder has random weights"
        if self.critic is None and self.critic_weight != TrainConfig.critic_weight:
            found["critic=MODEL"] = "critic_weight is set, but there is no critic"
        if self.data.world_share < 1:
            # Annotated files may stand beside their annotations.
            if self.stage in ("lm", "adapt"):
                if not self.sources:
                    cause = "data.world_share is below 1 but there are no annotations"
                    found["language.annotations=FILE"] = cause
            elif self.data.videos is None:
                found["data.videos=FOLDER"] = "data.world_share is below 1 but data.videos is not set"
        return found

    def check(self, source: str, is_draft: bool = False) -> None:
        """Refuse settings that contradict each other.

        Args:
            source: what the errors name.
            is_draft: what is `missing` may still be.

        Raises:
            RecipeError: names the setting.
        """
        if self.stage not in STAGES:
            raise RecipeError(source, f"stage is {self.stage!r}", f"Choose one of {', '.join(STAGES)}")
        for name, share in (
            ("world_share", self.data.world_share),
            ("max_reject_share", self.data.max_reject_share),
        ):
            if not 0 <= share <= 1:
                raise RecipeError(source, f"data.{name} is {share}", "Give a share from 0 to 1")
        if self.stage in ("lm", "adapt"):
            self.language.check(source)
            self._check_sources(source)
        elif self.sources or self.language.tokens is not None:
            raise RecipeError(
                source,
                f"language.annotations, tokens or mixture is set, but the {self.stage} stage reads no words",
                "Leave it out: data.videos names what is seen",
            )
        if self.stage == "adapt" and self.language.prompt_drop > 0:
            raise RecipeError(
                source, "language.prompt_drop is set, which the adapt stage does not use", "Leave it out"
            )
        if self.adaptation.cache_size < 1 or not 0 <= self.adaptation.true_share <= 1:
            raise RecipeError(
                source, "adaptation.cache_size or true_share is out of range", "Give 1 or more, and a share"
            )
        if self.adaptation.trains not in ("detokenizer", "writing") or self.adaptation.draw_weight <= 0:
            raise RecipeError(
                source,
                f"adaptation.trains is {self.adaptation.trains!r}, draw_weight {self.adaptation.draw_weight}",
                "Give detokenizer or writing, and a weight above 0",
            )
        if self.adaptation.trains == "writing" and (self.adaptation.cache or self.adaptation.true_share):
            raise RecipeError(
                source,
                "adaptation.cache or true_share is set, but tokens that are learned are drawn anew in each step",
                "Leave it out, or adapt the de-tokenizer",
            )
        if self.adaptation.trains == "writing" and self.adaptation.name != AdaptationConfig.name:
            raise RecipeError(
                source,
                f"adaptation.name is {self.adaptation.name!r}, but no de-tokenizer is written",
                "Leave it out, or adapt the de-tokenizer",
            )
        if self.init_lm is not None and (self.language.is_new or self.language.backbone is not None):
            raise RecipeError(
                source, "init_lm names a language model, but a new one is wanted", "Set language.is_new=false"
            )
        usual = TrainConfig()
        for name, stages in _USES.items():
            if getattr(self, name) != getattr(usual, name) and self.stage not in stages:
                raise RecipeError(
                    source, f"{name} is set, which the {self.stage} stage does not use", "Leave it out"
                )
        if self.stage == "critic" and self.data.world_share < 1:
            raise RecipeError(
                source,
                f"data.world_share is {self.data.world_share}, but of videos nothing tells the critic what is where",
                "Set data.world_share=1",
            )
        if self.critic_weight <= 0:
            raise RecipeError(source, f"critic_weight is {self.critic_weight}", "Give a weight above 0")
        if self.data.videos is not None and self.data.world_share == 1:
            raise RecipeError(
                source,
                "data.videos is set, but data.world_share is 1: no video is read",
                "Set data.world_share=0, or the share that is to be of Sprite World; or data.videos=null",
            )
        if self.language.tokens is not None and self.stage != "lm":
            raise RecipeError(
                source, f"language.tokens is set, but the {self.stage} stage reads the videos", "Leave it out"
            )
        missing = {} if is_draft else self.missing()
        for setting, cause in missing.items():
            raise RecipeError(source, cause, f"Set {setting}")
        if self.precision not in ("no", "bf16"):
            raise RecipeError(source, f"precision is {self.precision!r}", "Choose no or bf16")
        for name in ("last_timestep_share", "condition_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(source, f"{name} is {getattr(self, name)}", "Give a share from 0 to 1")
        has_noise = self.stage in ("tokenizer", "distill", "detokenizer")
        if self.token_noise < 0 or (self.token_noise > 0 and not has_noise):
            raise RecipeError(
                source,
                f"token_noise is {self.token_noise} in the {self.stage} stage",
                "Give 0 or more, in the tokenizer, distill or detokenizer stage; the lm stage has language.token_noise",
            )
        sizes = dataclasses.asdict(self.distillation)
        if any(size is not None and (size < 1 or self.stage != "distill") for size in sizes.values()):
            raise RecipeError(
                source,
                f"a setting of distillation is below 1, or set in the {self.stage} stage",
                "Give sizes of 1 or more, in the distill stage",
            )
        if self.preset not in PRESET_NAMES:
            raise RecipeError(
                source, f"preset is {self.preset!r}", f"Choose one of {', '.join(PRESET_NAMES)}"
            )
        betas = self.optimizer.betas
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise RecipeError(source, f"optimizer.betas is {betas}", "Give two numbers of 0 to below 1")
        if min(self.optimizer.learning_rate, self.optimizer.muon_learning_rate, self.optimizer.eps) <= 0:
            raise RecipeError(
                source, "optimizer.learning_rate, muon_learning_rate or eps is not above 0", "Give it so"
            )
        if min(self.seed, self.data.world_seed) < 0:
            raise RecipeError(source, "seed or data.world_seed is below 0", "Give 0 or more")
        if self.optimizer.clip_norm < 0 or not 0 <= self.optimizer.ema_decay < 1:
            raise RecipeError(
                source,
                f"optimizer.clip_norm is {self.optimizer.clip_norm}, ema_decay {self.optimizer.ema_decay}",
                "Give 0 (off) or more, and 0 (off) to below 1",
            )
        if self.optimizer.spike_factor != 0 and self.optimizer.spike_factor <= 1:
            raise RecipeError(
                source,
                f"optimizer.spike_factor is {self.optimizer.spike_factor}",
                "Give a factor above 1, such as 10, or 0",
            )
        if self.grad_accumulation < 1 or any(size % self.grad_accumulation for size in self.batch_sizes):
            raise RecipeError(
                source,
                f"grad_accumulation is {self.grad_accumulation}, "
                f"batch_size {', '.join(map(str, self.batch_sizes))}",
                "Give a divisor of batch_size",
            )
        if self.sharded and self.optimizer.use_muon:
            raise RecipeError(
                source, "sharded weights do not go with Muon", "Set optimizer.use_muon=false or sharded=false"
            )
        if self.data.num_workers < 0 or self.keep_checkpoints < 1:
            raise RecipeError(
                source, "data.num_workers or keep_checkpoints is too small", "Give 0 (1) or more"
            )
        if min(self.batch_size, self.num_steps, self.log_every, self.sample_every, self.checkpoint_every) < 1:
            raise RecipeError(
                source, "a size, count or interval is below 1", "Give whole numbers of 1 or more"
            )

    def _check_sources(self, source: str) -> None:
        for index, part in enumerate(self.language.mixture):
            place = f"language.mixture[{index}]"
            if part.batch_size is not None and not 1 <= part.batch_size <= self.batch_size:
                raise RecipeError(
                    source,
                    f"{place}.batch_size is {part.batch_size}, that of the run {self.batch_size}",
                    "Give the largest as batch_size of the run, and each source 1 to that",
                )
            if self.stage != "lm" and (part.batch_size is not None or part.tokens is not None):
                raise RecipeError(
                    source,
                    f"{place}.batch_size or tokens is set, which the lm stage alone knows",
                    "Leave it out",
                )
        if self.data.world_share == 1 and (self.language.tokens is not None or self.sources):
            raise RecipeError(
                source,
                "language.annotations, tokens or mixture is set, but data.world_share is 1: no annotated video is "
                "read",
                "Set data.world_share=0, or the share that is to be of Sprite World",
            )

"""The sizes and settings of every model, as typed values. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ViTConfig:
    """A Hugging Face vision transformer that looks at each seen frame alone."""

    model_type: str = "clip_vision_model"
    """Its type in transformers' registry, such as `clip_vision_model`, `siglip_vision_model`, `dinov2`."""
    image_size: int = 224
    patch_size: int = 14
    width: int = 1280
    num_layers: int = 32
    num_heads: int = 16
    mlp_width: int = 5120
    """Without effect for types that take a ratio instead, such as `dinov2`: give that in `extra`."""
    activation: str = "gelu"
    num_prefix_tokens: int = 1
    """Class (and register) tokens in front of the patches; they are dropped."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the transformers configuration of that type."""

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class TokenizerConfig:
    """Clips to tokens: ViT, temporal transformer, pooling, spatial-temporal transformer, Perceiver Resampler."""

    vit: ViTConfig = field(default_factory=ViTConfig)
    num_frames: int = 5
    """Frames of a clip that the tokenizer sees."""
    frame_size: int = 256
    """Pixels along each side of the frames it is given; it stretches them to the ViT's own size itself."""
    temporal_width: int = 768
    temporal_depth: int = 6
    temporal_heads: int = 12
    hidden_width: int = 1024
    pool_size: int = 5
    """Patches along one side of a frame after average pooling."""
    spatiotemporal_depth: int = 4
    spatiotemporal_heads: int = 8
    resampler_depth: int = 6
    resampler_heads: int = 16
    resampler_head_width: int = 64
    num_tokens: int = 64
    token_width: int = 256


@dataclass(frozen=True)
class ProjectorConfig:
    """The Perceiver that turns tokens into the context tokens of the U-Net."""

    width: int = 1024
    depth: int = 6
    num_heads: int = 16
    head_width: int = 64
    num_queries: int = 125
    has_positions: bool = False
    """Give each token a learned position before it is read; it begins at a place in the clip."""


@dataclass(frozen=True)
class UNetConfig:
    """The video diffusion U-Net (DynamiCrafter family)."""

    in_channels: int = 4
    out_channels: int = 4
    patch_size: int = 1
    """Latents along one side of a patch that the first convolution takes as one position; 1: every latent is one."""
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)
    """Down-sampling factors at which the blocks have spatial and temporal attention."""
    num_head_channels: int = 64
    norm_groups: int = 32
    has_initial_attention: bool = True
    """A temporal transformer right after the first convolution."""
    context_width: int = 1024
    context_split: int | None = 77
    """Context tokens before this place go through one cross-attention, the rest through a second one (as the image
    tokens of DynamiCrafter did); None: one cross-attention for all."""
    default_frame_stride: int | None = 3
    """Frame stride told to the U-Net when the caller names none; None: the U-Net is not told a stride."""
    has_positions: bool = False
    """Add fixed sine-cosine positions (time, row, column) after the first convolution."""
    has_input_skip: bool = False
    """Add the noisy latents to the output, each channel times a gain that depends on the time. A U-Net narrower than
    its patches cannot pass the noise on; with the gain it need not."""
    dropout: float = 0.1


@dataclass(frozen=True)
class AutoencoderConfig:
    """diffusers' AutoencoderKL, frame by frame."""

    latent_channels: int = 4
    block_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_groups: int = 32
    has_mid_attention: bool = True
    scaling_factor: float = 0.18215
    """Latents are multiplied by this, so that their standard deviation is about 1."""

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a latent."""
        return int(2 ** (len(self.block_channels) - 1))


@dataclass(frozen=True)
class CriticConfig:
    """The critic of latents: which of some classes each latent position belongs to."""

    latent_channels: int = 4
    classes: tuple[str, ...] = ()
    """What it tells apart, in words, besides the background, which is class 0."""
    width: int = 80
    depth: int = 3
    norm_groups: int = 8


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule: scaled-linear betas, optionally rescaled to zero terminal SNR; v-prediction."""

    num_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    has_zero_terminal_snr: bool = True


@dataclass(frozen=True)
class SamplerConfig:
    """How tokens are de-noised into latents, unless the caller says otherwise."""

    solver: str = "ddim"
    """`ddim` (our own loop), or `dpm++`, `euler`, `unipc` through diffusers."""
    num_steps: int = 50
    spacing: str = "trailing"
    """`trailing`, `leading`, or `uniform` (the official code's). The times of `leading` are each solver's own."""
    eta: float = 0.0
    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    num_corrections: int = 0
    """Times that what was drawn is encoded again, and drawn anew under tokens to which is added what it lacked."""


@dataclass(frozen=True)
class DetokenizerConfig:
    """Tokens to frames: projector, U-Net, autoencoder, noise schedule, default sampler."""

    num_frames: int = 16
    frame_size: int = 256
    num_tokens: int = 64
    token_width: int = 256
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    official_quirks: bool = False
    """Repeat the official sampler's accidents (alphas rounded to float16, `uniform` spacing that takes more steps than
    asked for or leaves the schedule, noise drawn where it is not used), so that a released checkpoint gives the
    official numbers. Set by `divot convert official`; new models do without."""


HEAD_KINDS, PREDICTIONS = ("gmm", "regression", "diffusion"), ("v_prediction", "epsilon")


@dataclass(frozen=True)
class HeadConfig:
    """How the tokens of a written clip are predicted from the hidden states of its queries."""

    kind: str = "gmm"
    """`gmm`, `regression` or `diffusion`."""
    num_components: int = 16
    """Of the Gaussian mixture."""
    added_variance: float = 0.0
    """Of the Gaussian mixture: added to each variance, in squared units of the tokens as they are predicted."""
    cosine_weight: float = 0.0
    """Of the regression: weight of 1 - cosine similarity beside the squared error."""
    prediction: str = "v_prediction"
    """Of the diffusion head: `v_prediction` or `epsilon`."""
    width: int = 1024
    depth: int = 3
    num_steps: int = 50
    """Of the diffusion head: de-noising steps of a sample."""


@dataclass(frozen=True)
class ConnectorConfig:
    """Layers between the backbone and the head, in which the places of a clip look at the words said for it."""

    depth: int = 0
    """Layers of the places; 0: there is no connector, as in the released models."""
    words_depth: int = 2
    """Layers of the words before them."""
    width: int = 1024
    num_heads: int = 16


QUERY_KINDS = ("bidirectional", "causal", "autoregressive")


@dataclass(frozen=True)
class LanguageModelConfig:
    """Divot-LLM: a causal language model between video tokens that it reads and video tokens that it writes."""

    token_width: int = 256
    num_tokens: int = 64
    head: HeadConfig = field(default_factory=HeadConfig)
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    queries: str = "bidirectional"
    """`bidirectional`: the queries of a clip see each other; `causal`: each sees those before it; `autoregressive`:
    no queries, each token is predicted from the tokens before it."""
    has_token_statistics: bool = False
    """Read and write tokens along their principal axes, with mean 0 and deviation 1 along each; axes and mean are
    stored with the weights."""
    keeps_places: bool = False
    """Add the tokens that are read to the embeddings of their places; the released models put them in their stead. For
    tokens each of which holds what is at one place: the model then knows which place it was."""
    plans: bool = False
    """Before a clip is written, say a plan of it: words and numbers that settle what the request leaves open. What is
    said is drawn piece after piece, each in the light of those before; the tokens of a clip, drawn side by side, then
    have little left to disagree about."""
    text_guidance: float = 1.0
    """How far the words guide the draw of a clip, unless the caller says; above 1 it takes a mixture, and weights
    trained with `prompt_drop`."""
    temperature: float = 0.1
    """Factor on the variances of a mixture when a clip is drawn, unless the caller says."""
    component_temperature: float = 1.0
    """How evenly the components of a mixture are drawn, unless the caller says; 0 takes the likeliest."""
    candidates: int = 1
    """Clips that are drawn for one, of which the model keeps that which it reads best, unless the caller says."""
    views: int = 1
    """Times that a clip is read to answer about it, each time moved by a little, unless the caller says; said is what
    is likeliest over all of them."""
    uses_chat_template: bool = False
    """Put requests in the tokenizer's own chat template instead of [INST] ... [/INST]."""
    official_prompts: bool = False
    """Set spaces, line breaks, end tokens and requests for clips as the released models were taught."""
    backbone: dict[str, Any] = field(default_factory=dict)
    """Settings of a new backbone, `model_type` among them (`mistral`, `llama`, `qwen2`, ...). A saved model has those
    of its backbone in the backbone's own config.json."""


@dataclass(frozen=True)
class ModelConfig:
    """One Divot: a tokenizer, the de-tokenizer trained with it, and the language model over its tokens."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    detokenizer: DetokenizerConfig = field(default_factory=DetokenizerConfig)
    lm: LanguageModelConfig = field(default_factory=LanguageModelConfig)

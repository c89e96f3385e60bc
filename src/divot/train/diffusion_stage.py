"""The tokenizer stage and the de-tokenizer stage: a U-Net that must de-noise a clip, told of it by tokens alone.

In the tokenizer stage both learn, and the tokens are never dropped; in the de-tokenizer stage the tokenizer is frozen
and a few clips are de-noised under the null tokens, for guidance.

Letters: B batch of clips, F frames, N tokens, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from divot.config.errors import CheckpointError
from divot.config.models import AutoencoderConfig
from divot.config.presets import PRESET_NAMES, preset
from divot.config.training import TrainConfig
from divot.data.clips import ClipDataset, to_batch
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic, some_frames, verdict
from divot.detokenizer.objective import draw_timesteps, velocity_loss
from divot.detokenizer.vae import load_autoencoder
from divot.layers.component import read_weights
from divot.tokenizer import VideoTokenizer
from divot.train.stage import Stage
from divot.video.clips import SEEN_FRAMES
from divot.video.transform import signed, to_uint8
from divot.weights.contents import GENERATION, RECONSTRUCTION
from divot.weights.store import ModelFolder, add_detokenizer, changed_copy, remove_parts, write_model_folder

# Clips of a batch that are shown.
NUM_SHOWN = 4


class DiffusionModule(nn.Module):
    """Tokenizer and de-tokenizer under one loss.

    Source: Divot (arXiv 2412.04432), appendix A.1.
    """

    def __init__(
        self,
        tokenizer: VideoTokenizer,
        detokenizer: VideoDetokenizer,
        config: TrainConfig,
        critic: ShapeCritic | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer, self.detokenizer = tokenizer, detokenizer
        self.critic = None if critic is None else critic.requires_grad_(False)
        self.trains_tokenizer = config.stage == "tokenizer"
        self.config = config
        detokenizer.vae.requires_grad_(False)
        tokenizer.requires_grad_(self.trains_tokenizer)
        tokenizer.vit.freeze_unused()
        if not config.train_vit:
            tokenizer.vit.requires_grad_(False)
        self.update_null_tokens()

    @torch.no_grad()
    def update_null_tokens(self) -> None:
        """Keep with the de-tokenizer what the tokenizer makes of an all-zero clip, as it is now."""
        was_training = self.tokenizer.training
        self.detokenizer.null_tokens.copy_(self.tokenizer.eval().null_tokens()[0])
        self.tokenizer.train(was_training)

    def train(self, mode: bool = True) -> DiffusionModule:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.detokenizer.vae.eval()
        if not self.trains_tokenizer:
            self.tokenizer.eval()
        return self

    def forward(self, clips_BFCHW: Tensor, chances: list[torch.Generator]) -> tuple[Tensor, dict[str, float]]:
        """Mean v-prediction error of the clips, and that of the clips at the last time alone; bytes, or in [-1, 1]."""
        clips_BFCHW = signed(clips_BFCHW)
        with torch.set_grad_enabled(self.trains_tokenizer and torch.is_grad_enabled()):
            tokens = self.tokenizer(clips_BFCHW[:, list(SEEN_FRAMES)])
        if self.config.token_noise > 0:
            tokens = noisy(tokens, self.config.token_noise, chances)
        return denoising_loss(self.detokenizer, clips_BFCHW, tokens, self.config, chances, self.critic)


def denoising_loss(
    detokenizer: VideoDetokenizer,
    clips_BFCHW: Tensor,
    tokens_BND: Tensor,
    config: TrainConfig,
    chances: list[torch.Generator],
    critic: ShapeCritic | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Mean v-prediction error of clips under tokens, and that of the clips at the last time alone.

    Args:
        detokenizer: what de-noises.
        clips_BFCHW: [B, F, 3, S, S] in [-1, 1].
        tokens_BND: what it is told of them; those of `condition_drop` of the clips give way to the null tokens.
        config: of the run.
        chances: of each clip: its time, noise and drop, and the frames that a critic looks at.
        critic: its verdict is added to the error, weighted.
    """
    # float32 also under autocast: half precision would round the schedule's factors.
    latents = detokenizer.encode_frames(clips_BFCHW).float()
    total, last_share = detokenizer.config.schedule.num_timesteps, config.last_timestep_share
    times = torch.cat([draw_timesteps(1, total, last_share, chance) for chance in chances]).to(latents.device)
    noise = torch.stack([_noise(latents[0], chance) for chance in chances])
    if config.condition_drop > 0:
        drawn = torch.cat([torch.rand(1, generator=chance) for chance in chances])
        is_dropped = (drawn < config.condition_drop).to(latents.device)
        null = detokenizer.null_tokens.to(tokens_BND)
        tokens_BND = torch.where(is_dropped[:, None, None], null, tokens_BND)
    losses, drawn = velocity_loss(
        lambda x, t: detokenizer.predict(x, t, tokens_BND), detokenizer.schedule, latents, noise, times
    )
    is_last = times == total - 1
    last = float(losses.detach()[is_last].mean()) if bool(is_last.any()) else float("nan")
    measures, loss = {"loss_last_time": last}, losses.mean()
    if critic is not None:
        frames_BF = some_frames(latents.shape[2], chances).to(latents.device)
        judged = verdict(critic, drawn, latents, frames_BF).mean()
        measures["critic"] = float(judged.detach())
        loss = loss + config.critic_weight * judged
    return loss, measures


def _noise(like: Tensor, chance: torch.Generator) -> Tensor:
    """Standard normal noise of the shape of one clip's values, drawn where they are: a GPU would wait for a CPU."""
    seed = int(torch.randint(2**62, (1,), generator=chance))
    own = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=own, device=like.device)


def noisy(tokens_BND: Tensor, most: float, chances: list[torch.Generator]) -> Tensor:
    """Tokens under noise, whose variance in each clip is from 0 to `most` of the mean square of its tokens."""
    shares = torch.cat([torch.rand(1, generator=chance) for chance in chances]).to(tokens_BND.device)
    noise = torch.stack([_noise(tokens_BND[0], chance) for chance in chances])
    # As a share of what there is: larger tokens would not escape it.
    scale_B = (most * shares * tokens_BND.detach().float().pow(2).mean(dim=(1, 2))).sqrt()
    return tokens_BND + (scale_B[:, None, None] * noise).to(tokens_BND.dtype)


def critic_folder(model: str) -> Path:
    """Where the critic of a model is.

    Raises:
        CheckpointError: if it has none.
    """
    folder = ModelFolder.open(model)
    if folder.contents.critic is None:
        remedy = "Train one: `divot train critic RUN`, and give RUN/model"
        raise CheckpointError(model, "has no critic", remedy)
    return folder.path / folder.contents.critic


def load_critic(model: str | None, detokenizer: VideoDetokenizer) -> ShapeCritic | None:
    """The critic of a model, if one is named.

    Raises:
        CheckpointError: if the model has none, or it reads latents of another autoencoder than this de-tokenizer's.
    """
    if model is None:
        return None
    critic = ShapeCritic.from_pretrained(critic_folder(model))
    wanted = detokenizer.config.autoencoder.latent_channels
    remedy = "Train one on the latents of this model"
    if critic.config.latent_channels != wanted:
        cause = f"reads latents of {critic.config.latent_channels} channels, and the model has {wanted}"
        raise CheckpointError(model, cause, remedy)
    if not _same_weights(ModelFolder.open(model).detokenizer("reconstruct").vae, detokenizer.vae):
        raise CheckpointError(model, "has a critic that reads the latents of another autoencoder", remedy)
    return critic


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same weights, but for the rounding of a file."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape
        and torch.allclose(ours[name].float().cpu(), theirs[name].float().cpu(), rtol=1e-2, atol=1e-4)
        for name in ours
    )


class DiffusionStage(Stage):
    """Trains tokenizer and de-tokenizer end to end, or the de-tokenizer under a frozen tokenizer."""

    module: DiffusionModule
    preset: str | None
    """Whose sizes the model has that is written."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        models = preset(config.preset)
        self.folder = None if config.init_model is None else ModelFolder.open(config.init_model)
        if self.folder is not None:
            tokenizer, detokenizer = self.folder.tokenizer(), self.folder.detokenizer("reconstruct")
            self.preset = self.folder.preset
        else:
            tokenizer, detokenizer = VideoTokenizer(models.tokenizer), VideoDetokenizer(models.detokenizer)
            self.preset = config.preset
        if config.init_vit is not None:
            _load(tokenizer.vit, Path(config.init_vit) / "vit")
        if config.init_unet is not None:
            _load(detokenizer.unet, Path(config.init_unet) / "unet")
        if config.init_vae is not None:
            _use_vae(detokenizer, load_autoencoder(config.init_vae))
        self.module = self._module(tokenizer, detokenizer)

    def _module(self, tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer) -> DiffusionModule:
        """What is trained of the models that the run begins with."""
        critic = load_critic(self.config.critic, detokenizer)
        return DiffusionModule(tokenizer, detokenizer, self.config, critic)

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Clips at the size of the de-tokenizer's frames."""
        size_px = self.module.detokenizer.config.frame_size
        return ClipDataset(self.config.data, self.config.seed, size_px, length, rejects_file), to_batch

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A contact sheet of originals and reconstructions in turn."""
        assert isinstance(module, DiffusionModule)
        from divot.video.sheets import contact_sheet

        module.update_null_tokens()
        clips = signed(batch[:NUM_SHOWN])
        decoded = module.detokenizer.decode(module.tokenizer(clips[:, list(SEEN_FRAMES)]))
        rows = [to_uint8(video) for pair in zip(clips, decoded, strict=True) for video in pair]
        contact_sheet(rows, path.with_suffix(".png"))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a model folder, float16 on disk: a new one, or that of init_model with another de-tokenizer."""
        assert isinstance(module, DiffusionModule)
        module.update_null_tokens()
        if self.config.stage == "detokenizer":
            # The tokens are what they were: a language model that knows them goes on serving.
            assert self.folder is not None
            save_detokenizer(self.folder, RECONSTRUCTION, module.detokenizer, folder)
            return
        write_model_folder(
            folder,
            module.tokenizer,
            {"reconstruction": module.detokenizer},
            preset=self.preset if self.preset in PRESET_NAMES else None,
        )


def save_detokenizer(source: ModelFolder, name: str, detokenizer: VideoDetokenizer, folder: Path) -> None:
    """Write a model folder: that of `source` with this de-tokenizer in it, float16 on disk."""
    with changed_copy(source, folder) as beside:
        add_detokenizer(beside, name, detokenizer)
        if name == RECONSTRUCTION:
            # It is for every task: that which was adapted before would go on serving some.
            remove_parts(beside, "detokenizers", [GENERATION])


def _load(part: nn.Module, folder: Path) -> None:
    state = read_weights(folder / "model.safetensors")
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            folder, f"does not fit this preset ({error})", "Take weights of the same sizes"
        ) from error


def _use_vae(detokenizer: VideoDetokenizer, vae: AutoencoderKL) -> None:
    wanted = {k: v.shape for k, v in detokenizer.vae.state_dict().items()}
    if {k: v.shape for k, v in vae.state_dict().items()} != wanted:
        raise CheckpointError(
            str(vae.config.get("_name_or_path", "init_vae")),
            "has other sizes than the preset's autoencoder",
            "Train one",
        )
    detokenizer.vae = vae.eval()
    autoencoder: AutoencoderConfig = dataclasses.replace(
        detokenizer.config.autoencoder, scaling_factor=float(vae.config["scaling_factor"])
    )
    detokenizer.config = dataclasses.replace(detokenizer.config, autoencoder=autoencoder)

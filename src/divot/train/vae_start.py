"""A start for the small autoencoder that already works: principal components of 4x4 patches.

The encoder is set to the linear map from each 4x4 patch to its first principal components, the decoder to a smooth
enlargement of the patches' mean colours. On a CPU this saves most of the training: from random weights the first hour
goes into finding just that.

A GroupNorm stands before the last layer of both halves. Two channels held at large constants of opposite signs rule
its statistics, and a large bias keeps its SiLU in the straight part: the path through it stays linear.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

# The constant held in two channels, and the bias before the SiLU.
CONSTANT = 6.0
BIAS = 4.0


def principal_components(rows: np.ndarray, count: int) -> Tensor:
    """The first `count` principal directions [count, D] of rows [R, D], about zero, not about their mean."""
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    return torch.from_numpy(vectors[:, np.argsort(values)[::-1][:count]].T.copy()).float()


def _patches(images: np.ndarray) -> np.ndarray:
    """[B, H, W, C] to its 2x2 patches [B, H / 2, W / 2, 4 C], rows before columns before channels."""
    batch, height, width, channels = images.shape
    split = images.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(batch, height // 2, width // 2, 4 * channels)


@torch.no_grad()
def start_from_patches(vae: AutoencoderKL, images: np.ndarray) -> None:
    """Set the weights of a fresh autoencoder of three levels.

    Args:
        vae: one level of 8 channels or more, one of 24 or more, one of 48 or more.
        images: float [B, H, W, 3] in [-1, 1], a few hundred typical frames.

    Raises:
        ValueError: if the autoencoder has not three levels, or too narrow ones.
    """
    widths = tuple(vae.config["block_out_channels"])
    if len(widths) != 3 or widths[0] < 8 or widths[1] < 24 or widths[2] < widths[1]:
        raise ValueError(f"block_channels are {widths}, wanted three levels of at least 8, 24 and 24")
    count = vae.config["latent_channels"]
    for block in vae.modules():
        if type(block).__name__ == "ResnetBlock2D":
            _zero(block.conv2)
    pairs = _patches(images)
    first = principal_components(pairs.reshape(-1, pairs.shape[-1]), widths[0] - 2)
    quads = _patches(pairs @ first.numpy().T)
    second = principal_components(quads.reshape(-1, quads.shape[-1]), widths[1] - 2)
    _start_encoder(vae, first, second, count)
    _start_decoder(vae, first, second[:count])
    # As they are stored: a decoder trained on these latents meets the same ones after loading.
    for parameter in [*vae.encoder.parameters(), *vae.quant_conv.parameters()]:
        parameter.copy_(parameter.half())


def _start_encoder(vae: AutoencoderKL, first: Tensor, second: Tensor, count: int) -> None:
    encoder = vae.encoder
    _carry(encoder.conv_in, torch.eye(3))
    for level, directions in enumerate((first, second)):
        kept = len(directions)
        down = encoder.down_blocks[level].downsamplers[0].conv
        _zero(down)
        # The stride-2 window begins at its patch: taps 0 and 1 are the patch, 2 is the next one's.
        down.weight[:kept, : directions.shape[1] // 4, :2, :2] = directions.unflatten(1, (2, 2, -1)).permute(
            0, 3, 1, 2
        )
        _hold_constants(down)
        shortcut = encoder.down_blocks[level + 1].resnets[0].conv_shortcut
        _carry(shortcut, torch.eye(kept))
        _hold_constants(shortcut)
    width = encoder.conv_norm_out.num_channels
    _carry_through_norm(encoder.conv_norm_out, encoder.conv_out, torch.eye(count, len(second)), width)
    _zero(vae.quant_conv)
    vae.quant_conv.weight[:count, :count, 0, 0] = torch.eye(count)
    vae.quant_conv.bias[count:] = -6.0


def _start_decoder(vae: AutoencoderKL, first: Tensor, second: Tensor) -> None:
    decoder = vae.decoder
    _carry(vae.post_quant_conv, torch.eye(len(second)))
    # Latents back to the mean colour of their patch.
    pairs = second.unflatten(1, (2, 2, -1)).mean(dim=(1, 2)) @ first
    colours = pairs.unflatten(1, (2, 2, 3)).mean(dim=(1, 2)).T
    decoder.conv_in.weight[:3] = 0.0
    decoder.conv_in.weight[:3, :, 1, 1] = colours
    decoder.conv_in.bias[:3] = 0.0
    smooth = torch.tensor([0.25, 0.5, 0.25])
    for level in range(2):
        up = decoder.up_blocks[level].upsamplers[0].conv
        up.weight[:3], up.bias[:3] = 0.0, 0.0
        for channel in range(3):
            up.weight[channel, channel] = torch.outer(smooth, smooth)
    for block in decoder.up_blocks:
        shortcut = block.resnets[0].conv_shortcut
        if shortcut is not None:
            shortcut.weight[:3], shortcut.bias[:3] = 0.0, 0.0
            shortcut.weight[:3, :3, 0, 0] = torch.eye(3)
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    last.weight[-2:] = 0.0
    _hold_constants(last)
    width = decoder.conv_norm_out.num_channels
    _carry_through_norm(decoder.conv_norm_out, decoder.conv_out, torch.eye(3), width)


def _zero(layer: nn.Conv2d) -> None:
    layer.weight.zero_()
    assert layer.bias is not None
    layer.bias.zero_()


def _carry(layer: nn.Conv2d, matrix: Tensor) -> None:
    """Set a convolution to `matrix` [out, in] at its middle tap, nothing elsewhere."""
    _zero(layer)
    middle = layer.kernel_size[0] // 2
    layer.weight[: matrix.shape[0], : matrix.shape[1], middle, middle] = matrix


def _hold_constants(layer: nn.Conv2d) -> None:
    assert layer.bias is not None
    layer.bias[-2:] = torch.tensor([CONSTANT, -CONSTANT])


def _carry_through_norm(norm: nn.GroupNorm, out: nn.Conv2d, matrix: Tensor, width: int) -> None:
    """Set a GroupNorm, its SiLU and the layer after it to `matrix` [out, in], near enough."""
    norm.weight.fill_(1.0)
    norm.bias.fill_(BIAS)
    deviation = CONSTANT * (2 / width) ** 0.5
    gate = 1 / (1 + np.exp(-BIAS))
    slope = gate * (1 + BIAS * (1 - gate))
    scaled = matrix * deviation / slope
    _carry(out, scaled)
    assert out.bias is not None
    out.bias[: len(matrix)] = -scaled.sum(dim=1) * BIAS * gate

"""Our names of parameters beside latent diffusion's: DynamiCrafter's U-Net and the old AutoencoderKL."""

from __future__ import annotations

from divot.config.models import AutoencoderConfig, UNetConfig
from divot.weights.names import Entry, Pair


def unet_names(config: UNetConfig) -> list[Entry]:
    """The video U-Net, by the same walk over levels and blocks that builds it."""
    pair = Pair("", "")
    entries = [
        *pair.of("time_embed.0", "time_embedding.0").both(),
        *pair.of("time_embed.2", "time_embedding.2").both(),
        *pair.of("input_blocks.0.0", "conv_in").both(),
        *pair.of("out.0", "norm_out").both(),
        *pair.of("out.2", "conv_out").both(),
    ]
    if config.default_frame_stride is not None:
        entries += pair.of("fps_embedding.0", "stride_embedding.0").both()
        entries += pair.of("fps_embedding.2", "stride_embedding.2").both()
    if config.has_initial_attention:
        # This one projects by convolutions of one tap, all others by linear layers.
        entries += _temporal(pair.of("init_attn.0", "initial_temporal"), trailing=1)

    base, factor, position = config.model_channels, 1, 0
    channels, widths = base, [base]
    for level, mult in enumerate(config.channel_mult):
        for _ in range(config.num_res_blocks):
            stage = pair.of(f"input_blocks.{position + 1}", f"encoder.{position}")
            entries += _stage(config, stage, channels, mult * base, factor in config.attention_resolutions)
            channels = mult * base
            widths.append(channels)
            position += 1
        if level < len(config.channel_mult) - 1:
            entries += pair.of(f"input_blocks.{position + 1}.0.op", f"encoder.{position}.conv").both()
            widths.append(channels)
            position += 1
            factor *= 2
    entries += _stage(config, pair.of("middle_block", "middle"), channels, channels, has_attention=True)
    entries += _resblock(pair.of("middle_block.3", "middle_resblock"), has_skip=False)
    position = 0
    for level, mult in reversed(list(enumerate(config.channel_mult))):
        for index in range(config.num_res_blocks + 1):
            stage = pair.of(f"output_blocks.{position}", f"decoder.{position}")
            has_attention = factor in config.attention_resolutions
            entries += _stage(config, stage, channels + widths.pop(), mult * base, has_attention)
            channels = mult * base
            if level > 0 and index == config.num_res_blocks:
                # The resize stands behind the transformers, where there are any.
                entries += stage.of(f"{3 if has_attention else 1}.conv", "resize.conv").both()
                factor //= 2
            position += 1
    return entries


def _stage(
    config: UNetConfig, stage: Pair, width_in: int, width_out: int, has_attention: bool
) -> list[Entry]:
    entries = _resblock(stage.of("0", "resblock"), has_skip=width_in != width_out)
    if has_attention:
        entries += _spatial(stage.of("1", "spatial"), is_split=config.context_split is not None)
        entries += _temporal(stage.of("2", "temporal"))
    return entries


def _resblock(block: Pair, has_skip: bool) -> list[Entry]:
    entries = [
        *block.of("in_layers.0", "norm1").both(),
        *block.of("in_layers.2", "conv1").both(),
        *block.of("emb_layers.1", "time_proj").both(),
        *block.of("out_layers.0", "norm2").both(),
        *block.of("out_layers.3", "conv2").both(),
    ]
    if has_skip:
        entries += block.of("skip_connection", "skip").both()
    for index in range(4):
        # Spelled so. Theirs is over (3, 1, 1), ours over (3, 1). The first has no dropout before it.
        theirs = block.of(f"temopral_conv.conv{index + 1}", f"temporal_convolutions.layers.{index}")
        entries += theirs.of("0").both()
        entries += theirs.of("3" if index else "2", "3").both(trailing=1)
    return entries


def _spatial(transformer: Pair, is_split: bool) -> list[Entry]:
    entries = _temporal(transformer)
    if is_split:
        second = transformer.of("transformer_blocks.0.attn2", "block.attention2")
        entries += [
            *second.of("to_k_ip", "second_key").weight(),
            *second.of("to_v_ip", "second_value").weight(),
            second.of("alpha", "second_weight").entry(is_scalar=True),
        ]
    return entries


def _temporal(transformer: Pair, trailing: int = 0) -> list[Entry]:
    block = transformer.of("transformer_blocks.0", "block")
    entries = [
        *transformer.of("norm").both(),
        *transformer.of("proj_in").both(trailing),
        *transformer.of("proj_out").both(trailing),
        *block.of("ff.net.0.proj", "feed_forward.proj_in").both(),
        *block.of("ff.net.2", "feed_forward.proj_out").both(),
        *block.of("norm3").both(),
    ]
    for index in (1, 2):
        attention = block.of(f"attn{index}", f"attention{index}")
        entries += [
            *block.of(f"norm{index}").both(),
            *attention.of("to_q", "query").weight(),
            *attention.of("to_k", "key").weight(),
            *attention.of("to_v", "value").weight(),
            *attention.of("to_out.0", "out").both(),
        ]
    return entries


def autoencoder_names(config: AutoencoderConfig) -> list[Entry]:
    """The autoencoder: latent diffusion's names beside diffusers'."""
    pair = Pair("", "")
    widths, last = config.block_channels, len(config.block_channels) - 1
    entries = [
        *pair.of("quant_conv").both(),
        *pair.of("post_quant_conv").both(),
    ]
    for side in ("encoder", "decoder"):
        part = pair.of(side)
        entries += [
            *part.of("conv_in").both(),
            *part.of("norm_out", "conv_norm_out").both(),
            *part.of("conv_out").both(),
            *_vae_block(part.of("mid.block_1", "mid_block.resnets.0"), has_skip=False),
            *_vae_block(part.of("mid.block_2", "mid_block.resnets.1"), has_skip=False),
        ]
        if config.has_mid_attention:
            entries += _vae_attention(part.of("mid.attn_1", "mid_block.attentions.0"))
    for level, width in enumerate(widths):
        before = widths[max(level - 1, 0)]
        down = pair.of(f"encoder.down.{level}", f"encoder.down_blocks.{level}")
        for index in range(config.layers_per_block):
            skips = index == 0 and before != width
            entries += _vae_block(down.of(f"block.{index}", f"resnets.{index}"), skips)
        if level < last:
            entries += down.of("downsample.conv", "downsamplers.0.conv").both()
        # Theirs counts the decoder's levels from the finest, diffusers in the order they run.
        before = widths[min(level + 1, last)]
        up = pair.of(f"decoder.up.{level}", f"decoder.up_blocks.{last - level}")
        for index in range(config.layers_per_block + 1):
            skips = index == 0 and before != width
            entries += _vae_block(up.of(f"block.{index}", f"resnets.{index}"), skips)
        if level > 0:
            entries += up.of("upsample.conv", "upsamplers.0.conv").both()
    return entries


def _vae_block(block: Pair, has_skip: bool) -> list[Entry]:
    entries = [entry for name in ("norm1", "conv1", "norm2", "conv2") for entry in block.of(name).both()]
    return entries + (block.of("nin_shortcut", "conv_shortcut").both() if has_skip else [])


def _vae_attention(attention: Pair) -> list[Entry]:
    # Convolutions over one pixel there, linear layers here.
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    entries = attention.of("norm", "group_norm").both()
    return entries + [
        e for theirs, ours in names.items() for e in attention.of(theirs, ours).both(trailing=2)
    ]

"""One check a kind of golden: recompute every recorded output that has a counterpart in our code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from divot.config.models import SamplerConfig, ScheduleConfig
from divot.detokenizer.sampler import guided, sample_ddim
from divot.detokenizer.schedule import NoiseSchedule, zero_terminal_snr
from divot.detokenizer.unet import VideoUNet
from divot.detokenizer.vae import build_autoencoder
from divot.lm.heads import Mixture
from divot.video.clips import official_comprehension_indices, official_reconstruction_indices
from divot.weights.latent_names import autoencoder_names, unet_names
from divot.weights.official_schedule import schedule_buffers
from parity.golden import Golden, Row
from parity.language_model import SAMPLES, check_llm, mask_of_mistral
from parity.norms import check_norm_eps
from parity.rebuild import (
    autoencoder_config,
    detokenizer_config,
    load,
    rebuild_detokenizer,
    rebuild_tokenizer,
    strided,
    tokenizer_config,
    unet_config,
)

SPACINGS = {"uniform": "uniform", "uniform_trailing": "trailing"}


def check_tokenizer(golden: Golden) -> list[Row]:
    config = tokenizer_config(golden.config["vit"], golden.config["tokenizer"])
    tokenizer = rebuild_tokenizer(config, golden.weights())
    outputs, rows = golden.outputs(), []
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple, object], None]:
        def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
            seen[name] = getattr(output, "last_hidden_state", output)  # type: ignore[assignment]

        return hook

    tokenizer.vit.backbone.register_forward_hook(keep("vit"))
    tokenizer.vit.backbone.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.update(preprocessed=kwargs["pixel_values"]), with_kwargs=True
    )
    for ours, theirs in (
        ("temporal", "temporal"),
        ("norm", "pool_norm"),
        ("spatiotemporal", "spatiotemporal"),
    ):
        tokenizer.get_submodule(ours).register_forward_hook(keep(theirs))
    for name, frames in golden.inputs().items():
        case = name.removeprefix("frames_u8_")
        with torch.no_grad():
            seen["tokens"] = tokenizer(frames.float() / 255 * 2 - 1)
        values = {
            "preprocessed_frame0_full": seen["preprocessed"][0],
            "vit_frame_last": seen["vit"][-1],
            "pool_norm": seen["pool_norm"],
            "spatiotemporal": seen["spatiotemporal"],
            "tokens": seen["tokens"],
        }
        if (recorded := outputs.get(f"{case}_preprocessed_strided")) is not None:
            x = strided(seen["preprocessed"], recorded.shape[-2], -2, usual=9)
            values["preprocessed_strided"] = strided(x, recorded.shape[-1], -1, usual=9)
        if (recorded := outputs.get(f"{case}_vit_strided")) is not None:
            values["vit_strided"] = strided(seen["vit"], recorded.shape[1], 1, usual=8)
        if (recorded := outputs.get(f"{case}_temporal_strided")) is not None:
            values["temporal_strided"] = strided(seen["temporal"], recorded.shape[0], 0, usual=4)
        rows += [golden.compare(f"{case}_{k}", v) for k, v in values.items() if f"{case}_{k}" in outputs]
    return rows


def rebuild_unet(golden: Golden) -> VideoUNet:
    config = unet_config(golden.config["unet"])
    unet = VideoUNet(config)
    load(unet, unet_names(config), golden.weights())
    return unet


@torch.no_grad()
def check_unet(golden: Golden) -> list[Row]:
    unet = rebuild_unet(golden)
    inputs, outputs = golden.inputs(), golden.outputs()
    x, times, stride = inputs["x"], inputs["timesteps"], inputs.get("fs")
    contexts = {k.removeprefix("context_"): v for k, v in inputs.items() if k.startswith("context_")}
    first = str(golden.config["ctx"][0])
    parts: dict[str, Tensor] = {}
    hooks = [unet.time_embedding.register_forward_hook(lambda _m, _i, out: parts.update(time_embed=out))]
    if unet.stride_embedding is not None:
        hooks.append(
            unet.stride_embedding.register_forward_hook(lambda _m, _i, out: parts.update(fps_embed=out))
        )
    trace: list[Tensor] = []

    def traced(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        output = output.double()
        trace.append(torch.stack([output.mean(), output.pow(2).mean().sqrt()]))

    blocks = [unet.conv_in, *unet.encoder, unet.middle_resblock, *unet.decoder]
    if unet.initial_temporal is not None:
        blocks.append(unet.initial_temporal)
    hooks += [block.register_forward_hook(traced) for block in blocks]
    values = {f"y_ctx{first}": unet(x, times, contexts[first], stride)}
    for hook in hooks:
        hook.remove()
    values |= {**parts, "trace_mean_rms": torch.stack(trace)}
    values["y_fs_none"] = unet(x, times, contexts[first])
    values["y_t_zero"] = unet(x, torch.zeros_like(times), contexts[first], stride)
    for name, context in contexts.items():
        if name != first:
            values[f"y_ctx{name}"] = unet(x, times, context, stride)
    return [golden.compare(name, value) for name, value in values.items() if name in outputs]


@torch.no_grad()
def check_vae(golden: Golden) -> list[Row]:
    config = autoencoder_config(golden.config["vae"])
    vae = build_autoencoder(config)
    load(vae, autoencoder_names(config), golden.weights())
    inputs = golden.inputs()
    posterior = vae.encode(inputs["image"]).latent_dist
    values = {
        "moments": posterior.parameters,
        "mean": posterior.mean,
        "logvar": posterior.logvar,
        "sample": posterior.mean + posterior.std * inputs["posterior_noise"],
        "decoded": vae.decode(inputs["latent"]).sample,
    }
    return [golden.compare(name, value) for name, value in values.items() if name in golden.outputs()]


def check_schedule(golden: Golden) -> list[Row]:
    recorded = golden.config
    config = ScheduleConfig(recorded["steps"], recorded["linear_start"], recorded["linear_end"])
    schedule = NoiseSchedule(config)
    linear = NoiseSchedule(ScheduleConfig(config.num_timesteps, config.beta_start, config.beta_end, False))
    cumulative = torch.from_numpy((1.0 - schedule.betas).cumprod())
    values: dict[str, Tensor] = {
        "betas_linear_f64": torch.from_numpy(linear.betas),
        "betas_zero_snr_f64": torch.from_numpy(zero_terminal_snr(linear.betas)),
        "alphas_cumprod_f64": cumulative,
        "alphas_cumprod_f16": schedule.alphas_cumprod.half(),
        **{f"buffer/{name}": buffer for name, buffer in schedule_buffers(schedule).items()},
    }
    rows = []
    for name in golden.outputs():
        if name.startswith("S"):
            values |= _sampling_values(schedule, name.split("/")[0])
    for name in golden.outputs():
        if name in values:
            rows.append(golden.compare(name, values[name], tolerance=1e-6))
    return rows + _irregular_steps(golden, schedule)


def _irregular_steps(golden: Golden, schedule: NoiseSchedule) -> list[Row]:
    """Numbers of steps that do not divide the schedule: how many times there are, and the outermost ones."""
    key = "steps_irregular_S_to__n_uniform_max_uniform_n_trailing_min_max"
    wrong, table = 0, golden.meta.get(key) or {}
    for text, (n_uniform, max_uniform, n_trailing, low, high) in table.items():
        steps = int(text)
        try:
            times = schedule.timesteps(steps, "uniform", official_quirks=True)
            wrong += (len(times), times.max()) != (n_uniform, max_uniform)
        except ValueError:
            # Right where the official code, too, fails: a time beyond the schedule.
            wrong += max_uniform < schedule.config.num_timesteps
        times = schedule.timesteps(steps, "trailing", official_quirks=True)
        # The official code goes one step too far for some numbers, to time -1, and gives no usable result.
        wanted = (n_trailing, low, high) if low >= 0 else (steps, max(times.min(), 0), high)
        wrong += (len(times), times.min(), times.max()) != wanted
    return [Row(golden.name, f"irregular numbers of steps ({len(table)})", wrong)] if table else []


def _sampling_values(schedule: NoiseSchedule, case: str) -> dict[str, Tensor]:
    # Named like S50_uniform_trailing_eta1.
    steps, rest = case[1:].split("_", 1)
    spacing, eta = rest.rsplit("_eta", 1)
    times = schedule.timesteps(int(steps), SPACINGS[spacing], official_quirks=True)
    values = {"timesteps": torch.from_numpy(times)}
    for suffix, quirks in (("rounded", True), ("unrounded", False)):
        found = schedule.ddim_coefficients(times, float(eta), official_quirks=quirks)
        alphas, previous, sigmas = (torch.from_numpy(x) for x in found)
        values |= {f"alphas_{suffix}": alphas, f"alphas_prev_{suffix}": previous, f"sigmas_{suffix}": sigmas}
    values["sigmas_rounded_f64"] = values["sigmas_rounded"]
    return {f"{case}/{name}": value for name, value in values.items()}


def check_ddim(golden: Golden) -> list[Row]:
    unet = rebuild_unet(golden)
    inputs, outputs, schedule = golden.inputs(), golden.outputs(), NoiseSchedule(ScheduleConfig())
    rows = []
    for run, settings in golden.config["runs"].items():
        sampler = SamplerConfig(
            num_steps=settings.get("S", golden.config["S"]),
            spacing=SPACINGS[settings["spacing"]],
            eta=settings["eta"],
            guidance_scale=settings["scale"],
            guidance_rescale=settings["rescale"],
        )
        predict = guided(
            lambda x, t: unet(x, t, inputs["cond"], inputs["fs"]),
            lambda x, t: unet(x, t, inputs["uncond"], inputs["fs"]),
            sampler.guidance_scale,
            sampler.guidance_rescale,
        )
        steps: list[tuple[Tensor, Tensor]] = []
        sample = sample_ddim(
            predict,
            schedule,
            inputs["x_T"],
            sampler,
            official_quirks=True,
            noises=inputs["noises"],
            on_step=lambda _done, x, x0, steps=steps: steps.append((x, x0)),
        )
        times = schedule.timesteps(sampler.num_steps, sampler.spacing, official_quirks=True)
        _, previous, sigmas = schedule.ddim_coefficients(times, sampler.eta, official_quirks=True)
        values = {
            "x": torch.stack([x for x, _ in steps]),
            "pred_x0": torch.stack([x0 for _, x0 in steps]),
            "sample": sample,
            "timesteps": torch.from_numpy(times),
            "a_prev": torch.from_numpy(previous),
            "sigma": torch.from_numpy(sigmas),
        }
        rows += [golden.compare(f"{run}/{k}", v) for k, v in values.items() if f"{run}/{k}" in outputs]
    return rows


@torch.no_grad()
def check_detokenizer(golden: Golden) -> list[Row]:
    inputs, outputs, weights, recorded = golden.inputs(), golden.outputs(), golden.weights(), golden.config
    config = tokenizer_config(recorded["video_tokenizer"]["vit"], recorded["video_tokenizer"]["tokenizer"])
    prefix = "video_tokenizer."
    tokenizer = rebuild_tokenizer(
        config, {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    x_T, tokens = inputs["x_T"], inputs["video_embeds"]
    detokenizer_settings = detokenizer_config(recorded, x_T.shape[2], tokens.shape[1])
    buffers = schedule_buffers(NoiseSchedule(detokenizer_settings.schedule))
    rest = {k: v for k, v in weights.items() if not k.startswith(prefix) and k not in buffers}
    detokenizer = rebuild_detokenizer(detokenizer_settings, rest)
    for name, buffer in buffers.items():
        torch.testing.assert_close(
            buffer, weights[name], rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )

    size = recorded["detokenizer"]["image_size"]
    null = tokenizer(torch.zeros(1, config.num_frames, 3, size, size))
    detokenizer.null_tokens.copy_(null[0])
    context = detokenizer.projector(tokens)
    uncond = detokenizer.projector(detokenizer.null_tokens[None])
    rows = [golden.compare("cond", context), golden.compare("uncond", uncond)]
    for run, settings in recorded["runs"].items():
        stride = torch.full((x_T.shape[0],), settings.get("fs", 3))
        sampler = SamplerConfig(
            num_steps=settings["ddim_steps"],
            spacing=SPACINGS[settings.get("timestep_spacing", "uniform")],
            eta=settings.get("ddim_eta", 1.0),
            guidance_scale=recorded["detokenizer"]["unconditional_guidance_scale"],
            guidance_rescale=settings.get("guidance_rescale", 0.7),
        )
        predict = guided(
            lambda x, t, s=stride: detokenizer.unet(x, t, context, s),
            lambda x, t, s=stride: detokenizer.unet(x, t, uncond.expand(x.shape[0], -1, -1), s),
            sampler.guidance_scale,
            sampler.guidance_rescale,
        )
        latents = sample_ddim(
            predict, detokenizer.schedule, x_T, sampler, official_quirks=True, noises=inputs["noises"]
        )
        values = {"latent": latents}
        if (wanted := outputs.get(f"{run}/video_strided")) is not None:
            video = detokenizer.decode_latents(latents).transpose(1, 2)
            values["video_strided"] = strided(video, wanted.shape[2], 2, usual=5)
        rows += [golden.compare(f"{run}/{name}", value) for name, value in values.items()]
    return rows


def check_clips(golden: Golden) -> list[Row]:
    """Frame indices have to be equal; the error is the number of videos with any other."""
    wrong = {"comp": 0, "recon": 0}
    for row in golden.meta["rows"]:
        count, rate = row["num_frames"], row["fps"]
        clips = official_comprehension_indices(count, rate)
        comp, recon = row["comp"], row["recon"]
        is_same = [i for clip in clips for i in clip] == comp["indices"] and len(clips) == comp["num_clips"]
        wrong["comp"] += not is_same
        wrong["recon"] += list(official_reconstruction_indices(count, rate)) != recon["indices"]
    return [Row(golden.name, f"{name} ({len(golden.meta['rows'])} videos)", n) for name, n in wrong.items()]


def check_gmm(golden: Golden) -> list[Row]:
    inputs, rows = golden.inputs(), []
    for case, sizes in golden.config["cases"].items():
        plain = Mixture.from_parameters(inputs[f"{case}/params"], sizes["k"])
        component, noise = inputs[f"{case}/component"], inputs[f"{case}/eps"]
        for var_scale in golden.config["var_scales"]:
            mixture = plain.scaled(var_scale)
            shape = mixture.logits.shape[:2]
            values = {
                "means": mixture.means,
                "variances": mixture.variances,
                "logits": mixture.logits,
                "loss": mixture.nll(inputs[f"{case}/targets"]).view(1),
                "predict": mixture.mean(),
            }
            samples = {
                "sample": mixture.point(component.view(shape), noise.unflatten(0, shape)),
                # Of all components at once, which neither code draws for a clip.
                "sample_weighted": replace(
                    mixture, means=mixture.means + mixture.variances.sqrt() * inputs[f"{case}/eps_all"]
                ).mean(),
            }
            run = f"{case}/vs{var_scale:g}"
            rows += [golden.compare(f"{run}/{name}", value) for name, value in values.items()]
            rows += [golden.compare(f"{run}/{name}", value, SAMPLES) for name, value in samples.items()]
    return rows


def check_llm_masks(golden: Golden) -> list[Row]:
    inputs, rows = golden.inputs(), []
    for name, recorded in golden.outputs().items():
        case, kind = name.split("/")
        values = inputs[f"{case}/attention_mask"]
        num_rows = recorded.shape[1]
        ours = mask_of_mistral(values, num_rows, golden.config[case].get("sw"))
        if kind == "sdpa_may_attend":
            # A row that may look nowhere (left padding) is open to everything there: its softmax stays finite.
            ours |= ~ours.any(dim=-1, keepdim=True)
        rows.append(golden.compare(name, ours))
    return rows


CHECKS: dict[str, Callable[[Golden], list[Row]]] = {
    "tokenizer": check_tokenizer,
    "unet": check_unet,
    "vae": check_vae,
    "schedule": check_schedule,
    "ddim": check_ddim,
    "detokenizer": check_detokenizer,
    "norm_eps": check_norm_eps,
    "clips": check_clips,
    "gmm": check_gmm,
    "llm_masks": check_llm_masks,
    "llm": check_llm,
}

"""The one training loop: clips in, steps, measures, pictures, checkpoints, weights out.

A run lives in a folder: config.yaml, metrics.jsonl, tensorboard/, samples/, checkpoints/, and the
weights in model/ (vae/ for that stage). The same command on the same folder goes on from its last
checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from torch.distributed.tensor import DTensor

from divot.config.errors import CheckpointError, RecipeError
from divot.config.files import Lock, write_text
from divot.config.merge import from_mapping
from divot.config.training import TrainConfig
from divot.train.batches import Part, steps
from divot.train.blocks import compile_blocks, gathered, recompute_activations, shard
from divot.train.memory import keep_freed_memory
from divot.train.optimizers import build_optimizers, rate_share
from divot.train.stage import Stage, build_stage
from divot.train.state import (
    CheckpointWriter,
    MovingAverage,
    TrainState,
    checkpoints,
    frozen_mark,
    load_checkpoint,
    told_if_unwritable,
)

log = logging.getLogger(__name__)
CONFIG_FILE = "config.yaml"
# Steps left out in a row, for losses or gradients that are not numbers or are spikes, after which the run stops.
MAX_SKIPPED_IN_A_ROW = 20


@dataclass
class Progress:
    """What a run tells while it goes on."""

    step: int
    num_steps: int
    loss: float
    """Of this step alone."""
    clips_per_s: float
    measures: dict[str, float] = field(default_factory=dict)
    """Means since the last time."""


def train(
    config: TrainConfig,
    run_folder: str | Path,
    max_minutes: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    use_cpu: bool = False,
) -> Path:
    """Train, or go on training, the run in `run_folder`.

    Args:
        config: all settings of the run; those of an interrupted run must be the same.
        run_folder: made if absent.
        max_minutes: stop with a checkpoint and weights after so long; the next call goes on.
        on_progress: called after every logged step.
        use_cpu: leave an accelerator unused.

    Returns:
        Folder of the weights (moving average).

    Raises:
        RecipeError: if the settings contradict each other or those the run was begun with.
        CheckpointError: if the run cannot be taken up or written, or too many steps in a row must be left out.
        DataError: if another process trains in this folder.
    """
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
    run = Path(run_folder)
    config.check(str(run))
    # Gradients are kept once, not a second time for the exchange between processes.
    exchange = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    accelerator = Accelerator(mixed_precision=config.precision, cpu=use_cpu, kwargs_handlers=[exchange])
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    if accelerator.is_main_process:
        _refuse_other_config(config, run)
    torch.manual_seed(config.seed)
    stage = build_stage(config)
    stage.prepare()
    if not accelerator.is_main_process:
        return _go_on(config, run, stage, accelerator, deadline, on_progress)
    # Settings with which a run cannot begin leave nothing behind.
    run.mkdir(parents=True, exist_ok=True)
    with Lock(run):
        _keep_config(config, run)
        return _go_on(config, run, stage, accelerator, deadline, on_progress)


def _go_on(
    config: TrainConfig,
    run: Path,
    stage: Stage,
    accelerator: Accelerator,
    deadline: float | None,
    on_progress: Callable[[Progress], None] | None,
) -> Path:
    """The steps that are left, up to `deadline` on the monotonic clock; gives the folder of the weights."""
    mark = frozen_mark(stage.module)
    is_sharded = config.sharded and accelerator.num_processes > 1
    module = stage.module if is_sharded else stage.module.to(accelerator.device)
    decay = config.optimizer.ema_decay
    average = MovingAverage(module, decay) if decay else None
    if is_sharded:
        for copy in (module, *([] if average is None else [average.module])):
            shard(copy, accelerator.device)
    optimizers = build_optimizers(module, config.optimizer)
    state = TrainState(module, optimizers, average, config.optimizer.spike_factor, mark)
    saved = checkpoints(run / "checkpoints")
    if saved:
        load_checkpoint(state, saved[-1], accelerator)
        log.info("going on from step %d", state.step)
    if config.recompute:
        recompute_activations(module)
    if config.compile:
        compile_blocks(module)
    prepared = module if is_sharded else accelerator.prepare(module)
    optimizers = [accelerator.prepare_optimizer(o) for o in optimizers]
    monitor = _Monitor(run, state.step, enabled=accelerator.is_main_process)
    stop = _StopSignal()
    seen_since, since, skipped_in_a_row = 0, time.monotonic(), 0
    since_log: dict[str, list[float]] = {}
    weights = run / ("vae" if config.stage == "vae" else "model")
    was_stopped = False
    with stop, CheckpointWriter(run / "checkpoints", config.keep_checkpoints, accelerator) as writer:
        for parts in steps(config, stage, state.step, run / "rejects.jsonl", accelerator):
            prepared.train()
            num_clips = accelerator.num_processes * sum(len(part.chances) for part in parts)
            share = rate_share(state.step, config.num_steps, config.optimizer)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = share * group["highest_lr"]
            # All chance of a step comes from its number: a run that goes on repeats what an unbroken one does.
            seeds = np.random.SeedSequence([config.seed, state.step, accelerator.process_index])
            torch.manual_seed(int(seeds.generate_state(1)[0]))
            stage.begin_step([part.batch for part in parts])
            mean_loss, measures = _gradients(prepared, parts, accelerator)
            norm = math.nan
            if math.isfinite(mean_loss):
                norm = _clipped(module, config.optimizer.clip_norm, accelerator)
            # One bad step would spoil optimizer and moving average for good: it is left out, and counted.
            is_sound = math.isfinite(norm) and not state.is_spike(norm)
            if is_sound:
                for optimizer in optimizers:
                    optimizer.step()
                state.update_average()
                state.norms.append(norm)
                skipped_in_a_row = 0
            else:
                skipped_in_a_row += 1
                state.num_skipped += 1
                first = state.step * config.batch_size
                monitor.skipped(state.step, range(first, first + num_clips), mean_loss, norm)
                if skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                    raise CheckpointError(
                        run,
                        f"{skipped_in_a_row} losses or gradients in a row are not numbers, or far above the usual",
                        "Look at the samples named in its skipped.jsonl, or lower the learning rates of the optimizer",
                    )
            for optimizer in optimizers:
                optimizer.zero_grad()
            for told_of in ({"loss": mean_loss, "gradient_norm": norm}, *measures):
                for name, value in told_of.items():
                    if math.isfinite(value):
                        since_log.setdefault(name, []).append(value)
            state.step += 1
            state.num_clips += num_clips
            seen_since += num_clips
            if state.step % config.log_every == 0 or state.step == config.num_steps:
                now = time.monotonic()
                means = {f"{name}_mean": sum(values) / len(values) for name, values in since_log.items()}
                told = Progress(state.step, config.num_steps, mean_loss, seen_since / (now - since), means)
                seen_since, since, since_log = 0, now, {}
                monitor.log(told, share * config.optimizer.learning_rate, state)
                if on_progress is not None:
                    on_progress(told)
            # A sharded model runs in all processes or in none: it is not shown.
            is_shown = is_sound and not is_sharded and accelerator.is_main_process
            if state.step % config.sample_every == 0 and is_shown:
                batch = parts[0].batch.to(accelerator.device)
                stage.show(state.averaged.eval(), batch, run / "samples" / f"step_{state.step:08d}")
            # All processes leave at the same step, whichever of them was asked to.
            is_late = deadline is not None and time.monotonic() > deadline
            asked = torch.tensor([float(stop.asked), float(is_late)], device=accelerator.device)
            was_stopped, was_late = (bool(n > 0) for n in accelerator.reduce(asked, reduction="sum"))
            is_over = was_stopped or was_late
            if state.step % config.checkpoint_every == 0 or is_over or state.step == config.num_steps:
                writer.begin(state)
            writer.settle()
            if is_over:
                break
    monitor.close()
    whole = gathered(state.averaged) if is_sharded else {}
    if accelerator.is_main_process:
        left = state.averaged
        if is_sharded:
            stage = build_stage(config)
            left = stage.module
            left.load_state_dict(whole)
        with told_if_unwritable(weights):
            stage.save(left, weights)
    accelerator.wait_for_everyone()
    if was_stopped:
        raise KeyboardInterrupt
    return weights


def _clipped(module: nn.Module, most: float, accelerator: Accelerator) -> float:
    """The norm of all gradients, which are scaled down where it is above `most`; 0 leaves them."""
    norm = accelerator.clip_grad_norm_(module.parameters(), most or math.inf)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _gradients(
    prepared: nn.Module, parts: list[Part], accelerator: Accelerator
) -> tuple[float, list[dict[str, float]]]:
    """Add up the gradients of a step's mean loss.

    Returns:
        The mean loss over the parts of all processes, not a number as soon as one of them is not; and the measures of
        each part of this process.
    """
    total, measures = 0.0, []
    for index, part in enumerate(parts):
        is_last = index + 1 == len(parts)
        # The processes exchange gradients once a step, but for those of sharded weights.
        with nullcontext() if is_last else accelerator.no_sync(prepared):
            with accelerator.autocast():
                loss, told = prepared(part.batch.to(accelerator.device), part.chances)
            total += float(accelerator.reduce(loss.detach(), reduction="mean")) / len(parts)
            if not math.isfinite(total):
                break
            accelerator.backward(loss / len(parts))
            measures.append(told)
    return total, measures


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Through JSON: tuples become the lists that YAML knows."""
    settings: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return settings


def _refuse_other_config(config: TrainConfig, run: Path) -> None:
    place, settings = run / CONFIG_FILE, _plain(config)
    # Without a checkpoint there is nothing to go on with.
    if place.exists() and checkpoints(run / "checkpoints"):
        # Settings that an older version did not know are at their defaults.
        written = from_mapping(TrainConfig, yaml.safe_load(place.read_text(encoding="utf-8")), place)
        before = _plain(written)
        changed = [key for key in settings if before[key] != settings[key]]
        if changed:
            raise RecipeError(
                place,
                f"the run was begun with another {', '.join(changed)}",
                "Use another run folder, or these settings",
            )


def _keep_config(config: TrainConfig, run: Path) -> None:
    write_text(run / CONFIG_FILE, yaml.safe_dump(_plain(config), sort_keys=False))


class _Monitor:
    """metrics.jsonl, and tensorboard where it is installed; lines after the step taken up are dropped."""

    def __init__(self, run: Path, step: int, enabled: bool) -> None:
        self.enabled, self.writer = enabled, None
        if not enabled:
            return
        self.path, self.skipped_path = run / "metrics.jsonl", run / "skipped.jsonl"
        for path in (self.path, self.skipped_path):
            if path.exists():
                lines = [
                    line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step
                ]
                write_text(path, "".join(f"{line}\n" for line in lines))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("tensorboard is not installed: measures go to metrics.jsonl alone")
        else:
            self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def log(self, told: Progress, rate: float, state: TrainState) -> None:
        if not self.enabled:
            return
        row = {
            "step": told.step,
            "clips": state.num_clips,
            # A step that was left out may have none.
            **({"loss": told.loss} if math.isfinite(told.loss) else {}),
            **{k: v for k, v in told.measures.items() if math.isfinite(v)},
            "learning_rate": rate,
            "clips_per_s": round(told.clips_per_s, 3),
            "skipped": state.num_skipped,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.writer is not None:
            for key, value in row.items():
                if key != "step":
                    self.writer.add_scalar(key, value, told.step)

    def skipped(self, step: int, samples: range, loss: float, norm: float) -> None:
        """Note a step that is left out, and the numbers of its samples."""
        if not self.enabled:
            return
        row = {
            "step": step + 1,
            "samples": list(samples),
            "loss": loss if math.isfinite(loss) else None,
            "gradient_norm": norm if math.isfinite(norm) else None,
        }
        with self.skipped_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # The last line of a killed run may be cut.
        return math.inf


class _StopSignal:
    """Within its block, Ctrl-C and SIGTERM ask for a stop after the step at hand; a second Ctrl-C breaks it off.

    A second SIGTERM does not: launchers pass on one that each process has had already.
    """

    asked = False

    def __enter__(self) -> _StopSignal:
        # Python lets only the main thread handle signals.
        is_main = threading.current_thread() is threading.main_thread()
        self.before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM) if is_main}
        for number in self.before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

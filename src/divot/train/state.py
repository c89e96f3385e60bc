"""All that a run has to remember, in one object, written through torch.distributed.checkpoint.

A checkpoint is a folder `step_00000200`, written beside its place while training goes on, and renamed: whole or absent.
Each process writes its share; any number of processes can take it up.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import math
import re
import shutil
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from typing_extensions import Self

from divot.config.errors import CheckpointError

# One process without a process group is what most runs are. A thread writes: a block around it would catch nothing.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
# Gradient norms that the median is taken of, and how many there must be before one is called a spike.
NUM_NORMS, MIN_NORMS = 100, 20


class MovingAverage:
    """A moving average of a module's weights; frozen ones, and all at the beginning, are those of the module.

    Args:
        module: the module.
        decay: share of the average that stays in each step; in update n, from 0, at most (1 + n) / (10 + n), so that a
            short run does not keep the weights that it began with (as TensorFlow's ExponentialMovingAverage does).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        # Frozen weights may be many times those that are trained: they are shared, not copied.
        shared: dict[int, Any] = {id(p): p for p in module.parameters() if not p.requires_grad}
        self.module, self.decay = copy.deepcopy(module, shared).eval(), decay

    @torch.no_grad()
    def update(self, module: nn.Module, number: int) -> None:
        """Take trained weights into the average, in update `number`; buffers are copied."""
        kept, trained = (_trained(one) for one in (self.module, module))
        torch._foreach_lerp_(kept, trained, 1 - min(self.decay, (1 + number) / (10 + number)))
        for buffer, new in zip(self.module.buffers(), module.buffers(), strict=True):
            buffer.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """What is averaged, and buffers."""
        named = self.module.named_parameters(remove_duplicate=False)
        frozen = {name for name, parameter in named if not parameter.requires_grad}
        return {name: value for name, value in self.module.state_dict().items() if name not in frozen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.module.load_state_dict(state, strict=False)


def _trained(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def frozen_mark(module: nn.Module) -> int:
    """A number that tells whether the frozen weights of a module are the same: a run takes them up from where it began.

    Of sums in float64, rounded, so that the order of adding does not count.
    """
    digest = hashlib.sha256()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            size = float(torch.linalg.vector_norm(parameter, 1, dtype=torch.float64))
            lean = float(parameter.sum(dtype=torch.float64)) / size if size else 0.0
            digest.update(f"{name} {size:.6e} {round(lean, 6) + 0.0}\n".encode())
    return int.from_bytes(digest.digest()[:7], "big")


class TrainState:
    """Module, optimizers, moving average, step, data position and random state of a run; a Stateful of torch.

    Args:
        module: what is trained.
        optimizers: of its parameters.
        average: of its weights, if there is one.
        spike_factor: see `is_spike`; 0 keeps no norms.
        mark: of the frozen weights, see `frozen_mark`.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: list[torch.optim.Optimizer],
        average: MovingAverage | None,
        spike_factor: float = 0.0,
        mark: int = 0,
    ) -> None:
        self.module, self.optimizers, self.spike_factor, self.mark = module, optimizers, spike_factor, mark
        self._average = average
        self.step = 0
        self.num_clips = 0
        """Drawn by all processes since the first step."""
        self.num_skipped = 0
        """Steps left out because the loss was not a number, or the gradient a spike."""
        self.norms: deque[float] = deque(maxlen=NUM_NORMS)
        """Gradient norms of the last steps that were taken."""

    @property
    def averaged(self) -> nn.Module:
        """The module with the moving average of the weights; without one, the module itself."""
        return self.module if self._average is None else self._average.module

    def is_spike(self, norm: float) -> bool:
        """Whether a gradient norm is more than `spike_factor` times the median of the last ones."""
        is_judged = self.spike_factor > 0 and len(self.norms) >= MIN_NORMS
        return is_judged and norm > self.spike_factor * median(self.norms)

    def update_average(self) -> None:
        """Take the trained weights into the moving average."""
        if self._average is not None:
            self._average.update(self.module, self.step - self.num_skipped)

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors, under stable names."""
        # Frozen weights are those that the run began with: it begins with them again.
        options = StateDictOptions(ignore_frozen_params=True)
        weights, optimizers = get_state_dict(self.module, self.optimizers, options=options)
        state = {
            "module": weights,
            "optimizers": optimizers,
            "average": {} if self._average is None else self._average.state_dict(),
            "counts": torch.tensor([self.step, self.num_clips, self.num_skipped]),
            "frozen": torch.tensor(self.mark),
            "random": torch.get_rng_state(),
        }
        if self.spike_factor > 0:
            # One length at every step: checkpoints are read into tensors of the shape that was written.
            absent = [math.nan] * (NUM_NORMS - len(self.norms))
            state["norms"] = torch.tensor([*self.norms, *absent], dtype=torch.float64)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.mark = int(state["frozen"])
        set_state_dict(
            self.module,
            self.optimizers,
            model_state_dict=state["module"],
            optim_state_dict=state["optimizers"],
            options=StateDictOptions(ignore_frozen_params=True, strict=False),
        )
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.step, self.num_clips, self.num_skipped = (int(n) for n in state["counts"])
        torch.set_rng_state(state["random"].cpu().to(torch.uint8))
        if self.spike_factor > 0:
            norms = state["norms"].tolist()
            self.norms = deque((norm for norm in norms if not math.isnan(norm)), maxlen=NUM_NORMS)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = [p for p in folder.glob("step_*") if re.fullmatch(r"step_\d{8}", p.name)]
    return sorted(found)


class CheckpointWriter:
    """Writes the checkpoints of a run, one at a time, while the training goes on.

    Args:
        folder: of the checkpoints.
        keep: so many of the last ones stay.
        accelerator: of the run; every process makes one and calls it at the same steps.
    """

    def __init__(self, folder: Path, keep: int, accelerator: Accelerator) -> None:
        self.folder, self.keep, self.accelerator = folder, keep, accelerator
        self._place: Path | None = None
        self._written: Future[Any] | None = None
        # Of its own: the exchange of a checkpoint must not come between those of the training.
        is_shared = accelerator.num_processes > 1
        self._group = torch.distributed.new_group(backend="gloo") if is_shared else None
        if accelerator.is_main_process:
            # What a kill left half written, or half removed.
            for left in (*folder.glob(".step_*.partial"), *folder.glob(".step_*.old")):
                shutil.rmtree(left, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # These alone come to all processes together.
        if kind is None or issubclass(kind, CheckpointError):
            self.finish()

    def begin(self, state: TrainState) -> None:
        """Copy the state as it is now, and begin to write it to `folder/step_N`.

        Raises:
            CheckpointError: if the one before could not be written.
        """
        self.finish()
        self._place = self.folder / f"step_{state.step:08d}"
        beside = _beside(self._place)
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(beside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        with self._told_of(self._place):
            self._written = cast(
                "Future[Any]",
                dcp.async_save({"state": state}, checkpoint_id=beside, process_group=self._group),
            )

    def finish(self) -> None:
        """Wait for what is being written, put it in its place, and remove all but the last `keep`.

        Raises:
            CheckpointError: if it could not be written; the last one stays, and nothing half written.
        """
        if self._written is None:
            return
        assert self._place is not None
        written, self._written = self._written, None
        with self._told_of(self._place):
            written.result()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self._put_in_place(self._place)
        self.accelerator.wait_for_everyone()

    def settle(self) -> None:
        """Put what was written meanwhile in its place, without waiting: a kill from here on costs nothing of it."""
        if self.accelerator.is_main_process and self._written is not None and self._written.done():
            assert self._place is not None
            # The main process is done when all are; an error is told by `finish`, to all of them.
            if self._written.exception() is None:
                self._put_in_place(self._place)

    def _put_in_place(self, place: Path) -> None:
        beside = _beside(place)
        if not beside.exists():
            return
        if place.exists():
            _remove(place)
        beside.rename(place)
        for old in checkpoints(self.folder)[: -self.keep]:
            _remove(old)

    @contextmanager
    def _told_of(self, place: Path) -> Iterator[None]:
        try:
            with told_if_unwritable(place):
                yield
        except CheckpointError:
            shutil.rmtree(_beside(place), ignore_errors=True)
            raise


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.partial")


@contextmanager
def told_if_unwritable(place: Path) -> Iterator[None]:
    """Turn what a full or lost disk brings about, within the block that writes `place`, into an error for the user.

    Raises:
        CheckpointError: if the block cannot write.
    """
    try:
        yield
    except (OSError, SafetensorError, CheckpointException) as error:
        # dcp wraps what its writer raised, a value a process.
        causes = list(error.failures.values()) if isinstance(error, CheckpointException) else []
        first = causes[0][0] if causes else error
        reason = getattr(first, "strerror", None) or str(first)
        free_gb = shutil.disk_usage(next(p for p in place.parents if p.exists())).free / 1e9
        is_full = getattr(first, "errno", None) in (None, errno.ENOSPC, errno.EDQUOT)
        raise CheckpointError(
            place,
            f"cannot be written ({reason}; {free_gb:.2f} GB are free there)",
            f"{'Free some space' if is_full else 'See that the folder is there and may be written'}, then give the "
            "same command again: it goes on from the last whole checkpoint",
        ) from error


def _remove(place: Path) -> None:
    # Out of sight first: a kill while it is being deleted leaves nothing that looks whole.
    hidden = place.with_name(f".{place.name}.old")
    shutil.rmtree(hidden, ignore_errors=True)
    place.rename(hidden)
    shutil.rmtree(hidden)


def load_checkpoint(state: TrainState, place: Path, accelerator: Accelerator) -> None:
    """Go on from a checkpoint.

    Raises:
        CheckpointError: if it is damaged, belongs to a run of other settings, or to one of other frozen weights.
    """
    mark = state.mark
    try:
        dcp.load({"state": state}, checkpoint_id=place)
    except (Exception, CheckpointException) as error:
        # dcp wraps everything, from a missing file to another shape, in kinds of its own; the last is no Exception.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            place,
            f"cannot be taken up ({reason})",
            "Remove it to go on from the one before, or use another run folder",
        ) from error
    if state.mark != mark:
        raise CheckpointError(
            place,
            "was written with other weights than those that are there now and are not trained",
            "Put back what init_model (init_vae, language.backbone) named, or use another run folder",
        )

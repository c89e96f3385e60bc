"""Encoding on Ray Data: an actor pool on one machine or on a cluster, for `encode_videos`."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from divot.config.errors import RecipeError
from divot.pipelines.encode_workers import EncodeTask, Outcome, VideoEncoder

# A block is what Ray hands out and does again: millions of videos must not be millions of blocks.
_VIDEOS_PER_BLOCK = 16
_BLOCKS_PER_WORKER = 8
_RETRIES = 1
"""How often a block is done again whose worker died, before its videos are tried one by one."""
_OBJECT_STORE_BYTES = 200 * 10**6
"""Of a Ray that is started here: only names and times pass through it."""


class RayWorkers:
    """Actors of Ray, between one and `count` of them, each with its own copy of the tokenizer and one CPU.

    A worker that dies is replaced and its videos are done again. A video on which workers die again and again is
    named as one that cannot be read.

    Args:
        count: most actors.
        device: `auto` is `cuda` with GPUs and `cpu` without.
        gpus_per_worker: GPUs of each, or the share of one; without it they run on CPUs.
        address: of a running cluster (`auto`: of the machine this runs on); None starts Ray on this machine for as
            long as it is needed, or uses the one that this process is connected to.
    """

    def __init__(
        self, count: int, device: str = "auto", gpus_per_worker: float = 0.0, address: str | None = None
    ) -> None:
        self.count, self.gpus_per_worker, self.address = count, gpus_per_worker, address
        self.device = ("cuda" if gpus_per_worker else "cpu") if device == "auto" else device

    def outcomes(self, encoder: VideoEncoder, tasks: Sequence[EncodeTask]) -> Iterator[Outcome]:
        """An outcome for each task, in the order in which they are finished.

        Raises:
            RecipeError: if there is no cluster at the address.
            Exception: what a worker raised.
        """
        is_ours = not ray.is_initialized()
        if is_ours:
            self._connect()
        try:
            yield from self._outcomes(encoder, tasks)
        finally:
            if is_ours:
                ray.shutdown()

    def _outcomes(self, encoder: VideoEncoder, tasks: Sequence[EncodeTask]) -> Iterator[Outcome]:
        waiting = {task.name: task for task in tasks}
        per_block = min(_VIDEOS_PER_BLOCK, max(1, len(tasks) // (_BLOCKS_PER_WORKER * self.count)))
        # What a dying worker took along with it is tried once more, each video in a block of its own.
        for videos_per_block in (per_block, 1):
            if waiting:
                for outcome in self._run(encoder, list(waiting.values()), videos_per_block):
                    del waiting[outcome.name]
                    yield outcome
        for name in waiting:
            cause = (
                f"its worker died, {_RETRIES + 1} times (out of memory, or the file brings the reader down)"
            )
            yield Outcome(name, cause=cause)

    def _run(
        self, encoder: VideoEncoder, tasks: list[EncodeTask], videos_per_block: int
    ) -> Iterator[Outcome]:
        context = copy.deepcopy(DataContext.get_current())
        context.enable_progress_bars = context.print_on_execution_start = False
        # A block that is lost is missed by `_outcomes`; what a worker raises comes as a result.
        context.max_errored_blocks = -1
        # A worker has one block at a time, so that none suffers for what another one does: a pool whose workers are
        # all busy is one that may grow.
        context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
        # Ray takes classes too, which its types do not say.
        worker: Any = _Worker
        with DataContext.current(context):
            rows = ray.data.from_items(
                [{"task": pickle.dumps(task)} for task in tasks],
                override_num_blocks=-(-len(tasks) // videos_per_block),
            ).map(
                worker,
                fn_constructor_args=(encoder,),
                compute=ActorPoolStrategy(min_size=1, max_size=self.count, max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=self.gpus_per_worker or None,
                max_task_retries=_RETRIES,
            )
            for row in rows.iter_rows():
                found = pickle.loads(row["outcome"])
                if isinstance(found, Exception):
                    raise found
                yield found

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address is None:
            # A run on one's own machine tells nobody of it.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                "local",
                num_cpus=max(self.count, os.cpu_count() or 1),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
            return
        try:
            ray.init(self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            remedy = "Give the address of a running cluster (see `ray status`), or none to start Ray here"
            raise RecipeError(
                f"--ray-address {self.address}", f"cannot be reached ({error})", remedy
            ) from error


class _Worker:
    """An actor of the pool: the encoder, opened once."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self._encoder = encoder

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        try:
            found: Outcome | Exception = self._encoder(pickle.loads(row["task"]))
        except Exception as error:
            # As a result: what is raised here would be taken for a worker that died.
            found = error
        return {"outcome": pickle.dumps(found)}

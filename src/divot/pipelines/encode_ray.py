"""Encoding on Ray Data: an actor pool on one machine or on a cluster, for `encode_videos`."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from divot.config.errors import RecipeError
from divot.data.token_writer import BEGUN_PREFIX
from divot.pipelines.encode_workers import EncodeTask, Outcome, VideoEncoder

# A block is what Ray hands out and does again: millions of videos must not be millions of blocks.
_VIDEOS_PER_BLOCK = 16
_BLOCKS_PER_WORKER = 8
_MOST_BEGINNINGS = 3
"""How often a video is begun whose workers die on it."""
_OBJECT_STORE_BYTES = 200 * 10**6
"""Of a Ray that is started here: only names and times pass through it."""
_ANSWER_S = 10


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
            with TemporaryDirectory(prefix=BEGUN_PREFIX, dir=encoder.store) as begun:
                for row in self._rows(encoder, tasks, Path(begun)).iter_rows():
                    found = pickle.loads(row["outcome"])
                    if isinstance(found, Exception):
                        raise found
                    yield found
        finally:
            if is_ours:
                ray.shutdown()

    def _rows(self, encoder: VideoEncoder, tasks: Sequence[EncodeTask], begun: Path) -> ray.data.Dataset:
        per_block = min(_VIDEOS_PER_BLOCK, max(1, len(tasks) // (_BLOCKS_PER_WORKER * self.count)))
        context = copy.deepcopy(DataContext.get_current())
        context.enable_progress_bars = context.print_on_execution_start = False
        # A worker has one block at a time, so that none is begun by a worker that dies of another one: a pool whose
        # workers are all busy is one that may grow.
        context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
        # Ray takes classes too, which its types do not say.
        worker: Any = _Worker
        with DataContext.current(context):
            return ray.data.from_items(
                [{"task": pickle.dumps(task)} for task in tasks],
                override_num_blocks=-(-len(tasks) // per_block),
            ).map(
                worker,
                fn_constructor_args=(encoder, begun),
                compute=ActorPoolStrategy(min_size=1, max_size=self.count, max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=self.gpus_per_worker or None,
            )

    def _connect(self) -> None:
        # Divot names what is left out and what went wrong, in a line of its own; of a cluster Ray may tell more, such
        # as that there is no place for a worker yet.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        logging.getLogger("ray.data").setLevel(logging.CRITICAL if self.address is None else logging.WARNING)
        quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
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
            host, _, port = self.address.rpartition(":")
            if port.isdigit():
                # Ray itself waits for minutes.
                socket.create_connection((host, int(port)), _ANSWER_S).close()
            ray.init(self.address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            remedy = (
                "Give HOST:PORT of a running cluster, auto on one of its machines, or none to start Ray here"
            )
            raise RecipeError(
                f"--ray-address {self.address}", f"cannot be reached ({error})", remedy
            ) from error


class _Worker:
    """An actor of the pool: the encoder, opened once.

    Args:
        encoder: what encodes.
        begun: folder for a file for each video that was begun and is not done, a byte for each beginning.
    """

    def __init__(self, encoder: VideoEncoder, begun: Path) -> None:
        self._encoder, self._begun = encoder, begun

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        task: EncodeTask = pickle.loads(row["task"])
        try:
            found: Outcome | Exception = self._outcome(task)
        except Exception as error:
            # As a result: Ray would wrap it.
            found = error
        return {"outcome": pickle.dumps(found)}

    def _outcome(self, task: EncodeTask) -> Outcome:
        # Ray does again what a worker died of, without end.
        mark = self._begun / hashlib.sha256(task.name.encode()).hexdigest()
        with mark.open("ab") as file:
            if file.tell() == _MOST_BEGINNINGS:
                cause = f"{_MOST_BEGINNINGS} workers died on it (out of memory, or it brings the reader down)"
                return Outcome(task.name, cause=cause)
            file.write(b"x")
        outcome = self._encoder(task)
        mark.unlink()
        return outcome

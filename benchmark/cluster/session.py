"""A Ray cluster for as long as a run needs it: started on this machine, or joined by its address."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray._private import ray_constants
from ray._private import utils as ray_utils

from benchmark.cluster.exchange import exchanging
from benchmark.cluster.nodes import find
from benchmark.cluster.resources import Node, check_room
from benchmark.cluster.travel import runtime_env
from benchmark.common.terminal import ENDINGS
from benchmark.config.cluster import ClusterOptions, ExistingCluster, LocalCluster
from benchmark.errors import InputError

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # seconds are results: not behind everything else on the machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_task_oom_retries": "0",  # else Ray tries a task that is short of memory again for ever
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output obeys verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # TensorBoard is written by this project
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own stays when it has ended, and swallows the next Ctrl-C
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # as many as the searcher gives: actors start side by side
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def session(options: ClusterOptions, workers: Mapping[str, int] | None = None) -> Iterator[Sequence[Node]]:
    """``joined``, for trials. ``workers``: those of a trial, by the option that asks for them. InputError for a cluster
    that has no room for a trial, too."""
    with joined(options) as nodes:
        check_room(options, workers or {}, nodes)
        with exchanging() if isinstance(options, ExistingCluster) else nullcontext():
            yield nodes


@contextmanager
def joined(options: ClusterOptions) -> Iterator[Sequence[Node]]:
    """Ray is up inside of the block, and shut down or left behind it; gives its nodes. A Ray of our own is no other's,
    and listens on loopback alone.

    InputError for a cluster that cannot be joined.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths of the configuration mean the same in every process
    if isinstance(options, ExistingCluster):
        asked: dict[str, Any] = {"address": find(options).address, "runtime_env": runtime_env(options.install)}
    else:
        assert isinstance(options, LocalCluster)
        asked = {
            "address": "local",
            "num_cpus": options.cpus,
            "num_gpus": options.gpus,
            "include_dashboard": False,
            "object_store_memory": options.object_store_mb * 2**20,
        }
    local = asked["address"] == "local"
    try:
        with _starting(local) as came, _loopback() if local else nullcontext():
            ray.init(**asked, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        what = f"cluster={options.name}: Ray could not be {'started' if local else 'joined'}"
        raise InputError(f"{what} ({' '.join(str(error).split())[:300]}); docs/cluster.md says what it needs") from None
    try:
        for number in came:
            signal.raise_signal(number)
        for name, level in (("ray.tune", logging.CRITICAL), ("ray.train", logging.ERROR), ("ray", logging.ERROR)):
            logging.getLogger(name).setLevel(level)  # why a trial failed stands in its row
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        _shut_down()


@contextmanager
def _loopback() -> Iterator[None]:
    """Ray's switch for whole clusters on Windows and macOS: without it the address of a node that starts, which all of
    its processes listen on, is loopback. Ray reads the variable of that name only when it is imported."""
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


_starts = False


def _leave_group() -> None:
    if _starts and sys.platform == "linux":  # elsewhere Ray ends its processes by their group
        os.setpgid(0, 0)


os.register_at_fork(after_in_child=_leave_group)


@contextmanager
def _starting(forks: bool) -> Iterator[list[int]]:
    """Signals are left to the run, which shuts Ray down: those to its process group (of a terminal that is closed, of
    ``timeout``) do not reach Ray's processes, and SIGTERM, which Ray answers in Python while it starts and in C++ from
    then on, goes to the handler that was there before.

    Where processes are forked, the first signal is kept, for whoever comes after: what a handler raises in a hook of a
    fork is printed and forgotten, and the lock that the hook was to let go of stays locked.
    """
    global _starts
    came, before = list[int](), {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDINGS)}

    def keep(number: int, frame: Any) -> None:
        handler = before[signal.Signals(number)]
        if came and callable(handler):
            handler(number, frame)
        came.append(number)

    ray_utils.set_sigterm_handler, rays = lambda handler: None, ray_utils.set_sigterm_handler
    for number, handler in before.items():
        if forks and handler is not signal.SIG_IGN:
            signal.signal(number, keep)
    _starts = True
    try:
        yield came
    finally:
        _starts = False
        ray_utils.set_sigterm_handler = rays
        for number, handler in before.items():
            signal.signal(number, handler)


def _shut_down() -> None:
    """Ray's end gives SIGTERM back to the system in its midst: the handler that is there is set until it is over."""
    handler = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as thread:
        end = thread.submit(ray.shutdown, wait_for_processes=True)
        while not end.done():
            signal.signal(signal.SIGTERM, handler)
            time.sleep(0.01)
    end.result()

"""A Ray cluster for as long as a run needs it: started on this machine, or joined by its address."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants

from benchmark.config.schema import ClusterOptions
from benchmark.errors import InputError

ANSWERS = 5.0  # seconds within which a cluster does
TRIALS_SHARE = 0.1  # of what a worker has: for the trial that it works for

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # seconds are results: not behind everything else on the machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_task_oom_retries": "0",  # else Ray tries a task that is short of memory again for ever
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output obeys verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # TensorBoard is written by this project
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own stays when it has ended, and swallows the next Ctrl-C
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def session(options: ClusterOptions, workers: Mapping[str, int] | None = None) -> Iterator[None]:
    """Ray is up inside of the block, and shut down or left behind it. A Ray of our own is no other's, and listens on
    loopback alone. ``workers``: those of a trial, by the option that asks for them."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths of the configuration mean the same in every process
    own: dict[str, Any] = {}
    if options.address:
        _check_address(options.address)
    else:
        # Ray's switch for whole clusters on Windows and macOS: without it a node's address, which all of its processes
        # listen on, is loopback. Ray reads the variable of that name only when it is imported.
        ray_constants.ENABLE_RAY_CLUSTER = False
        own = {
            "num_cpus": options.cpus,
            "include_dashboard": False,
            "object_store_memory": options.object_store_mb * 2**20,
        }
    try:
        with _starting():
            ray.init(address=options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except ConnectionError as error:
        found = f"no Ray cluster answers at cluster.address={options.address} ({' '.join(str(error).split())[:100]})"
        raise InputError(f"{found}; start one, give another, or leave it out") from None
    try:
        _check_resources(options)
        check_workers(options, workers or {})
        for name, level in (("ray.tune", logging.CRITICAL), ("ray.train", logging.ERROR), ("ray", logging.ERROR)):
            logging.getLogger(name).setLevel(level)  # why a trial failed stands in its row
        yield
    finally:
        _shut_down()


_starts = False


def _leave_group() -> None:
    if _starts and sys.platform == "linux":  # elsewhere Ray ends its processes by their group
        os.setpgid(0, 0)


os.register_at_fork(after_in_child=_leave_group)


@contextmanager
def _starting() -> Iterator[None]:
    """Signals are left to the run, which shuts Ray down: those to its process group (of a terminal that is closed, of
    ``timeout``) do not reach Ray's processes, and SIGTERM, which Ray answers in Python while it starts and in C++ from
    then on, goes to the handler that was there before."""
    global _starts
    handler = signal.getsignal(signal.SIGTERM)
    _starts = True
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGTERM, handler)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        _starts = False
        signal.signal(signal.SIGTERM, handler)


def _shut_down() -> None:
    """Ray's end gives SIGTERM back to the system in its midst: the handler that is there is set until it is over."""
    handler = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as thread:
        end = thread.submit(ray.shutdown, wait_for_processes=True)
        while not end.done():
            signal.signal(signal.SIGTERM, handler)
            time.sleep(0.01)
    end.result()


def _check_address(address: str) -> None:
    """InputError for an address that nothing answers at: Ray would try for a minute, and end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":  # Ray says at once whether it knows one
        return
    if not host or not port.isdecimal():
        raise InputError(f"cluster.address={address} cannot be used; give host:port of a Ray cluster, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWERS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at cluster.address={address} ({error}); give another") from None


def _check_resources(options: ClusterOptions) -> None:
    """InputError for a trial that no node of the cluster has room for: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, amount in trial_resources(options).items():
        most = max((node.get(name.upper(), 0) for node in nodes), default=0)
        if amount > most:
            option = f"cluster.{name}s_per_trial={amount:g}"
            raise InputError(f"{option} asks for more than a node of the cluster has ({most:g}); give less")


def trial_resources(options: ClusterOptions) -> dict[str, float]:
    """What a trial, and any other task, asks for: ``cpu`` and ``gpu``."""
    return {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial or 0.0}


# -- trials that train on several processes ---------------------------------------------------------------------------


def trial_bundles(options: ClusterOptions, workers: int) -> list[dict[str, float]]:
    """What a trial asks for, bundle by bundle: its own process, then each of its workers.

    They are granted as a whole or not at all, so that no two trials wait for each other's. All of them together take
    what so many trials would: workers leave a little to the trial, which waits while they train.
    """
    if workers == 1:
        return [trial_resources(options)]
    own = {name: amount * TRIALS_SHARE for name, amount in _worker_room(options).items()}
    return [own, *[worker_resources(options)] * workers]


def worker_resources(options: ClusterOptions) -> dict[str, float]:
    """What a worker of a trial asks for: a trial's cores and, on GPUs, one of them, but for the trial's share."""
    return {name: amount * (1 - TRIALS_SHARE) for name, amount in _worker_room(options).items()}


def _worker_room(options: ClusterOptions) -> dict[str, float]:
    return {"cpu": options.cpus_per_trial, **({"gpu": 1.0} if options.gpus_per_trial else {})}


def check_workers(options: ClusterOptions, workers: Mapping[str, int]) -> None:
    """InputError for more workers than the cluster has room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = _worker_room(options)
    room = sum(min(int(node.get(name.upper(), 0) / amount + 1e-9) for name, amount in asked.items()) for node in nodes)
    each = " and ".join(
        {"cpu": f"{amount:g} cores (cluster.cpus_per_trial)", "gpu": "a GPU"}[name] for name, amount in asked.items()
    )
    for option, number in workers.items():
        if number > room:
            raise InputError(
                f"{option}={number} asks for {number} workers with {each} each; the cluster has room for {room}: "
                f"{'give at most as many' if room > 1 else 'leave it out'}, or join a larger one (cluster.address)"
            )


def slots(options: ClusterOptions, cores: int) -> int:
    """How many trials run at once on a machine with so many cores."""
    return max(1, int((options.cpus or cores) / options.cpus_per_trial))

"""A Ray cluster for as long as a run needs it: started on this machine, or joined by its address."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from benchmark.config.schema import ClusterOptions

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # seconds are results: not behind everything else on the machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output obeys verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # TensorBoard is written by this project
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def session(options: ClusterOptions) -> Iterator[None]:
    """Ray is up inside of the block, and shut down or left behind it."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths of the configuration mean the same in every process
    local: dict[str, Any] = {}
    if not options.address:
        local = {
            "num_cpus": options.cpus,
            "include_dashboard": False,
            "object_store_memory": options.object_store_mb * 2**20,
        }
    try:
        ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR, **local)
        for name in ("ray.tune", "ray.train", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        ray.shutdown()


def trial_resources(options: ClusterOptions) -> dict[str, float]:
    """What a trial, and any other task, asks for: ``cpu`` and ``gpu``."""
    return {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial}


def slots(options: ClusterOptions, cores: int) -> int:
    """How many trials run at once on a machine with so many cores."""
    return max(1, int((options.cpus or cores) / options.cpus_per_trial))

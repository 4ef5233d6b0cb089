"""How many trials a cluster has room for, while nodes come and go."""

import time

import ray

from benchmark.cluster.resources import at_once, trial_resources
from benchmark.config.cluster import ClusterOptions

EVERY = 1.0  # seconds; a call asks the cluster's head


class Slots:
    """Called, it says for how many trials of one process the joined cluster has room now."""

    def __init__(self, options: ClusterOptions):
        self._asked = trial_resources(options)
        self._found, self._looked = 0, float("-inf")

    def __call__(self) -> int:
        if time.monotonic() - self._looked > EVERY:
            self._found = at_once(self._asked, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            self._looked = time.monotonic()
        return self._found

"""What nodes there are for a run, before it joins or starts anything."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.cluster import answers
from benchmark.cluster.resources import Node
from benchmark.common.machine import cores, gpus
from benchmark.config.cluster import ClusterOptions, ExistingCluster, LocalCluster
from benchmark.errors import InputError

PATIENCE = 8.0  # seconds for all of it: imports, a name that is looked up, and the answer


@dataclass(frozen=True)
class Found:
    """A cluster that runs: where its head is, and what its living nodes have."""

    address: str
    nodes: Sequence[Node]


def nodes_of(options: ClusterOptions) -> Sequence[Node]:
    """The nodes that trials may run on; InputError as ``find``."""
    if isinstance(options, ExistingCluster):
        return find(options).nodes
    assert isinstance(options, LocalCluster)
    return [{"CPU": options.cpus or cores(), "GPU": gpus() if options.gpus is None else options.gpus}]


def find(options: ExistingCluster) -> Found:
    """The cluster at an address; InputError for one that does not answer, or that this machine is no node of."""
    wrong = f"no Ray cluster answers at cluster.address={options.address}"
    # Without -P this folder's files would be found in place of packages of their names.
    command = [sys.executable, "-P", answers.__file__, options.address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise InputError(f"{wrong} (nothing came for {PATIENCE:g} s); give another, or start one") from None
    except (IndexError, ValueError):
        found = {"error": done.stderr.strip()[-200:] or f"exit code {done.returncode}"}
    if "error" in found:
        raise InputError(f"{wrong} ({found['error'][:200]}); give another, or start one: docs/cluster.md")
    if not found["here"]:
        raise InputError(
            f"this machine is no node of the cluster at cluster.address={options.address}; run the command on one, or "
            f"join it (ray start --address={found['address']})"
        )
    return Found(found["address"], found["nodes"])

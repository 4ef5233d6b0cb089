"""What trials and their workers ask of a cluster, and whether its nodes have room for it. Nothing here knows Ray."""

from collections.abc import Mapping, Sequence

from benchmark.config.cluster import ClusterOptions
from benchmark.errors import InputError

Node = Mapping[str, float]
"""What a node has in all, by Ray's names: ``CPU``, ``GPU``."""
TRIALS_SHARE = 0.1  # of what a worker has: for the trial that it works for
UNITS = {"cpu": ("core", "cores"), "gpu": ("GPU", "GPUs")}
LEAST = 1e-9  # what sums of fractions may lack


def trial_resources(options: ClusterOptions) -> dict[str, float]:
    """What a trial, and any other task, asks for: ``cpu`` and ``gpu``."""
    return {"cpu": options.cpus_per_trial, "gpu": options.gpus_per_trial or 0.0}


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


def at_once(asked: Mapping[str, float], nodes: Sequence[Node]) -> int:
    """How many that ask for so much the nodes have room for."""
    return sum(
        min(int(node.get(name.upper(), 0) / amount + LEAST) for name, amount in asked.items() if amount)
        for node in nodes
    )


def room(options: ClusterOptions, nodes: Sequence[Node]) -> str:
    """What a trial asks for against what there is, in one line."""
    have = {name: sum(node.get(name.upper(), 0) for node in nodes) for name in UNITS}
    where = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    asked = trial_resources(options)
    return f"Room for {at_once(asked, nodes)} trials at once: {_said(have)}{where}, {_said(asked)} each."


def _said(amounts: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {UNITS[name][amount != 1]}" for name, amount in amounts.items() if amount)


def check_room(options: ClusterOptions, workers: Mapping[str, int], nodes: Sequence[Node]) -> None:
    """InputError for a trial that no node has room for, or that has more ``workers``, by the option that asks for them,
    than all nodes have room for: it would wait for ever."""
    asked = trial_resources(options)
    for name, amount in asked.items():
        most = max((node.get(name.upper(), 0) for node in nodes), default=0)
        if amount > most:
            option = f"cluster.{name}s_per_trial={amount:g}"
            raise InputError(f"{option} asks for more than a node of the cluster has ({most:g}); give less")
    if not at_once(asked, nodes):
        raise InputError(
            f"cluster.cpus_per_trial={asked['cpu']:g} and cluster.gpus_per_trial={asked['gpu']:g}: no node of the "
            f"cluster has both ({'; '.join(_said({n: node.get(n.upper(), 0) for n in UNITS}) for node in nodes)}); "
            "give less of one"
        )
    asked = _worker_room(options)
    free = at_once(asked, nodes)
    each = " and ".join(
        {"cpu": f"{amount:g} cores (cluster.cpus_per_trial)", "gpu": "a GPU"}[name] for name, amount in asked.items()
    )
    for option, number in workers.items():
        if number > max(free, 1):  # one is the trial's own process
            raise InputError(
                f"{option}={number} asks for {number} workers with {each} each; the cluster has room for {free}: "
                f"{'give at most as many' if free > 1 else 'leave it out'}, or join a larger one (cluster=existing)"
            )

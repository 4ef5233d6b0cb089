"""Processes that work in step for the one that started them, such as the ranks of a training."""

import socket
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from benchmark.cluster.resources import worker_resources
from benchmark.config.cluster import ClusterOptions

GRACE = 10.0  # seconds in which the others say what became of them when one has failed


class Lost(Exception):
    """A process of a team died."""


class Team:
    """``size`` processes with a ``kind(rank, size, *arguments)`` each.

    They take their places in the placement group of the process that makes them (``trial_bundles``), and end with
    ``close``, or when that process ends in whatever way.
    """

    def __init__(self, size: int, options: ClusterOptions, kind: Callable[..., Any], *arguments: Any):
        asked: dict[str, Any] = {f"num_{name}s": amount for name, amount in worker_resources(options).items()}
        actor = ray.remote(**asked)(kind)
        self._members = [actor.remote(rank, size, *arguments) for rank in range(size)]

    def call(self, method: str, *arguments: Any, within: float | None = None) -> list[Any]:
        """What a method of each gives, by rank, all of them being called at once.

        The team ends with the first error of one: Lost where a process died, which makes the others fail too, or where
        none has answered ``within`` so many seconds.
        """
        waiting = asked = [getattr(member, method).remote(*arguments) for member in self._members]
        failed: list[RayError] = []
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=GRACE if failed else within)
            if not ready:
                break
            try:
                ray.get(ready)
            except RayError as error:
                failed.append(error)
        if not waiting and not failed:
            return ray.get(asked)
        self.close()
        died = [error for error in failed if isinstance(error, RayActorError) and not error.actor_init_failed]
        if failed and not died:
            raise failed[0]
        raise Lost(_first_line(died[0]) if died else f"no answer within {within:g} s")

    def close(self) -> None:
        """End all of them at once."""
        for member in self._members:
            ray.kill(member)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def listening() -> socket.socket:
    """A socket that listens on this node's address in the cluster, and on no other."""
    return socket.create_server((ray.util.get_node_ip_address(), 0))

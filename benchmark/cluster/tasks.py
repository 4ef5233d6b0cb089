"""Functions mapped over a cluster: each result is handed over as it comes, with progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from benchmark.cluster.progress import Bar, StatusActor, reporter
from benchmark.cluster.session import trial_resources
from benchmark.config.schema import ClusterOptions
from benchmark.errors import InputError, RunError


@dataclass(frozen=True)
class Job:
    """A call of an importable function in some process of the cluster, which is given a ``progress`` besides."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def _call(job: Job, status: Any) -> Any:
    result = job.function(*job.arguments, progress=reporter(status, job.name))
    ray.get(status.done.remote(job.name))
    return result


def run_jobs(
    jobs: Sequence[Job],
    options: ClusterOptions,
    text: str,
    finished: Callable[[Job, Any], None],
    retries: int = 0,
) -> None:
    """Run all jobs and hand their results to ``finished`` in the order in which they end.

    Raises
    ------
    InputError, RunError
        As a job raised it. KeyboardInterrupt cancels what still runs.
    """
    if not jobs:
        return
    status = StatusActor.remote()  # type: ignore[attr-defined]
    asked: dict[str, Any] = {f"num_{name}s": amount for name, amount in trial_resources(options).items()}
    remote = ray.remote(max_retries=retries, **asked)(_call)
    waiting = {remote.remote(job, status): job for job in jobs}
    with Bar(len(jobs), text) as bar:
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), timeout=0.5)
                for reference in ready:
                    finished(waiting.pop(reference), _result(reference))
                    bar.update()
                bar.set_postfix_str(ray.get(status.read.remote())[:70], refresh=bool(ready))
        except KeyboardInterrupt:
            for reference in waiting:
                ray.cancel(reference, force=True)
            raise


def _result(reference: Any) -> Any:
    """What a task gave, or the error that it ended in as it was raised there."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | RunError):
            raise error.cause from None
        raise

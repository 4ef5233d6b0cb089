"""Functions mapped over a cluster: each result is handed over as it comes, with progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from benchmark.cluster.progress import Listener, reporting
from benchmark.cluster.resources import trial_bundles
from benchmark.common import mishaps
from benchmark.common.progress import Bar, notices
from benchmark.config.cluster import ClusterOptions
from benchmark.errors import InputError, RunError


@dataclass(frozen=True)
class Job:
    """A call of an importable function in some process of the cluster, which is given a ``progress`` besides."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    workers: int = 1
    """That the call trains with: room is kept for all of them (``trial_bundles``)."""


def call(job: Job, status: Any) -> Any:
    """In the process that does it: what the job gives; a ``StatusActor`` hears of it."""
    with reporting(status, job.name) as progress, notices(status.notice.remote):
        return job.function(*job.arguments, progress=progress)


def run_jobs(
    jobs: Sequence[Job],
    options: ClusterOptions,
    text: str,
    finished: Callable[[Job, Any], None],
    failed: Callable[[Job, str], None] | None = None,
    retries: int = 3,
) -> None:
    """Run all jobs and hand their results to ``finished`` in the order in which they end.

    A job that raises, or whose process dies more than ``retries`` times, goes to ``failed`` with the error's text; the
    others go on. Notices of the jobs are warned of here.

    Raises
    ------
    InputError, RunError
        As a job raised it; RunError where there is no ``failed`` for one whose process died or was short of memory.
        KeyboardInterrupt cancels what still runs.
    """
    if not jobs:
        return
    listener = Listener()
    remote = ray.remote(max_retries=retries)(call)
    waiting: dict[Any, Job] = {}
    groups: dict[Any, PlacementGroup] = {}
    for job in jobs:
        placed, group = _placed(job, options)
        waiting[reference := remote.options(**placed).remote(job, listener.status)] = job
        groups |= {reference: group} if group else {}
    with Bar(len(jobs), text) as bar:
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), timeout=0.5)
                said = listener.read()
                for reference in ready:
                    job = waiting.pop(reference)
                    if group := groups.pop(reference, None):
                        remove_placement_group(group)
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        _fail(job, error, failed)
                    else:
                        finished(job, result)
                bar.update(len(ready), said)
        except KeyboardInterrupt:
            for reference in waiting:
                ray.cancel(reference, force=True)
            raise
        finally:
            for group in groups.values():
                remove_placement_group(group)


def _placed(job: Job, options: ClusterOptions) -> tuple[dict[str, Any], PlacementGroup | None]:
    """What a job asks of Ray, and the placement group that it is to run in, if it has workers."""
    bundles = trial_bundles(options, job.workers)
    asked: dict[str, Any] = {f"num_{name}s": amount for name, amount in bundles[0].items()}
    if len(bundles) == 1:
        return asked, None
    group = placement_group([{name.upper(): amount for name, amount in bundle.items()} for bundle in bundles])
    return {**asked, "scheduling_strategy": PlacementGroupSchedulingStrategy(group, 0, True)}, group


def _fail(job: Job, error: ray.exceptions.RayError, failed: Callable[[Job, str], None] | None) -> None:
    cause = getattr(error, "cause", None)
    if isinstance(cause, InputError | RunError):
        raise cause from None
    if failed is not None:
        failed(job, str(error))
    elif mishap := mishap_of(job.name, str(error)):
        raise mishap from None
    else:
        raise error


def mishap_of(name: str, error: str) -> RunError | None:
    """One line for a job whose process died or was short of memory; None for any other error."""
    if not (mishap := mishaps.cause(error)):
        return None
    return RunError(
        f"{name}: {mishap}; free memory or run fewer jobs at once (cluster.cpus=1), then go on with resume=true"
    )

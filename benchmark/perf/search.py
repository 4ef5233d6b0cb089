"""Whole sweeps: twenty trials over searched positions against the plain loop, and what Ray Tune costs a trial."""

import json
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmark.bridge.training import Bridge
from benchmark.cluster.session import session
from benchmark.common.machine import PeakMemory, cores, use_threads
from benchmark.config.options import parse
from benchmark.config.schema import Config
from benchmark.frozen.loading import load_data
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import Task
from benchmark.perf import clock
from benchmark.perf.clock import STORE, Comparison, until_decided
from benchmark.perf.directions import device, options, settings
from benchmark.perf.plain import PlainLoop
from benchmark.plan import make_plan
from benchmark.registry import configure
from benchmark.results.recorder import Recorder
from benchmark.run import check_models
from benchmark.search.experiment import train
from benchmark.search.preparation import reads_last_tokens
from search_spaces.bridge import Options

DIRECTION = "wesad_ppg2ecg"
TRIALS = 20
EPOCHS = 20  # the paper trains for 50, the search spaces for 40
SHORT_EPOCHS = EPOCHS // 5
"""What is run, so that there are several rounds; the seconds that trials take themselves are then multiplied."""
SWEEP = f"sweep of {TRIALS} trials, {EPOCHS} epochs"
LEAST = 5.0
QUICK_TRIALS = 60
MOST_OVERHEAD = 0.3
CONCURRENT = 2

WORDS = (
    f"search.trials={TRIALS}",
    f"bridge.epochs={SHORT_EPOCHS}",
    "threads=1",  # of each trial that runs at once
    "methods=[bridge]",
    "data.condition_seconds=300",
    *(f"data.split.{part}={count}" for part, count in (("train", 2), ("val", 1), ("pair", 1), ("test", 1))),
)
QUICK_WORDS = (
    f"search.trials={QUICK_TRIALS}",
    "methods=[bridge]",
    "bridge.input=0",
    "bridge.output=head",
    "bridge.epochs=4",
    "data.subjects=8",
    "old.weights=random",
    "new.weights=random",
)


Rows = Sequence[Mapping[str, Any]]


def _sweeps(config: Config, cache: Path) -> Generator[tuple[float, float, Rows], None, None]:
    """The same sweep again and again: seconds of preparing, which is done once and has Ray's start in it, seconds of
    searching, and the trials' rows."""
    begin = time.perf_counter()
    with session(config.cluster):
        prepare(config, [0], reads_last_tokens(config))
        prepared = time.perf_counter() - begin
        data = load_data(config)
        plan = replace(make_plan(config, data), finals=[])
        shapes = check_models(config, data, plan)
        (study,) = plan.studies
        while True:
            with (
                tempfile.TemporaryDirectory(dir=cache) as folder,
                closing(Recorder(Path(folder), plan.methods, config.method_options)) as recorder,
            ):
                begin = time.perf_counter()
                train(config, plan, shapes, data.dataset, Path(folder), recorder, prepared=True)
                searched = time.perf_counter() - begin
                rows = recorder.of("search", study.method, study.fold)
            failed = [row["error"] for row in rows if row["status"] != "done"]
            if failed or len(rows) != study.trials:
                raise RuntimeError(f"{len(rows)} trials, of which {len(failed)} failed: {failed[:1]}")
            yield prepared, searched, rows


def _plainly(task: Task, rows: Rows) -> float:
    """Seconds that the same trials take in the plain loop: a step and an evaluation of each, times their number.

    The first trial's are done once before, untimed.
    """
    size = options(DIRECTION).batch_size
    pair, val = task.indices("pair"), task.indices("val")
    batches = [
        (
            task.old.inputs(task.windows("old").take(indices[:size])),
            task.new.inputs(task.windows("new").take(indices[:size])),
        )
        for indices in (pair, val)
    ]
    steps, evaluations = -(-len(pair) // size), len(val) / size
    chosen = [parse(Options, json.loads(row["config"]), "bridge.") for row in rows]
    loops = [PlainLoop(task, one, Bridge(task, one, seed=0).state()) for one in chosen]
    use_threads(cores())  # from here on: what is stored was computed with those of a trial
    taken = []
    for plain in [loops[0], *loops]:
        begin = time.perf_counter()
        plain.step(*batches[0])
        stepped = time.perf_counter()
        plain.evaluate(*batches[1])
        taken.append(EPOCHS * (steps * (stepped - begin) + evaluations * (time.perf_counter() - stepped)))
    return sum(taken[1:])


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows of both sweeps; ``direction`` must be that of ``DIRECTION``."""
    shared = [f"cluster.gpus_per_trial={1 / CONCURRENT}"] if device() == "cuda" else []
    config = configure([*settings(direction, cache), *WORDS, f"cluster.cpus={CONCURRENT}", *shared])
    projected: dict[str, list[float]] = {STORE: [], "plain": []}
    peaks = dict.fromkeys(projected, 0.0)
    with closing(_sweeps(config, cache)) as sweeps:

        def one_round(_: int) -> dict[str, float]:
            prepared, searched, rows = next(sweeps)
            longer = searched + (EPOCHS / SHORT_EPOCHS - 1) * _inside(rows) / CONCURRENT
            memory = PeakMemory(torch.device(device()))
            plain = _plainly(Task(config, 0), rows)
            # Of the trials at once, in a process each; the plain loop has one.
            trials = CONCURRENT * max(row["peak_memory_bytes"] for row in rows)
            for way, peak in ((STORE, trials), ("plain", memory.bytes())):
                peaks[way] = max(peaks[way], peak / 2**20)
            projected[STORE].append(prepared + 100 / TRIALS * longer)
            projected["plain"].append(100 / TRIALS * plain)
            return {STORE: prepared + longer, "plain": plain}

        found = until_decided(one_round, {"plain": Comparison("x faster", LEAST)}, 0.8 * budget)
    same = {"direction": direction, "batch": options(direction).batch_size}
    for way, row in found.items():
        yield {**same, "part": SWEEP, "peak_mib": peaks[way], **row}
    for row in clock.rows(projected, {"plain": Comparison("x faster")}).values():
        yield {**same, "part": f"{SWEEP}, projected to 100", **row}
    quick = configure([*QUICK_WORDS, f"cache={cache}", f"results={cache}", f"cluster.cpus={CONCURRENT}"])
    with closing(_sweeps(quick, cache)) as sweeps:

        def overhead(_: int) -> dict[str, float]:
            searched, rows = next(sweeps)[1:]
            return {"Ray Tune": (searched - _inside(rows) / CONCURRENT) / len(rows)}

        (tune,) = until_decided(overhead, {"Ray Tune": Comparison("s", MOST_OVERHEAD)}, 0.2 * budget).values()
    part = f"overhead of a trial, {QUICK_TRIALS} trials, {CONCURRENT} at once"
    yield {"direction": "quickstart", "part": part, **tune}


def _inside(rows: Rows) -> float:
    """Seconds that trials took themselves, one after the other."""
    return sum(float(row["train_seconds"]) for row in rows)

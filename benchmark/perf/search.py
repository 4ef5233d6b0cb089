"""Whole sweeps: twenty trials over searched positions against the plain loop, and what Ray Tune costs a trial."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from benchmark.bridge.training import Bridge
from benchmark.cluster.session import session
from benchmark.common.machine import PeakMemory
from benchmark.config.options import parse
from benchmark.config.schema import Config
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import Task, load_data
from benchmark.perf.directions import options, settings
from benchmark.perf.plain import PlainLoop
from benchmark.plan import make_plan
from benchmark.registry import configure
from benchmark.results.recorder import Recorder
from benchmark.run import check_blocks, reads_last_tokens
from benchmark.search.experiment import search
from search_spaces.bridge import Options

DIRECTION = "wesad_ppg2ecg"
TRIALS = 20
EPOCHS = 20  # the paper trains for 50, the search spaces for 40
SWEEP = f"sweep of {TRIALS} trials, {EPOCHS} epochs"
LEAST = 5.0
SHORT_TRIALS = 60
MOST_OVERHEAD = 0.3
CONCURRENT = 2

WORDS = (
    f"search.trials={TRIALS}",
    f"bridge.epochs={EPOCHS}",
    "methods=[bridge]",
    "data.condition_seconds=300",
    *(f"data.split.{part}={count}" for part, count in (("train", 2), ("val", 1), ("pair", 1), ("test", 1))),
)
SHORT_WORDS = (
    f"search.trials={SHORT_TRIALS}",
    "methods=[bridge]",
    "bridge.input=0",
    "bridge.output=head",
    "bridge.epochs=4",
    "data.subjects=8",
    "old.weights=random",
    "new.weights=random",
)


def _sweep(config: Config, cache: Path) -> tuple[float, float, Sequence[Mapping[str, Any]]]:
    """Seconds of preparing and of searching, and the trials' rows. Ray's start counts as preparing."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=cache) as folder, session(config.cluster):
        prepare(config, [0], reads_last_tokens(config))
        prepared = time.perf_counter() - begin
        data = load_data(config)
        plan, blocks = make_plan(config, data), check_blocks(config, data)
        with closing(Recorder(Path(folder), plan.methods)) as recorder:
            begin = time.perf_counter()
            search(config, plan, blocks, data.dataset, Path(folder), recorder)
            searched = time.perf_counter() - begin
        (study,) = plan.studies
        rows = recorder.of("search", study.method, study.fold)
    failed = [row["error"] for row in rows if row["status"] != "done"]
    if failed or len(rows) != study.trials:
        raise RuntimeError(f"{len(rows)} trials, of which {len(failed)} failed: {failed[:1]}")
    return prepared, searched, rows


def _plainly(task: Task, rows: Sequence[Mapping[str, Any]]) -> float:
    """Seconds that the same trials take in the plain loop: a step and an evaluation of each, times their number.

    Each is done once before it is timed.
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
    total = 0.0
    for row in rows:
        chosen = parse(Options, json.loads(row["config"]), "bridge.")
        plain = PlainLoop(task, chosen, Bridge(task, chosen, seed=0).state())
        for _ in range(2):
            begin = time.perf_counter()
            plain.step(*batches[0])
            stepped = time.perf_counter()
            plain.evaluate(*batches[1])
            evaluated = time.perf_counter()
        total += EPOCHS * (steps * (stepped - begin) + evaluations * (evaluated - stepped))
    return total


def measure(direction: str, cache: Path, budget: float) -> Iterator[dict[str, Any]]:
    """Rows of both sweeps; ``direction`` must be that of ``DIRECTION``. The budget is what they take."""
    config = configure([*settings(direction, cache), *WORDS, f"cluster.cpus={CONCURRENT}"])
    prepared, searched, rows = _sweep(config, cache)
    ours = prepared + searched
    memory = PeakMemory(torch.device("cpu"))
    plain = _plainly(Task(config, 0), rows)
    plain_peak = memory.bytes() / 2**20
    same = {"direction": direction, "batch": options(direction).batch_size}
    # Of the trials at once, in a process each; the plain loop has one.
    peak = CONCURRENT * max(row["peak_memory_bytes"] for row in rows) / 2**20
    yield {**same, "part": SWEEP, "way": "store", "seconds": ours, "peak_mib": peak}
    yield {
        **same,
        "part": SWEEP,
        "way": "plain",
        "seconds": plain,
        "peak_mib": plain_peak,
        "ratio": plain / ours,
        "required": LEAST,
    }
    hundred = prepared + 100 / TRIALS * searched
    yield {**same, "part": f"{SWEEP}, projected to 100", "way": "store", "seconds": hundred}
    times = 100 / TRIALS * plain
    yield {**same, "part": f"{SWEEP}, projected to 100", "way": "plain", "seconds": times, "ratio": times / hundred}
    short = configure([*SHORT_WORDS, f"cache={cache}", f"results={cache}", f"cluster.cpus={CONCURRENT}"])
    _, wall, rows = _sweep(short, cache)
    inside = sum(float(row["train_seconds"]) for row in rows)
    overhead = (wall - inside / CONCURRENT) / len(rows)
    yield {
        "direction": "quickstart",
        "part": f"overhead of a trial, {SHORT_TRIALS} trials, {CONCURRENT} at once",
        "way": "Ray Tune",
        "seconds": overhead,
        "required": MOST_OVERHEAD,
    }

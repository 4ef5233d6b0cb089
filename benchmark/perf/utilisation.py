"""``python -m benchmark.perf.utilisation``: how full a search keeps its slots, with trials that only wait.

Ten studies of 64 trials each, of seeded lengths between 1 and 3 s, on 1, 2, 4, 16 and 64 slots of a Ray cluster of its
own: the project's searcher, studies and scheduler, with a trainable that sleeps. The slots are virtual: who sleeps
needs no core. Beside it such trials as the first version ran them: one study after the other, in closed rounds that
start their own actors.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psutil
from ray import tune
from ray.tune.search import Searcher

from analysis.writers import Column, Table, integer, label, markdown, number
from benchmark.cluster.session import session
from benchmark.cluster.slots import Slots
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.config.cluster import LocalCluster
from benchmark.config.schema import Config
from benchmark.data.signals.spec import SignalSpec
from benchmark.encoders import registry as encoders
from benchmark.frozen.weights import Shapes
from benchmark.perf.waiting import LONGEST, SHORTEST, WaitingTrial, length
from benchmark.plan import Study
from benchmark.registry import configure
from benchmark.results.log import RowLog
from benchmark.search.studies import SearchStudy
from benchmark.search.tuning import StudiesSearcher, fit

SLOTS = (1, 2, 4, 16, 64)
STUDIES, TRIALS = 10, 64
STARTING = 5.0  # seconds that an actor of a run needs to start, about
SWEEP, TINY = 300, 0.05
"""Trials of the sweep, and the scale of their length."""
WORDS = ("search.min_reduction=null",)


class Book(tune.Callback):
    """What trials said as they ended; written as a run writes rows to ``log``, if there is one."""

    def __init__(self, log: RowLog | None = None) -> None:
        self.ended: list[dict[str, Any]] = []
        self.log = log

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        said = trial.last_result
        names = {"study": trial.config["study"], "number": trial.config["number"]}
        if self.log is not None:
            self.log.add_trial({**names, **said["rows"][0]})
        found = {"written": time.time(), "resident": psutil.Process().memory_info().rss}
        self.ended.append({**names, **found, **{key: said[key] for key in ("begin", "end", "process", "options")}})


def studies(config: Config, amount: int, trials: int) -> list[SearchStudy]:
    """Of the bridge between the quickstart's encoders, one for each of so many folds."""
    shapes = Shapes(
        encoders.build("hubert_ecg", SignalSpec("ecg", ("ECG",), 100.0, 1000, "z"), device="meta"),
        encoders.build("papagei", SignalSpec("ppg", ("BVP",), 125.0, 1250, "z"), device="meta"),
        n_classes=3,
    )
    options = config.method_options["bridge"].model_dump()
    fixed = {name: value for name, value in options.items() if value is not None}
    return [SearchStudy(config, Study("bridge", fold, trials), fixed, shapes) for fold in range(amount)]


def together(config: Config, asked: Sequence[SearchStudy], trainable: Any, store: Path) -> list[dict[str, Any]]:
    """As a run searches."""
    book = Book()
    fit(trainable, StudiesSearcher(asked, Slots(config.cluster)), [book], config.search, store)
    return book.ended


class ClosedRound(StudiesSearcher):
    """Ends the experiment where a study waits for its round."""

    def suggest(self, trial_id: str) -> Any:
        found = super().suggest(trial_id)
        return Searcher.FINISHED if found is None else found


def in_closed_rounds(config: Config, asked: Sequence[SearchStudy], trainable: Any, store: Path) -> list[dict[str, Any]]:
    """As the first version did: a study's rounds one after the other, each an experiment with actors of its own."""
    book = Book()
    for study in asked:
        while not study.finished:
            fit(trainable, ClosedRound([study], Slots(config.cluster)), [book], config.search, store)
    return book.ended


WAYS: dict[str, Callable[[Config, Sequence[SearchStudy], Any, Path], list[dict[str, Any]]]] = {
    "together": together,
    "closed rounds": in_closed_rounds,
}


def measure(way: str, slots: int, amount: int, trials: int, scale: float, starting: float = STARTING) -> dict[str, Any]:
    """One row of the table, and a digest of the configurations that were asked for."""
    config = configure(WORDS)
    asked = studies(config, amount, trials)
    with tempfile.TemporaryDirectory() as folder, session(LocalCluster(cpus=slots, cpus_per_trial=1)):
        (starts := Path(folder) / "starts").mkdir()
        trainable = tune.with_parameters(WaitingTrial, scale=scale, starting=starting, starts=str(starts))
        ended = WAYS[way](config, asked, trainable, Path(folder) / "ray")
        started = len([*starts.iterdir()])
    waited = scale * sum(length(one["study"], one["number"]) for one in ended)
    span = max(one["end"] for one in ended) - min(one["begin"] for one in ended)
    up = max(
        min(one["begin"] for one in ended if one["process"] == process) for process in {o["process"] for o in ended}
    )
    configurations = sorted((one["study"], one["number"], one["options"]) for one in ended)
    return {
        "way": way,
        "slots": slots,
        "trials": len(ended),
        "seconds": span,
        "ideal": waited / slots,
        "busy": waited / slots / span,
        "up_after": up - min(one["begin"] for one in ended),
        "busy_once_up": busy_from(up, ended, slots),
        "overhead": (span * slots - waited) / len(ended),
        "actors": started,
        "configurations": hashlib.sha256(json.dumps(configurations).encode()).hexdigest()[:12],
    }


def busy_from(begin: float, ended: Sequence[dict[str, Any]], slots: int) -> float:
    """The share of slots that waited from a moment to the end of the last trial."""
    end = max(one["end"] for one in ended)
    waited = sum(max(0.0, one["end"] - max(begin, one["begin"])) for one in ended)
    return waited / slots / (end - begin)


def sweep(trials: int = SWEEP, slots: int = 2, warm: int = 50) -> dict[str, Any]:
    """A sweep of tiny trials with its rows on disk: how long that took each, and what the driver's memory grew by from
    trial ``warm`` to the last."""
    config = configure(WORDS)
    with tempfile.TemporaryDirectory() as folder, session(LocalCluster(cpus=slots, cpus_per_trial=1)):
        log = RowLog(Path(folder) / "rows.jsonl")
        book, asked = Book(log), studies(config, 4, trials // 4)
        trainable = tune.with_parameters(WaitingTrial, scale=TINY, starts=folder)
        fit(trainable, StudiesSearcher(asked, Slots(config.cluster)), [book], config.search, Path(folder) / "ray")
        log.close()
        lines = (Path(folder) / "rows.jsonl").read_bytes().count(b"\n")
    late = [one["written"] - one["end"] for one in book.ended]
    return {
        "trials": len(book.ended),
        "rows": lines,
        "seconds": max(one["end"] for one in book.ended) - min(one["begin"] for one in book.ended),
        "median": statistics.median(late),
        "latest": max(late),
        "resident": book.ended[warm]["resident"] / 2**20,
        "growth": (book.ended[-1]["resident"] - book.ended[warm]["resident"]) / 2**20,
    }


def sweep_table(row: dict[str, Any]) -> str:
    """Markdown."""
    columns = [
        integer("trials", "Trials"),
        integer("rows", "Rows on disk"),
        number("seconds", "Seconds"),
        number("median", "Until its row is on disk, median (s)", digits=3),
        number("latest", "Longest (s)", digits=3),
        number("resident", "Driver's memory after 50 trials (MiB)"),
        number("growth", "Growth until the last (MiB)"),
    ]
    caption = "Trials of 0.05 to 0.15 s on two slots; a row is flushed to disk before the next trial is heard of."
    return markdown(Table("sweep", "A sweep of tiny trials", caption, pl.DataFrame([row]), columns))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    columns: list[Column] = [
        label("way", "Search"),
        integer("slots", "Slots"),
        integer("trials", "Trials"),
        number("seconds", "Seconds"),
        number("ideal", "Waiting / slots (s)"),
        number("busy", "Slots busy (%)", scale=100),
        number("up_after", "All are up after (s)"),
        number("busy_once_up", "Busy from then on (%)", scale=100),
        number("overhead", "Overhead a trial (s)", digits=2),
        integer("actors", "Actors started"),
        label("configurations", "Configurations", right=True),
    ]
    caption = (
        f"{STUDIES} studies of {TRIALS} trials that sleep {SHORTEST:g} to {LONGEST:g} s, in rounds of "
        f"{configure(WORDS).search.batch}: at most {STUDIES * configure(WORDS).search.batch} can run at once. "
        "Closed rounds: one study of 16 trials, as the first version ran all of them. The last column is a digest: "
        "where it is the same, the configurations are. From the first trial's begin to the last one's end, and from "
        f"when every slot had begun a trial. Actors take {STARTING:g} s to start, as those of a run do, beside what "
        "starting their processes takes, for which virtual slots have no cores of their own."
    )
    return markdown(Table("utilisation", "Slots kept busy", caption, pl.DataFrame(rows), columns))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.utilisation", description=__doc__)
    parser.add_argument("--slots", nargs="+", type=int, default=[*SLOTS], help="default: 1 2 4 16 64")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each of ten studies; default: %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of every trial's length; default: %(default)s")
    parser.add_argument("--starting", type=float, default=STARTING, help="seconds of an actor; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    chosen = {name: value for name, value in vars(given).items() if name != "out" and value != parser.get_default(name)}
    words = "".join(f" --{name} {str(value).strip('[]').replace(',', '')}" for name, value in chosen.items())
    command = f"python -m benchmark.perf.utilisation{words}"
    begin, rows = time.perf_counter(), []
    todo = [("together", slots, STUDIES, given.trials) for slots in given.slots]
    todo += [("closed rounds", slots, 1, min(given.trials, 16)) for slots in given.slots if 4 <= slots <= 16]
    for way, slots, amount, trials in todo:
        rows.append(measure(way, slots, amount, trials, given.scale, given.starting))
        print(json.dumps(rows[-1]), flush=True)
    tiny = sweep()
    minutes = (time.perf_counter() - begin) / 60
    said = f"`{command}`, {date.today()}, {minutes:.0f} minutes on {cores()} cores."
    page = f"{table(rows)}\n{sweep_table(tiny)}\n{said}\n"
    given.out.mkdir(parents=True, exist_ok=True)
    write_bytes(given.out / "utilisation.md", page.encode())
    print(page)
    same = {row["configurations"] for row in rows if row["way"] == "together"}
    if len(same) > 1:
        print("error: other configurations on another number of slots", file=sys.stderr)
    return len(same) > 1


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmark.perf.chaos``: a sweep in which processes, nodes and the driver are killed.

Three nodes on this machine, each with a folder of its own and nothing that all share but what Ray moves. While the
sweep goes on, processes of trials are killed, nodes are lost and others join, and the driver is ended by SIGKILL,
SIGTERM and SIGINT and taken up with resume=true. The order and the moments are seeded; a moment is a number of rows on
disk. In the end every trial has one row, none that had finished ran again, and rows, predictions and tables are those
of a run that nothing happened to. Exit code 1 if not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import psutil
from ray.cluster_utils import Cluster

from analysis.writers import Table, integer, label, markdown
from benchmark.cluster.travel import OWN
from benchmark.common.files import write_text
from benchmark.common.machine import cores
from benchmark.results import log

EVENTS = {"trial killed": 10, "node lost, another joins": 3, "SIGKILL": 3, "SIGTERM": 1, "SIGINT": 1}
SHORT = {"trial killed": 1, "node lost, another joins": 1, "SIGKILL": 1, "SIGTERM": 0, "SIGINT": 0}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
WORDS = (
    "references=[teacher]",
    "encoder@old=normwear",  # nothing of it takes long to import
    "old.modality=ecg",
    "data.ecg=[{resample_poly: 130},{zscore: recording}]",
    "data.subjects=12",
    "data.condition_seconds=40",
    "data.split.kind=kfold",
    "data.split.folds=2",
    "data.split.train=3",
    "data.split.val=1",
    "data.split.pair=2",
    "pretraining.steps=3",
    "bridge.epochs=8",
    "search.max_failures=8",
    "final.seeds=[0]",
    "threads=1",
)
FULL = ("methods=[bridge,probe_hard,ridge]", "search.trials=10")
SMALL = ("methods=[bridge,ridge]", "search.trials=3")
PATIENCE = 600.0  # seconds without a new row, after which all is given up
OF_ONE_RUN = pl.selectors.contains("seconds", "extraction") | pl.selectors.by_name(
    "peak_memory_bytes", "started_at", "run", require_all=False
)
"""Columns in which two runs of one configuration may differ."""


@dataclass
class Disturbed:
    """What was done to a sweep, and how it ended."""

    folder: Path
    done: Counter[str] = field(default_factory=Counter)
    said: str = ""


class Driver:
    """The run's own process, in its own folder and process group."""

    def __init__(self, folder: Path, words: Sequence[str], name: str):
        self.folder, self.words, self.name = folder, words, name
        self.results = folder / "results" / name
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        resume = ["resume=true"] if (self.results / "plan.json").exists() else []
        where = [f"name={self.name}", "results=results", "cache=cache"]
        command = [sys.executable, "-m", "benchmark", *self.words, *where]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.out = (self.folder / f"{self.name}.log").open("a")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
        return subprocess.Popen(
            [*command, *resume],
            cwd=self.folder,
            stdout=self.out,
            stderr=self.out,
            env=environment,
            start_new_session=True,
        )

    def end(self, signum: int) -> None:
        """Send it a signal, wait until it is gone, and go on."""
        self.process.send_signal(signum)
        self.wait()
        self.process = self._start()

    def wait(self) -> int:
        """Its exit code."""
        self.process.wait()
        self.out.close()
        return self.process.returncode

    def rows(self) -> int:
        """Lines of its log."""
        path = self.results / log.NAME
        return path.read_bytes().count(b"\n") if path.exists() else 0


class Nodes:
    """Three raylets, the driver's among them, each in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder, self.number = folder, 0
        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        self.others = [self._add(), self._add()]

    def _add(self) -> Any:
        self.number += 1
        return self.cluster.add_node(**NODE, env_vars={OWN: str(self.folder / f"node{self.number}")})

    def lose(self, which: int) -> None:
        """A node is gone with all of its processes; another joins, with an empty folder."""
        self.cluster.remove_node(self.others.pop(which), allow_graceful=False)
        self.others.append(self._add())

    def trials(self) -> list[psutil.Process]:
        """Processes that train."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name().startswith("ray::SearchTri") or "SearchTrial" in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:  # it has just ended
                continue
        return sorted(found, key=lambda process: process.pid)


@contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    found = Nodes(folder)
    try:
        yield found
    finally:
        found.cluster.shutdown()


def moments(events: dict[str, int], rows: int, chance: random.Random) -> list[tuple[int, str]]:
    """At how many rows on disk what happens, so that each is due before the search of so many rows is over."""
    names = [name for name, times in events.items() for _ in range(times)]
    chance.shuffle(names)
    return list(zip(sorted(chance.sample(range(2, rows - 2), len(names))), names, strict=True))


def disturb(folder: Path, words: Sequence[str], events: dict[str, int], rows: int, seed: int) -> Disturbed:
    """Run a sweep whose search has so many rows, and do all of this to it."""
    chance, found = random.Random(seed), Disturbed(folder / "driver" / "results" / "chaos")
    due = moments(events, rows, chance)
    with nodes(folder) as cluster:
        where = ["cluster=existing", f"cluster.address={cluster.cluster.address}"]
        driver = Driver(folder / "driver", [*words, *where], "chaos")
        last, since = 0, time.monotonic()
        while driver.process.poll() is None:
            if (now := driver.rows()) != last:
                last, since = now, time.monotonic()
            if due and now >= due[0][0] and _do(due[0][1], driver, cluster, chance):
                print(f"{now:4d} rows: {due[0][1]}", flush=True)
                found.done[due.pop(0)[1]] += 1
                since = time.monotonic()
            if time.monotonic() - since > PATIENCE:
                driver.process.kill()
                found.said = f"no row came for {PATIENCE:g} s"
            time.sleep(0.05)
        code = driver.wait()
        found.said = found.said or (f"the driver ended with exit code {code}" if code else "")
    for name in (name for _, name in due):
        found.said = found.said or f"{name}: its moment did not come"
    return found


def _do(event: str, driver: Driver, cluster: Nodes, chance: random.Random) -> bool:
    """Whether it could be done now."""
    if event in SIGNALS:
        driver.end(SIGNALS[event])
    elif event == "trial killed":
        if not (running := cluster.trials()):
            return False
        chance.choice(running).kill()
    else:
        cluster.lose(chance.randrange(len(cluster.others)))
    return True


def trained(folder: Path) -> Counter[tuple[str, int]]:
    """How often a row came of each trial with so many inner folds: once, of what did not run again."""
    entries = [entry["row"] for entry in log.read(folder / log.NAME) if "row" in entry]
    return Counter((row["trial_id"], row.get("inner_folds") or 0) for row in entries)


def differences(folder: Path, other: Path) -> list[str]:
    """In what a run differs from an undisturbed one, a line each."""
    found = []
    for name in ("trials", "predictions"):
        one, two = (
            pl.read_parquet(path / f"{name}.parquet").select(~OF_ONE_RUN).sort("trial_id", maintain_order=True)
            for path in (folder, other)
        )
        if one.shape != two.shape:
            found.append(f"{name}: {one.shape} and {two.shape}")
        else:
            found += [f"{name}: {column}" for column in one.columns if not one[column].equals(two[column])]
    for name in ("accuracy", "accuracy_folds", "comparisons", "subjects"):  # others have seconds in them
        tables = [path / "tables" / f"{name}.csv" for path in (folder, other)]
        texts = {table.read_text() if table.exists() else "" for table in tables}
        found += [f"table {name}"] if len(texts) > 1 else []
    return found


def judged(found: Disturbed, undisturbed: Path) -> list[str]:
    """What is not as it should be, a line each."""
    if found.said:
        return [found.said]
    trials = pl.read_parquet(found.folder / "trials.parquet")
    planned = json.loads((found.folder / "plan.json").read_text())
    asked = {f"{study['name']}-{k:03d}" for study in planned["studies"] for k in range(study["trials"])}
    wrong = []
    if sorted(trials["trial_id"]) != sorted({*asked, *planned["finals"]}):
        wrong.append(f"{len(trials)} rows of {len(asked) + len(planned['finals'])} trials that were asked for")
    if unwell := trials.filter(pl.col("status") != "done")["trial_id"].to_list():
        wrong.append(f"not done: {', '.join(unwell)}")
    if again := [f"{trial} ({times} times)" for (trial, _), times in trained(found.folder).items() if times > 1]:
        wrong.append(f"had finished and ran again: {', '.join(again)}")
    return [*wrong, *(f"differs from the undisturbed run: {one}" for one in differences(found.folder, undisturbed))]


def table(found: Disturbed, events: dict[str, int]) -> str:
    """Markdown: what was done, and what is left."""
    trials = pl.read_parquet(found.folder / "trials.parquet")
    counts = trained(found.folder)
    rows = [{"what": name, "asked": times, "found": found.done[name]} for name, times in events.items()]
    rows += [
        {"what": "trials with one row", "asked": len(trials), "found": trials["trial_id"].n_unique()},
        {"what": "trials done", "asked": len(trials), "found": trials.filter(pl.col("status") == "done").height},
        {"what": "trainings", "asked": len(counts), "found": counts.total()},
    ]
    columns = [label("what", "What"), integer("asked", "Asked for"), integer("found", "Found")]
    caption = (
        "Trainings: of a trial on an inner fold, or of a final trial; one that had finished and ran again would count "
        "twice. What was lost in its midst is trained again and has no row of the first time."
    )
    return markdown(Table("chaos", "A sweep that was disturbed", caption, pl.DataFrame(rows), columns))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a small sweep, and one of each that tests have time for")
    parser.add_argument("--seed", type=int, default=0, help="of the order and the moments; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    events, sweep = (SHORT, SMALL) if given.short else (EVENTS, FULL)
    words = [*WORDS, *sweep]
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        folder, begin = Path(name), time.perf_counter()
        alone = Driver(folder / "alone", [*words, "cluster.cpus=1" if given.short else "cluster.cpus=2"], "alone")
        if alone.wait():
            print((folder / "alone" / "alone.log").read_text()[-2000:], file=sys.stderr)
            return 1
        plan = json.loads((alone.results / "plan.json").read_text())
        rows = alone.rows() - len(plan["finals"])
        found = disturb(folder, words, events, rows, given.seed)
        wrong = judged(found, alone.results)
        lines = (folder / "driver" / "chaos.log").read_text().splitlines()
        if wrong:
            print("\n".join(lines[-40:]), file=sys.stderr)
        else:
            minutes = (time.perf_counter() - begin) / 60
            moved = next((line for line in lines if line.startswith("Moved ")), "")
            said = f"`make chaos`, {date.today()}, {minutes:.0f} minutes on {cores()} cores. {moved}"
            print(page := f"{table(found, events)}\n{said}\n")
            if not given.short:
                write_text(given.out / "chaos.md", page)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

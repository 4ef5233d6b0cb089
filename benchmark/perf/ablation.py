"""``python -m benchmark.perf.ablation``: what each part of a bridge's training is worth, one direction at a time.

Bridges at a few fixed places are trained on all of pair and val for a fixed number of epochs: nothing is searched and
no epoch is chosen. Every variant differs from a named one in one thing; "defaults" are standardised inputs, a start
from the regression and class weights together. Balanced accuracy on test, and balanced agreement with the teacher,
which takes no label, of each fold's windows, as means over folds and places; beside them a linear probe of the
teacher's classes.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from analysis.writers import Column, Table, label, markdown, mean_sd, number
from benchmark import registry
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.frozen.loading import load_data
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import Task, open_task
from benchmark.plan import Spec, make_plan
from benchmark.registry import configure
from benchmark.results.schema import write_parquet
from benchmark.trial.trial import Trial

EPOCHS = 20
POINT = {"rank": 8, "prototypes": 32, "learning_rate": 1e-3, "epochs": EPOCHS}
OBJECTIVES = ("published", "decision", "pooled", "both")
PLAIN: Mapping[str, Any] = {"init": "rand", "standardise": False, "class_weighted": False}
PARTS: Mapping[str, Mapping[str, Any]] = {
    "from real tokens": {"init": "randreal"},
    "from the regression": {"init": "regression"},
    "standardised": {"standardise": True},
    "class weights": {"class_weighted": True},
    "weight decay 0.1": {"weight_decay": 0.1},
    "dropout 0.3": {"dropout": 0.3},
    "mixing 0.4": {"mixing": 0.4},
    "averaging": {"averaging": True},
}
DEFAULTS = ("standardised", "from the regression", "class weights")
"""Those that the search has unless told otherwise."""
MORE: Mapping[str, Mapping[str, Any]] = {
    "temperature 0.5": {"temperature": 0.5},
    "temperature 4": {"temperature": 4.0},
    **{name: options for name, options in PARTS.items() if name not in DEFAULTS and "init" not in options},
}
"""On top of ``DEFAULTS``."""
MEASURED = ("test_balanced_accuracy", "test_balanced_agreement", "trainable_parameters")
PROBE = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties of the probe."""


def variants(calibrations: Sequence[str]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(calibration, objective, what is added, options)."""
    for calibration in calibrations:
        for objective in OBJECTIVES:
            yield calibration, objective, "", {**PLAIN, "objective": objective}
        for name, options in PARTS.items():
            yield calibration, "decision", name, {**PLAIN, "objective": "decision", **options}
        begun = {name: value for part in DEFAULTS for name, value in PARTS[part].items()}
        for objective in OBJECTIVES:
            yield calibration, objective, "defaults", {"objective": objective, **begun}
        for name, options in MORE.items():
            yield calibration, "decision", f"defaults, {name}", {"objective": "decision", **begun, **options}


def places(n_new: int, n_old: int, few: bool) -> list[tuple[int, int | str]]:
    """Blocks that are left, early, in the middle and late, and places that are entered: all pairs of them, or three."""
    left, entered = (n_new // 4, n_new // 2, n_new - 1), (0, n_old // 2, "head")
    return list(zip(left, entered, strict=True)) if few else list(itertools.product(left, entered))


def measured(task: Task, method: str, options: Mapping[str, Any], epochs: int, calibration: str) -> dict[str, Any]:
    """What a method that is trained for so many epochs reaches on test."""
    chosen = {"best_epoch": epochs}
    seed = task.config.seed
    spec = Spec(method, "final", "ablation", task.fold, seed, options, calibration=calibration, chosen=chosen)
    trial = Trial(task, spec)
    for _ in trial.epochs():
        pass
    row, _ = trial.test()
    return {name: row.get(name) for name in MEASURED}


def judge(
    config: Config, fold: int, calibration: str, few: bool, epochs: int, progress: Progress
) -> list[dict[str, Any]]:
    """All variants of a calibration in one fold."""
    task, rows = open_task(config, fold), []

    def add(method: str, objective: str, added: str, where: str, options: Mapping[str, Any], epochs: int) -> None:
        names = {"calibration": calibration, "method": method, "objective": objective, "added": added, "where": where}
        rows.append({**names, "fold": fold, **measured(task, method, options, epochs, calibration)})

    todo = [one for one in variants([calibration]) if one[0] == calibration]
    where = places(task.new.n_blocks, task.old.n_blocks, few)
    for k, (_, objective, added, options) in enumerate(todo):
        for i, j in where:
            point = {**config.method_options["bridge"].model_dump(exclude_none=True), **POINT, **options}
            point |= {"input": i, "output": j, "epochs": epochs}
            add("bridge", objective, added, f"{i} to {j}", point, epochs)
        progress(k + 1, len(todo), f"{calibration}: {objective} {added}")
    for block, penalty in itertools.product({i for i, _ in where}, PROBE):
        add("probe_hard", "", f"C = {penalty:g}", str(block), {"block": block, "c": penalty}, 0)
    return rows


def in_order(rows: Sequence[dict[str, Any]], calibrations: Sequence[str]) -> list[dict[str, Any]]:
    """By fold and calibration, whichever was over first."""
    return sorted(rows, key=lambda row: (row["fold"], calibrations.index(row["calibration"])))


def summary(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Means over folds of each place; then their mean, deviation and best over places."""
    by = ["calibration", "method", "objective", "added"]
    found = pl.DataFrame(rows).group_by(*by, "where", maintain_order=True)
    scores = found.agg(pl.col("test_balanced_accuracy", "test_balanced_agreement").mean())
    return scores.group_by(*by, maintain_order=True).agg(
        pl.col("test_balanced_accuracy").mean().alias("accuracy"),
        pl.col("test_balanced_accuracy").std().alias("accuracy_sd"),
        pl.col("test_balanced_accuracy").max().alias("best"),
        pl.col("test_balanced_agreement").mean().alias("agreement"),
        pl.len().alias("places"),
    )


def table(config: Config, found: pl.DataFrame, folds: int, epochs: int = EPOCHS) -> str:
    """Markdown."""
    names = {name: registry.get(name).label for name in set(found["method"])}
    shown = found.with_columns(pl.col("method").replace_strict(names).alias("label"))
    columns: list[Column] = [
        label("calibration", "Calibration"),
        label("label", "Method"),
        label("objective", "Objective"),
        label("added", "Added"),
        mean_sd("accuracy", "Balanced accuracy"),
        number("best", "Best place", scale=100),
        number("agreement", "Balanced agreement", scale=100),
    ]
    point = {**POINT, "epochs": epochs}
    caption = (
        f"{config.experiment}, data.seed={getattr(config.data, 'seed', 0)}, {folds} folds: means over places ± their "
        f"standard deviation, in percent. Bridges: {', '.join(f'{name} {value:g}' for name, value in point.items())}. "
        "The best place is the best of those on test, and nobody could choose it."
    )
    return markdown(Table("ablation", f"Ablation: {config.experiment}", caption, shown, columns))


def shown_words(words: Sequence[str]) -> list[str]:
    """Those of a command without where recordings and caches lie on one machine."""
    shown = []
    for word in words:
        key, equals, value = word.partition("=")
        if key != "cache":
            shown.append(f"{key}=/path/to/{Path(value).name}" if key == "data.root" else f"{key}{equals}{value}")
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.ablation", description=__doc__)
    parser.add_argument("words", nargs="*", help="as of a run, such as experiment=quickstart data.seed=1")
    parser.add_argument("--calibrations", nargs="+", default=["none", "wearer"], help="default: none wearer")
    parser.add_argument("--few", action="store_true", help="three places instead of nine")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="that each trains for; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="default: %(default)s")
    given = parser.parse_intermixed_args(arguments)
    begin, rows = time.perf_counter(), list[dict[str, Any]]()
    config = configure([*given.words, "bridge.objective=decision"])
    plan = make_plan(config, load_data(config, progress=True))
    with session(config.cluster):
        prepare(config, plan.folds, last_tokens=True)
        jobs = [
            Job(f"{kind}, fold {fold}", judge, (config, fold, kind, given.few, given.epochs))
            for fold in plan.folds
            for kind in given.calibrations
        ]
        run_jobs(jobs, config.cluster, "ablation", lambda _, found: rows.extend(found))
    rows = in_order(rows, given.calibrations)
    found = summary(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"ablation-{config.name}"
    write_parquet(pl.DataFrame(rows), given.out / f"{name}.parquet")
    words = " ".join(
        [
            *shown_words(given.words),
            *(["--few"] if given.few else []),
            *([f"--epochs {given.epochs}"] if given.epochs != EPOCHS else []),
            "--calibrations",
            *given.calibrations,
        ]
    )
    said = f"`python -m benchmark.perf.ablation {words}`, {date.today()}, "
    said += f"{(time.perf_counter() - begin) / 60:.0f} minutes on {cores()} cores."
    write_bytes(given.out / f"{name}.md", f"{table(config, found, len(plan.folds), given.epochs)}\n{said}\n".encode())
    print((given.out / f"{name}.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

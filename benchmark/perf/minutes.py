"""``python -m benchmark.perf.minutes``: what a wearer must give, against what he gets.

His features are standardised by the windows of his first so many minutes alone, unlabelled, and all of his windows on
test are then judged: by the teacher on the old side, by a linear probe of the teacher's classes, and by bridges at
three places with the search's defaults, of one size and trained for a fixed number of epochs. Nothing is searched.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from analysis.writers import Column, Table, label, markdown, mean_sd
from benchmark import registry
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common.files import write_bytes
from benchmark.common.machine import cores
from benchmark.common.progress import Progress
from benchmark.config.schema import Config
from benchmark.frozen.loading import load_data
from benchmark.frozen.prepare import prepare
from benchmark.frozen.task import open_task
from benchmark.perf.ablation import EPOCHS, POINT, measured, places, shown_words
from benchmark.plan import make_plan
from benchmark.registry import configure
from benchmark.results.schema import write_parquet

MINUTES = (0.5, 1.0, 2.0, 4.0, 8.0)
PROBE = {"c": 1e-2}
METHODS = ("teacher", "probe_hard", "bridge")
COLORS = {"teacher": "#4d4d4d", "probe_hard": "#0072b2", "bridge": "#d55e00"}  # told apart by the colour-blind


def judge(config: Config, fold: int, calibration: str, given: float | None, progress: Progress) -> list[dict[str, Any]]:
    """Every method of ``METHODS`` in one fold; ``given``: minutes, None for all there are or for no calibration."""
    config = config.model_copy(update={"wearer": config.wearer.model_copy(update={"first": given and 60 * given})})
    task = open_task(config, fold)
    where = places(task.new.n_blocks, task.old.n_blocks, few=True)
    point = {**config.method_options["bridge"].model_dump(exclude_none=True), **POINT, "objective": "decision"}
    todo: list[tuple[str, Mapping[str, Any], int]] = [("teacher", {}, 0)]
    todo += [("probe_hard", {**PROBE, "block": i}, 0) for i, _ in where]
    todo += [("bridge", {**point, "input": i, "output": j}, EPOCHS) for i, j in where]
    rows = []
    for k, (method, options, epochs) in enumerate(todo):
        names = {"calibration": calibration, "minutes": given, "method": method, "fold": fold}
        rows.append({**names, **measured(task, method, options, epochs, calibration)})
        progress(k + 1, len(todo), method)
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Balanced accuracy: means over places, then mean and deviation over folds."""
    by = ["calibration", "minutes", "method"]
    found = pl.DataFrame(rows, schema_overrides={"minutes": pl.Float64}).group_by(*by, "fold", maintain_order=True)
    folds = found.agg(pl.col("test_balanced_accuracy").mean())
    return folds.group_by(*by, maintain_order=True).agg(
        pl.col("test_balanced_accuracy").mean().alias("accuracy"),
        pl.col("test_balanced_accuracy").std().alias("accuracy_sd"),
        pl.len().alias("folds"),
    )


def table(config: Config, found: pl.DataFrame) -> str:
    """Markdown: a row for each amount, a column for each method."""
    rows = []
    for (calibration, given), of in found.group_by("calibration", "minutes", maintain_order=True):
        amount = "none, not calibrated" if calibration == "none" else "all there are" if given is None else f"{given:g}"
        row: dict[str, Any] = {"amount": amount}
        for one in of.to_dicts():
            row |= {one["method"]: one["accuracy"], f"{one['method']}_sd": one["accuracy_sd"]}
        rows.append(row)
    columns: list[Column] = [label("amount", "Minutes of the wearer"), *map(_column, METHODS)]
    folds = max(int(one) for one in found["folds"])
    caption = (
        f"{config.experiment}: balanced accuracy on test in percent, the mean over {folds} folds (and "
        f"over three places) ± the standard deviation over folds. Shrinkage: {config.wearer.shrinkage:g} windows. A "
        "wearer's first minutes are those of his recordings in their order, and may be of one class."
    )
    return markdown(Table("minutes", f"Minutes of a wearer: {config.experiment}", caption, pl.DataFrame(rows), columns))


def _column(method: str) -> Column:
    return mean_sd(method, registry.get(method).label)


def draw(config: Config, found: pl.DataFrame) -> Figure:
    """Accuracy over minutes, all of them last; dashed: without calibration."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    given = [*sorted(found["minutes"].drop_nulls().unique()), None]
    for beside, method in zip((-0.06, 0.0, 0.06), METHODS, strict=True):  # so that no bar lies on another's
        mine, color = found.filter(pl.col("method") == method), COLORS[method]
        wearer = {row["minutes"]: row for row in mine.filter(pl.col("calibration") == "wearer").to_dicts()}
        scores = [100 * wearer[one]["accuracy"] for one in given]
        spread = [100 * (wearer[one]["accuracy_sd"] or 0) for one in given]
        name = registry.get(method).label
        axes.errorbar(
            [k + beside for k in range(len(given))], scores, spread, color=color, marker="o", capsize=3, label=name
        )
        plain = 100 * mine.filter(pl.col("calibration") == "none")["accuracy"].item()
        axes.axhline(plain, color=color, linestyle="--", linewidth=1)
    axes.set_xticks(range(len(given)), ["all" if one is None else f"{one:g}" for one in given])
    axes.set_xlabel("minutes of unlabelled signal that a wearer gives")
    axes.set_ylabel("balanced accuracy on test (%)")
    axes.set_title(f"{config.experiment}; dashed: not calibrated", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.minutes", description=__doc__)
    parser.add_argument("words", nargs="*", help="as of a run, such as experiment=quickstart data.seed=1")
    parser.add_argument("--minutes", nargs="+", type=float, default=[*MINUTES], help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="default: %(default)s")
    given = parser.parse_intermixed_args(arguments)
    begin, rows = time.perf_counter(), list[dict[str, Any]]()
    config = configure(given.words)
    plan = make_plan(config, load_data(config, progress=True))
    amounts: list[tuple[str, float | None]] = [
        ("none", None),
        *(("wearer", m) for m in given.minutes),
        ("wearer", None),
    ]
    with session(config.cluster):
        prepare(config, plan.folds, last_tokens=False)
        jobs = [
            Job(f"{kind} {'' if minutes is None else minutes}, fold {fold}", judge, (config, fold, kind, minutes))
            for fold in plan.folds
            for kind, minutes in amounts
        ]
        run_jobs(jobs, config.cluster, "minutes", lambda _, found: rows.extend(found))
    order = {one: k for k, one in enumerate(amounts)}
    rows.sort(key=lambda row: (order[row["calibration"], row["minutes"]], row["fold"]))
    found, name = summary(rows), f"minutes-{config.name}"
    given.out.mkdir(parents=True, exist_ok=True)
    write_parquet(pl.DataFrame(rows, schema_overrides={"minutes": pl.Float64}), given.out / f"{name}.parquet")
    draw(config, found).savefig(given.out / f"{name}.png", dpi=150)
    words = " ".join([*shown_words(given.words), "--minutes", *(f"{one:g}" for one in given.minutes)])
    said = f"`python -m benchmark.perf.minutes {words}`, {date.today()}, "
    said += f"{(time.perf_counter() - begin) / 60:.0f} minutes on {cores()} cores."
    page = f"{table(config, found)}\n![accuracy over minutes]({name}.png)\n\n{said}\n"
    write_bytes(given.out / f"{name}.md", page.encode())
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())

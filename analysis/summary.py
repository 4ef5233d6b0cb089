"""Several runs in one table: balanced accuracy of every method in each, and its mean."""

from collections.abc import Sequence

import polars as pl

from analysis import captions
from analysis.run import Run
from analysis.tables import accuracy
from analysis.writers import MISSING, Column, Row, Table, integer, label, number
from benchmark.errors import InputError

NAME = "summary"
VALUE, LOW, HIGH = "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"


def build(runs: Sequence[Run]) -> pl.DataFrame:
    """One row per method that any of the runs has; ``<run>``, ``<run>/low`` and ``<run>/high`` are its balanced
    accuracy in a run and the interval over subjects, ``mean`` and ``runs`` are over those that have it; in [0, 1]."""
    names = [run.name for run in runs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"two of the runs are called {min(twice)}; give runs of different names")
    found = pl.DataFrame(schema={"method": pl.String, "label": pl.String})
    for run in runs:
        mine = accuracy.build(run)
        if mine.is_empty():
            continue
        new = mine.select("method", "label").join(found, on="method", how="anti")
        found = pl.concat([found, new], how="diagonal")
        columns = [pl.col(VALUE).alias(run.name), pl.col(LOW).alias(f"{run.name}/low")]
        scores = mine.select("method", *columns, pl.col(HIGH).alias(f"{run.name}/high"))
        found = found.join(scores, on="method", how="left", maintain_order="left")
    there = [name for name in names if name in found.columns]
    if not there:
        return pl.DataFrame()
    values = pl.concat_list(there).list
    return found.with_columns(values.mean().alias("mean"), values.drop_nulls().list.len().cast(pl.Int64).alias("runs"))


def table(runs: Sequence[Run]) -> Table:
    """As it is written. InputError for runs of one name, or without any final results."""
    frame = build(runs)
    if frame.is_empty():
        raise InputError(f"no final results in {', '.join(str(run.path) for run in runs)}; finish the runs")
    shown = [name for name in (run.name for run in runs) if name in frame.columns]
    columns = [
        label("label", "Method"),
        *map(_of_run, shown),
        number("mean", "Mean", scale=100),
        integer("runs", "Runs"),
    ]
    data = dict.fromkeys(captions.data(run) for run in runs)
    caption = (
        "Balanced accuracy on test in %, with its 95 % interval over subjects; the mean over the runs that have the "
        f"method. {'; '.join(data)}. Of the first: {captions.setting(runs[0])}"
    )
    return Table(NAME, "Summary of runs", caption, frame, columns)


def _of_run(name: str) -> Column:
    def text(row: Row) -> str:
        if row[name] is None:
            return MISSING
        bounds = [row[f"{name}/{end}"] for end in ("low", "high")]
        interval = "" if None in bounds else " [{:.0f}, {:.0f}]".format(*(100 * bound for bound in bounds))
        return f"{100 * row[name]:.1f}{interval}"

    return Column(name, text)

"""Several runs in one table: balanced accuracy of every method in each, its gain over distillation, and its rank."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis import captions
from analysis.across import people
from analysis.across.ranks import Ranking, mean_ranks, ranking
from analysis.run import Run
from analysis.tables import accuracy
from analysis.verdict import verdict
from analysis.writers import MISSING, Column, Row, Table, integer, label, number
from benchmark.errors import InputError

NAME = "summary"
VALUE, LOW, HIGH = "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"
DISTILLED = "kd_logits"
"""Over which methods gain."""


def build(runs: Sequence[Run]) -> pl.DataFrame:
    """One row per method that any of the runs has; ``<run>``, ``<run>/low`` and ``<run>/high`` are its balanced
    accuracy in a run and the interval over subjects, ``mean`` and ``runs`` are over those that have it; in [0, 1].

    ``gain`` is its accuracy over that of distillation, less 1: the mean over the runs that have both. ``rank`` and
    ``group`` are those of ``ranked``."""
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
    distilled = [pl.col(name) / pl.col(name).filter(pl.col("method") == DISTILLED).first() - 1 for name in there]
    ranks, tested = ranked(runs, found)
    groups = tested.groups if isinstance(tested, Ranking) else {}
    return found.with_columns(
        values.mean().alias("mean"),
        values.drop_nulls().list.len().cast(pl.Int64).alias("runs"),
        pl.mean_horizontal(distilled).alias("gain"),
        pl.col("method").replace_strict(ranks, default=None, return_dtype=pl.Float64).alias("rank"),
        pl.col("method").replace_strict(groups, default=None, return_dtype=pl.String).alias("group"),
    )


def blocks(runs: Sequence[Run]) -> dict[tuple[Any, ...], list[Run]]:
    """Runs by what is independent of each other: a direction on people of its own. Runs that repeat a direction on the
    same people, with other seeds of the training say, are one."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if run.final.height:
            found.setdefault((captions.data(run), *people(run)), []).append(run)
    return found


def ranked(runs: Sequence[Run], frame: pl.DataFrame) -> tuple[Mapping[str, float], Ranking | str]:
    """Mean ranks over ``blocks`` of the transfer methods that all runs of ``frame`` have, the mean of a block's runs
    being its value; and their test, or why there is none."""
    groups = [[run.name for run in group] for group in blocks(runs).values()]
    transfer = {method for run in runs for method in run.of_kind("transfer")}
    rows = frame.filter(pl.col("method").is_in(transfer)).drop_nulls([name for group in groups for name in group])
    means = rows.select("method", *(pl.mean_horizontal(group).alias(str(k)) for k, group in enumerate(groups)))
    values = {method: of_blocks for method, *of_blocks in means.iter_rows()}
    return mean_ranks(values), ranking(values)


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
        *([number("gain", "Gain (%)", scale=100)] if frame["gain"].count() else []),
        *([number("rank", "Mean rank", digits=2)] if frame["rank"].count() else []),
        *([label("group", "Group", right=True)] if frame["group"].count() else []),
        integer("runs", "Runs"),
    ]
    data = dict.fromkeys(captions.data(run) for run in runs)
    caption = (
        "Balanced accuracy on test in %, with its 95 % interval over subjects; the mean over the runs that have the "
        f"method. {_gain(frame)}{tested(runs, frame)} {'; '.join(data)}. Of the first: {captions.setting(runs[0])}"
    )
    return Table(NAME, "Summary of runs", caption, frame, columns)


def verdicts(runs: Sequence[Run]) -> str:
    """A page of Markdown: what each run says of itself."""
    parts = [f"## {run.name}\n\n{captions.data(run)}. {' '.join(verdict(run).split())}\n" for run in runs]
    return "# Verdicts\n\n" + "\n".join(parts)


def _gain(frame: pl.DataFrame) -> str:
    if not frame["gain"].count():
        return ""
    name = frame.filter(pl.col("method") == DISTILLED)["label"].item()
    return f"Gain: what a method reaches over what {name} reaches, less 100 %, the mean over the runs with both. "


def tested(runs: Sequence[Run], frame: pl.DataFrame) -> str:
    """The sentences on ranks: what was ranked, what Friedman's test says, and what it does not."""
    ranks, found = ranked(runs, frame)
    if isinstance(found, str):
        return f"No test of ranks (Friedman): {found}."
    every = blocks(runs)
    transfer = {method for run in runs for method in run.of_kind("transfer")}
    without = frame.filter(pl.col("method").is_in(transfer), pl.col("method").is_in(list(ranks)).not_())["label"]
    aside = f" Not ranked, since not all runs have them: {', '.join(without)}." if len(without) else ""
    apart = (
        f"{found.critical:.2f} between mean ranks tells two apart (Nemenyi, 5 %), and those that share a letter are not"
        if len(set(found.groups.values())) > 1
        else "no two methods are told apart"
    )
    return (
        f"Mean rank: of the transfer methods, 1 for the best, over n = {found.blocks} blocks, each a direction on "
        f"people of its own. {found.said}; {apart}."
        f"{aside}{_share(every)}"
    )


def _share(every: Mapping[tuple[Any, ...], Sequence[Run]]) -> str:
    """What is less independent, or less general, than the test takes it to be."""
    if len({data for data, *_ in every}) == 1:
        return " All blocks are of one direction, with other simulated people: nothing is said of other directions."
    if len({tuple(who) for _, *who in every}) < len(every):
        return " Directions between the same people's signals are not independent, so that p may be too small."
    return ""


def _of_run(name: str) -> Column:
    def text(row: Row) -> str:
        if row[name] is None:
            return MISSING
        bounds = [row[f"{name}/{end}"] for end in ("low", "high")]
        interval = "" if None in bounds else " [{:.0f}, {:.0f}]".format(*(100 * bound for bound in bounds))
        return f"{100 * row[name]:.1f}{interval}"

    return Column(name, text)

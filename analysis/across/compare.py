"""Two runs beside each other: what changed between them, and which methods are better or worse for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from analysis import captions, pairs
from analysis.pairs import Pair
from analysis.run import Run
from analysis.statistics import counted, subjects_of
from analysis.tables import accuracy, comparisons
from analysis.writers import MISSING, Column, Row, Table, integer, interval, label, number
from benchmark.results.folder import changes

PLACES = ("name", "results", "cache", "data.root")
"""Options that say where something lies."""


def tables(first: Run, second: Run) -> list[Table]:
    """What changed, and the methods that both have."""
    return [_changed(first, second), _methods(first, second)]


# What changed.


def _changed(first: Run, second: Run) -> Table:
    found = [(key, _text(a), _text(b)) for key, a, b in changed(first, second)]
    frame = pl.DataFrame(found, schema={"what": pl.String, "first": pl.String, "second": pl.String}, orient="row")
    columns = [label("what", "What"), label("first", first.name), label("second", second.name)]
    said = "Options, and versions of libraries, that differ" if found else "Configuration and versions are the same"
    return Table("changed", "What changed", f"{said}; not those that only say where something lies.", frame, columns)


def changed(first: Run, second: Run) -> list[tuple[str, Any, Any]]:
    """Options and versions that differ: name, and the value of either run; None of one that lacks it."""
    found = [change for change in changes(first.config, second.config) if change[0] not in PLACES]
    ours, theirs = _versions(first), _versions(second)
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return found + [(f"version of {name}", ours.get(name), theirs.get(name)) for name in names]


def _versions(run: Run) -> Mapping[str, str]:
    found: dict[str, list[str]] = {}
    for text in run.read(run.rows.select("versions").drop_nulls().unique())["versions"].sort():
        for name, version in json.loads(text).items():
            found.setdefault(name, []).append(str(version))
    return {name: ", ".join(dict.fromkeys(versions)) for name, versions in found.items()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value).replace("'", "")


# Methods.


def unpaired(first: Run, second: Run) -> str:
    """Why no subject of one run can be compared with himself in the other; empty where some can."""
    names = [str(run.setting("data.name")) for run in (first, second)]
    if names[0] != names[1]:
        return f"{names[0]} and {names[1]} have other people"
    ours, theirs = (
        {key: value for key, value in (run.setting("data") or {}).items() if key != "split"} for run in (first, second)
    )
    if "seed" in ours and ours != theirs:  # drawn, not recorded
        options = ", ".join(f"data.{key}" for key, *_ in changes(ours, theirs))
        return f"the simulated people are others, since {options} differ{'s' if ', ' not in options else ''}"
    if first.classes != second.classes:
        return f"the classes differ ({', '.join(first.classes)}; {', '.join(second.classes)})"
    if not set(subjects_of(first)) & set(subjects_of(second)):
        return "no subject is in the test of both"
    return ""


def build(first: Run, second: Run) -> pl.DataFrame:
    """A row per method with results in both: ``first`` and ``second``, its balanced accuracy in either; and, unless
    they are ``unpaired``, ``second`` minus ``first`` as the columns of ``comparisons`` have it."""
    values = [_values(run) for run in (first, second)]
    both = first.ordered(values[0].keys() & values[1].keys() & first.methods.keys())
    paired: dict[str, Pair] = {}
    if not unpaired(first, second):
        counts = [_counts(run) for run in (first, second)]
        transfer = first.of_kind("transfer")
        for family in ([m for m in both if m in transfer], [m for m in both if m not in transfer]):
            paired |= {pair.a: pair for pair in pairs.adjusted([_pair(method, *counts) for method in family])}
    shown = ("difference", "low", "high", "p", "p_holm", "superiority", "subjects", "seeds")
    rows = [
        {
            "method": method,
            "label": first.labels[method],
            "first": values[0][method],
            "second": values[1][method],
            **{name: asdict(paired[method])[name] if method in paired else None for name in shown},
            "different": paired[method].different if method in paired else None,
            "partial": paired[method].partial if method in paired else None,
        }
        for method in both
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None).rename(
        {"low": "difference_low", "high": "difference_high"}, strict=False
    )
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _values(run: Run) -> dict[str, float]:
    frame = accuracy.build(run)
    return {} if frame.is_empty() else dict(frame.select("method", "balanced_accuracy").drop_nulls().iter_rows())


Counts = Mapping[str, Mapping[str, np.ndarray]]
"""By method and subject: (seeds, true, predicted class)."""


def _counts(run: Run) -> Counts:
    names = subjects_of(run)
    found: dict[str, list[np.ndarray]] = {}
    for (method, _), _, counts in counted(run, "method", "seed"):
        found.setdefault(method, []).append(counts)
    return {method: dict(zip(names, np.stack(of, axis=1), strict=True)) for method, of in found.items()}


def _pair(method: str, first: Counts, second: Counts) -> Pair:
    """The second run's minus the first's, over the subjects of whom both have windows in each of their seeds."""
    whole = [{name for name, counts in run[method].items() if counts.sum((1, 2)).all()} for run in (first, second)]
    names = sorted(whole[0] & whole[1])
    empty = np.zeros((1, 0, 1, 1))
    counts = [np.stack([run[method][name] for name in names], axis=1) if names else empty for run in (second, first)]
    partial = any(len(names) < sum(bool(one.sum()) for one in run[method].values()) for run in (first, second))
    return pairs.paired(method, method, counts, partial)


def _methods(first: Run, second: Run) -> Table:
    frame, why = build(first, second), unpaired(first, second)
    columns = [
        label("label", "Method"),
        number("first", first.name, scale=100),
        number("second", second.name, scale=100),
        *([] if why else _difference()),
    ]
    caption = f"Balanced accuracy on test in %. {_how(first, second, why, frame)} "
    caption += " ".join(f"{run.name}: {captions.setting(run)}" for run in (first, second))
    return Table("compared", f"{second.name} against {first.name}", caption, frame, columns)


def _difference() -> Sequence[Column]:
    return [
        number("difference", "Difference (points)", scale=100),
        interval("difference", "95 % interval"),
        Column("p", lambda row: comparisons.p_text(row, "p")),
        Column("p (Holm)", lambda row: comparisons.p_text(row, "p_holm")),
        Column("Told apart", _told),
        integer("subjects", "Subjects"),
    ]


def _told(row: Row) -> str:
    return MISSING if row["difference"] is None else "yes" if row["different"] else "no"


def _how(first: Run, second: Run, why: str, frame: pl.DataFrame) -> str:
    if frame.is_empty():
        return "No method has results in both."
    if why:
        return f"Nothing is tested: subjects of the two runs cannot be paired ({why})."
    partial = " Some are in the test of one run alone and left out of it." if frame["partial"].any() else ""
    return (
        f"Difference: {second.name} minus {first.name}, over the subjects that both judge.{partial} {comparisons.HOW}"
    )

"""Where the reference stands in each run: against the best of the others, what it trains, and which step loses most.

The reference was named before anything was seen; the best of the others is known afterwards, so that it is the one
that is hardest to beat.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from analysis import pairs
from analysis.run import Run
from analysis.tables import accuracy, transfer
from analysis.tables.comparisons import how, p_text
from analysis.writers import MISSING, Column, Row, Table, interval, label, number

NAME = "standing"
TITLE = "The reference in each run"


def build(runs: Sequence[Run]) -> pl.DataFrame:
    """One row per run and calibration: the reference minus the best other transfer method of that calibration, with
    the columns of ``pairs.Pair``; ``ahead`` and ``behind``, of how many it is told apart; ``share``, of the student's
    parameters; ``loses`` and ``lost``, the step that loses most. Accuracies, shares and losses are parts of 1.

    A run in which the reference has no test predictions, or nothing to compare with, has no row."""
    return pl.DataFrame([row for run in runs for row in _rows(run)], infer_schema_length=None)


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    scores = {row["method"]: row for row in accuracy.build(run).iter_rows(named=True)}
    trained = dict(run.final.group_by("method").agg(pl.col("trainable_parameters").max()).iter_rows())
    for calibration, found in within_calibrations(run).items():
        if not found:
            continue
        mine = found[0].a
        best = max(found, key=lambda pair: scores[pair.b]["balanced_accuracy"])
        apart = [pair for pair in found if pair.different]
        lost = transfer.losses(run, calibration)
        most = max(lost, key=lambda name: lost[name], default=None)
        yield {
            **{name: value for name, value in asdict(best).items() if name not in ("a", "b")},
            "run": run.name,
            "calibration": calibration,
            "label": run.labels[mine].partition(",")[0],
            "accuracy": scores[mine]["balanced_accuracy"],
            "accuracy_low": scores[mine]["balanced_accuracy_low"],
            "accuracy_high": scores[mine]["balanced_accuracy_high"],
            "best": run.labels[best.b].partition(",")[0],
            "best_accuracy": scores[best.b]["balanced_accuracy"],
            "difference_low": best.low,
            "difference_high": best.high,
            "different": best.different,
            "others": len(found),
            "ahead": sum(pair.difference > 0 for pair in apart),
            "behind": sum(pair.difference < 0 for pair in apart),
            "share": None if trained.get(mine) is None else trained[mine] / run.student_parameters,
            "loses": most,
            "lost": lost[most] if most else None,
        }


def within_calibrations(run: Run) -> Mapping[str, Sequence[pairs.Pair]]:
    """For each calibration of the run the reference under it minus every other transfer method under it: a family of
    Holm's each, since runs are asked what is best once it is known how one calibrates."""
    of_run, first = pairs.Compared(pairs.counts_of(run)), str(pairs.reference(run)).partition("@")[0]
    found: dict[str, Sequence[pairs.Pair]] = {}
    for method in run.ordered(of_run.counts):
        base, _, calibration = method.partition("@")
        if base == first and method in run.of_kind("transfer"):
            others = [
                other
                for other in run.ordered(of_run.counts)
                if other != method and other.partition("@")[2] == calibration and other in run.of_kind("transfer")
            ]
            found[calibration or "none"] = of_run.family([(method, other) for other in others])
    return found


def tables(runs: Sequence[Run]) -> list[Table]:
    """The table as it is written; none where no run has anything to compare."""
    frame = build(runs)
    if frame.is_empty():
        return []
    names = list(dict.fromkeys(frame["label"]))
    columns = [
        label("run", "Run"),
        label("calibration", "Calibration"),
        number("accuracy", " / ".join(names), scale=100),
        interval("accuracy", "95 % interval"),
        label("best", "Best of the others"),
        number("best_accuracy", "Its accuracy", scale=100),
        number("difference", "Difference (points)", scale=100),
        interval("difference", "95 % interval"),
        Column("p (Holm)", lambda row: p_text(row, "p_holm")),
        Column("Told apart", lambda row: "yes" if row["different"] else "no"),
        Column("Ahead, behind", lambda row: f"{row['ahead']}, {row['behind']} of {row['others']}"),
        number("share", "Parameters (%)", scale=100),
        Column("Loses most", _loses, right=False),
    ]
    caption = (
        f"Balanced accuracy on test in %. {' / '.join(names)}, the plan's first transfer method, minus the other of "
        "the same calibration that is best on test. Ahead, behind: of how many others it is told apart, above and "
        "below them. Parameters: the most that it trains in a fold, against those of the whole new model with its "
        "head. Loses most: of the steps teacher, new encoder, map, training and choice, as in the table of the "
        f"transfer, with its points. {how('the others of the same run and calibration')}"
    )
    return [Table(NAME, TITLE, caption, frame, columns)]


def _loses(row: Row) -> str:
    return MISSING if row["loses"] is None else f"{row['loses']} ({100 * row['lost']:.1f})".replace("-", "−")

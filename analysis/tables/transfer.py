"""Where the transfer loses: from the teacher, by what labels and closed-form maps reach, to the reference on test.

Whatever reads no label and trains no epochs is a closed-form map; of what reads labels, the teacher is what always
agrees with itself, and the best of the others that train no epochs says what the new encoder knows.
"""

from collections.abc import Sequence

import polars as pl

from analysis import captions, pairs
from analysis.run import Run
from analysis.writers import Column, label, number

NAME = "transfer"
TITLE = "Where the transfer loses"

SCORES = ("test_balanced_accuracy", "test_balanced_agreement", "pair_balanced_accuracy", "pair_balanced_agreement")
MEANS = (*SCORES, "val_balanced_agreement")


def build(run: Run) -> pl.DataFrame:
    """Up to six rows for each calibration of the run: accuracy and agreement with the teacher, balanced, in [0, 1]."""
    if run.final.is_empty() or pairs.reference(run) is None:
        return pl.DataFrame()
    rows = [row for kind in _calibrations(run) for row in _steps(run, kind)]
    return pl.DataFrame(rows, schema_overrides={"accuracy": pl.Float64, "agreement": pl.Float64})


def _calibrations(run: Run) -> list[str]:
    found = set(run.final["calibration"].fill_null("none"))
    return [kind for kind in ("none", *captions.CALIBRATIONS) if kind in found]


def _steps(run: Run, calibration: str) -> list[dict]:
    mine = run.final.filter(pl.col("calibration").fill_null("none") == calibration)
    means = mine.group_by("method").agg(pl.col(MEANS).mean(), pl.col("epochs", "trainable_parameters").max())
    found = {row["method"]: row for row in means.iter_rows(named=True) if row["test_balanced_accuracy"] is not None}
    closed = [one for one in found.values() if not one["epochs"]]
    labelled = [one for one in closed if one["method"] in run.of_kind("ceiling")]
    teacher = [one for one in labelled if one["test_balanced_agreement"] == 1]
    oracle = [one for one in labelled if one not in teacher]
    maps = [one for one in closed if one["method"] in run.of_kind("transfer")]
    base = str(pairs.reference(run)).partition("@")[0]
    reference = found.get(base if calibration == "none" else f"{base}@{calibration}")
    steps = [("teacher", *_best(teacher)), ("encoder", *_best(oracle)), ("map", *_best(maps))]
    if reference:
        name = reference["method"]
        steps += [
            ("pair", name, reference["pair_balanced_accuracy"], reference["pair_balanced_agreement"]),
            ("held out", name, None, reference["val_balanced_agreement"]),
            ("test", name, reference["test_balanced_accuracy"], reference["test_balanced_agreement"]),
        ]
    return [
        {"calibration": calibration, "step": step, "method": method, "accuracy": accuracy, "agreement": agreement}
        for step, method, accuracy, agreement in steps
        if method
    ]


def _best(rows: Sequence[dict]) -> tuple[str | None, float | None, float | None]:
    best = max(rows, key=lambda row: row["test_balanced_accuracy"], default=None)
    return (best["method"], best["test_balanced_accuracy"], best["test_balanced_agreement"]) if best else (None,) * 3


def losses(run: Run, calibration: str) -> dict[str, float]:
    """What each step loses, in [0, 1], as far as the run has both of its ends; what it gains is negative."""
    frame = build(run)
    rows = {row["step"]: row for row in frame.iter_rows(named=True) if row["calibration"] == calibration}

    def at(step: str, score: str = "accuracy") -> float | None:
        return rows[step][score] if step in rows else None

    ends = {
        "the teacher": (1.0, at("teacher")),
        "the new encoder": (at("teacher"), at("encoder")),
        "the map": (at("encoder"), at("map")),
        "the training": (at("map"), at("test")),
        "the choice": (at("held out", "agreement"), at("test", "agreement")),
    }
    return {name: begin - end for name, (begin, end) in ends.items() if begin is not None and end is not None}


WHERE = {
    "teacher": "on the old side of test",
    "encoder": "with labels, on the new side of test",
    "map": "best closed form without labels, on test",
    "pair": "on the pairs that it was trained on",
    "held out": "on held-out people, when it was chosen",
    "test": "on test",
}


def columns(run: Run, frame: pl.DataFrame) -> Sequence[Column]:
    several = frame["calibration"].n_unique() > 1
    return [
        *([label("calibration", "Calibration")] if several else []),
        Column("Method", lambda row: run.labels[row["method"]], right=False),
        Column("Where", lambda row: WHERE[row["step"]], right=False),
        number("accuracy", "Balanced accuracy", scale=100),
        number("agreement", "Agreement", scale=100),
    ]


def caption(run: Run) -> str:
    said = " ".join(filter(None, (_loses(run, kind) for kind in _calibrations(run))))
    return (
        f"{said} The teacher loses what it lacks of 100 %; the new encoder what a probe with labels lacks of the "
        "teacher; the map what the best closed form without labels lacks of that probe; the training what the method "
        "lacks of that closed form; the choice what agreement with the teacher lost from the people it was chosen on "
        f"to those of test. Means over seeds and folds, in percent. {captions.setting(run)}"
    )


def _loses(run: Run, calibration: str) -> str:
    found = losses(run, calibration)
    if not found:
        return ""
    most = max(found, key=lambda name: found[name])
    each = ", ".join(f"{name} {100 * lost:.1f}".replace("-", "−") for name, lost in found.items())
    under = "" if calibration == "none" else f"With calibration {calibration}: "
    return f"{under}{most[0].upper() if not under else most[0]}{most[1:]} loses most ({each} points)."

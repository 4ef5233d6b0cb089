"""What a study's rows choose, and the final trial that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import loads
from typing import Any

from benchmark.common import mishaps
from benchmark.config.schema import Config
from benchmark.plan import Final, Spec, Study
from benchmark.trial.folds import VAL, order, score_of

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Unchosen:
    """A study of which no trial is done, and why."""

    why: str


def best_of(study: Study, rows: Sequence[Row], rule: str = "best") -> Row | Unchosen:
    """The row that the protocol chooses, of those that were trained on the most folds.

    The best agreement, then the lowest divergence from the teacher, then the fewest trainable parameters, then the
    first; with ``rule="one_standard_error"`` the fewest trainable parameters of all whose agreement is within one
    standard error of the best one's (Breiman et al., 1984), then as before.
    """
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        errors = [row["error"] for row in rows if row.get("error")]
        why = (mishaps.cause(errors[0]) or errors[0].strip().splitlines()[-1]) if errors else "none was finished"
        return Unchosen(f"every trial of {study.method} failed ({why})")
    most = max(row.get("inner_folds") or 1 for row in done)

    def rank(row: Row) -> tuple[Any, ...]:
        return *(-value for value in order(row)), row["trainable_parameters"], row["trial_id"]

    compared = sorted((row for row in done if (row.get("inner_folds") or 1) == most), key=rank)
    error = compared[0].get("score_standard_error")
    if rule == "one_standard_error" and error is not None:
        least = score_of(compared[0]) - error
        compared = [row for row in compared if score_of(row) >= least]
        compared.sort(key=lambda row: row["trainable_parameters"])
    return compared[0]


def spec_of(config: Config, final: Final, found: Row | None) -> Spec:
    """A final trial with the options that its study chose, by the row; a reference has no study, and its own."""
    own = config.method_options[final.method].model_dump()
    options = loads(found["config"]) if found else own if found is None else {}
    in_folds = bool(found) and final.study is not None and final.study.folds > 1
    epoch = {name: found.get(name) for name in VAL} if found and in_folds else None
    head = (final.method, "final", final.trial_id, final.fold, final.seed, options, final.leakage)
    return Spec(*head, calibration=final.calibration, chosen=epoch)

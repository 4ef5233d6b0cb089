"""What a study's rows choose, and the final trials that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import loads
from typing import Any

from benchmark.common import mishaps
from benchmark.config.schema import Config
from benchmark.errors import RunError
from benchmark.plan import Final, Plan, Spec, Study
from benchmark.results.recorder import Recorder
from benchmark.trial.folds import VAL, order, score_of
from benchmark.trial.trial import failed_row

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


def choose(config: Config, plan: Plan, dataset: str, recorder: Recorder) -> list[Spec]:
    """The final trials of a plan: every method with the options that its study chose, references with their own.

    Where no trial of a study is done, its final trials are rows that say so. RunError where that is so of all studies.
    """
    chosen = {
        study.name: best_of(study, recorder.of("search", study.variant, study.fold), config.search.rule)
        for study in plan.studies
    }
    lost = [found.why for found in chosen.values() if isinstance(found, Unchosen)]
    if lost and len(lost) == len(chosen):
        raise RunError(f"{lost[0]}; trials.parquet has the whole errors")
    specs = []
    for final in plan.finals:
        found = chosen[final.study.name] if final.study else None
        if isinstance(found, Unchosen):
            recorder.trial(failed_row(config, _spec(config, final, {}), dataset, found.why))
        else:
            specs.append(_spec(config, final, found))
    return specs


def _spec(config: Config, final: Final, found: Row | None) -> Spec:
    own = config.method_options[final.method].model_dump()
    options = loads(found["config"]) if found else own if found is None else {}
    in_folds = bool(found) and final.study is not None and final.study.folds > 1
    epoch = {name: found.get(name) for name in VAL} if found and in_folds else None
    head = (final.method, "final", final.trial_id, final.fold, final.seed, options, final.leakage)
    return Spec(*head, calibration=final.calibration, chosen=epoch)

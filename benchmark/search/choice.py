"""What a study's rows choose."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.common import mishaps
from benchmark.config.schema import Config
from benchmark.errors import RunError
from benchmark.plan import Final, Plan, Spec, Study
from benchmark.results.recorder import Recorder
from benchmark.search.studies import score_of


def best_of(study: Study, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The options that the protocol chooses: the best score on val, then the lowest divergence from the teacher, then
    the fewest trainable parameters, then the first. RunError if no trial is done."""
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        errors = [row["error"] for row in rows if row.get("error")]
        why = (mishaps.cause(errors[0]) or errors[0].strip().splitlines()[-1]) if errors else "none was finished"
        raise RunError(f"every trial of {study.method} failed ({why}); trials.parquet has the whole errors")

    def rank(row: Mapping[str, Any]) -> tuple[float, float, int, str]:
        return -score_of(row), row["val_divergence"], row["trainable_parameters"], row["trial_id"]

    return json.loads(min(done, key=rank)["config"])


def choose(config: Config, plan: Plan, recorder: Recorder) -> list[Spec]:
    """The final trials of a plan: every method with the options that its study chose, references with their own."""
    chosen = {study.name: best_of(study, recorder.of("search", study.method, study.fold)) for study in plan.studies}
    return [_spec(config, final, chosen) for final in plan.finals]


def _spec(config: Config, final: Final, chosen: Mapping[str, Mapping[str, Any]]) -> Spec:
    own = config.method_options[final.method].model_dump()
    options = chosen[final.study.name] if final.study else own
    return Spec(final.method, "final", final.trial_id, final.fold, final.seed, options, final.leakage)

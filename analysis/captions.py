"""What every caption says: data, protocol, numbers of trials, seeds and folds, and where the weights came from."""

from functools import lru_cache

import polars as pl

from analysis.run import STAGES, UNWELL, Run

WEIGHTS = {
    "released": "released (by its authors)",
    "local": "local (trained here on unlabelled windows)",
    "random": "random (untrained)",
}
PROTOCOLS = {
    "cross_validation": "cross_validation (choices by balanced agreement with the teacher, without labels, in folds "
    "over the subjects of pair and val; trained again on all of them)",
    "val": "val (choices by balanced agreement with the teacher on val pairs, without labels)",
    "val_labels": "val_labels (choices by labels of the val split)",
}
SPLITS = {
    "subjects": "subjects apart",
    "kfold": "folds of subjects",
    "leave-one-subject-out": "each subject left out once",
    "paper": "split of the published sizes",
    "blocked": "blocks of time apart",
}
LEAKAGE = {
    "samples": "The split leaks: overlapping windows are on both sides of it, so every number here may be too high",
    "subjects": "Subjects are on both sides of the split: nothing is said about people who were never seen",
    "choice": "Configurations were chosen with subjects who are in the tests of other folds (search.folds=first), so "
    "numbers of these folds may be too high",
}
"""What may be shared, worst first."""


CALIBRATIONS = {
    "wearer": "by his windows of the whole recording, those of test among them",
    "causal": "by windows that lie before the one judged",
}


@lru_cache(maxsize=1)
def setting(run: Run) -> str:
    """The sentences that say how the run's numbers came about."""
    sentences = [
        f"Data: {data(run)}",
        _protocol(run),
        leakage(run),
        calibration(run),
        _trials(run),
        _repetitions(run),
        _weights(run),
        _failures(run),
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def leakage(run: Run) -> str:
    """The worst of what test shares with what was learnt and chosen from; empty where they share nothing."""
    found = set(run.trials["leakage"].drop_nulls().unique())
    return next((said for kind, said in LEAKAGE.items() if kind in found), "")


def calibration(run: Run) -> str:
    """What of the wearers' own unlabelled windows was used; empty where none was."""
    found = [kind for kind in CALIBRATIONS if kind in set(run.trials["calibration"].unique())]
    if not found:
        return ""
    sides = {"both": "both sides", "old": "the old side", "new": "the new side"}.get(str(run.setting("wearer.sides")))
    said = " | ".join(f"{kind}: {CALIBRATIONS[kind]}" for kind in found)
    return f"Features of {sides or 'both sides'} were standardised within each wearer, without labels ({said})"


def _value(run: Run, column: str) -> str | None:
    values = run.trials[column].drop_nulls()
    return None if values.is_empty() else str(values[0])


def data(run: Run) -> str:
    """Data set and direction, and a warning where the split leaks."""
    old, new = _value(run, "old_modality"), _value(run, "new_modality")
    direction = f"{old.upper()} → {new.upper()}" if old and new else _value(run, "direction")
    leaky = "LEAKY split" if "samples" in run.trials["leakage"] else ""
    return ", ".join(part for part in (_value(run, "dataset"), direction, leaky) if part)


def _protocol(run: Run) -> str:
    protocol = _value(run, "protocol") or run.setting("protocol")
    if not protocol:
        return "Protocol: not recorded"
    split = SPLITS.get(str(run.setting("data.split.kind")), str(run.setting("data.split.kind") or ""))
    return "; ".join(part for part in (f"Protocol: {PROTOCOLS.get(str(protocol), protocol)}", split) if part)


def _trials(run: Run) -> str:
    counts = dict(run.search.group_by("method").len().iter_rows())
    if not counts:
        return "No search trials"
    folds = run.search["fold"].drop_nulls().unique().sort().to_list()
    # What was chosen in one fold is used in all of them, unless every fold was searched.
    where = f" over {len(folds)} folds" if len(folds) > 1 else f" in fold {folds[0]}" if folds and run.folds else ""
    sizes = set(counts.values())
    if len(sizes) == 1:
        return f"{sizes.pop()} search trials for each method{where}"
    each = ", ".join(f"{run.labels[method]} {counts[method]}" for method in run.ordered(counts))
    return f"Search trials{where}: {each}"


def _repetitions(run: Run) -> str:
    if run.final.is_empty():
        return "No final trial is done"
    seeds = f"seed {run.seeds[0]}" if len(run.seeds) == 1 else f"seeds {', '.join(map(str, run.seeds))}"
    folds = f"{len(run.folds)} folds" if run.folds else "one split, no folds"
    return f"{seeds[0].upper()}{seeds[1:]}; {folds}"


def _weights(run: Run) -> str:
    parts = []
    for side in ("old", "new"):
        name, preset, weights = (run.setting(f"{side}.{key}") for key in ("name", "preset", "weights"))
        if not name or not weights:
            parts.append(f"{side} model {_value(run, f'{side}_encoder') or 'not recorded'}")
            continue
        # A path says where a file lies on one machine; its name is what another reader can use.
        origin = WEIGHTS.get(str(weights), f"from {str(weights).rsplit('/', 1)[-1]}")
        parts.append(f"{side} model {' '.join(str(part) for part in (name, preset) if part)} {origin}")
    return f"Weights: {'; '.join(parts)}"


def _failures(run: Run) -> str:
    sentences = []
    for status in UNWELL:
        ended = run.trials.filter(pl.col("status") == status).group_by("method", "stage").len()
        counts = {(method, stage): count for method, stage, count in ended.iter_rows()}
        each = [
            f"{run.labels[method]} {counts[method, stage]} {stage}"
            for method in run.ordered(method for method, _ in counts)
            for stage in STAGES
            if (method, stage) in counts
        ]
        sentences += [f"{status.title()} trials: {', '.join(each)}"] if each else []
    return ". ".join(sentences)

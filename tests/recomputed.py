"""Every number of a run's tables once more, from ``trials.parquet`` and ``predictions.parquet`` alone.

With loops, scikit-learn and SciPy, and nothing of ``analysis`` but the subjects that its bootstrap draws.
``python -m tests.recomputed results/a`` checks a folder and says how many numbers that were.
"""

import csv
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
import polars as pl
from omegaconf import OmegaConf
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, recall_score

from analysis.statistics import subject_draws

Row = Mapping[str, Any]
Cells = dict[tuple[Any, ...], dict[str, Any]]
TEXTS = {"label", "group", "quarter", "why", "step"}
"""Columns of words; all others have to be in what is computed here."""


KEYS = {
    "accuracy": ("method",),
    "accuracy_folds": ("fold",),
    "budget": ("method",),
    "comparisons": ("method",),
    "confidence": ("quarter",),
    "failures": ("method", "stage", "status", "why"),
    "pareto": ("method", "fold", "trial_id"),
    "subjects": ("subject",),
    "transfer": ("calibration", "step"),
}
"""Columns that say which row is meant, by table."""


class Again:
    """A run's tables by name: by the values of the columns in ``KEYS``, what stands in the others."""

    def __init__(self, folder: Path):
        plan = json.loads((folder / "plan.json").read_text())
        self.config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        self.kinds = {card["name"]: card["kind"] for card in plan["methods"]}
        self.own = [column["name"] for card in plan["methods"] for column in card["columns"]]
        self.classes, self.student = len(plan["classes"]), plan["student_parameters"]
        self.trials = pl.read_parquet(folder / "trials.parquet").to_dicts()
        latest: dict[tuple, Row] = {}
        for row in self.trials:
            key = (row["method"], row["seed"], row["fold"])
            later = key not in latest or row["started_at"] >= latest[key]["started_at"]
            if later and (row["stage"], row["status"]) == ("final", "done"):
                latest[key] = row
        self.final = list(latest.values())
        done = {(row["method"], row["trial_id"]) for row in self.final}
        windows = pl.read_parquet(folder / "predictions.parquet").filter(pl.col("stage") == "final").to_dicts()
        self.windows = [window for window in windows if (window["method"], window["trial_id"]) in done]
        self.transfer = [name for name, kind in self.kinds.items() if kind == "transfer"]
        self.reference = self.transfer[0]
        self.subjects = sorted({window["subject"] for window in self.windows})
        self.of = defaultdict(list)
        for window in self.windows:
            self.of[window["method"]].append(window)

    @cache  # noqa: B019
    def table(self, name: str) -> Cells:
        return getattr(self, {"subjects": "subjects_", "transfer": "losses"}.get(name, name))()

    # Accuracy.

    def accuracy(self) -> Cells:
        begun = {(r["method"], r["seed"], r["fold"]) for r in self.trials if r["stage"] == "final"}
        planned, done = Counter(key[0] for key in begun), Counter(row["method"] for row in self.final)
        guess = 1 / self.classes
        found = {("chance",): {"balanced_accuracy": guess, "accuracy": guess, "kappa": 0.0}}
        for method in planned:
            cells = {"planned": planned[method], "done": done[method]}
            of_seeds = [metrics(windows) for windows in grouped(self.of[method], "seed").values()]
            for name in of_seeds[0] if of_seeds else ():
                cells[name] = fmean(values[name] for values in of_seeds)
                if len(of_seeds) > 1:
                    cells[f"{name}_sd"] = stdev(values[name] for values in of_seeds)
            if len({window["subject"] for window in self.of[method]}) > 1:
                low, high = quantiles(self.drawn(self.of[method], self.subjects))
                cells |= {"balanced_accuracy_low": low, "balanced_accuracy_high": high}
            found[(method,)] = cells
        return found

    def drawn(self, windows: Sequence[Row], subjects: Sequence[str]) -> np.ndarray:
        """Balanced accuracy in each draw of the subjects, the mean over seeds; NaN where a draw holds no window."""
        times = subject_draws(len(subjects))
        of_seeds = []
        for mine in grouped(windows, "seed").values():
            recalls = []
            for k in range(self.classes):
                there, right = np.zeros((2, len(subjects)))
                for window in mine:
                    if window["label"] == k:
                        there[subjects.index(window["subject"])] += 1
                        right[subjects.index(window["subject"])] += window["prediction"] == k
                with np.errstate(invalid="ignore"):
                    recalls.append((times @ right) / (times @ there))
            of_seeds.append(nanmean(recalls))
        return nanmean(of_seeds)

    def accuracy_folds(self) -> Cells:
        values = defaultdict(list)
        for (method, fold, _), windows in grouped(self.windows, "method", "fold", "seed").items():
            values[fold, method].append(metrics(windows)["balanced_accuracy"])
        found: Cells = defaultdict(dict)
        for (fold, method), of_seeds in values.items():
            found[fold,][method] = fmean(of_seeds)
        return found if len(found) > 1 else {}

    def subjects_(self) -> Cells:
        found: Cells = {}
        for subject in self.subjects:
            mine = [w for m in self.transfer for w in self.of[m] if w["subject"] == subject]
            if mine:
                found[subject,] = {
                    "windows": len({window["window"] for window in mine}),
                    "teacher_says": share(mine, "teacher_prediction", "label"),
                    **{m: share(w, "prediction", "label") for (m,), w in grouped(mine, "method").items()},
                }
        return found

    def confidence(self) -> Cells:
        mine = [window for window in self.of[self.reference] if window["teacher_confidence"] is not None]
        mine.sort(key=lambda window: (window["teacher_confidence"], window["window"], window["seed"]))
        quarters = defaultdict(list)
        for place, window in enumerate(mine):
            quarters[("least sure", "less sure", "surer", "surest")[4 * place // len(mine)]].append(window)
        return {
            (name,): {
                "windows": len(windows),
                "from": windows[0]["teacher_confidence"],
                "to": windows[-1]["teacher_confidence"],
                "agreement": share(windows, "prediction", "teacher_prediction"),
                "accuracy": share(windows, "prediction", "label"),
                "teacher_accuracy": share(windows, "teacher_prediction", "label"),
            }
            for name, windows in quarters.items()
        }

    # Pairs.

    def pair(self, a: str, b: str) -> dict[str, Any] | None:
        """``a`` minus ``b`` over what both have, unadjusted."""
        there = [{(w["seed"], w["fold"], w["subject"]) for w in self.of[method]} for method in (a, b)]
        both = there[0] & there[1]
        mine = [[w for w in self.of[method] if (w["seed"], w["fold"], w["subject"]) in both] for method in (a, b)]
        subjects, seeds = sorted({key[2] for key in both}), {key[0] for key in both}
        if not both:
            return None
        first, second = (
            fmean(metrics(windows)["balanced_accuracy"] for windows in grouped(own, "seed").values()) for own in mine
        )
        each = [x - y for x, y in zip(*(self.shares(own, subjects) for own in mine), strict=True)]
        each = [0.0 if abs(value) < 1e-11 else value for value in each]
        found = {
            "difference": first - second, "p": signed_rank(each), "subjects": len(subjects), "seeds": len(seeds),
            "superiority": fmean((value > 0) + (value == 0) / 2 for value in each),
        }  # fmt: skip
        if len(subjects) > 1:
            low, high = quantiles(self.drawn(mine[0], subjects) - self.drawn(mine[1], subjects))
            found |= {"difference_low": low, "difference_high": high}
        return found

    def shares(self, windows: Sequence[Row], subjects: Sequence[str]) -> list[float]:
        """What each subject's windows add to the balanced accuracy, times the number of subjects, mean over seeds."""
        of_seeds = []
        for mine in grouped(windows, "seed").values():
            true = Counter(window["label"] for window in mine)
            added = dict.fromkeys(subjects, 0.0)
            for window in mine:
                if window["prediction"] == window["label"]:
                    added[window["subject"]] += len(subjects) / len(true) / true[window["label"]]
            of_seeds.append(list(added.values()))
        return [fmean(values) for values in zip(*of_seeds, strict=True)]

    def family(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
        """Pairs of methods with predictions, adjusted after Holm."""
        found = {key: pair for key in pairs if (pair := self.pair(*key))}
        worst = 0.0
        for place, key in enumerate(sorted(found, key=lambda key: found[key]["p"])):
            worst = max(worst, (len(found) - place) * found[key]["p"])
            low, high = (found[key].get(f"difference_{end}", math.nan) for end in ("low", "high"))
            apart = min(worst, 1.0) <= 0.05 and (low > 0 or high < 0)
            found[key] |= {"p_holm": min(worst, 1.0), "tests": len(found), "different": apart}
        return found

    def comparisons(self) -> Cells:
        others = [method for method in self.kinds if method != self.reference and self.of[method]]
        if not self.of[self.reference]:
            return {}
        found: Cells = {}
        for kind in ("transfer", "reference"):
            mine = [method for method in others if (method in self.transfer) == (kind == "transfer")]
            for (_, method), pair in self.family((self.reference, method) for method in mine).items():
                found[method,] = {**pair, "kind": kind}
        return found

    @cached_property
    def apart(self) -> set[frozenset[str]]:
        """Pairs of transfer methods that are told apart."""
        every = list(combinations([method for method in self.transfer if self.of[method]], 2))
        families = (
            [pair for pair in every if self.reference in pair],
            [pair for pair in every if self.reference not in pair],
        )
        return {frozenset(key) for one in families for key, pair in self.family(one).items() if pair["different"]}

    # Trials.

    def budget(self) -> Cells:
        searched = [row for row in self.trials if row["stage"] == "search"]
        return {
            key: {
                "trials": len(rows),
                "trainings": sum(1 if row["inner_folds"] is None else row["inner_folds"] for row in rows),
                "training_windows": sum(row["training_windows"] or 0 for row in rows),
                "train_seconds": sum(row["train_seconds"] or 0 for row in rows),
            }
            for key, rows in grouped(searched, "method").items()
        }

    def failures(self) -> Cells:
        unwell = [row for row in self.trials if row["status"] in ("failed", "diverged")]
        counts: Counter[tuple[Any, ...]] = Counter()
        for row in unwell:
            lines = [line for line in (row["error"] or "not recorded").splitlines() if line.strip()]
            last = len(lines) > 1 and lines[0].startswith("Traceback")
            why = next((x for x in reversed(lines) if not x.startswith(" ")), "") if last else lines[0]
            counts[row["method"], row["stage"], row["status"], why.removeprefix(f"{row['status']}: ")] += 1
        return {key: {"trials": number} for key, number in counts.items()}

    @cached_property
    def parameters(self) -> list[dict[str, Any]]:
        """Its rows have no key but all that they say of a configuration."""
        readers: Counter[str] = Counter()
        for row in self.trials:
            readers.update(json.loads(row["extraction"] or "{}").keys())
        by = ("method", "trainable_parameters", "declared_parameters", "stored_parameters", *dict.fromkeys(self.own))
        found = []
        for key, rows in grouped(self.final, *by).items():
            cells = dict(zip(by, key, strict=True))
            if self.kinds[cells["method"]] == "floor" and not cells["trainable_parameters"]:
                continue
            if cells["method"] in self.transfer:
                cells["reduction"] = 1 - cells["trainable_parameters"] / self.student
            read = [json.loads(row["extraction"]) for row in rows if row["extraction"]]
            cells |= {
                "done": len(rows),
                "step_seconds": middle(row["step_seconds"] for row in rows),
                "inference_seconds_per_window": middle(row["inference_seconds_per_window"] for row in rows),
                "extraction_seconds": middle(sum(s / readers[name] for name, s in one.items()) for one in read),
            }
            found.append(cells)
        return found

    def pareto(self) -> Cells:
        small = (self.config.get("search") or {}).get("objectives", ["agreement"])[1:]
        searched = [row for row in self.trials if row["stage"] == "search"]
        found: Cells = {}
        for (method, fold), study in grouped(searched, "method", "fold").items() if small else ():
            most = max(row["inner_folds"] for row in study)
            rows = [row for row in study if (row["status"], row["inner_folds"]) == ("done", most)]
            scores = [(row["val_balanced_agreement"], *(-row[name] for name in small)) for row in rows]
            for row, own in zip(rows, scores, strict=True):
                if not any(other != own and all(x >= y for x, y in zip(other, own, strict=True)) for other in scores):
                    names = ("val_balanced_agreement", "score_standard_error", *small, "inner_folds")
                    found[method, fold, row["trial_id"]] = {name: row[name] for name in names}
        return found

    def losses(self) -> Cells:
        found: Cells = {}
        scored = [f"{part}_balanced_{score}" for part in ("test", "pair") for score in ("accuracy", "agreement")]
        scored.append("val_balanced_agreement")
        for kind in {row["calibration"] or "none" for row in self.final}:
            mine = [row for row in self.final if (row["calibration"] or "none") == kind]
            means = {
                method: {
                    name: mean_of(row[name] for row in rows)
                    for name in scored
                }
                for (method,), rows in grouped(mine, "method").items()
            }  # fmt: skip
            still = [m for (m,), rows in grouped(mine, "method").items() if not any(row["epochs"] for row in rows)]
            ceilings = [method for method in still if self.kinds[method] == "ceiling"]
            teachers = [method for method in ceilings if means[method]["test_balanced_agreement"] == 1]
            ends = {
                "teacher": teachers,
                "encoder": [method for method in ceilings if method not in teachers],
                "map": [method for method in still if method in self.transfer],
            }
            for step, methods in ends.items():
                if methods:
                    best = max(methods, key=lambda method: means[method]["test_balanced_accuracy"])
                    found[kind, step] = {
                        "method": best,
                        "accuracy": means[best]["test_balanced_accuracy"],
                        "agreement": means[best]["test_balanced_agreement"],
                    }
            base = self.reference.partition("@")[0]
            method = base if kind == "none" else f"{base}@{kind}"
            if own := means.get(method):
                for step, name in (("pair", "pair"), ("held out", "val"), ("test", "test")):
                    found[kind, step] = {
                        "method": method,
                        "accuracy": own.get(f"{name}_balanced_accuracy"),
                        "agreement": own[f"{name}_balanced_agreement"],
                    }
        return found

    def rows(self) -> list[tuple[str, float, float]]:
        """What each final trial's row says of its own test predictions, and what they say."""
        windows = {key[0]: found for key, found in grouped(self.windows, "trial_id").items()}
        found = []
        for row in self.final:
            if mine := windows.get(row["trial_id"]):
                own = metrics(mine)
                names = {f"test_{name}": value for name, value in own.items()}
                agreed = [w["teacher_prediction"] for w in mine], [w["prediction"] for w in mine]
                names["test_balanced_agreement"] = recall_score(
                    *agreed, labels=sorted(set(agreed[0])), average="macro", zero_division=0
                )
                found += [(f"{row['trial_id']} {n}", row[n], v) for n, v in names.items() if row[n] is not None]
        return found


# Formulae.


def metrics(windows: Sequence[Row]) -> dict[str, float]:
    """scikit-learn's, of windows pooled."""
    label, said, taught = ([w[name] for w in windows] for name in ("label", "prediction", "teacher_prediction"))
    one = len({*label, *said}) == 1
    return {
        "balanced_accuracy": recall_score(label, said, labels=sorted(set(label)), average="macro", zero_division=0),
        "macro_f1": f1_score(label, said, average="macro", zero_division=0),
        "weighted_f1": f1_score(label, said, average="weighted", zero_division=0),
        "accuracy": accuracy_score(label, said),
        "kappa": 0.0 if one else cohen_kappa_score(label, said),
        "agreement": accuracy_score(taught, said),
    }


def signed_rank(differences: Sequence[float]) -> float:
    """Wilcoxon's two-sided p with Pratt's zeros, by all assignments of signs: half of the ranks against the other."""
    values = np.round(differences, 10)
    ranks, signs = rankdata(np.abs(values))[values != 0], np.sign(values[values != 0])
    if not len(ranks):
        return 1.0
    halves = [sums(part) for part in (ranks[::2], ranks[1::2])]
    other = np.sort(halves[1])
    seen, total = ranks[signs > 0].sum(), len(halves[0]) * len(halves[1])
    below = np.searchsorted(other, seen - halves[0] + 1e-6, side="right").sum() / total
    above = (len(other) - np.searchsorted(other, seen - halves[0] - 1e-6, side="left")).sum() / total
    return float(min(1.0, 2 * min(below, above)))


def sums(ranks: np.ndarray) -> np.ndarray:
    """Of every subset."""
    found = np.zeros(1)
    for rank in ranks:
        found = np.concatenate([found, found + rank])
    return found


def quantiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def nanmean(values: Sequence[np.ndarray]) -> np.ndarray:
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(0) / there.sum(0)


def share(windows: Sequence[Row], one: str, other: str) -> float:
    return fmean(window[one] == window[other] for window in windows)


def mean_of(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def middle(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def grouped(rows: Iterable[Row], *by: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in by)].append(row)
    return found


# What was written.


def check(folder: Path, again: Again | None = None) -> int:
    """How many numbers of ``folder/tables/*.csv`` and of its final rows were found equal; AssertionError otherwise."""
    again, count = again or Again(folder), 0
    for what, written, own in again.rows():
        assert close(written, own), (what, written, own)
        count += 1
    made = {path.stem for path in (folder / "tables").glob("*.csv")}
    for name, keys in KEYS.items():
        expected = again.table(name)
        assert (name in made) == bool(expected), name
        if name in made:
            count += same(name, read(folder, name), keys, expected)
    if "parameters" in made:
        count += unordered(read(folder, "parameters"), again.parameters)
    assert made <= {*KEYS, "parameters"}, f"nobody computes {made - {*KEYS, 'parameters'}} again"
    if "accuracy" in made:
        letters(read(folder, "accuracy"), again)
    return count


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def same(name: str, written: Sequence[Mapping[str, str]], keys: Sequence[str], expected: Cells) -> int:
    found = {tuple(row[key] for key in keys): row for row in written}
    assert found.keys() == {tuple(map(str, key)) for key in expected}, name
    count = 0
    for key, cells in expected.items():
        row = found[tuple(map(str, key))]
        for column in row.keys() - TEXTS - {*keys}:
            assert equal(row[column], cells.get(column)), (name, key, column, row[column], cells.get(column))
            count += 1
        assert cells.keys() <= row.keys(), (name, cells.keys() - row.keys())
    return count


def unordered(written: Sequence[Mapping[str, str]], expected: Sequence[Row]) -> int:
    """Rows without a key: each has its own among those expected."""
    left = list(expected)
    for row in written:
        names = row.keys() - TEXTS
        mine = [one for one in left if all(equal(row[name], one.get(name)) for name in names)]
        assert mine, ("parameters", row, left)
        left.remove(mine[0])
    assert not left
    return sum(len(row.keys() - TEXTS) for row in written)


def letters(written: Sequence[Mapping[str, str]], again: Again) -> None:
    """Two methods share a letter if and only if they are not told apart."""
    groups = {row["method"]: set(row["group"]) for row in written if row.get("group")}
    for a, b in combinations(groups, 2):
        assert bool(groups[a] & groups[b]) == (frozenset((a, b)) not in again.apart), (a, b, groups[a], groups[b])


def equal(text: str, value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return text == ""
    if isinstance(value, bool):
        return text == str(value).lower()
    return text == value if isinstance(value, str) else text != "" and close(float(text), value)


def close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{argument}: {check(Path(argument)):,} numbers are the same")

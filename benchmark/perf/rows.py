"""``python -m benchmark.perf.rows``: what ``make perf-rows`` runs. Tables, figures and report of a run of a million
trials, in a process of its own: seconds, peak memory, and rows a second beside the same tables in pandas."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmark.common.files import write_text
from benchmark.common.machine import PeakMemory, cores
from benchmark.results.folder import CONFIG, PLAN, TRIALS, methods_as_json
from benchmark.results.schema import PREDICTIONS, frame, row_schema, write_parquet
from benchmark.trial.folds import DIGITS

SECONDS, GIB = 10.0, 2.0
"""What a million rows may take, of time and of memory."""
METHODS = {"bridge": 40, "kd_logits": 15, "probe_hard": 0, "ridge": 0, "knn": 0}
"""Epochs of each method that is searched."""
REFERENCES = ("majority", "teacher", "oracle_probe")
FOLDS, SEEDS, SUBJECTS, WINDOWS, CLASSES, CHUNK = 5, 3, 10, 30, 3, 100_000
INNER = (1, 1, 2, 4)
"""Inner folds of one trial, of the next, and so on."""
EXTRACTIONS = [json.dumps({f"ppg pooled {k}": 0.1 * k, "ecg pooled 6d9eac50": 0.1}) for k in range(40)]
"""What was read of the store, and the seconds that it took: as many as there are encoders, folds and depths."""
BEGAN = 1_767_225_600  # 2026-01-01
SETTINGS = {
    "data": {"name": "simulated", "split": {"kind": "kfold"}},
    "old": {"name": "hubert_ecg", "modality": "ecg", "preset": "tiny", "weights": "local"},
    "new": {"name": "papagei", "modality": "ppg", "preset": "tiny", "weights": "local"},
    "protocol": "cross_validation",
    "search": {"objectives": ["agreement"]},
}


# A run's folder.


def make(folder: Path, trials: int, seed: int = 0) -> None:
    """The files of a run with so many trials: searched in every fold, curves and options of a true length."""
    from benchmark import registry

    cards = {name: registry.get(name).card() for name in (*METHODS, *REFERENCES)}
    plan = {
        "methods": methods_as_json(cards),
        "classes": [f"class {k}" for k in range(CLASSES)],
        "student_parameters": 55_000,
    }
    write_text(folder / PLAN, json.dumps(plan))
    write_text(folder / CONFIG, json.dumps(SETTINGS))
    rng, schema = np.random.default_rng(seed), row_schema(cards.values())
    finals, predictions = _finals(rng, schema)
    write_parquet(frame(predictions, PREDICTIONS), folder / "predictions.parquet")
    with tempfile.TemporaryDirectory(dir=folder) as parts:
        for k, begin in enumerate(range(0, trials - len(finals), CHUNK)):
            rows = _searched(begin, min(CHUNK, trials - len(finals) - begin), rng, schema)
            rows.write_parquet(Path(parts) / f"{k:04d}.parquet")
        finals.write_parquet(Path(parts) / "finals.parquet")
        pl.scan_parquet(Path(parts) / "*.parquet").sink_parquet(folder / TRIALS)


def _head(n: int) -> dict[str, Any]:
    versions = {"torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1", "polars": "2.1.0", "machine": "x86_64"}
    return {
        "run": "rows", "experiment": "quickstart", "dataset": "simulated", "direction": "ecg2ppg", "leakage": "none",
        "old_modality": "ecg", "new_modality": "ppg", "old_encoder": "hubert_ecg tiny", "new_encoder": "papagei tiny",
        "calibration": "none", "protocol": "cross_validation", "versions": json.dumps(versions), "status": "done",
        "extraction_seconds": 0.5,
        "declared_parameters": n, "stored_parameters": 400_000,
    }  # fmt: skip


def _searched(begin: int, n: int, rng: np.random.Generator, schema: Any) -> pl.DataFrame:
    """Trials of the search from the ``begin``-th on."""
    number = np.arange(begin, begin + n)
    names = np.array(list(METHODS))
    which = number % len(names)
    inner, epochs = np.array(INNER)[rng.integers(0, len(INNER), n)], np.array(list(METHODS.values()))[which]
    score = rng.uniform(0.3, 0.9, n)
    # Points of curves and values of options that no two trials share, as in a run.
    points = _points(rng, 5000)
    texts = [
        _folds(points, rng.integers(0, len(points), folds * max(1, each)), folds)
        for folds, each in zip(inner.tolist(), epochs.tolist(), strict=True)
    ]
    rate = 10 ** rng.uniform(-4, -1, n)
    options = [
        json.dumps({"batch_size": 16, "epochs": each, "learning_rate": value, "objective": "pooled", "rank": rank,
                    "prototypes": 50, "temperature": 2.0, "weight_decay": 0.0, "init": "rand", "loss": "cosine"})
        for each, value, rank in zip(epochs.tolist(), rate.tolist(), (2 ** (number % 6)).tolist(), strict=True)
    ]  # fmt: skip
    bridge = which == 0
    block = np.where(bridge, number // 5 % 6, -1)
    failed = rng.random(n) < 0.01
    rows = pl.DataFrame(
        {
            "method": names[which], "trial_id": [f"{names[w]}-{k:07d}" for w, k in zip(which, number, strict=True)],
            "fold": number // 5 % FOLDS, "inner_folds": inner, "epochs": epochs, "best_epoch": epochs // 2,
            "learning_rate": rate, "val_agreement": score, "val_balanced_agreement": score, "val_divergence": 1 - score,
            "score_standard_error": rng.uniform(0, 0.05, n), "training_windows": epochs * 200,
            "trainable_parameters": 1000 + number % 5000, "step_seconds": rng.uniform(1e-3, 1e-2, n),
            "train_seconds": rng.uniform(0.1, 5, n), "peak_memory_bytes": rng.integers(500_000_000, 600_000_000, n),
            "folds": texts, "config": options, "bridge_input": block, "bridge_output": np.where(bridge, block % 4, -1),
            "rank": 2 ** (number % 6), "prototypes": np.full(n, 50),
        }
    )  # fmt: skip
    own = [
        pl.when(pl.col("bridge_input") >= 0).then(pl.col(name)).alias(name)
        for name in ("bridge_input", "bridge_output", "rank", "prototypes")
    ]
    rows = rows.with_columns(
        *(pl.lit(value).alias(name) for name, value in _head(2000).items()),
        pl.lit("search").alias("stage"),
        pl.lit(0).alias("seed"),
        pl.from_epoch(pl.Series(number) + BEGAN).dt.strftime("%Y-%m-%dT%H:%M:%S").alias("started_at"),
        pl.Series("extraction", EXTRACTIONS).gather(number % len(EXTRACTIONS)).alias("extraction"),
    ).with_columns(
        *own,
        pl.when(pl.Series(failed)).then(pl.lit("failed")).otherwise("status").alias("status"),
        pl.when(pl.Series(failed)).then(pl.lit("ValueError: no")).alias("error"),
        pl.when(~pl.Series(failed)).then("val_balanced_agreement").alias("val_balanced_agreement"),
    )
    missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _points(rng: np.random.Generator, n: int) -> list[str]:
    return [json.dumps([*values, None]) for values in rng.random((n, 3)).round(DIGITS).tolist()]


def _folds(points: Sequence[str], chosen: np.ndarray, folds: int) -> str:
    curves = [", ".join(points[k] for k in part) for part in np.split(chosen, folds)]
    each = [f'{{"fold": {fold}, "status": "done", "curve": [{curve}]}}' for fold, curve in enumerate(curves)]
    return f"[{', '.join(each)}]"


def _finals(rng: np.random.Generator, schema: Any) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Final trials of all methods, seeds and folds, and their predictions."""
    rows: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for k, method in enumerate((*METHODS, *REFERENCES)):
        for seed, fold in np.ndindex(SEEDS, FOLDS):
            own = {"method": method, "trial_id": f"{method}-final-{seed}-{fold}", "seed": seed, "fold": fold}
            label = rng.integers(0, CLASSES, SUBJECTS * WINDOWS)
            taught, said = (
                np.where(rng.random(len(label)) < skill, label, rng.integers(0, CLASSES, len(label)))
                for skill in (0.7, 0.3 + 0.05 * k)
            )
            rows.append(
                {
                    **_head(2000), **own, "extraction": EXTRACTIONS[k], "stage": "final", "config": "{}",
                    "started_at": "2026-02-01T00:00:00",
                    "trainable_parameters": 1000 * (k + 1), "epochs": METHODS.get(method, 0), "step_seconds": 0.01,
                    "test_balanced_accuracy": float(np.mean([np.mean(said[label == c] == c) for c in range(CLASSES)])),
                    "test_balanced_agreement": 0.6, "inference_seconds_per_window": 0.002, "train_seconds": 1.0,
                }
            )  # fmt: skip
            predictions += [
                {**own, "run": "rows", "stage": "final", "window": w, "subject": f"S{fold}{w // WINDOWS:02d}",
                 "label": t, "prediction": s, "teacher_prediction": u, "teacher_confidence": c}
                for w, (t, s, u, c) in enumerate(
                    zip(label.tolist(), said.tolist(), taught.tolist(), rng.random(len(label)).tolist(), strict=True)
                )
            ]  # fmt: skip
    return frame(rows, schema), predictions


# What is measured, each in a process of its own.


def _all(folder: Path) -> dict[str, Any]:
    import analysis

    return {"files": len(analysis.write(folder))}


def _polars(folder: Path) -> dict[str, Any]:
    from analysis.run import Run
    from analysis.tables import accuracy_folds, budget, failures, parameters

    run = Run(folder)
    return {module.NAME: module.build(run).to_dicts() for module in (budget, failures, accuracy_folds, parameters)}


def _pandas(folder: Path) -> dict[str, Any]:
    from benchmark.perf.rows_pandas import tables

    return tables(folder)


WAYS: Mapping[str, Callable[[Path], dict[str, Any]]] = {"all": _all, "polars": _polars, "pandas": _pandas}


def measured(way: str, folder: Path) -> dict[str, Any]:
    """Seconds (imports included), seconds of all cores, peak memory in bytes, and what the way gives."""
    command = [sys.executable, "-m", "benchmark.perf.rows", "--child", way, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _child(way: str, folder: Path) -> None:
    memory = PeakMemory(torch.device("cpu"))
    begin, cpu = time.perf_counter(), time.process_time()
    found = WAYS[way](folder)
    seconds = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}
    print(json.dumps({**seconds, "bytes": memory.bytes(), "found": found}))


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Tables in which a value that both ways compute is not the same, to nine digits."""

    def rows(table: list[dict[str, Any]], shared: Sequence[str]) -> list[str]:
        def text(value: Any) -> str:
            return f"{value:.9g}" if isinstance(value, int | float) else str(value)

        return sorted(str([text(row[name]) for name in shared]) for row in table)

    found = []
    for name, table in ours.items():
        shared = sorted(set(table[0]) & set(theirs[name][0])) if table and theirs[name] else []
        if not shared or rows(table, shared) != rows(theirs[name], shared):
            found.append(name)
    return found


def report(trials: int, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each way."""
    every = found["all"]
    kept = [
        f"{value:.1f} {unit} (at most {most:g}: {'met' if value <= most else 'MISSED'})"
        for value, unit, most in ((every["seconds"], "s", SECONDS), (every["bytes"] / 2**30, "GiB", GIB))
    ]
    yield (
        f"{trials:,} trials on {cores()} cores: tables, figures and report in {kept[0]}, {every['cpu']:.1f} s of all "
        f"cores, peak memory {kept[1]}"
    )
    tables = list(found["polars"]["found"])
    yield f"{', '.join(tables)}:"
    for way in ("polars", "pandas"):
        if way not in found:
            yield "  pandas is not installed: no comparison with it"
            continue
        one = found[way]
        yield (
            f"  {'this project' if way == 'polars' else way}: {one['seconds']:.1f} s, {trials / one['seconds']:,.0f} "
            f"rows/s, {one['bytes'] / 2**30:.1f} GiB"
        )
    if "pandas" in found:
        wrong = differing(found["polars"]["found"], found["pandas"]["found"])
        yield f"  values that differ: {', '.join(wrong)}" if wrong else "  all values are the same"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmark.perf.rows", description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="a Markdown file for what is printed")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        way, folder = given.child
        _child(way, Path(folder))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), given.trials)
        ways = [way for way in WAYS if way != "pandas" or find_spec("pandas")]
        found = {way: measured(way, Path(folder)) for way in ways}
    said = "\n".join(report(given.trials, found))
    print(said)
    if given.out:
        write_text(given.out, f"`python -m benchmark.perf.rows`, {date.today()}\n\n```\n{said}\n```\n")
    return int(bool("pandas" in found and differing(found["polars"]["found"], found["pandas"]["found"])))


if __name__ == "__main__":
    sys.exit(main())

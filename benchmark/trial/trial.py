"""One configuration -> one row. Nothing here knows of Ray or Optuna."""

import json
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from benchmark import registry
from benchmark.common import mishaps
from benchmark.common.machine import PeakMemory
from benchmark.config.schema import Config
from benchmark.frozen.task import Task, open_task
from benchmark.method import Epoch, Method
from benchmark.plan import Spec, variant
from benchmark.results.schema import versions
from benchmark.trial import folds, metrics
from benchmark.trial.checkpoints import Checkpoint, given, taken
from benchmark.trial.costs import inference_seconds
from benchmark.trial.folds import VAL, order

SO_FAR = ("epoch", "steps", "windows", "loss", "training_seconds", "best", "best_state", "curve", "started_at")
"""Of a trial, what its checkpoint keeps beside the method's state."""


class Trial:
    """Trains one method epoch by epoch and keeps its best epoch.

    "Best" reads no label of the new modality in the default protocol: it is the highest balanced agreement with the
    teacher's pseudo-labels on the val pairs, then the lowest divergence from the teacher. References that read labels
    anyway are chosen by their balanced accuracy on val. A spec whose epoch was ``chosen`` in folds has no val: it is
    trained on all windows of pair and val for so many epochs, and the last one is kept.
    """

    def __init__(self, task: Task, spec: Spec):
        torch.manual_seed(spec.seed)
        task = task.calibrated(spec.calibration)
        task = task.inner(spec.inner, spec.folds) if spec.folds > 1 else task
        task = task.development() if spec.chosen else task
        self.task, self.spec = (task := task.noting()), spec
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.memory = PeakMemory(task.device)
        self.begin = time.perf_counter()
        kind = registry.get(spec.method)
        seen = task if kind.reads_labels else task.unlabelled()
        self.method: Method = kind(seen, registry.options_of(spec.method, spec.options), spec.seed)
        self.by_labels = kind.reads_labels or task.config.protocol == "val_labels"
        self.n_epochs = spec.chosen["best_epoch"] if spec.chosen else self.method.n_epochs
        self.teacher_val = None if spec.chosen else task.teacher_logits("val")
        self.epoch = self.steps = 0
        once = kind.kind == "transfer" and not self.method.n_epochs  # fitted when it was made
        self.windows = len(task.indices("pair")) if once else 0
        self.members = 1  # of the population that it is trained in; seconds are its share
        self.training_seconds = 0.0
        self.loss = float("nan")
        self.best: dict[str, Any] = {}
        self.best_state: dict[str, torch.Tensor] = {}
        self.curve: list[folds.Point] = []
        self.diverged = False
        self.checkpoint = Checkpoint(task.config, spec)
        if not self.n_epochs:
            self._judge()

    def _judge(self) -> dict[str, Any]:
        if self.teacher_val is None:
            return {}
        logits = self.method.logits("val")
        if not torch.isfinite(logits).all():
            self.diverged = True
            return {}
        found = {
            "best_epoch": self.epoch,
            "val_agreement": metrics.agreement(logits, self.teacher_val),
            "val_balanced_agreement": metrics.balanced_agreement(logits, self.teacher_val),
            "val_divergence": metrics.divergence(logits, self.teacher_val),
        }
        if self.by_labels:
            prediction = logits.argmax(1).cpu().numpy()
            found["val_balanced_accuracy"] = metrics.scores(self.task.labels("val"), prediction, self.task.n_classes)[
                "balanced_accuracy"
            ]
        self.curve.append(point := folds.as_point(found))
        found |= {name: value for name, value in zip(folds.NAMES, point, strict=True) if value is not None}
        if not self.best or order(found) > order(self.best):
            self.best, self.best_state = found, self.method.state()
        return found

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Train, from the checkpoint where there is one; yields after each epoch what was found on val."""
        if self.method.resumable and (found := self.checkpoint.read()):
            self._resume(found)
        while not self.finished:
            begin = time.perf_counter()
            done = self.method.train_epoch()
            found = self.record(done, done.seconds or time.perf_counter() - begin)
            if self.method.resumable and self.checkpoint.due and not self.finished:
                self.checkpoint.write(self._so_far())
            if self.finished:
                self.checkpoint.remove()
            yield found

    def _so_far(self) -> dict[str, Any]:
        return {
            "trial": {name: getattr(self, name) for name in SO_FAR},
            "seconds": time.perf_counter() - self.begin,
            "chance": torch.get_rng_state(),
            "method": taken(self.method),
        }

    def _resume(self, found: Mapping[str, Any]) -> None:
        for name, value in found["trial"].items():
            setattr(self, name, value)
        self.begin = time.perf_counter() - found["seconds"]
        torch.set_rng_state(found["chance"])
        given(self.method, found["method"])

    def record(self, done: Epoch, seconds: float) -> dict[str, Any]:
        """Take note of an epoch that the method was trained for, and judge it on val."""
        self.training_seconds += seconds
        self.epoch, self.steps, self.loss = self.epoch + 1, self.steps + done.steps, done.loss
        self.windows += done.windows
        return {"epoch": self.epoch, "train_loss": done.loss, **self._judge()}

    @property
    def finished(self) -> bool:
        return self.diverged or self.epoch >= self.n_epochs

    def row(self) -> dict[str, Any]:
        """The trial so far: pruned if it did not reach its last epoch, diverged once an output is not finite."""
        error = f"diverged: the outputs are not finite after epoch {self.epoch}" if self.diverged else None
        status = "diverged" if self.diverged else "done" if self.finished else "pruned"
        found = self.spec.chosen or self.best
        return {
            **row_head(self.task.config, self.spec, self.task.data.dataset),
            "status": status,
            "error": error,
            "trainable_parameters": self.method.trainable_parameters,
            "declared_parameters": self.method.declared_parameters,
            "stored_parameters": self.method.stored_parameters,
            "epochs": self.epoch,
            **(dict.fromkeys(VAL) if self.diverged else found),
            **self._fold(status),
            "training_windows": self.windows,
            **self.method.describe(),
            "step_seconds": self.training_seconds / self.steps / self.members if self.steps else None,
            "train_seconds": (time.perf_counter() - self.begin) / self.members,
            **self._extraction(),
            "peak_memory_bytes": self.memory.bytes(),
            "started_at": self.started_at,
        }

    def _fold(self, status: str) -> dict[str, Any]:
        """Of a searched trial, the fold that it was trained on."""
        if self.spec.stage != "search":
            return {}
        return {"inner_folds": 1, "folds": folds.one_fold(self.spec.inner, status, self.curve)}

    def _extraction(self) -> dict[str, Any]:
        found = self.task.extraction()
        return {"extraction_seconds": sum(found.values()), "extraction": json.dumps(found)}

    def _on_pair(self) -> dict[str, Any]:
        """How well it does on the pairs that a transfer learns from; of what was learnt there, not for choosing."""
        logits, label = self.method.logits("pair"), self.task.labels("pair")
        scores = metrics.scores(label, logits.argmax(1).cpu().numpy(), self.task.n_classes)
        agreement = metrics.balanced_agreement(logits, self.task.teacher_logits("pair"))
        return {"pair_balanced_accuracy": scores["balanced_accuracy"], "pair_balanced_agreement": agreement}

    def test(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Go back to the best epoch and read the test split: its columns of the row, and a prediction per window,
        column by column; none of a trial that diverged."""
        if self.diverged:
            return self.row(), {}
        if not self.spec.chosen:
            self.method.load_state(self.best_state)
        logits, teacher = self.method.logits("test"), self.task.teacher_logits("test")
        if not torch.isfinite(logits).all():
            self.diverged = True
            return self.row(), {}
        row = self.row()
        prediction, label = logits.argmax(1).cpu().numpy(), self.task.labels("test")
        for name, value in metrics.scores(label, prediction, self.task.n_classes).items():
            row[f"test_{name}"] = value
        row["test_agreement"] = metrics.agreement(logits, teacher)
        row["test_balanced_agreement"] = metrics.balanced_agreement(logits, teacher)
        row |= self._on_pair()
        row["inference_seconds_per_window"] = inference_seconds(self.method, self.task)
        row |= self._extraction()
        indices = self.task.indices("test")
        subjects, subject = self.task.data.subjects, self.task.data.subject
        predictions: dict[str, list[Any]] = {
            "window": indices.tolist(),
            "subject": [subjects[k] for k in subject[indices]],
            "label": label.tolist(),
            "prediction": prediction.tolist(),
            "teacher_prediction": teacher.argmax(1).cpu().numpy().tolist(),
            "teacher_confidence": teacher.softmax(1).amax(1).cpu().double().numpy().tolist(),
        }
        return row, predictions


def row_head(config: Config, spec: Spec, dataset: str) -> dict[str, Any]:
    """What a row says whatever becomes of its trial."""
    old, new = config.old, config.new
    return {
        "run": config.name,
        "experiment": config.experiment,
        "dataset": dataset,
        "direction": f"{old.modality}2{new.modality}",
        "old_modality": old.modality,
        "new_modality": new.modality,
        "old_encoder": f"{old.name} {old.preset}, {old.weights} weights",
        "new_encoder": f"{new.name} {new.preset}, {new.weights} weights",
        "method": variant(spec.method, spec.calibration),
        "calibration": spec.calibration,
        "stage": spec.stage,
        "protocol": config.protocol,
        "trial_id": spec.trial_id,
        "seed": spec.seed,
        "fold": spec.fold,
        "leakage": spec.leakage,
        "round_size": config.search.batch if spec.stage == "search" else None,
        "learning_rate": spec.options.get("learning_rate"),
        "versions": json.dumps(versions()),
        "config": json.dumps(dict(spec.options), sort_keys=True),
    }


def failed_row(config: Config, spec: Spec, dataset: str, error: str) -> dict[str, Any]:
    """The row of a trial that ended in an error, whose text is given."""
    fold = {"inner_folds": 1, "folds": folds.one_fold(spec.inner, "failed")} if spec.stage == "search" else {}
    return {**row_head(config, spec, dataset), "status": "failed", "error": mishaps.described(error), **fold}


Tested = tuple[dict[str, Any], dict[str, list[Any]]]
"""A final trial's row and predictions."""


def final_steps(config: Config, spec: Spec, dataset: str) -> Iterator[Tested | None]:
    """Train the chosen configuration with one seed and read the test split once. An error becomes a failed row.

    Yields None once the trial is made, so that what it noticed is heard of whatever comes, and then what was found.
    """
    try:
        trial = Trial(open_task(config, spec.fold), spec)
    except Exception:
        yield failed_row(config, spec, dataset, traceback.format_exc()), {}
        return
    try:
        yield None
        for _ in trial.epochs():
            pass
        yield trial.test()
    except Exception:
        yield failed_row(config, spec, dataset, traceback.format_exc()), {}
    finally:
        trial.method.close()


def together(trials: Sequence[Trial]) -> Iterator[list[dict[str, Any]]]:
    """Train trials of one method as a group; yields after each epoch what was found on val for each."""
    group = type(trials[0].method).together(
        [trial.method for trial in trials]
    )  # one that diverges leaves the others be
    for trial in trials:
        trial.members = len(trials)
    while not all(trial.finished for trial in trials):
        begin = time.perf_counter()
        done = group.train_epoch()
        seconds = time.perf_counter() - begin
        going_on = [(trial, epoch) for trial, epoch in zip(trials, done, strict=True) if not trial.finished]
        yield [trial.record(epoch, seconds) for trial, epoch in going_on]

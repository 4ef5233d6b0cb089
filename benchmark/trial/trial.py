"""One configuration -> one row. Nothing here knows of Ray but the thin class at the end."""

import json
import statistics
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from ray import tune

from benchmark.trial import metrics
from benchmark.competitors import get
from benchmark.common.machine import PeakMemory
from benchmark.method import Epoch, Method
from benchmark.results.schema import versions
from benchmark.frozen.task import Task
from benchmark.bridge.training import Bridge, Population


@dataclass(frozen=True)
class Spec:
    """What is run: a method with its options, on a fold, with a seed."""

    method: str
    stage: str  # "search" | "final"
    trial_id: str
    fold: int
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=2)
def _task(config: str, fold: int) -> Task:
    return Task(json.loads(config), fold)


def open_task(config: Mapping[str, Any], fold: int) -> Task:
    """The task of a fold; a process that runs many trials opens it once."""
    return _task(json.dumps(config, sort_keys=True), fold)


class Trial:
    """Trains one method epoch by epoch and keeps its best epoch.

    "Best" reads no label of the new modality in the default protocol: it is the highest balanced agreement with the
    teacher's pseudo-labels on the val pairs, then the lowest divergence from the teacher. References that read labels
    anyway are chosen by their balanced accuracy on val.
    """

    def __init__(self, task: Task, spec: Spec):
        torch.manual_seed(spec.seed)
        self.task, self.spec = task, spec
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.memory = PeakMemory(task.device)
        self.begin = time.perf_counter()
        competitor = get(spec.method)
        seen = task if competitor.reads_labels else task.unlabelled()
        self.method: Method = competitor(seen, spec.options, spec.seed)
        self.by_labels = self.method.reads_labels or task.config["protocol"] == "val_labels"
        self.teacher_val = task.teacher_logits("val")
        self.epoch = self.steps = 0
        self.members = 1  # of the population that it is trained in; seconds are its share
        self.training_seconds = 0.0
        self.loss = float("nan")
        self.best: dict[str, Any] = {}
        self.best_state: dict[str, torch.Tensor] = {}
        if not self.method.n_epochs:
            self._judge()

    def _judge(self) -> dict[str, Any]:
        logits = self.method.logits("val")
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
        if not self.best or order(found) > order(self.best):
            self.best, self.best_state = found, self.method.state()
        return found

    def epochs(self) -> Iterator[dict[str, Any]]:
        """Train; yields after each epoch what was found on val."""
        while not self.finished:
            begin = time.perf_counter()
            done = self.method.train_epoch()
            yield self.record(done, time.perf_counter() - begin)

    def record(self, done: Epoch, seconds: float) -> dict[str, Any]:
        """Take note of an epoch that the method was trained for, and judge it on val."""
        self.training_seconds += seconds
        self.epoch, self.steps, self.loss = self.epoch + 1, self.steps + done.steps, done.loss
        return {"epoch": self.epoch, "train_loss": done.loss, **self._judge()}

    @property
    def finished(self) -> bool:
        return self.epoch >= self.method.n_epochs

    def row(self) -> dict[str, Any]:
        """The trial so far; pruned if it did not reach its last epoch."""
        config, spec = self.task.config, self.spec
        old, new = config["old"], config["new"]
        return {
            "run": config["name"],
            "experiment": config["experiment"],
            "dataset": self.task.data.dataset,
            "direction": f"{old['modality']}2{new['modality']}",
            "old_modality": old["modality"],
            "new_modality": new["modality"],
            "old_encoder": f"{old['name']} {old['preset']}, {old['weights']} weights",
            "new_encoder": f"{new['name']} {new['preset']}, {new['weights']} weights",
            "method": spec.method,
            "stage": spec.stage,
            "protocol": config["protocol"],
            "trial_id": spec.trial_id,
            "seed": spec.seed,
            "fold": spec.fold,
            "leakage": self.task.split.leakage,
            "status": "done" if self.finished else "pruned",
            "trainable_parameters": self.method.trainable_parameters,
            "stored_parameters": self.method.stored_parameters,
            "learning_rate": spec.options.get("learning_rate"),
            "epochs": self.epoch,
            **self.best,
            **self.method.describe(),
            "step_seconds": self.training_seconds / self.steps / self.members if self.steps else None,
            "train_seconds": (time.perf_counter() - self.begin) / self.members,
            "peak_memory_bytes": self.memory.bytes(),
            "started_at": self.started_at,
            "versions": json.dumps(versions()),
            "config": json.dumps(dict(spec.options), sort_keys=True),
        }

    def test(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Go back to the best epoch and read the test split: its columns of the row, and a prediction per window."""
        row = self.row()
        self.method.load_state(self.best_state)
        logits, teacher = self.method.logits("test"), self.task.teacher_logits("test")
        prediction, label = logits.argmax(1).cpu().numpy(), self.task.labels("test")
        for name, value in metrics.scores(label, prediction, self.task.n_classes).items():
            row[f"test_{name}"] = value
        row["test_agreement"] = metrics.agreement(logits, teacher)
        row["inference_seconds_per_window"] = self._inference_seconds()
        said = teacher.argmax(1).cpu().numpy()
        names = ("run", "method", "stage", "trial_id", "seed", "fold")
        same = {name: row[name] for name in names}
        indices = self.task.indices("test")
        subjects, subject = self.task.data.subjects, self.task.data.subject
        predictions = [
            {
                **same,
                "window": int(index),
                "subject": subjects[subject[index]],
                "label": int(label[k]),
                "prediction": int(prediction[k]),
                "teacher_prediction": int(said[k]),
            }
            for k, index in enumerate(indices)
        ]
        return row, predictions

    def _inference_seconds(self, size: int = 16, repeats: int = 3) -> float | None:
        """From the raw window to logits, per window: the median over repeats of one batch."""
        windows = self.task.windows("new").take(self.task.indices("test")[:size])
        seconds = []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            if self.method.predict(windows) is None:
                return None
            if self.task.device.type == "cuda":
                torch.cuda.synchronize(self.task.device)
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds[1:]) / len(windows)


def order(found: Mapping[str, Any]) -> tuple[float, float]:
    """Larger is better: what the protocol chooses by, then closeness to the teacher."""
    chosen = found.get("val_balanced_accuracy")
    value = found["val_balanced_agreement"] if chosen is None else chosen
    return (-np.inf if value is None else value, -found["val_divergence"])


def failed_row(config: Mapping[str, Any], spec: Spec, error: str) -> dict[str, Any]:
    """The row of a trial that ended in an error."""
    old, new = config["old"], config["new"]
    return {
        "run": config["name"],
        "experiment": config["experiment"],
        "dataset": config["data"]["name"],
        "direction": f"{old['modality']}2{new['modality']}",
        "old_modality": old["modality"],
        "new_modality": new["modality"],
        "method": spec.method,
        "stage": spec.stage,
        "protocol": config["protocol"],
        "trial_id": spec.trial_id,
        "seed": spec.seed,
        "fold": spec.fold,
        "status": "failed",
        "error": error,
        "learning_rate": spec.options.get("learning_rate"),
        "versions": json.dumps(versions()),
        "config": json.dumps(dict(spec.options), sort_keys=True),
    }


def run_final(config: Mapping[str, Any], spec: Spec) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train the chosen configuration with one seed and read the test split once. An error becomes a failed row."""
    try:
        trial = Trial(open_task(config, spec.fold), spec)
        for _ in trial.epochs():
            pass
        return trial.test()
    except Exception:
        return failed_row(config, spec, traceback.format_exc()), []


NUMBER = "number"
"""The key of a searched configuration under which the searcher gives the trial's number."""
MEMBER = "@"
"""``rank@2``: the rank of the third member of a population; what has no ``@`` is the first one's, and shared."""


def search_specs(method: str, fold: int, seed: int, asked: Mapping[str, Any]) -> list[Spec]:
    """What the searcher asked for: one trial, or all members of a population."""
    common = {name: value for name, value in asked.items() if name != NUMBER and MEMBER not in name}
    members = common.get("population") or 1
    first = asked.get(NUMBER, 0) * members
    specs = []
    for k in range(members):
        own = {name.partition(MEMBER)[0]: value for name, value in asked.items() if name.endswith(f"{MEMBER}{k}")}
        specs.append(Spec(method, "search", f"{method}-fold{fold}-{first + k:03d}", fold, seed, {**common, **own}))
    return specs


class SearchTrial(tune.Trainable):
    """The Ray trainable: a step is a share of the epochs, a report is the rows so far.

    Actors are reused: the next configuration finds torch imported and the task open. Bridges at one position may come
    as a population, which is trained together and reports the best of its scores.
    """

    def setup(
        self, config: dict[str, Any], run: Mapping[str, Any] | None = None, method: str = "", fold: int = 0
    ) -> None:
        """``run``, ``method`` and ``fold`` are the same for all trials; ``tune.with_parameters`` gives them."""
        assert run is not None
        self.fixed = (run, method, fold)
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start(new_config)
        return True

    def _start(self, options: dict[str, Any]) -> None:
        run, method, fold = self.fixed
        task = open_task(run, fold)
        self.trials = [Trial(task, spec) for spec in search_specs(method, fold, run["seed"], options)]
        alone = len(self.trials) == 1
        self.running: Iterator[Any] = self.trials[0].epochs() if alone else together(self.trials)
        self.per_step = max(1, -(-self.trials[0].method.n_epochs // run["search"]["reports"]))

    def step(self) -> dict[str, Any]:
        for _ in range(self.per_step):
            if next(self.running, None) is None:
                break
        best = max(self.trials, key=lambda trial: order(trial.best))
        score, closeness = order(best.best)
        return {
            "score": score,
            "closeness": closeness,
            "epoch": best.epoch,
            "rows": json.dumps([{**trial.row(), "train_loss": trial.loss} for trial in self.trials]),
            "done": best.finished,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: an interrupted trial is short and starts again from its seed, which gives the same row."""


def together(trials: Sequence[Trial]) -> Iterator[list[dict[str, Any]]]:
    """Train bridges as one population; yields after each epoch what was found on val for each."""
    population = Population([trial.method for trial in trials if isinstance(trial.method, Bridge)])
    for trial in trials:
        trial.members = len(trials)
    while not trials[0].finished:
        begin = time.perf_counter()
        done = population.train_epoch()
        seconds = time.perf_counter() - begin
        yield [trial.record(epoch, seconds) for trial, epoch in zip(trials, done, strict=True)]

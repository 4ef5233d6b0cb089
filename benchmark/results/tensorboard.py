"""Every trial of a run in TensorBoard: curves as they come, and a row in HParams, methods side by side."""

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from benchmark.results.schema import MethodCard

HPARAMS = ("method", "stage", "fold", "seed", "learning_rate")
METRICS = (
    "val_agreement",
    "val_balanced_agreement",
    "val_divergence",
    "test_balanced_accuracy",
    "test_macro_f1",
    "test_agreement",
    "trainable_parameters",
    "train_seconds",
    "step_seconds",
    "inference_seconds_per_window",
)


class TrialWriters:
    """Writes below ``<folder>/<method>/<trial id>``; the driver owns it, so no worker needs the folder."""

    def __init__(self, folder: Path, methods: Mapping[str, MethodCard]):
        self.folder, self.methods = folder, methods
        self.writers: dict[str, SummaryWriter] = {}

    def _writer(self, row: Mapping[str, Any]) -> SummaryWriter:
        name = row["trial_id"]
        if name not in self.writers:
            self.writers[name] = SummaryWriter(str(self.folder / row["method"] / name))
        return self.writers[name]

    def curve(self, row: Mapping[str, Any], loss: float) -> None:
        """One point of a trial that goes on."""
        writer = self._writer(row)
        for name, value in (("train/loss", loss), ("val/agreement", row["val_agreement"])):
            if value is not None and math.isfinite(value):
                writer.add_scalar(name, value, row["epochs"])

    def finish(self, row: Mapping[str, Any]) -> None:
        """The trial's row in HParams: its options and what its method's own columns say, among the hyperparameters."""
        writer = self._writer(row)
        own = [column.name for column in self.methods[row["method"]].columns]
        hparams = {name: row[name] for name in (*HPARAMS, *own) if row.get(name) is not None}
        chosen = json.loads(row["config"])
        hparams |= {name: value for name, value in chosen.items() if isinstance(value, int | float | str)}
        metrics = {f"hparam/{name}": row[name] for name in METRICS if row.get(name) is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer.add_hparams(hparams, metrics, run_name=".")
        writer.close()
        del self.writers[row["trial_id"]]

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

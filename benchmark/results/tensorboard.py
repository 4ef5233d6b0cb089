"""Every trial of a run in TensorBoard: curves as they come, and a row in HParams, methods side by side.

HParams takes its columns from one definition, which lies above all trials and is there before the first of them. Custom
scalars have the best agreement so far of all methods in one chart, over trials and over seconds.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer import event_file_writer
from torch.utils.tensorboard import SummaryWriter

from benchmark.config.options import MethodOptions
from benchmark.results.schema import ROW, Column, DType, MethodCard

# TensorBoard reads the files of a trial in the order of their names, which end in this count: from here on all have as
# many digits, since 10 would stand before 9.
event_file_writer._global_uid = event_file_writer.AtomicCounter(10**8)

HPARAMS = ("method", "stage", "fold", "seed", "learning_rate")
BEST = {
    "by_trial": "best agreement so far, over trials",
    "by_second": "best agreement so far, over seconds of training",
}
"""Charts of custom scalars, a line for each method: balanced agreement with the teacher on the first of the folds,
where all configurations are compared."""
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
COLUMNS = {column.name: column for column in ROW}
KINDS: Mapping[DType, int] = {
    "str": api_pb2.DATA_TYPE_STRING,
    "int": api_pb2.DATA_TYPE_FLOAT64,
    "float": api_pb2.DATA_TYPE_FLOAT64,
    "bool": api_pb2.DATA_TYPE_BOOL,
}


class TrialWriters:
    """Writes below ``<folder>/<method>/<trial id>``; the driver owns it, so no worker needs the folder.

    ``methods`` and their ``options``, by name, give the columns of HParams.
    """

    def __init__(self, folder: Path, methods: Mapping[str, MethodCard], options: Mapping[str, MethodOptions]):
        self.folder, self.methods = folder, methods
        self.writers: dict[str, SummaryWriter] = {}
        self.opened: set[str] = set()
        self.hparams = _hparams(methods, options)
        metrics = [
            api_pb2.MetricInfo(name={"tag": f"hparam/{name}"}, display_name=name, description=COLUMNS[name].help)
            for name in METRICS
        ]
        for earlier in folder.glob("*tfevents*"):  # of a run that is resumed: TensorBoard would keep to the first
            earlier.unlink()
        with SummaryWriter(str(folder)) as writer:
            experiment = api_pb2.Experiment(hparam_infos=self.hparams.values(), metric_infos=metrics)
            _add(writer, _summary(metadata.EXPERIMENT_TAG, experiment=experiment))
            charts = {title: ["Multiline", [f"best/{name}"]] for name, title in BEST.items()}
            writer.add_custom_scalars({"search": charts})
        self.best: dict[str, _Best] = {}

    def _writer(self, row: Mapping[str, Any]) -> SummaryWriter:
        """A trial's writer: as it opens, the trial is listed with its options, and what an earlier try left is gone."""
        name = row["trial_id"]
        if name not in self.writers:
            folder = self.folder / row["method"] / name
            if name not in self.opened:
                shutil.rmtree(folder, ignore_errors=True)
            self.writers[name] = SummaryWriter(str(folder), flush_secs=10)  # so that a search can be watched
            if name not in self.opened:
                _add(self.writers[name], hparams_pb(self._values(row), trial_id=name))
            self.opened.add(name)
        return self.writers[name]

    def _values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's options and what its method's own columns say, among the hyperparameters."""
        own = [column.name for column in self.methods[row["method"]].columns]
        values = {name: row.get(name) for name in (*HPARAMS, *own)} | json.loads(row["config"])
        return {
            name: str(value) if self.hparams[name].type == api_pb2.DATA_TYPE_STRING else value
            for name, value in values.items()
            if value is not None
        }

    def curve(self, row: Mapping[str, Any], loss: float) -> None:
        """One point of a trial that goes on."""
        writer = self._writer(row)
        for name, value in (("train/loss", loss), ("val/agreement", row["val_agreement"])):
            if value is not None and math.isfinite(value):
                writer.add_scalar(name, value, row["epochs"])

    def finish(self, row: Mapping[str, Any]) -> None:
        """A trial has ended: its metrics, and how."""
        writer = self._writer(row)
        for name in METRICS:
            value = row.get(name)
            if value is not None and math.isfinite(value):
                writer.add_scalar(f"hparam/{name}", value, row.get("inner_folds") or 0)
        well = row["status"] in ("done", "pruned")
        status = api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
        _add(writer, _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end))
        writer.close()
        del self.writers[row["trial_id"]]

    def searched(self, row: Mapping[str, Any]) -> None:
        """Another trial of the search was compared with those before it."""
        value, method = row.get("val_balanced_agreement"), row["method"]
        if method not in self.best:
            for earlier in (self.folder / method).glob("*tfevents*"):  # drawn again from its rows
                earlier.unlink()
            self.best[method] = _Best(SummaryWriter(str(self.folder / method), flush_secs=10))
        best = self.best[method]
        best.trials += 1
        best.seconds += row.get("train_seconds") or 0.0
        if value is not None and math.isfinite(value):
            best.value = max(best.value, value)
        if best.value > -math.inf:
            for name, step in (("by_trial", best.trials), ("by_second", round(best.seconds))):
                best.writer.add_scalar(f"best/{name}", best.value, step)

    def close(self) -> None:
        for writer in (*self.writers.values(), *(best.writer for best in self.best.values())):
            writer.close()
        self.writers.clear()


@dataclass
class _Best:
    writer: SummaryWriter
    trials: int = 0
    seconds: float = 0.0
    value: float = -math.inf


def _hparams(methods: Mapping[str, MethodCard], options: Mapping[str, MethodOptions]) -> dict[str, Any]:
    """Hyperparameters of all methods by name; text where two methods disagree about a type.

    HParams shows five until the user asks for more, first those that are said to differ: here, what all methods have.
    """
    found = {name: _info(COLUMNS[name], differs=True) for name in HPARAMS}
    found["method"].domain_discrete.extend(methods)
    found["stage"].domain_discrete.extend(["search", "final"])
    for name, method in methods.items():
        for column in (*method.columns, *_declared(options[name])):
            info = _info(column)
            if found.setdefault(info.name, info).type != info.type:
                found[info.name].type = api_pb2.DATA_TYPE_STRING
    return found


def _info(column: Column, differs: bool = False) -> Any:
    return api_pb2.HParamInfo(
        name=column.name, description=column.help, type=KINDS[column.dtype], differs=differs or None
    )


def _declared(options: MethodOptions) -> Iterator[Column]:
    """Options as columns; text where an option takes words."""
    for name, field in type(options).model_fields.items():
        kinds = {*get_args(field.annotation)} - {NoneType} or {field.annotation}
        dtype: DType = "bool" if kinds == {bool} else "float" if kinds <= {int, float} else "str"
        yield Column(name, dtype, field.description or "")


def _summary(tag: str, **content: Any) -> Summary:
    """Something for HParams, which it reads from the metadata of a summary without a value."""
    data = plugin_data_pb2.HParamsPluginData(**content)
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def _add(writer: SummaryWriter, summary: Summary) -> None:
    assert writer.file_writer is not None  # only a closed writer has none
    writer.file_writer.add_summary(summary)

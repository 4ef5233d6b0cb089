"""What goes wrong in one trial is that trial's: it has a row that says what became of it, and the run goes on."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmark.__main__ import main
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.common import mishaps
from benchmark.config.cluster import LocalCluster
from benchmark.errors import RunError
from benchmark.results.log import RowLog, rows
from tests.conftest import LIGHT
from tests.jobs import array, die, evicted, mistaken, tensor, works

ROOT = Path(__file__).parents[1]
DEATH = "its process died: it was killed, perhaps by the system for want of memory, or crashed"

# A search has a trial of each mishap, as another one finds it taken; final trials have that of their seed. Tune may
# begin a trial twice, which has the same mishap then.
FRAGILE = '''"""The teacher's pseudo-labels by a bias, and what can go wrong while it is trained."""

import os
import signal
import warnings
from pathlib import Path

import torch

from benchmark.errors import Notice
from benchmark.method import Epoch, Method

MISHAPS = ("raise", "memory", "kill", "nan")


def taken(mishap, trial):
    try:
        with open(mishap, "x") as file:
            file.write(trial)
        return False
    except FileExistsError:
        return Path(mishap).read_text() != trial


class Fragile(Method):
    name = "fragile"
    label = "Fragile"
    n_epochs = 2

    def __init__(self, task, options, seed):
        self.task, self.options, self.scale = task, options, 1.0
        warnings.warn(f"a notice of seed {seed}", Notice, stacklevel=2)
        self.trainable_parameters = self.stored_parameters = task.n_classes
        kinds = MISHAPS if seed == 0 else MISHAPS[seed - 1 : seed]
        self.mishap = next((kind for kind in kinds if seed or not taken(kind, str(options.bias))), "none")

    def train_epoch(self):
        if self.mishap == "raise":
            raise ValueError("a weight is negative")
        if self.mishap == "memory":
            torch.empty(1 << 50)
        if self.mishap == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mishap == "nan":
            self.scale = float("nan")
        return Epoch(loss=1.0, steps=1, windows=1)

    def logits(self, split):
        shape = len(self.task.indices(split)), self.task.n_classes
        return self.scale * torch.arange(self.task.n_classes).expand(shape).float()
'''
SPACE = '''"""What is searched of the bias: nothing that matters."""

from benchmark.config.options import MethodOptions, option


class Options(MethodOptions):
    bias: float | None = option(None, "searched", gt=0)


PAPER = {}


def space(trial, blocks):
    trial.suggest_float("bias", 0.1, 1.0)
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run in a copy of the project that has a fragile method."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("benchmark", "baselines", "search_spaces", "analysis"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "baselines" / "fragile.py").write_text(FRAGILE)
    (copy / "search_spaces" / "fragile.py").write_text(SPACE)
    words = [*LIGHT, "methods=[fragile]", "references=[teacher]", "search.trials=6", "search.batch=6"]
    words += ["search.max_failures=0"]  # else what was killed is tried again, and done
    words += ["final.seeds=[1,2,3,4,5]", "name=mishaps"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return copy / "results" / "mishaps", done


def test_a_run_with_four_mishaps_ends_with_tables_and_says_what_became_of_each(run):
    folder, done = run
    assert done.returncode == 0, done.stderr
    assert (folder / "tables" / "accuracy.md").stat().st_size > 0
    for said in ("ValueError: a weight is negative", "out of memory: RuntimeError: ", DEATH, "not finite"):
        assert said in done.stdout.replace("\n", " "), done.stdout


@pytest.mark.parametrize("stage", ["search", "final"])
def test_each_has_a_row_that_says_so_in_a_search_as_at_the_end(run, stage: str):
    table = pl.read_parquet(run[0] / "trials.parquet").filter(pl.col("method") == "fragile", pl.col("stage") == stage)
    assert sorted(table["status"]) == ["diverged", *["done"] * (len(table) - 4), "failed", "failed", "failed"]
    raised, died, memory = sorted(table.filter(pl.col("status") == "failed")["error"])  # T, i, o
    assert raised.splitlines()[0] == mishaps.TRACEBACK
    assert raised.splitlines()[-1] == "ValueError: a weight is negative"
    assert died.splitlines()[0] == DEATH
    assert memory.splitlines()[0].startswith("out of memory: RuntimeError: ")
    assert "you tried to allocate" in memory.splitlines()[0]
    assert memory.splitlines()[1] == mishaps.TRACEBACK


def test_a_log_file_has_a_line_for_each_phase_and_no_bar(run):
    """What Ray says of a killed process is its own."""
    said = run[1].stderr
    assert "\r" not in said
    for phase in ("reading simulated 8/8", "preparation 17/17", "trials 15/15"):
        assert len([line for line in said.splitlines() if line.startswith(f"{phase} in ")]) == 1, said


def test_what_trials_notice_reaches_the_user_once(run):
    said = [line for line in run[1].stderr.splitlines() if line.startswith("warning: ")]
    assert sorted(said) == [f"warning: a notice of seed {seed}" for seed in range(6)]  # 0 is that of all six searched


# -- a job of the cluster ---------------------------------------------------------------------------------------------


EXPECTED = {
    die: DEATH,
    tensor: "out of memory: RuntimeError: ",
    array: "out of memory: numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 PiB",
    evicted: "out of memory: ray.exceptions.OutOfMemoryError: 1 worker(s) were killed",
    mistaken: mishaps.TRACEBACK,
}


def test_a_job_that_dies_is_named_or_ends_the_work_in_one_line():
    options = LocalCluster(cpus=2)
    errors: dict[str, str] = {}
    results: list[str] = []
    with session(options):
        jobs = [Job(function.__name__, function, ()) for function in (*EXPECTED, works)]
        run_jobs(
            jobs,
            options,
            "jobs",
            lambda _, result: results.append(result),
            lambda job, error: errors.update({job.name: mishaps.described(error)}),
            retries=1,
        )
        with pytest.raises(RunError, match=f"^ecg of S2, fold 0: {DEATH}; free memory or run fewer .*resume=true$"):
            run_jobs([Job("ecg of S2, fold 0", die, ())], options, "features", lambda *_: None)
        with pytest.raises(ValueError, match="not an OutOfMemoryError"):
            run_jobs([Job("ecg of S2, fold 0", mistaken, ())], options, "features", lambda *_: None)
    assert results == ["done"]
    assert len(errors) == len(EXPECTED)
    for function, first in EXPECTED.items():
        assert errors[function.__name__].startswith(first), errors


def test_a_full_disk_ends_the_search_with_one_line(tmp_path, monkeypatch, capsys):
    written, append = [], RowLog._append

    def full(self: RowLog, entry: dict) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        written.append(entry)
        append(self, entry)

    monkeypatch.setattr(RowLog, "_append", full)
    assert main([*LIGHT, f"results={tmp_path}/results", f"cache={tmp_path}/cache", "methods=[ridge]"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line or "Traceback" in line]
    log = tmp_path / "results/quickstart/rows.jsonl"
    assert said == [f"error: the disk is full ({log}); free some of it: a run goes on with resume=true"]
    assert len(rows(log)) == 3

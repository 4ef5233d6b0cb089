"""Students that several processes train: the same numbers as one process, whatever is shared out and whoever dies."""

import contextlib
import io
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import ray
import torch

from benchmark.cluster.resources import check_room, trial_bundles
from benchmark.cluster.session import session
from benchmark.cluster.tasks import Job, run_jobs
from benchmark.cluster.team import Lost, Team
from benchmark.common.progress import Progress
from benchmark.config.cluster import LocalCluster
from benchmark.errors import InputError, Notice
from benchmark.frozen.task import Task
from benchmark.plan import Spec
from benchmark.registry import configure
from benchmark.trial.checkpoints import given, taken
from benchmark.trial.trial import failed_row
from tests.conftest import LIGHT, SMALL
from tests.test_cluster import loopback
from tests.test_students import STUDENTS
from tests.test_transfer import make

OPTIONS = LocalCluster(cpus=2, gpus_per_trial=0)
EPOCHS = 2
UNEVEN = {"batch_size": 9, "learning_rate": 1e-3}  # shares of 5 and 4, and the rest of the epoch


@pytest.fixture(scope="module")
def cluster(task: Task) -> Iterator[None]:
    _ = task.head, task.prepared("pair")  # computed before workers look for it
    with session(OPTIONS):
        yield


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kd_logits", {"zero": 0}),
        ("kd_relational", {"zero": 1, "offload": True}),
        ("kd_contrast", {"zero": 2}),
        ("kd_stages", {"zero": 3}),
        pytest.param(
            "kd_features",
            {"zero": 3, "offload": True, "accumulate": 2, "adapt": "lora", "lora_rank": 2, "calibration": "wearer"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_workers_train_what_one_process_does(cluster: None, task: Task, name: str, options: dict[str, Any]):
    calibration = options.get("calibration", "none")
    task, options = task.calibrated(calibration), {key: options[key] for key in options.keys() - {"calibration"}}
    shared = {key: value for key, value in options.items() if key in ("adapt", "lora_rank")}
    one = make(name, task, {**STUDENTS[name], **UNEVEN, **shared})
    two = make(name, task, {**STUDENTS[name], **UNEVEN, **options, "workers": 2})
    try:
        for _ in range(EPOCHS):
            begin = time.perf_counter()
            found, waited = two.train_epoch(), time.perf_counter() - begin
            expected = one.train_epoch()
            assert found.loss == pytest.approx(expected.loss, abs=1e-4)
            assert 0 < found.seconds < waited  # without the time that workers take to start
            assert (found.steps, found.windows) == (expected.steps, expected.windows)
        for mine, theirs in zip(one.helpers.parameters(), two.helpers.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
        # Biases in front of batch normalisation have no gradient but rounding, which Adam makes steps of.
        torch.testing.assert_close(one.logits("val"), two.logits("val"), rtol=0, atol=2e-2)
        assert not torch.equal(two.logits("val"), make(name, task, {**STUDENTS[name], **shared}).logits("val"))
    finally:
        two.close()


def test_bfloat16_is_close_and_leaves_weights_in_float32(cluster: None, task: Task):
    one = make("kd_logits", task, {**STUDENTS["kd_logits"], **UNEVEN})
    two = make("kd_logits", task, {**STUDENTS["kd_logits"], **UNEVEN, "workers": 2, "zero": 2, "bf16": True})
    try:
        found, expected = two.train_epoch().loss, one.train_epoch().loss
        assert found == pytest.approx(expected, rel=0.05)
        assert found != pytest.approx(expected, rel=1e-5)
        assert {value.dtype for value in two.state().values()} <= {torch.float32, torch.int64}
        assert any((value.bfloat16() != value).any() for value in two.state().values())
        sockets = (one.net_connections() for one in psutil.Process().children(recursive=True))
        listening = [one.laddr.ip for each in sockets for one in each if one.status == psutil.CONN_LISTEN]
        assert all(map(loopback, listening)), listening
    finally:
        two.close()


def test_workers_go_on_from_a_checkpoint(cluster: None, task: Task):
    """Another process, that makes the student anew, trains its second epoch as the first one would have."""
    options = {**STUDENTS["kd_logits"], **UNEVEN, "workers": 2, "zero": 2}
    first = make("kd_logits", task, options)
    try:
        first.train_epoch()
        kept = io.BytesIO()
        torch.save(taken(first), kept)
        expected = first.train_epoch().loss
    finally:
        first.close()
    again = make("kd_logits", task, options)
    try:
        given(again, torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
        assert again.train_epoch().loss == pytest.approx(expected, abs=1e-6)
        torch.testing.assert_close(again.logits("val"), first.logits("val"), rtol=0, atol=1e-5)
    finally:
        again.close()


class Killer(threading.Thread):
    """Kills one of the workers so many times while they train an epoch."""

    def __init__(self, times: int):
        super().__init__(daemon=True)
        self.times, self.over = times, False

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.over = True
        self.join()
        assert self.times == 0

    def run(self) -> None:
        while self.times and not self.over:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[:1] == ["ray::Rank.train_epoch"]:
                        process.kill()
                        process.wait()
                        self.times -= 1
                        break
            time.sleep(0.01)


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_costs_its_epoch_alone(
    cluster: None, task: Task, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    options = {**STUDENTS["kd_contrast"], **UNEVEN, "batch_size": 2, "adapt": "lora", "lora_rank": 2}
    one = make("kd_contrast", task, options)
    two = make("kd_contrast", task, {**options, "workers": 2, "zero": 2})
    try:
        losses = []
        for kills in (0, 1, 0):
            with Killer(kills):
                losses.append(two.train_epoch().loss)
        assert losses == pytest.approx([one.train_epoch().loss for _ in range(3)], abs=1e-4)
        torch.testing.assert_close(one.logits("val"), two.logits("val"), rtol=0, atol=1e-4)
        (notice,) = (str(found.message) for found in recwarn if found.category is Notice)
        assert notice.startswith("kd_contrast: a worker died in epoch 2; all 2 start again from the end of epoch 1 (")

        monkeypatch.setattr("baselines._deepspeed.STARTS", 2)
        with Killer(1), pytest.raises(Lost) as lost:
            two.train_epoch()
        error = "".join(traceback.format_exception(lost.value))
        row = failed_row(task.config, Spec("kd_contrast", "final", "x", 0, 0), "simulated", error)
        assert row["error"].startswith("its process died: ")
    finally:
        two.close()
    with pytest.raises(RuntimeError, match="the 2 workers of kd_contrast have ended"):
        two.train_epoch()


# -- room for workers --------------------------------------------------------------------------------------------------


def test_trials_that_need_all_of_the_cluster_take_turns(cluster: None):
    """Each is granted room for its workers as a whole, so that none waits for what another holds."""

    class Member:
        def __init__(self, rank: int, size: int):
            self.rank = rank

        def place(self) -> tuple[int, str, float]:
            group = ray.util.get_current_placement_group()
            assert group is not None
            return self.rank, group.id.hex(), ray.get_runtime_context().get_assigned_resources()["CPU"]

    def trial(workers: int, progress: Progress) -> list[tuple[int, str, float]]:
        if workers == 1:
            return []
        team = Team(workers, OPTIONS, Member)
        try:
            return team.call("place", within=60)
        finally:
            team.close()

    found: dict[str, Any] = {}
    jobs = [Job(str(k), trial, (workers,), workers) for k, workers in enumerate((2, 2, 1))]
    run_jobs(jobs, OPTIONS, "", lambda job, places: found.update({job.name: places}))
    assert found.pop("2") == []
    for places in found.values():
        assert [(rank, cores) for rank, _, cores in places] == [(0, 0.9), (1, 0.9)]
    groups = {group for places in found.values() for _, group, _ in places}
    assert len(groups) == 2
    table = ray.util.placement_group_table()
    assert {table[group]["state"] for group in groups} == {"REMOVED"}


def test_workers_and_their_trial_take_what_so_many_trials_would(cluster: None):
    options = LocalCluster(cpus_per_trial=0.5, gpus_per_trial=0.25)
    assert trial_bundles(options, 1) == [{"cpu": 0.5, "gpu": 0.25}]
    bundles = trial_bundles(options, 8)
    assert len(bundles) == 9
    assert sum(bundle["cpu"] for bundle in bundles) == pytest.approx(0.05 + 8 * 0.45)
    assert [bundle["gpu"] for bundle in bundles] == [0.1, *[0.9] * 8]  # a worker has a GPU of its own
    nodes = [node["Resources"] for node in ray.nodes()]
    check_room(OPTIONS, {"kd_logits.workers": 2}, nodes)
    with pytest.raises(InputError, match=r"kd_logits.workers=3 asks for 3 workers .* has room for 2: give at most as"):
        check_room(OPTIONS, {"kd_dist.workers": 2, "kd_logits.workers": 3}, nodes)
    with pytest.raises(InputError, match=r"with 2 cores \(cluster.cpus_per_trial\) each; .* room for 1: leave it out"):
        check_room(LocalCluster(cpus_per_trial=2, gpus_per_trial=0), {"kd_logits.workers": 2}, nodes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["kd_logits.zero=2"],
            "kd_logits.zero=2 says nothing with kd_logits.workers=1, .* or give kd_logits.workers=2",
        ),
        (["kd_logits.bf16=true"], "kd_logits.bf16=true says nothing"),
        (["kd_logits.workers=2", "kd_logits.zero=4"], "kd_logits.zero=4 cannot be used; give one of 0, 1, 2, 3"),
        (["kd_logits.workers=0"], "kd_logits.workers=0 cannot be used; give a whole number of at least 1"),
        (["kd_logits.workers=2", "kd_logits.offload=true"], "offload=true needs kd_logits.zero=1, 2 or 3"),
        (["methods=[kd_dist]", "kd_dist.workers=2", "kd_dist.accumulate=2"], "kd_dist compares all windows of a batch"),
    ],
)
def test_options_that_cannot_be(words: list[str], said: str):
    with pytest.raises(InputError, match=said):
        configure([*SMALL, *words])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_with_workers_beside_a_method_without(tmp_path: Path):
    words = [f"results={tmp_path}/results", f"cache={tmp_path}/cache", "cluster.cpus=2", "search.trials=2"]
    words += ["kd_logits.workers=2", "kd_logits.zero=2", "kd_logits.epochs=2", "bridge.epochs=2", "final.seeds=[0]"]
    done = subprocess.run([sys.executable, "-m", "benchmark", *LIGHT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^KD logits +\d", done.stdout, re.MULTILINE), done.stdout
    (file,) = (tmp_path / "results").glob("*/trials.parquet")
    rows = pl.read_parquet(file)
    assert rows["status"].to_list() == ["done"] * len(rows)
    assert set(rows["method"]) >= {"bridge", "kd_logits"}

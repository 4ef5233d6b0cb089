"""A sweep survives what a night does to it; and who judges that sees what is wrong."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import analysis
from benchmark.perf import chaos
from benchmark.results.log import RowLog
from tests.test_analysis import Folder


@pytest.mark.timeout(600)
def test_a_sweep_survives_killed_trials_a_lost_node_and_a_killed_driver() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark.perf.chaos", "--short"], capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    for name, times in chaos.SHORT.items():
        assert f"| {name} | {times} | {times} |" in done.stdout
    assert "Moved " in done.stdout  # between nodes that share no disk


def test_moments_are_seeded_and_in_the_search() -> None:
    found = chaos.moments(chaos.EVENTS, 60, random.Random(3))
    assert (
        found == chaos.moments(chaos.EVENTS, 60, random.Random(3)) != chaos.moments(chaos.EVENTS, 60, random.Random(4))
    )
    rows = [at for at, _ in found]
    assert rows == sorted(set(rows))
    assert 2 <= rows[0] <= rows[-1] < 58
    assert {name: [what for _, what in found].count(name) for name in chaos.EVENTS} == chaos.EVENTS


@pytest.fixture
def undisturbed(tmp_path: Path) -> Path:
    folder = Folder(tmp_path / "alone")
    for number in range(3):
        folder.row("bridge", "search", trial_id=f"bridge-fold0-{number:03d}", inner_folds=2, val_agreement=number / 10)
    folder.final("bridge", trial_id="bridge-final")
    folder.write()
    plan = json.loads((folder.path / "plan.json").read_text())
    plan |= {"studies": [{"name": "bridge-fold0", "trials": 3}], "finals": ["bridge-final"]}
    (folder.path / "plan.json").write_text(json.dumps(plan))
    analysis.write(folder.path)
    return folder.path


def test_the_judge_sees_what_was_lost_repeated_or_changed(undisturbed: Path, tmp_path: Path) -> None:
    found = chaos.Disturbed(tmp_path / "chaos")
    shutil.copytree(undisturbed, found.folder)
    assert chaos.judged(found, undisturbed) == []
    assert chaos.judged(chaos.Disturbed(found.folder, said="no row came"), undisturbed) == ["no row came"]

    trials = pl.read_parquet(found.folder / "trials.parquet")
    trials[1:].write_parquet(found.folder / "trials.parquet")
    assert chaos.judged(found, undisturbed)[0] == "3 rows of 4 trials that were asked for"
    trials.with_columns(pl.col("val_agreement") / 2).write_parquet(found.folder / "trials.parquet")
    assert chaos.judged(found, undisturbed) == ["differs from the undisturbed run: trials: val_agreement"]
    trials.with_columns(status=pl.lit("failed")).write_parquet(found.folder / "trials.parquet")
    assert chaos.judged(found, undisturbed)[0].startswith("not done: bridge-f")
    trials.write_parquet(found.folder / "trials.parquet")

    log = RowLog(found.folder / "rows.jsonl")
    log.add_trial(json.loads((found.folder / "rows.jsonl").read_text().splitlines()[1])["row"])
    log.close()
    assert chaos.judged(found, undisturbed) == ["had finished and ran again: bridge-fold0-001 (2 times)"]

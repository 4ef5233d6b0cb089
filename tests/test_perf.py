"""What `make perf` compares does the same work, and its report says what was measured."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmark import registry
from benchmark.bridge.training import Bridge
from benchmark.perf import clock, directions, extraction, inference, report
from benchmark.perf.plain import PlainLoop, once_per_block
from benchmark.registry import configure

POINT = {"input": 1, "rank": 8, "prototypes": 32, "learning_rate": 1e-2, "batch_size": 1000}


@pytest.mark.parametrize("output", [0, 2, "head"])
def test_the_plain_loop_trains_the_same_bridge(task, output):
    """In one batch an epoch, since the loop takes its batches as they come."""
    options = registry.options_of("bridge", {**POINT, "output": output})
    method = Bridge(task, options, seed=0)
    plain = PlainLoop(task, options, method.state())
    pair, val = (
        [task.encoder(side).inputs(task.windows(side).take(task.indices(part))) for side in ("old", "new")]
        for part in ("pair", "val")
    )
    for _ in range(3):
        assert method.train_epoch().loss == pytest.approx(plain.step(*pair), rel=1e-3)
    torch.testing.assert_close(plain.evaluate(*val), method.logits("val"), rtol=1e-2, atol=1e-3)
    assert not any(p.requires_grad or p.grad is not None for p in task.old.parameters())


def test_once_per_block_gives_what_the_store_has(task):
    found = once_per_block(task.new, task.new.inputs(task.windows("new").take(task.indices("val"))))
    for block, pooled in enumerate(found):
        torch.testing.assert_close(pooled, task.pooled("new", "val", block + 1), rtol=1e-4, atol=1e-5)


def test_ways_are_timed_in_turn():
    called = []
    found = clock.side_by_side({name: lambda n=name: called.append(n) for name in "ab"}, budget=0.0, least=4)
    assert called == ["a", "b"] * 5
    assert {timing.rounds for timing in found.values()} == {4}
    assert all(timing.peak_mib > 0 for timing in found.values())


@pytest.mark.parametrize("direction", directions.DIRECTIONS)
def test_directions_are_measured_at_full_size_and_the_papers_point(direction, tmp_path):
    config = configure(directions.settings(direction, tmp_path))
    assert {side.weights for side in (config.old, config.new)} == {"random"}
    assert "tiny" not in {side.preset for side in (config.old, config.new)}
    options = directions.options(direction)
    assert options.model_dump().items() >= directions.PAPER[direction].items()
    assert options.batch_size == directions.BATCH[direction]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """WESAD's shape with small encoders and short recordings."""
    settings = directions.settings

    def smaller(direction: str, cache: Path) -> list[str]:
        few = ("data.condition_seconds=100", "data.ecg_rate=128", "old.preset=tiny", "new.preset=tiny")
        return [*settings(direction, cache), *few]

    monkeypatch.setattr(directions, "settings", smaller)
    monkeypatch.setattr(extraction, "settings", smaller)


def test_a_part_that_has_too_few_windows_has_them_several_times(tiny, tmp_path):
    task = directions.open_task("wesad_ppg2ecg", tmp_path, pair=16, val=3)
    pair = task.indices("pair")
    assert (len(pair), len(task.indices("val"))) == (16, 3)
    assert len(np.unique(pair)) < 16
    pooled, last = task.pooled("new", "pair", 2), task.last("pair")
    for row, first in enumerate(pair):
        same = int(np.flatnonzero(pair == first)[0])
        assert torch.equal(pooled[row], pooled[same])
        assert torch.equal(last[row], last[same])
    inputs = task.old.inputs(task.windows("old").take(pair))
    torch.testing.assert_close(last.all(), task.old(inputs), rtol=1e-4, atol=1e-5)


def test_every_extraction_that_is_timed_computes(tiny, tmp_path):
    rows = list(extraction.measure("wesad_ppg2ecg", tmp_path, budget=0.0))
    assert [row["way"] for row in rows] == ["forward, batches of 8", "store", "forward", "once per block"]
    rounds = rows[0]["rounds"]
    files = [sorted(folder.iterdir()) for folder in (tmp_path / "extraction" / "wesad_ppg2ecg").iterdir()]
    # Of two subjects: pooled outputs of both models, and the old one's last output.
    assert [len(found) for found in files] == [2 * 3] * (1 + rounds)


def row(way: str, seconds: float, ratio: float | None, required: float | None, direction: str = "fog_eeg2emg") -> dict:
    part = "overhead" if way == "Ray Tune" else "train a batch"
    return {"part": part, "direction": direction, "way": way, "seconds": seconds, "ratio": ratio, "required": required}


def test_what_was_promised_is_held_against_what_was_measured():
    assert report.missed(row("plain", 5, 4.9, 5))
    assert not report.missed(row("plain", 5, 5.0, 5))
    assert report.missed(row("floor", 5, 1.2, 1.15))
    assert not report.missed(row("floor", 5, 1.0, 1.15))
    assert report.missed(row("forward, batches of 8", 5, 1.2, 1.1))
    assert report.missed(row("Ray Tune", 0.4, None, 0.3))
    assert not report.missed(row("Ray Tune", 0.2, None, 0.3))
    assert not report.missed(row("store", 5, None, None))
    assert not report.missed({"way": "store", "seconds": 5.0})


def test_the_report_is_a_dated_page_with_tables_and_figures(tmp_path):
    rows = [row("plain", 5.0, 5.0, 2.0), row("store", 1.0, None, None), row("floor", 0.8, 1.25, 1.15)]
    positions = [
        {"direction": "fog_eeg2emg", "bridge_input": i, "bridge_output": j, "seconds": 1.0 + i - j / 9, "measured": m}
        for (i, j), m in zip(itertools.product(range(3), range(4)), [1.25, *[None] * 11], strict=True)
    ]
    page, *others = report.write(tmp_path, rows, [{**p, "whole_student": 4.0} for p in positions], "make perf", 60.0)
    text = page.read_text()
    assert "5.0 x faster | ≥ 2 met" in text
    assert "takes 1.25 x this | ≤ 1.15 MISSED" in text
    assert "| fog_eeg2emg | 666.7 | 3,000.0 | 4,000.0 | 1 | 20.0 |" in text
    assert sorted(path.suffix for path in others) == [".parquet", ".parquet", ".png", ".png"]
    assert pl.read_parquet(page.with_suffix(".parquet"))["ratio"].to_list() == [5.0, None, 1.25]
    assert str(tmp_path) not in text


def test_seconds_of_blocks_cover_the_whole_encoder(task):
    raw = task.windows("new").take(task.indices("val")[:1])
    taken = inference.timed_pass(task.new, lambda: task.new.embed(task.new.inputs(raw)))
    assert len(taken) == 1 + task.new.n_blocks
    assert min(taken) > 0

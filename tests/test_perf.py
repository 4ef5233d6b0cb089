"""What `make perf` compares does the same work, and its report says what was measured."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from benchmark import registry
from benchmark.bridge.training import Bridge
from benchmark.perf import clock, directions, extraction, inference, report, steps
from benchmark.perf.clock import Comparison
from benchmark.perf.plain import PlainLoop, once_per_block
from benchmark.registry import configure

POINT = {"objective": "published", "input": 1, "rank": 8, "prototypes": 32, "learning_rate": 1e-2, "batch_size": 1000}


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


class Host:
    """A clock that only moves when a way is called, and on which all takes longer while the host is busy."""

    def __init__(self, busy=lambda seconds: 1.0):
        self.seconds, self.busy = 0.0, busy
        self.random = random.Random(0)

    def now(self) -> float:
        return self.seconds

    def way(self, seconds: float, jitter: float = 0.0):
        def call() -> None:
            self.seconds += seconds * self.busy(self.seconds) * (1 + self.random.uniform(-jitter, jitter))

        return call

    def measure(self, promise: float, budget: float, store: float = 1.1, jitter: float = 0.0) -> dict[str, Any]:
        """The row of a floor of 1 s."""
        ways = {"store": self.way(store, jitter), "floor": self.way(1.0, jitter)}
        comparisons = {"floor": Comparison("x as long", promise)}
        return clock.side_by_side(ways, comparisons, budget, self.now)["floor"]


def test_a_host_that_is_busy_for_a_while_changes_no_comparison():
    """From the middle of the second round on all takes 1.7 times as long: of two runs of one day the medians of
    absolute times said 1.7 and 1.0."""
    row = Host(lambda seconds: 1.7 if seconds > 3 else 1.0).measure(promise=1.15, budget=40.0)
    assert row["verdict"] == "met"
    assert [row["low"], row["value"], row["high"]] == pytest.approx([1.1, 1.1, 1.1])
    assert row["seconds"] == pytest.approx(1.7)


@pytest.mark.parametrize(("store", "verdict"), [(1.0, "met"), (1.3, "MISSED"), (1.15, "not decided")])
def test_rounds_go_on_until_a_promise_is_decided_or_the_time_is_over(store, verdict):
    host = Host()
    row = host.measure(promise=1.15, budget=100.0, store=store, jitter=0.03)
    assert row["verdict"] == verdict
    assert row["low"] <= row["value"] <= row["high"]
    assert row["rounds"] >= clock.ENOUGH
    assert (host.seconds > 95) == (verdict == "not decided")
    assert 25 <= host.seconds <= 100


@pytest.mark.parametrize(
    ("unit", "promise", "values", "verdict"),
    [
        ("x faster", 5, [4, 6, 7, 8, 9, 8, 7], "met"),  # a quarter and less below
        ("x faster", 5, [4, 6, 7, 8, 9, 8], "not decided"),  # the extremes of few
        ("x faster", 5, [4.9, 4, 3], "MISSED"),
        ("x as long", 1.15, [1.1, 1.15, 1.0], "met"),
        ("x as long", 1.15, [1.2, 1.16, 1.3], "MISSED"),
        ("s", 0.3, [0.2, 0.31, 0.2], "not decided"),
        ("s", 0.3, [0.2, 0.2], "not decided"),  # too few for a promise
        ("s", None, [0.2], None),
    ],
)
def test_a_promise_is_decided_where_the_whole_range_is_on_one_side(unit, promise, values, verdict):
    assert Comparison(unit, promise).judged(np.array(values))["verdict"] == verdict


def test_every_way_follows_every_other():
    called: list[str] = []
    host = Host()

    def way(name: str):
        def call() -> None:
            called.append(name)
            host.seconds += 1

        return call

    found = clock.side_by_side({name: way(name) for name in "abc"}, {}, 60.0, host.now)
    assert [len(set(called[k : k + 3])) for k in range(0, len(called), 3)] == [3] * found["a"]["rounds"]
    assert {(one, other) for one, other in itertools.pairwise(called) if one != other} == set(
        itertools.permutations("abc", 2)
    )


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
        few = ("data.condition_seconds=100", "data.ecg_rate=128", "old.preset=tiny", "new.preset=tiny", "threads=1")
        return [*settings(direction, cache), *few]

    monkeypatch.setattr(directions, "settings", smaller)
    monkeypatch.setattr(extraction, "settings", smaller)
    point = directions.options("wesad_ppg2ecg", input=1, output=2, rank=8)
    monkeypatch.setattr(steps, "options", lambda direction: point)
    monkeypatch.setattr(clock, "SHORTEST", 0.0)


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
    assert [row["unit"] for row in rows if row["way"] != "store"] == ["x as long", "x as long", "x faster"]
    rounds = sum(rows[k]["rounds"] for k in (0, 3))
    files = [sorted(folder.iterdir()) for folder in (tmp_path / "extraction" / "wesad_ppg2ecg").iterdir()]
    # Of a subject: pooled outputs of both models, and the old one's last output.
    assert [len(found) for found in files] == [3] * (1 + rounds)


def test_the_floor_of_a_step_has_the_bridge_and_its_optimiser_in_it(tiny, tmp_path):
    rows = list(steps.measure("wesad_ppg2ecg", tmp_path, budget=0.0))
    training, evaluating = (
        {row["way"]: row for row in rows if row["part"] == f"{what} a batch"} for what in ("train", "evaluate")
    )
    assert list(training) == ["bridge alone", "tail", "floor", "store", "plain"]
    assert list(evaluating) == ["tail", "store", "plain"]
    assert [row["promise"] for row in training.values() if "promise" in row] == [None, 1.15, 10.0]
    assert all(row["peak_mib"] > 0 for row in rows)


def test_a_floor_trains_a_copy(task):
    method = Bridge(task, registry.options_of("bridge", {**POINT, "output": 2}), seed=0)
    before = method.state()
    for way in steps.floors(method).values():
        way()
    assert all(torch.equal(before[name], value) for name, value in method.state().items())


def row(way: str, seconds: float, direction: str = "fog_eeg2emg", **compared: Any) -> dict[str, Any]:
    return {"part": "train a batch", "direction": direction, "way": way, "seconds": seconds, **compared}


def test_the_report_is_a_dated_page_with_tables_and_figures(tmp_path):
    rows = [
        row("plain", 5.0, **Comparison("x faster", 2.0).judged(np.array([5.0, 5.1, 4.9]))),
        row("store", 1.0),
        row("floor", 0.8, **Comparison("x as long", 1.15).judged(np.array([1.25, 1.2, 1.3]))),
        row("Ray Tune", 0.3, **Comparison("s", 0.3).judged(np.array([0.25, 0.3, 0.35]))),
    ]
    positions = [
        {"direction": "fog_eeg2emg", "bridge_input": i, "bridge_output": j, "seconds": 1.0 + i - j / 9, "measured": m}
        for (i, j), m in zip(itertools.product(range(3), range(4)), [1.25, *[None] * 11], strict=True)
    ]
    page, *others = report.write(tmp_path, rows, [{**p, "whole_student": 4.0} for p in positions], "make perf", 60.0)
    text = page.read_text()
    assert "5 x faster (4.9 to 5.1) | ≥ 2 met" in text
    assert "1.25 x as long (1.2 to 1.3) | ≤ 1.15 MISSED" in text
    assert "0.3 s (0.25 to 0.35) | ≤ 0.3 not decided" in text
    assert "| fog_eeg2emg | 666.7 | 3,000.0 | 4,000.0 | 1 | 20.0 |" in text
    assert sorted(path.suffix for path in others) == [".parquet", ".parquet", ".png", ".png"]
    assert pl.read_parquet(page.with_suffix(".parquet"))["value"].to_list() == [5.0, None, 1.25, 0.3]
    assert str(tmp_path) not in text


def test_seconds_of_blocks_cover_the_whole_encoder(task):
    raw = task.windows("new").take(task.indices("val")[:1])
    taken = inference.timed_pass(task.new, lambda: task.new.embed(task.new.inputs(raw)))
    assert len(taken) == 1 + task.new.n_blocks
    assert min(taken) > 0

"""TensorBoard's HParams page compares methods: what it answers over HTTP while a run goes on and when it is resumed."""

import itertools
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from torch.utils.tensorboard import SummaryWriter

from benchmark import registry
from benchmark.results.tensorboard import BEST, METRICS, TrialWriters
from tests.chromium import PATH, browser

METHODS = ("bridge", "kd_logits", "majority")
ALL = {"allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE"], "sliceSize": 1000}
ANSWERS = Callable[[str], Any]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """``tensorboard --logdir`` as a user starts it; gives its address."""
    words = ["-m", "tensorboard.main", "--host", "127.0.0.1", "--port", "0", "--reload_interval", "1"]
    with subprocess.Popen(
        [sys.executable, *words, "--logdir", str(folder)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            yield next(found[0] for line in process.stderr if (found := re.findall(r"http://127\S+", line)))
        finally:
            process.kill()


@contextmanager
def page(folder: Path) -> Iterator[ANSWERS]:
    """Gives what TensorBoard's HParams page asks for."""
    with server(folder) as url:

        def ask(what: str) -> Any:
            wanted = json.dumps(ALL if what == "session_groups" else {})
            query = urllib.parse.urlencode({"request": wanted})
            with urllib.request.urlopen(f"{url}data/plugin/hparams/{what}?{query}", timeout=60) as answer:
                return json.load(answer)

        yield ask


def columns(ask: ANSWERS) -> dict[str, Mapping[str, Any]]:
    """Hyperparameters by name, as soon as the page knows of the run's definition; only that describes them."""

    def found() -> list[Mapping[str, Any]] | None:
        listed = ask("experiment").get("hparamInfos", [])
        return listed if listed and all("description" in info for info in listed) else None

    return {info["name"]: info for info in wait(found)}


def groups(ask: ANSWERS, *statuses: str) -> dict[str, Mapping[str, Any]]:
    """Trials by id, as soon as they have these statuses."""

    def found() -> dict[str, Mapping[str, Any]] | None:
        listed = ask("session_groups").get("sessionGroups", [])
        return {one["name"]: one for one in listed} if sorted(statuses) == sorted(map(status, listed)) else None

    return wait(found)


def status(group: Mapping[str, Any]) -> str:
    (session,) = group["sessions"]
    return session["status"].removeprefix("STATUS_").lower()


def metrics(group: Mapping[str, Any]) -> dict[str, float]:
    return {value["name"]["tag"].removeprefix("hparam/"): value["value"] for value in group["metricValues"]}


def wait(found: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "TensorBoard never showed it"
        time.sleep(0.2)
    return value


def writers(folder: Path) -> TrialWriters:
    config = registry.configure([])
    return TrialWriters(folder, {name: registry.get(name).card() for name in METHODS}, config.method_options)


def row(method: str, number: int, options: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    same = {"trial_id": f"{method}-{number}", "stage": "search", "status": "done", "fold": 0, "seed": 0, "epochs": 1}
    return {**same, "method": method, "config": json.dumps(options), "val_agreement": 0.5, **values}


def test_a_run_that_goes_on_is_shown_with_the_columns_of_all_its_methods(tmp_path: Path):
    bridge = row("bridge", 0, {"input": 3, "output": "head", "rank": 8, "compile": True}, bridge_input=3)
    first = writers(tmp_path)
    with page(tmp_path) as ask:
        shown = columns(ask)
        assert shown.keys() >= {
            "bridge_input",
            "prototypes",
            "rank",
            "temperature",
            "output",
            "compile",
            "learning_rate",
        }
        assert shown["method"]["domainDiscrete"] == list(METHODS)
        assert [shown[name]["type"] for name in ("rank", "output", "compile", "temperature", "stage")] == [
            f"DATA_TYPE_{kind}" for kind in ("FLOAT64", "STRING", "BOOL", "FLOAT64", "STRING")
        ]
        assert {name for name, info in shown.items() if info.get("differs")} >= {"method", "stage", "fold"}
        first.curve(bridge, 0.1)
        first.close()  # stopped; a resumed run does it again
        assert "val_agreement" not in metrics(groups(ask, "unknown")["bridge-0"])

        again = writers(tmp_path)
        again.curve(bridge, 0.1)
        again.finish({**bridge, "val_divergence": float("inf"), "trainable_parameters": 1234567})
        again.finish(row("kd_logits", 0, {"temperature": 2.5}, status="pruned"))
        again.finish(row("majority", 0, {}, status="failed", val_agreement=None))
        found = groups(ask, "success", "success", "failure")
        assert columns(ask) == shown
    assert {name: one["hparams"]["method"] for name, one in found.items()} == {f"{name}-0": name for name in METHODS}
    options = found["bridge-0"]["hparams"]
    assert {name: options[name] for name in ("input", "output", "rank", "compile", "bridge_input")} == {
        "input": 3,
        "output": "head",
        "rank": 8,
        "compile": True,
        "bridge_input": 3,
    }
    assert found["kd_logits-0"]["hparams"]["temperature"] == 2.5
    assert "temperature" not in options
    assert metrics(found["bridge-0"]) == {"val_agreement": 0.5, "trainable_parameters": 1234567}
    assert metrics(found["majority-0"]) == {}
    assert status(found["majority-0"]) == "failure"


def searched(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """A search of two methods, resumed half-way; the best so far of each, over trials."""
    scores = {"bridge": [0.5, 0.4, None, 0.7], "kd_logits": [0.6, 0.65, 0.1, 0.3]}
    rows = [
        row(name, k, {}, val_balanced_agreement=score, train_seconds=1.4)
        for k in range(4)
        for name in scores
        for score in [scores[name][k]]
    ]
    for sofar in (rows[:5], rows):
        found = writers(folder)
        for one in sofar:
            found.finish(one)
            found.searched(one)
        found.close()
    return {
        "bridge": [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.7)],
        "kd_logits": [(1, 0.6), (2, 0.65), (3, 0.65), (4, 0.65)],
    }


def test_methods_lie_in_one_chart_over_trials_and_over_seconds(tmp_path: Path):
    expected = searched(tmp_path)
    with server(tmp_path) as url:

        def ask(what: str) -> Any:
            with urllib.request.urlopen(f"{url}data/plugin/custom_scalars/{what}", timeout=60) as answer:
                return json.load(answer)

        layout = wait(lambda: ask("layout").get("category"))
        charts = {chart["title"]: chart["multiline"]["tag"] for chart in layout[0]["chart"]}
        assert charts == {title: [f"best/{name}"] for name, title in BEST.items()}
        for name, points in expected.items():
            by_trial, by_second = (
                wait(lambda run=name, tag=tag: ask(f"scalars?run={run}&tag=best%2F{tag}").get("tag_to_events"))
                for tag in ("by_trial", "by_second")
            )
            assert [(step, round(value, 6)) for _, step, value in by_trial["best/by_trial"]] == points
            steps = [step for _, step, _ in by_second["best/by_second"]]
            assert steps == [round(1.4 * k) for k in (1, 2, 3, 4)]


TEXT = """(function all(root) {
  const hidden = [...root.querySelectorAll('*')].filter(one => one.shadowRoot).map(one => all(one.shadowRoot));
  return [root.body?.innerText ?? root.textContent, ...hidden].join();
})(document)"""


@pytest.mark.skipif(PATH is None, reason="needs a Chromium (Debian's package chromium)")
def test_the_pages_are_drawn(tmp_path: Path):
    searched(tmp_path)
    with server(tmp_path) as url, browser() as seen:
        seen.open(f"{url}#custom_scalars", f"{TEXT}.split('Matches (2)').length === 3")
        seen.open("about:blank", "true")
        trials = [f"{name}-{k}" for name in ("bridge", "kd_logits") for k in range(4)]
        seen.open(f"{url}#hparams", f"{json.dumps(trials)}.every(one => {TEXT}.includes(one))")


def agree(folder: Path, table: pl.DataFrame) -> None:
    """Every trial of a run's table is on the page, with its method and the values of its metrics."""
    with page(folder) as ask:
        ends = ["failure" if found == "failed" else "success" for found in table["status"]]
        shown, found = columns(ask), groups(ask, *ends)
    for trial in table.iter_rows(named=True):
        mine = found[trial["trial_id"]]
        assert mine["hparams"]["method"] == trial["method"]
        assert mine["hparams"].keys() <= shown.keys()
        expected = {name: trial[name] for name in METRICS if trial[name] is not None}
        assert metrics(mine) == pytest.approx(expected, rel=1e-6)


def test_the_files_of_a_trial_are_read_in_the_order_in_which_they_were_written(tmp_path):
    """A trial that is trained on fold after fold has a file for each."""
    names = []
    for k in range(12):
        writer = SummaryWriter(str(tmp_path))
        writer.add_scalar("x", k, k)
        writer.close()
        names.append({path.name for path in tmp_path.iterdir()})
    added = [*names[0], *((after - before).pop() for before, after in itertools.pairwise(names))]
    assert sorted(added) == added

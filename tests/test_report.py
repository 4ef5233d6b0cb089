"""The page of a run: whole without a network, and every number in it computed here again from the run's two files."""

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import kruskal, spearmanr
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

import analysis
from analysis import pairs, report
from analysis.__main__ import main
from analysis.figures import accuracy_parameters
from analysis.report.sections import options, search
from analysis.run import Run
from analysis.verdict import verdict
from benchmark.results.schema import MethodCard
from tests.chromium import PATH, Browser, browser
from tests.test_analysis import CLASSES, SKILL, TRAINED, Folder

EVIL = "<script>alert('a & b')</script>"
VOID = {"meta", "br", "hr", "img", "input", "link"}
TRANSFER = ("bridge", "kd_logits")


class Page(HTMLParser):
    """A report read back: ids, references, text, and by the id of a figure its charts and table."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text, self.policy, self.figure = "", "", ""
        self.specs: dict[str, list[dict[str, Any]]] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.size = path.stat().st_size
        self.feed(path.read_text())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if "id" in found:
            self.ids.append(found["id"])
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag == "figure":
            self.figure = found["id"].split("-", 2)[2]  # of run and section
        if tag == "tr":
            self.rows.setdefault(self.figure, []).append([])
        if tag in ("td", "th"):
            self.rows[self.figure][-1].append("")
        if tag not in VOID:
            self.open.append("json" if found.get("type") == "application/json" else tag)

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop()
        assert tag == last.replace("json", "script"), (tag, self.open)

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "json":
            self.specs.setdefault(self.figure, []).append(json.loads(data))
        elif inside not in ("script", "style"):
            self.text += data
            if {"td", "th"} & set(self.open):
                self.rows[self.figure][-1][-1] += data

    def data(self, figure: str, chart: int = 0) -> Iterator[list[dict[str, Any]]]:
        """What each layer of a chart is drawn from."""
        spec = self.specs[figure][chart]
        for layer in spec.get("layer", [spec]):
            data = layer.get("data") or spec["data"]
            yield data["values"] if "values" in data else spec["datasets"][data["name"]]


def full(path: Path, evil: str = "") -> Path:
    """A run with something for every section. ``evil`` stands in the names of classes and of a method."""
    folder, rng = Folder(path), np.random.default_rng(5)
    for method in TRANSFER:
        for number in range(14):
            folds = [
                {"fold": fold, "status": "done", "curve": [[0.5, float(rng.random()), 0.1, None] for _ in range(6)]}
                for fold in range(1 if number % 5 == 4 else 3)
            ]
            means = np.mean([[point[1] for point in fold["curve"]] for fold in folds], axis=0)
            place = {"bridge_input": number % 3, "bridge_output": number % 4} if method == "bridge" else {}
            folder.row(
                method, "search", trial_id=f"{method}-fold0-{number:03d}", inner_folds=len(folds),
                folds=json.dumps(folds), epochs=6, best_epoch=int(means.argmax()) + 1, train_seconds=rng.random(),
                status="failed" if number == 3 else "done", error="ValueError: no" if number == 3 else None,
                val_balanced_agreement=None if number == 3 else float(means.max()), **place,
                config=json.dumps(
                    {"learning_rate": 10 ** -float(2 + rng.random() * 3), "adapt": ["full", "lora", "head"][number % 3],
                     "epochs": 6, **({"rank": int(rng.integers(1, 9))} if number % 3 == 1 else {})}
                ),
            )  # fmt: skip
    folder.row("kd_logits", "search", fold=1, inner_folds=3, val_balanced_agreement=0.9999, train_seconds=9.0)
    for i, j in np.ndindex(3, 4):
        folder.positions.append(
            {"trial_id": f"p{i}{j}", "fold": 0, "bridge_input": i, "bridge_output": j, "quality": 0.1 * i,
             "similarity": 0.1 * j + 0.01 * i, "chosen": (i, j) == (2, 2)}
        )  # fmt: skip
    finals = {method: folder.rows[k]["config"] for method, k in (("bridge", 2), ("kd_logits", 19))}
    for method in SKILL:
        for seed in (0, 1):
            place = {"bridge_position": "2 → 1", "bridge_input": 2, "bridge_output": 1} if method == "bridge" else {}
            versions = json.dumps({"torch": f"2.{seed}", "machine": "x86_64"})
            folder.final(method, seed, config=finals.get(method, "{}"), versions=versions, leakage="subjects", **place)
    folder.write()
    plan = json.loads((path / "plan.json").read_text())
    plan["words"] = ["experiment=quickstart", "name=it's me", "overwrite=true"]
    plan["methods"][0]["label"] += evil
    plan["classes"] = [f"class {k}{evil}" for k in range(CLASSES)]
    (path / "plan.json").write_text(json.dumps(plan))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = full(tmp_path_factory.mktemp("report") / "run")
    analysis.write(path)
    return Run(path)


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(run.path / report.NAME)


@pytest.fixture(scope="module")
def trials(run: Run) -> list[dict[str, Any]]:
    return pl.read_parquet(run.path / "trials.parquet").to_dicts()


@pytest.fixture(scope="module")
def windows(run: Run) -> pl.DataFrame:
    return pl.read_parquet(run.path / "predictions.parquet").filter(pl.col("stage") == "final")


def searched(trials: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """Search trials of a method in the first fold, as they began."""
    return [row for row in trials if (row["stage"], row["method"], row["fold"]) == ("search", method, 0)]


def comparable(trials: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """Those that are done, on the most inner folds."""
    return [row for row in searched(trials, method) if (row["status"], row["inner_folds"]) == ("done", 3)]


# The page.


def test_the_page_is_whole_and_asks_for_nothing(page: Page) -> None:
    assert page.size < 5e6
    assert "default-src 'none'" in page.policy
    assert not set(page.tags) & {"link", "img", "iframe", "object", "base", "form"}
    ids = set(page.ids)
    assert len(ids) == len(page.ids)
    for tag, name, value in page.attributes:
        assert name not in ("src", "srcset", "action", "style"), (tag, value)
        assert not name.startswith("on"), (tag, name)
        assert name != "href" or value[1:] in ids, value
    assert "url(" not in (Path(report.__file__).parent / "page.css").read_text()


def test_it_shows_every_section_in_its_order(page: Page) -> None:
    sections = [value for tag, name, value in page.attributes if (tag, name) == ("section", "id")]
    names = "question answer results losses search options positions confusion subjects curves inference failures costs"
    assert [s.removeprefix("run1-") for s in sections if s != "run1-further"] == [*names.split(), "setup"]
    figures = set(page.specs) | set(page.rows)
    assert page.tags["figure"] == page.tags["figcaption"] == len(figures)


def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    path = full(tmp_path / EVIL.replace("/", "⁄"), EVIL)
    main(["report", str(path)])
    source, page = (path / report.NAME).read_text(), Page(path / report.NAME)
    assert "alert(" in page.text
    assert "<script>alert" not in source
    assert page.tags["script"] == 2 + sum(map(len, page.specs.values()))
    assert any("class 0<script>" in json.dumps(spec) for spec in page.specs["confusion"])


def test_several_runs_begin_with_all_their_verdicts(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Folder(tmp_path / "other")
    other.row("bridge", "search")
    other.write()
    assert main(["report", str(run.path), str(tmp_path / "other"), "--out", str(tmp_path / "both.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "both.html")
    page = Page(tmp_path / "both.html")
    assert len(set(page.ids)) == len(page.ids)
    start = page.text[: page.text.index("Question and verdict")]
    assert " ".join(verdict(run).splitlines()) in start
    assert "other (simulated, ECG → PPG): No final results yet" in start
    assert {"run1-setup", "run2-setup"} < set(page.ids)


def test_what_cannot_be_reported_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["report"], "no folder"),
        (["a", "b"], "report a b"),
        (["report", str(tmp_path / "no")], "no:"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("rows", ["none", "failed", "searched", "not a number"])
def test_a_run_says_what_it_has(rows: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    if rows == "failed":
        folder.row("bridge", "search", status="failed", error="OSError: gone")
        folder.row("bridge", "final", status="failed", error="OSError: gone")
    elif rows == "searched":
        for score in (0.5, 0.6):
            folder.row("bridge", "search", val_balanced_agreement=score)
    elif rows == "not a number":
        folder.row("bridge", "search", val_balanced_agreement=math.nan)
        folder.final("bridge")
        folder.rows[-1]["test_kappa"] = math.nan
    path = folder.write()
    assert path / report.NAME in analysis.write(path)
    page = Page(path / report.NAME)
    assert ("No final results yet" in page.text) == (rows != "not a number")
    shown = {name.removeprefix("run1-") for name in page.ids}
    assert {"question", "setup"} <= shown
    assert ("failures" in shown) == (rows == "failed")
    assert ("search" in shown) == (rows == "searched")
    assert ("answer" in shown, "confusion" in shown) == ((rows == "not a number"),) * 2
    assert ("inference" in shown) == (rows == "not a number")
    assert not {"positions", "curves", "subjects"} & shown


def test_the_last_section_gives_the_run_again(run: Run, page: Page) -> None:
    again = [shlex.split(line) for line in page.text.splitlines() if line.startswith("python -m")]
    assert again == [
        ["python", "-m", "benchmark", "experiment=quickstart", "name=it's me"],
        ["python", "-m", "analysis", "results/run"],
    ]
    assert "Subjects are on both sides" in page.text[: page.text.index("Accuracy on the test split")]
    rows = {tuple(row) for row in page.rows["versions"][1:]}
    assert rows == {("torch", "2.0", "5"), ("torch", "2.1", "5"), ("machine", "x86_64", "10")}


# Its numbers.


def test_the_first_chart_is_of_the_predictions(run: Run, page: Page, windows: pl.DataFrame) -> None:
    lines, front, bars, points = page.data("accuracy-parameters")
    table = {row["method"]: row for row in pl.read_csv(run.path / "tables" / "accuracy.csv").to_dicts()}
    values = {
        method: 100 * np.mean([
            balanced_accuracy_score(w["label"], w["prediction"])
            for _, w in windows.filter(pl.col("method") == method).group_by("seed")
        ])
        for method in SKILL
    }  # fmt: skip
    assert [point["method"] for point in points] == list(TRANSFER)
    for point in points:
        assert point["balanced_accuracy"] == pytest.approx(values[point["method"]])
        assert point["parameters"] == TRAINED[point["method"]] == pytest.approx(point["x"])
        for end in ("low", "high"):
            assert point[f"balanced_accuracy_{end}"] == pytest.approx(
                100 * table[point["method"]][f"balanced_accuracy_{end}"]
            )
    assert bars == points
    ahead = values["kd_logits"] > values["bridge"]  # it trains more
    assert [point["method"] for point in front] == (["bridge", "kd_logits"] if ahead else ["bridge"])
    expected = {round(values[m], 1) for m in ("majority", "teacher", "oracle_probe")}
    assert {round(line["balanced_accuracy"], 1) for line in lines} == expected
    assert any(line["reference"] == f"Teacher {values['teacher']:.1f} %" for line in lines)
    assert any(line["reference"].startswith("Chance and majority class 33.3") for line in lines)
    cells = {row[0]: row[1].split(" ± ")[0] for row in page.rows["accuracy"][1:]}
    assert {run.labels[m]: f"{value:.1f}" for m, value in values.items()}.items() <= cells.items()
    assert verdict(run).splitlines()[0] in page.text


def test_nought_parameters_have_a_place_and_equal_ones_stand_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINED, "bridge", 0)
    folder = Folder(tmp_path / "run", *(MethodCard(name, name, "transfer") for name in ("one", "two")))
    for method in ("bridge", "one", "two"):
        monkeypatch.setitem(SKILL, method, 0.5)
        monkeypatch.setitem(TRAINED, method, 0 if method == "bridge" else 1000)
        folder.final(method)
    analysis.write(folder.write())
    *_, points = Page(tmp_path / "run" / report.NAME).data("accuracy-parameters")
    x = {point["method"]: point["x"] for point in points}
    assert 0 < x["bridge"] <= 100
    assert 800 < x["one"] < 1000 < x["two"] < 1250


def test_the_best_so_far_counts_what_can_be_compared(page: Page, trials: list[dict[str, Any]]) -> None:
    lines, points = page.data("best-so-far")
    for method, label in zip(TRANSFER, ("Bridge", "KD logits"), strict=True):
        best, steps, seconds, scored = -1.0, [], 0.0, []
        for number, row in enumerate(searched(trials, method), start=1):
            seconds += row["train_seconds"]
            whole = row["status"] == "done" and row["inner_folds"] == 3
            if row["status"] == "done":
                scored.append((number, 100 * row["val_balanced_agreement"], seconds, whole))
            if whole and row["val_balanced_agreement"] > best:
                best = row["val_balanced_agreement"]
                steps.append((number, 100 * best, seconds))
        if steps[-1][0] < number:
            steps.append((number, 100 * best, seconds))
        found = [(p["trial"], p["score"], p["seconds"], p["whole"]) for p in points if p["label"] == label]
        assert np.array(found) == pytest.approx(np.array(scored))
        found = [(p["trial"], p["best"], p["seconds"]) for p in lines if p["label"] == label]
        assert np.array(found) == pytest.approx(np.array(steps))
    assert "Hollow: 4 that" in page.text
    assert "2 have no score. Fold 0, the first of 2 that were searched." in page.text


def test_the_lines_of_options_are_the_trials_configurations(page: Page, trials: list[dict[str, Any]]) -> None:
    lines, circles, _ = page.data("parallel-coordinates")
    assert lines == circles
    for method, label in zip(TRANSFER, ("Bridge", "KD logits"), strict=True):
        rows = {row["trial_id"]: row for row in comparable(trials, method)}
        configs = {name: json.loads(row["config"]) for name, row in rows.items()}
        mine = [line for line in lines if line["label"] == label]
        assert {line["option"] for line in mine} == {"learning_rate", "adapt", "rank"}  # epochs were the same in all
        assert {line["trial"] for line in mine} == set(rows)
        rates = np.log([config["learning_rate"] for config in configs.values()])
        for line in mine:
            value = configs[line["trial"]].get(line["option"])
            assert line["score"] == pytest.approx(100 * rows[line["trial"]]["val_balanced_agreement"])
            if line["option"] == "learning_rate":
                assert line["at"] == pytest.approx((math.log(value) - rates.min()) / np.ptp(rates))
                assert float(line["value"]) == pytest.approx(value, rel=0.01)
            elif line["option"] == "adapt":
                assert (line["value"], line["at"]) == (value, {"full": 0, "head": 0.5, "lora": 1}[value])
            else:
                assert (line["at"] < 0) == (value is None)


def test_the_shares_of_options_agree_with_scipy(page: Page, trials: list[dict[str, Any]]) -> None:
    (shares,) = page.data("option-importance")
    found = {(row["label"], row["option"]): row for row in shares}
    assert len(found) == 4  # rank is used by too few
    for method, label in zip(TRANSFER, ("Bridge", "KD logits"), strict=True):
        rows = comparable(trials, method)
        score = np.array([row["val_balanced_agreement"] for row in rows])
        configs = [json.loads(row["config"]) for row in rows]
        rho = spearmanr([config["learning_rate"] for config in configs], score).statistic
        assert found[label, "learning_rate"]["share"] == pytest.approx(100 * rho**2)
        assert found[label, "learning_rate"]["direction"] == ("higher is better" if rho > 0 else "lower is better")
        words = np.array([config["adapt"] for config in configs])
        h = kruskal(*(score[words == word] for word in set(words))).statistic
        n, k = len(score), len(set(words))
        assert found[label, "adapt"]["share"] == pytest.approx(100 * max(0, (h - k + 1) / (n - k)))


def test_an_option_of_one_value_or_a_score_of_one_explains_nothing() -> None:
    score = np.arange(10.0)
    assert not list(options.explained([1] * 10, score))
    assert not list(options.explained(list(range(10)), np.ones(10)))
    (exact,) = options.explained(list(range(10)), -score)
    assert (exact["share"], exact["direction"], exact["trials"]) == (pytest.approx(100), "lower is better", 10)
    (words,) = options.explained([True] * 5 + [False] * 5, score)
    assert words["direction"] == "no order"


def test_positions_have_their_best_their_choice_and_its_regret(page: Page, trials: list[dict[str, Any]]) -> None:
    best: dict[tuple[int, int], float] = {}
    for row in comparable(trials, "bridge"):
        place = row["bridge_input"], row["bridge_output"]
        best[place] = max(best.get(place, 0), 100 * row["val_balanced_agreement"])
    cells, marked, choice = page.data("positions-bridge")
    found = {(cell["bridge_input"], cell["bridge_output"]): cell["score"] for cell in cells}
    assert found == pytest.approx(best)
    (i, j), most = max(best.items(), key=lambda pair: pair[1])
    assert [(m["bridge_input"], m["bridge_output"], m["mark"]) for m in (*marked, *choice)] == [
        (i, j, "best"),
        (2, 2, "choice"),
    ]
    assert f"Framed: the best, {i} → {j} with {most:.1f}." in page.text
    assert f"the two-stage choice, 2 → 2; its regret is {most - best[2, 2]:.1f} points." in page.text
    rule, framed = page.data("two-stage", 1)
    similarity = {(cell["bridge_input"], cell["bridge_output"]): cell["similarity"] for cell in rule}
    assert similarity == pytest.approx({(i, j): 0.1 * j + 0.01 * i for i, j in np.ndindex(3, 4)})
    assert (framed[0]["bridge_input"], framed[0]["bridge_output"]) == (2, 2)
    (quality,) = page.data("two-stage", 0)
    assert [row["quality"] for row in quality] == pytest.approx([0, 0.1, 0.2])


def test_confusion_matrices_are_of_the_predictions(run: Run, page: Page, windows: pl.DataFrame) -> None:
    specs = page.specs["confusion"]
    assert [spec["title"] for spec in specs] == [run.labels[method] for method in run.ordered(SKILL)]
    for k, method in enumerate(run.ordered(SKILL)):
        mine = windows.filter(pl.col("method") == method)
        expected = confusion_matrix(mine["label"], mine["prediction"], labels=range(CLASSES))
        cells, _ = page.data("confusion", k)
        assert [(c["true"], c["said"]) for c in cells] == [(f"class {i}", f"class {j}") for i, j in np.ndindex(3, 3)]
        assert [cell["windows"] for cell in cells] == expected.flatten().tolist()
        shares = 100 * expected / expected.sum(1, keepdims=True)
        assert [cell["share"] for cell in cells] == pytest.approx(shares.flatten().tolist())


def test_a_subjects_difference_is_its_share_of_the_pooled_one(run: Run, page: Page, windows: pl.DataFrame) -> None:
    _, points, means = page.data("differences")
    subjects = sorted(set(windows["subject"]))

    def share(method: str, subject: str) -> float:
        """Windows that are right, each over classes x windows of its class, summed; mean over seeds."""
        of_seeds = []
        for _, mine in windows.filter(pl.col("method") == method).group_by("seed"):
            sizes = Counter(mine["label"])
            right = mine.filter(pl.col("subject") == subject, pl.col("label") == pl.col("prediction"))
            of_seeds.append(sum(1 / (len(sizes) * sizes[label]) for label in right["label"]))
        return 100 * len(subjects) * float(np.mean(of_seeds))

    found = {(point["method"], point["subject"]): point["difference"] for point in points}
    others = [method for method in SKILL if method != "bridge"]
    assert found.keys() == {(method, subject) for method in others for subject in subjects}
    for (method, subject), difference in found.items():
        assert difference == pytest.approx(share("bridge", subject) - share(method, subject))
    for mean in means:
        method = next(name for name, label in run.labels.items() if label == mean["label"])
        pair = pairs.compared(run)[frozenset(("bridge", method))].seen_from("bridge")
        assert (mean["difference"], mean["subjects"]) == (pytest.approx(100 * pair.difference), pair.subjects)


def test_curves_are_the_chosen_trials_means_over_folds(page: Page, trials: list[dict[str, Any]]) -> None:
    points, _ = page.data("curves")
    chosen = {"Bridge": "bridge-fold0-002", "KD logits": "kd_logits-fold0-005"}
    assert {point["label"] for point in points} == set(chosen)
    for label, trial in chosen.items():
        row = next(row for row in trials if row["trial_id"] == trial)
        curves = [[point[1] for point in fold["curve"]] for fold in json.loads(row["folds"])]
        mine = [point for point in points if point["label"] == label]
        assert [point["score"] for point in mine] == pytest.approx(list(100 * np.mean(curves, axis=0)))
        assert [point["epoch"] for point in mine if point["kept"]] == [row["best_epoch"]]
        assert [point["epoch"] for point in mine] == [1, 2, 3, 4, 5, 6]


def test_inference_time_stands_by_position(page: Page, trials: list[dict[str, Any]]) -> None:
    (bars,) = page.data("inference")
    finals = [row for row in trials if row["stage"] == "final"]
    for bar, method in zip(bars, ("majority", *TRANSFER, "teacher", "oracle_probe"), strict=True):
        seconds = [row["inference_seconds_per_window"] for row in finals if row["method"] == method]
        assert (bar["milliseconds"], bar["trials"]) == (pytest.approx(1000 * np.median(seconds)), len(seconds))
    assert [bar["what"] for bar in bars][1:3] == ["Bridge 2 → 1", "KD logits"]


def test_a_large_search_is_sampled_and_says_so(tmp_path: Path) -> None:
    folder, rng = Folder(tmp_path / "run"), np.random.default_rng(1)
    scores = rng.random(search.MOST + 500)
    for k, score in enumerate(scores):
        config = json.dumps({"rate": float(score)})
        folder.row("bridge", "search", val_balanced_agreement=float(score), config=config, started_at=f"{k:06d}")
    report.write([Run(folder.write())], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    lines, points = page.data("best-so-far")
    assert len(points) == search.MOST
    assert lines[-1]["best"] == pytest.approx(100 * scores.max())
    assert "2,000 of 2,500 trials are drawn" in page.text
    drawn, *_ = page.data("parallel-coordinates")
    assert len(drawn) == options.DRAWN
    ends = [drawn[0]["score"], drawn[-1]["score"]]
    assert ends == pytest.approx([100 * scores.min(), 100 * scores.max()])
    assert "60 of 2,500 trials of a method are drawn" in page.text


# In a browser.


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if PATH is None:
        pytest.skip("no headless Chromium on this machine (Debian's package chromium)")
    with browser() as found:
        yield found


CLIPPED = """
[...document.querySelectorAll(".chart")].flatMap((place) => {
  const svg = place.querySelector("svg"), id = place.closest("figure").id;
  if (!svg) return [`${id}: not drawn`];
  const frame = svg.getBoundingClientRect(), room = place.getBoundingClientRect();
  const marks = svg.querySelectorAll(".mark-symbol path, .mark-rect path, .mark-line path, .mark-rule line");
  const found = [...marks].some((mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 1)
    ? [] : [`${id}: empty`];
  const least = [frame.left - 2, frame.top - 2], most = [frame.right + 2, frame.bottom + 2];
  if (frame.right > room.right + 1 || frame.width < 100 || frame.height < 50) found.push(`${id}: ${frame.width} wide`);
  for (const part of svg.querySelectorAll("text, path, line")) {
    const box = part.getBoundingClientRect();
    if (!box.width && !box.height) continue;
    if (box.left < least[0] || box.top < least[1] || box.right > most[0] || box.bottom > most[1])
      found.push(`${id}: ${part.tagName} ${part.textContent} is outside`);
  }
  return found;
})
"""
OVERLAPPING = """
[...document.querySelectorAll(".chart svg")].flatMap((svg) => {
  const boxes = [...svg.querySelectorAll(".role-axis text, .role-legend text")]
    .filter((text) => text.getAttribute("opacity") !== "0" && !/rotate.3/.test(text.getAttribute("transform")))
    .map((text) => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width);
  return boxes.flatMap(([a, p], k) => boxes.slice(k + 1)
    .filter(([, q]) => p.left < q.right - 2 && q.left < p.right - 2 && p.top < q.bottom - 3 && q.top < p.bottom - 3)
    .map(([b]) => `${svg.closest("figure").id}: ${a} | ${b}`));
})
"""
PHONE, DESKTOP, PAPER = {"width": 360, "height": 780}, {"width": 1280}, {"width": 720, "media": "print"}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("how", [DESKTOP, PHONE, PAPER], ids=["desktop", "phone", "paper"])
def test_a_browser_draws_it_whole(chromium: Browser, run: Run, how: dict[str, Any], dark: bool) -> None:
    chromium.look(run.path / report.NAME, dark=dark, **how)
    assert chromium.complaints == []
    assert {url.split(":")[0] for url in chromium.requests} == {"file"}
    assert {Path(url).name for url in chromium.requests} == {report.NAME}
    assert chromium.run(CLIPPED) == []
    assert chromium.run(OVERLAPPING) == []
    assert chromium.run("document.documentElement.scrollWidth") <= how["width"]
    rgb = "getComputedStyle(document.querySelector('%s')).%s.match(/[0-9]+/g).slice(0, 3).map(Number)"
    paper = chromium.run(rgb % ("body", "backgroundColor"))
    ink = chromium.run(rgb % (".chart .role-axis-label text", "fill"))
    assert (max(paper) < 60) == (dark and "media" not in how)
    assert abs(ink[0] - paper[0]) > 120


def test_a_page_of_many_methods_is_as_wide_as_its_paper(chromium: Browser, tmp_path: Path) -> None:
    """Tables have a column for each of them, and charts a place by its number of parameters."""
    names = [f"kd_number_{k}" for k in range(12)]
    cards = (MethodCard(name, f"KD contrastive {k}", "transfer") for k, name in enumerate(names))
    folder = Folder(tmp_path / "run", *cards)
    for method in (*names, *SKILL):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(SKILL, method, SKILL.get(method, 0.5))
            patch.setitem(TRAINED, method, TRAINED.get(method, 40_000))
            for fold in (0, 1):
                folder.final(method, fold=fold)
    analysis.write(folder.write())
    for how in (DESKTOP, PHONE, PAPER):
        chromium.look(folder.path / report.NAME, **how)
        assert chromium.run("document.documentElement.scrollWidth") <= how["width"]
        assert chromium.run(CLIPPED) == []
    *_, points = Page(folder.path / report.NAME).data("accuracy-parameters")
    assert all(10_000 < point["x"] < 160_000 for point in points if point["method"] in names)
    styles = accuracy_parameters._styles(Run(folder.path), [*names, *SKILL])
    assert len(set(styles.values())) == len(styles)


def test_a_browser_sorts_tables(chromium: Browser, run: Run) -> None:
    chromium.look(run.path / report.NAME)
    column = "[...document.querySelectorAll('#run1-results-accuracy tbody tr')].map((row) => row.cells[%d].textContent)"
    click = "document.querySelectorAll('#run1-results-accuracy th button')[%d].click()"
    before = chromium.run(column % 1)
    chromium.run(click % 1)
    values = [float(text.split()[0]) for text in chromium.run(column % 1)]
    assert values == sorted(values, reverse=True)
    chromium.run(click % 1)
    assert [float(text.split()[0]) for text in chromium.run(column % 1)] == sorted(values)
    chromium.run(click % 0)
    assert chromium.run(column % 0) == sorted(chromium.run(column % 0))
    chromium.run(click % 2)
    assert chromium.run(column % 2)[-1] == "–"  # chance has no interval
    assert sorted(before) == sorted(chromium.run(column % 1))
    assert chromium.run("document.querySelectorAll('#run1-results-accuracy th[aria-sort]').length") == 1


def test_a_browser_prints_captions_and_configuration(chromium: Browser, run: Run, tmp_path: Path) -> None:
    chromium.look(run.path / report.NAME, dark=True)
    chromium.paper(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
    assert chromium.run("document.querySelector('details').open")

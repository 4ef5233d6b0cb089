"""All real directions in one table: the runs are asked for one after the other, and their tables are put together."""

import time
from pathlib import Path

import pytest

import analysis
from benchmark.data.registry import dataset_class
from benchmark.perf import real
from benchmark.registry import configure
from tests.test_analysis import finished

ROOT = Path(__file__).parents[1]
FOLDERS = ("eegmat", "stress_predict", "troika")


def recordings(folder: Path) -> Path:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize("direction", real.DIRECTIONS)
def test_each_direction_is_a_configuration_of_its_data(direction: str, tmp_path: Path):
    config = configure(real.words_of(direction, tmp_path, tmp_path / "results", ["search.trials=3"]))
    assert (config.experiment, config.search.trials, config.calibration) == (direction, 3, ["none", "wearer"])
    assert config.data.root == str(tmp_path / real.DIRECTIONS[direction][0])
    assert real.DIRECTIONS[direction][0] == dataset_class(config.data.name).name


def test_it_runs_what_is_asked_for_goes_on_with_what_was_begun_and_writes_all_tables(tmp_path: Path, capsys):
    asked = []

    def run(words: list[str]) -> None:
        asked.append(words)
        folder = tmp_path / "results" / words[0].removeprefix("experiment=")
        analysis.write(finished(folder))
        (folder / "minutes.json").write_text('{"minutes": 1.5}')

    given = [str(recordings(tmp_path / "data")), "--directions", "eegmat_eeg2ecg", "troika_ppg2ecg"]
    given += ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "search.trials=3"]
    given += [f"cache={tmp_path}"]
    for _ in range(2):
        assert real.main(given, run=run) == 0
        assert "3 minutes" in (tmp_path / "out/summary.md").read_text().splitlines()[-1]
    assert [words[0] for words in asked] == ["experiment=eegmat_eeg2ecg", "experiment=troika_ppg2ecg"] * 2
    assert ["resume=true" in words for words in asked] == [False, False, True, True]
    assert all("search.trials=3" in words for words in asked)
    for folder in ("eegmat_eeg2ecg", "troika_ppg2ecg"):
        for name in real.TABLES:
            published = (tmp_path / "out" / folder / f"{name}.md").read_bytes()
            assert published == (tmp_path / "results" / folder / "tables" / f"{name}.md").read_bytes()
    said = (tmp_path / "out/summary.md").read_text()
    assert "search.trials=3`" in said
    assert str(tmp_path) not in said
    capsys.readouterr()


def test_the_minutes_of_a_direction_add_up_over_its_starts_and_stops(tmp_path: Path):
    with real.timed(tmp_path):
        time.sleep(0.03)
    assert 0.0005 <= (first := real.minutes(tmp_path)) < 1

    def stopped() -> None:
        with real.timed(tmp_path):
            time.sleep(0.03)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert real.minutes(tmp_path) >= first + 0.0005
    with real.timed(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()  # a run that was refused has no folder


def test_a_run_that_fails_ends_it_with_the_same_code(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(real, "benchmark", lambda words: 130)
    with pytest.raises(SystemExit) as end:
        real.main([str(recordings(tmp_path)), "--results", str(tmp_path / "results")])
    assert end.value.code == 130


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "has no folder eegmat"),
        (["--directions", "troika_ppg2ecg"], "has no folder troika"),
        (["--directions", "troika_ppg2eeg"], "there is no 'troika_ppg2eeg'; give some of eegmat_eeg2ecg, "),
    ],
)
def test_what_is_not_there_is_said_before_anything_runs(tmp_path: Path, capsys, words, said):
    assert real.main([str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_the_readmes_table_is_the_one_that_the_command_wrote():
    page, found = (ROOT / "README.md").read_text(), (ROOT / "docs/results/real/summary.md").read_text()
    shown = page.split("<!-- docs/results/real/summary.md -->\n")[1].split("<!-- end of the table -->\n")[0]
    assert shown.splitlines() == [line for line in found.splitlines() if line.startswith("|")]
    for direction in real.DIRECTIONS:
        assert f"| {direction} " in shown.splitlines()[0]

"""Pages for each task of a user: their code is added to a copy of the project as it stands, and their commands run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import SMALL
from tests.test_report import full

ROOT = Path(__file__).parents[1]
PAGES = ("my-data-set", "my-encoder", "my-method", "reading-the-report")
QUICK = ("methods=[ridge]", "references=[teacher]", "search.trials=1", "final.seeds=[0]", "cluster.cpus=1")


def files(page: str) -> dict[str, str]:
    """What a page says a file holds, by its path."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return dict(re.findall(r"^`([\w/]+\.\w+)`[^`]*?:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def commands(page: str) -> list[list[str]]:
    """The command lines of a page, as words behind ``python``."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    assert all(line.startswith("python -m ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def copied(folder: Path, *pages: str) -> Path:
    """A copy of the project that has the files of these pages."""
    for name in ("benchmark", "baselines", "search_spaces", "analysis"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for page in pages:
        for name, content in files(page).items():
            assert not (folder / name).exists()
            (folder / name).write_text(content)
    return folder


def run(folder: Path, words: list[str]) -> str:
    """What a command prints, of the copy in this folder or, where there is none, of the project."""
    path = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def test_every_page_is_named_where_people_look() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in PAGES:
        assert f"(docs/{page}.md)" in readme
    assert {page for page in PAGES if files(page)} == set(PAGES) - {"reading-the-report"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("pages"), "my-data-set", "my-encoder")


def test_my_data_set_is_read_and_run(copy: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(1, 9):
        label = np.repeat([0, 1], 40)
        ecg, ppg = (rng.standard_normal(80 * rate) * (1 + np.repeat(label, rate)) for rate in (100, 50))
        np.savez(tmp_path / f"S{k:02d}.npz", ecg=ecg, ppg=ppg, label=label)
    check, benchmark = ([word.replace("/path/to/mine", str(tmp_path)) for word in c] for c in commands("my-data-set"))
    assert "8 subjects" in run(copy, check)
    sizes = [word for word in SMALL if "split" in word or "weights" in word]
    run(copy, [*benchmark, *sizes, *QUICK])
    trials = pl.read_parquet(copy / "results" / "mine_ecg2ppg" / "trials.parquet")
    assert set(trials["status"]) == {"done"}
    assert set(trials["dataset"]) == {"mine"}
    windows = pl.read_parquet(copy / "results" / "mine_ecg2ppg" / "predictions.parquet")
    assert windows.filter(pl.col("method") == "ridge").height == 2 * 8  # two subjects of test, eight windows each


def test_my_encoder_keeps_the_contract_and_is_run(copy: Path) -> None:
    listing, benchmark = commands("my-encoder")
    assert re.search(r"^patches +ppg +125 Hz +tiny +3 ", run(copy, listing), re.MULTILINE)
    contract = ["-k", "patches", str(ROOT / "tests" / "test_encoders_contract.py")]
    said = run(copy, ["-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "--import-mode=importlib", *contract])
    assert int(re.search(r"(\d+) passed", said)[1]) > 8
    run(copy, [*benchmark, *(word for word in SMALL if "methods" not in word), *QUICK])
    trials = pl.read_parquet(copy / "results" / "patches" / "trials.parquet")
    assert set(trials["status"]) == {"done"}
    assert trials["new_encoder"][0].startswith("patches tiny")


def test_the_commands_of_the_page_on_reports_give_what_it_says(tmp_path: Path) -> None:
    for name in ("quickstart", "quickstart-seed1"):
        full(tmp_path / "results" / name)
    for words in commands("reading-the-report"):
        run(tmp_path, words)
    there = {path.relative_to(tmp_path / "results").as_posix() for path in (tmp_path / "results").rglob("*")}
    assert there > {"both.html", "quickstart/report.html", "quickstart/tables/accuracy.tex", "quickstart.tar.gz"}
    assert there > {"summary.md", "compared.csv"}

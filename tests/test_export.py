"""What a run's files mean, said for people and machines, and the run packed for others."""

import hashlib
import json
import os
import shutil
import tarfile
import tomllib
from pathlib import Path

import polars as pl
import pytest
import yaml

from analysis import columns, report
from analysis.__main__ import main
from analysis.run import Run
from benchmark.frozen.task import Task
from benchmark.plan import Spec
from benchmark.registry import get
from benchmark.results.schema import FINAL, PLAN, PREDICTION, ROW, SEARCHED, TRIAL
from benchmark.trial.trial import Trial, failed_row, row_head
from tests.test_analysis import Folder
from tests.test_report import full
from tests.test_transfer import BRIDGE

ROOT = Path(__file__).parents[1]

# Columns.


def test_the_page_of_columns_is_what_the_command_writes(tmp_path: Path) -> None:
    assert main(["columns", "--out", str(tmp_path / "columns.md")]) == 0
    assert (tmp_path / "columns.md").read_text() == (ROOT / "docs" / "columns.md").read_text()
    for column in (*ROW, *PREDICTION):
        assert column.help, column.name
        assert f"| {column.name} | {column.dtype} | {column.unit} |" in columns.page()


def test_who_writes_a_column_is_who_is_named(task: Task) -> None:
    def named(*writers: str) -> set[str]:
        return {column.name for column in ROW if column.writer in writers}

    own = {column.name for column in get("bridge").columns}
    rows = {}
    for stage in ("search", "final"):
        trial = Trial(task, Spec("bridge", stage, "x", 0, 0, {**BRIDGE, "epochs": 1}))
        for _ in trial.epochs():
            pass
        rows[stage] = trial.row() if stage == "search" else trial.test()[0]
    spec = trial.spec
    assert set(row_head(task.config, spec, "simulated")) == named(PLAN)
    assert set(failed_row(task.config, spec, "simulated", "no")) == named(PLAN) | {"status", "error"}
    other = {"score_standard_error", "val_balanced_accuracy"}  # of several folds, of a protocol that reads labels
    assert set(rows["search"]) | other == named(PLAN, TRIAL, SEARCHED) | own
    assert set(rows["final"]) | other == named(PLAN, TRIAL, FINAL) | own


# The pack.


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run's folder, and where its pack was unpacked."""
    path = full(tmp_path_factory.mktemp("export") / "a run")
    assert main([str(path)]) == 0
    for name in ("ray/x.parquet", "tensorboard/bridge/events.out.tfevents.1.host", "tables/.accuracy.md.1.tmp"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("left behind")
    assert main(["export", str(path)]) == 0
    with tarfile.open(path.with_name("a run.tar.gz")) as tar:
        tar.extractall(path.parent / "elsewhere", filter="data")
    return path, path.parent / "elsewhere" / path.name


def test_a_pack_has_the_run_and_none_of_its_caches(packed: tuple[Path, Path]) -> None:
    path, unpacked = packed
    names = {found.relative_to(unpacked).as_posix() for found in unpacked.rglob("*") if found.is_file()}
    there = {found.relative_to(path).as_posix() for found in path.rglob("*") if found.is_file()}
    left = {"ray/x.parquet", "tensorboard/bridge/events.out.tfevents.1.host", "tables/.accuracy.md.1.tmp"}
    assert names == there - left | {"croissant.json"}
    assert {"rows.jsonl", "positions.parquet", "tables/accuracy.csv", "figures/positions.svg"} < names


def test_the_report_from_the_pack_is_the_same(packed: tuple[Path, Path]) -> None:
    path, unpacked = packed
    expected = (path / report.NAME).read_bytes()
    (unpacked / report.NAME).unlink()
    assert main(["report", str(unpacked)]) == 0
    assert (unpacked / report.NAME).read_bytes() == expected
    for name in ("trials.parquet", "predictions.parquet"):  # from the log alone, too
        (unpacked / name).unlink()
    assert main(["report", str(unpacked)]) == 0
    assert (unpacked / report.NAME).read_bytes() == expected


def test_a_pack_is_the_same_bytes_whenever_it_is_made_and_replaces_nothing(
    packed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = packed
    first = path.with_name("a run.tar.gz").read_bytes()
    copy = shutil.copytree(path, tmp_path / path.name)
    for found in copy.rglob("*"):
        os.utime(found, (1e9, 1e9))
        found.chmod(0o700)
    assert main(["export", str(copy), "--out", str(tmp_path / "again.tar.gz")]) == 0
    assert (tmp_path / "again.tar.gz").read_bytes() == first
    capsys.readouterr()
    assert main(["export", str(path)]) == 2
    assert "a run.tar.gz is there already; remove it, or give another file with --out" in capsys.readouterr().err
    assert path.with_name("a run.tar.gz").read_bytes() == first


# Its description.

REQUIRED = {"@context", "@type", "conformsTo", "name", "description", "url", "license", "creator", "datePublished"}


def test_a_pack_describes_itself_as_croissant_does(packed: tuple[Path, Path]) -> None:
    """What the specification 1.0 asks of a data set, its files, and its sets of records."""
    _, unpacked = packed
    found = json.loads((unpacked / "croissant.json").read_text())
    assert found.keys() >= REQUIRED
    assert (found["@type"], found["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    assert found["@context"]["@vocab"] == "https://schema.org/"
    assert found["datePublished"] == "2026-01-01"
    files = {file["@id"]: file for file in found["distribution"]}
    assert len(files) == len(found["distribution"])
    for name, file in files.items():
        content = (unpacked / file["contentUrl"]).read_bytes()
        assert file["@type"] == "cr:FileObject"
        assert file["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert file["contentSize"] == f"{len(content)} B"
    assert (unpacked / found["url"]).is_file()
    types = {"sc:Text": pl.String, "sc:Integer": pl.Int64, "sc:Float": pl.Float64, "sc:Boolean": pl.Boolean}
    records = {one["@id"]: one for one in found["recordSet"]}
    assert set(records) == {"trials", "predictions", "positions"}
    for table, one in records.items():
        schema = {}
        for field in one["field"]:
            assert (one["@type"], field["@type"]) == ("cr:RecordSet", "cr:Field")
            assert field["@id"] == f"{table}/{field['name']}"
            assert field["description"]
            assert field["source"]["fileObject"]["@id"] == f"{table}.parquet"
            schema[field["source"]["extract"]["column"]] = types[field["dataType"]]
        assert schema == dict(pl.read_parquet_schema(unpacked / f"{table}.parquet"))


def test_a_run_without_a_row_can_be_packed(tmp_path: Path) -> None:
    assert main(["export", str(Folder(tmp_path / "run").log())]) == 0
    assert Run(tmp_path / "run").trials.is_empty()
    assert (tmp_path / "run.tar.gz").is_file()


# How to cite.


def test_the_citation_is_valid() -> None:
    """What the schema of CFF 1.2.0 asks of a file, a reference, and a person or an entity."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert found.keys() >= {"cff-version", "message", "title", "authors"}
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in ("software", "dataset")
    assert (str(found["version"]), found["license"]) == (project["version"], project["license"])
    (paper,) = found["references"]
    assert paper.keys() >= {"type", "title", "authors"}
    assert (paper["type"], paper["year"], paper["conference"]) == ("conference-paper", 2026, {"name": "ICLR 2026"})
    assert paper["title"].startswith("BioX-Bridge")
    for author in (*found["authors"], *paper["authors"]):
        assert set(author) in ({"name"}, {"given-names", "family-names"})
    for one in paper["identifiers"]:
        assert one.keys() == {"type", "value"}
        assert one["type"] in ("doi", "url", "swh", "other")

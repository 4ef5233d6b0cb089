"""The tree is the architecture: every room has its place in the layers, and the page that shows them is true."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark.config.schema import Config
from benchmark.plan import Spec
from benchmark.preview import preview
from tests.conftest import run_final

ROOT = Path(__file__).parents[1]
LONGEST = 300


def layers() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return [room for line in contracts[0]["layers"] for room in re.split(r" [|:] ", line)]


def rooms() -> set[str]:
    inside = {f"benchmark.{path.stem}" for path in (ROOT / "benchmark").iterdir() if path.name[0] not in "_."}
    return inside | {"benchmark.__main__", "baselines", "search_spaces", "analysis"}


def test_every_room_has_a_place_in_the_layers():
    assert sorted(layers()) == sorted(rooms())


def test_the_page_shows_the_rooms_in_the_order_of_the_layers():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = [line.split("|")[1].strip().strip("`") for line in page.splitlines() if line.startswith("| `")]
    assert table == layers()


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("benchmark/common/files.py", "import benchmark.encoders.base"),
        ("benchmark/run.py", "import analysis"),
        ("benchmark/plan.py", "import torch"),
        ("benchmark/trial/trial.py", "import ray"),
        ("analysis/run.py", "import benchmark.method"),
    ],
)
def test_the_import_rule_fails_for_a_room_that_reaches_up(room, line, tmp_path):
    import shutil

    for name in ("benchmark", "baselines", "search_spaces", "analysis"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    check = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    for content, kept in (("", True), (f"\n{line}\n", False)):
        with (tmp_path / room).open("a") as file:
            file.write(content)
        done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
        assert (done.returncode == 0) is kept, done.stdout


def test_the_configuration_goes_down_only(small):
    """Every call that hands a configuration on, in a preview and in a trial, goes to the same room or a lower one."""
    order, climbs, edges = layers(), set(), set()

    def room(module: str) -> str | None:
        return next((name for name in order if module == name or module.startswith(f"{name}.")), None)

    def watch(frame, event, _):
        if event == "call" and frame.f_back and any(isinstance(value, Config) for value in frame.f_locals.values()):
            above, below = (room(one.f_globals.get("__name__", "")) for one in (frame.f_back, frame))
            if above and below and above != below:
                edges.add((above, below))
                if order.index(above) > order.index(below):
                    climbs.add((above, below))

    sys.setprofile(watch)
    try:
        preview(small)
        specs = {"input": 0, "output": 0, "rank": 2, "prototypes": 2, "learning_rate": 1e-3, "epochs": 1}
        run_final(small, Spec("bridge", "final", "x", 0, 0, specs), "simulated")
    finally:
        sys.setprofile(None)
    assert len(edges) > 5
    assert not climbs


def test_no_file_is_long_without_a_reason():
    for folder in ("benchmark", "baselines", "search_spaces", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if len(text.splitlines()) > LONGEST:
                assert "One file because" in text, f"{path}: more than {LONGEST} lines and no reason in its docstring"


def test_no_room_but_the_bridges_own_names_the_bridge():
    compared = re.compile(r"""[!=]= ["']bridge["']|["']bridge["'] [!=]=|in \(?["']bridge["']""")
    for folder in ("benchmark", "baselines", "analysis"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not compared.search(path.read_text()) or "bridge" in path.parts, path

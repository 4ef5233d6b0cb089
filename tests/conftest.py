import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: several workers share the cores

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.common.machine import use_threads
from benchmark.config.schema import Config
from benchmark.frozen.task import Task
from benchmark.plan import Spec
from benchmark.registry import configure
from benchmark.trial.trial import Tested, final_steps


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: several processes that share the files then end together."""
    items.sort(key=lambda item: item.path.name != "test_run.py")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """As a run has, whatever the environment says and tests of other files did."""
    use_threads(1)


@pytest.fixture(autouse=True)
def no_bar_goes_on() -> Iterator[None]:
    """A bar that a test leaves open says its line every 30 s, in whatever test is on then."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"], "a bar was not closed"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The read-only folder of goldens and recordings that lies beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder 'shared' beside the repository")
    return folder


@pytest.fixture(scope="session")
def recordings(shared: Path) -> Path:
    """The real EDF files of EEGMAT: part of ``shared``, so that one without them is broken and no reason to skip."""
    folder = shared / "data" / "eegmat"
    assert any(folder.glob("*.edf")), f"no recordings in {folder}"
    return folder


SMALL = (
    "methods=[bridge,kd_logits]",
    "data.subjects=8",
    "data.condition_seconds=40",
    "data.split.train=3",
    "data.split.val=1",
    "data.split.pair=2",
    "data.split.test=2",
    "old.weights=random",
    "new.weights=random",
)


LIGHT = (*SMALL, "encoder@old=normwear", "old.modality=ecg", "data.ecg=[{resample_poly: 130},{zscore: recording}]")
"""For runs in processes of their own, where the encoders are of no concern: HuBERT's layers come from a library that
takes every process seconds to import."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The quickstart on eight short subjects and untrained encoders."""
    folder = tmp_path_factory.mktemp("small")
    return configure([*SMALL, f"results={folder}/results", f"cache={folder}/cache"])


@pytest.fixture(scope="session")
def task(small: Config) -> Task:
    return Task(small, 0)


def changed(config: Config, **sections: dict[str, object]) -> Config:
    """A configuration with other options in some of its sections."""
    update = {name: getattr(config, name).model_copy(update=options) for name, options in sections.items()}
    return config.model_copy(update=update)


def run_final(config: Config, spec: Spec, dataset: str) -> Tested:
    """A final trial from beginning to end, as an actor runs it."""
    *_, found = final_steps(config, spec, dataset)
    assert found is not None
    return found

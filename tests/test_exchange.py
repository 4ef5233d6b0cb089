"""Nodes without a disk that all share: what one has, another gets."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.cloudpickle import register_pickle_by_value, unregister_pickle_by_value
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmark.cluster.exchange import RATE, SMALL, Nodes, Offer, told
from benchmark.cluster.session import session
from benchmark.cluster.travel import OWN
from benchmark.common import elsewhere
from benchmark.common.store import Store
from benchmark.config.cluster import ExistingCluster

KEY = {"what": "features"}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def write(rows: int, seconds: float) -> None:
    with Store(Path("cache/features")).writer(KEY) as writer:
        writer.add({"x": np.full((rows, 1000), 3.0, np.float32)}, seconds)


def read() -> tuple[str, float | None]:
    """Where this process works, and the sum of what it finds there."""
    entry = Store(Path("cache/features")).open(KEY)
    return Path.cwd().name, None if entry is None else sum(float(chunk.sum()) for chunk in entry["x"])


def spoil() -> None:
    path = Store(Path("cache/features")).path(KEY)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    register_pickle_by_value(sys.modules[__name__])  # nodes have no tests
    (tmp_path / "driver").mkdir()
    monkeypatch.chdir(tmp_path / "driver")
    found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    for name in ("one", "two"):
        found.add_node(**NODE, env_vars={OWN: str(tmp_path / name)})
    try:
        with session(ExistingCluster(address=found.address)):
            yield found
    finally:
        unregister_pickle_by_value(sys.modules[__name__])
        found.shutdown()


def on(node: str, function: Any, *arguments: Any) -> Any:
    placed = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.get(ray.remote(function).options(scheduling_strategy=placed, num_cpus=0).remote(*arguments))


def places() -> dict[str, str]:
    """Nodes by the name of the folder in which their processes work."""
    living = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    return {on(node, lambda: Path.cwd().name): node for node in living}


def test_a_node_gets_what_another_has_whole_or_computes_it(cluster: Cluster, tmp_path: Path) -> None:
    nodes = places()
    assert set(nodes) == {"driver", "one", "two"}
    assert on(nodes["two"], read) == ("two", None)
    assert told() == ""
    on(nodes["one"], write, 1000, 7.0)
    assert on(nodes["two"], read) == ("two", 3e6)
    assert told().startswith("Moved 1 files (4.0 MB) between nodes, which saved ")
    assert read() == ("driver", 3e6)  # the run's own process asks, too
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.arrow")}
    assert files == {"driver", "one", "two"}
    # What is there is not asked for again.
    on(nodes["two"], read)
    assert told().startswith("Moved 2 files")


def test_a_value_is_offered_once_and_asked_for_on_every_node(cluster: Cluster) -> None:
    elsewhere.offer("labels", np.arange(3))
    for node in places().values():
        assert on(node, lambda: elsewhere.ask("labels")).tolist() == [0, 1, 2]
        assert on(node, lambda: elsewhere.ask("others")) is None


def test_what_arrives_damaged_is_not_believed(cluster: Cluster) -> None:
    nodes = places()
    on(nodes["one"], write, 1000, 7.0)
    on(nodes["one"], spoil)
    assert on(nodes["two"], read) == ("two", None)


def save(text: str) -> None:
    path = Path("cache/checkpoints/a.pt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    elsewhere.keep(path)


def test_a_copy_is_kept_beside_the_driver_for_whatever_node_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    nodes, path = places(), Path("cache/checkpoints/a.pt")
    on(nodes["one"], save, "epoch 3")
    assert (tmp_path / "driver" / path).read_text() == "epoch 3"
    (tmp_path / "one" / path).unlink()  # its node is lost
    assert on(nodes["two"], lambda: elsewhere.fetch(path) and path.read_text()) == "epoch 3"
    on(nodes["two"], lambda: elsewhere.drop(path))
    assert not (tmp_path / "driver" / path).exists()
    on(nodes["driver"], save, "epoch 4")  # nothing to move
    assert path.read_text() == "epoch 4"


@pytest.mark.parametrize(
    ("size", "seconds", "moved"),
    [
        (SMALL, 1e-6, True),  # asking took as long
        (10 * SMALL, 0.0, True),  # nobody knows what it took
        (int(RATE), 0.5, False),
        (int(RATE), 2.0, True),
    ],
)
def test_what_is_faster_to_compute_is_not_moved(size: int, seconds: float, moved: bool) -> None:
    assert Nodes().worth_moving(Offer(size, seconds)) == moved


def test_outside_of_a_cluster_nobody_is_asked() -> None:
    assert not elsewhere.fetch(Path("/nowhere"))
    assert elsewhere.ask("anything") is None

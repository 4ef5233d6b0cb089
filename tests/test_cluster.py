"""A run's own Ray: nobody else's, and out of reach from other machines."""

import ipaddress

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from benchmark.cluster.session import session
from benchmark.config.schema import ClusterOptions
from benchmark.errors import InputError

OPTIONS = ClusterOptions(cpus=2)


def loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_all_of_it_listens_on_loopback_alone():
    with session(OPTIONS):
        ray.get([ray.remote(loopback).remote("127.0.0.1") for _ in range(4)])  # workers listen, too
        driver = psutil.Process()
        listening = {
            (process.name(), socket.laddr.ip)
            for process in (driver, *driver.children(recursive=True))
            for socket in process.net_connections()
            if socket.status == psutil.CONN_LISTEN
        }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert [found for found in sorted(listening) if not loopback(found[1])] == []


def test_where_no_cluster_is_known_that_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def nothing(**asked: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    monkeypatch.setattr(ray, "init", nothing)
    with (
        pytest.raises(InputError, match=r"cluster.address=auto \(Could not find any .*; start one"),
        session(ClusterOptions(address="auto")),
    ):
        pass


def test_it_is_not_another_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch):
    other = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20},
    )
    try:
        monkeypatch.setenv("RAY_ADDRESS", other.address)
        with session(OPTIONS):
            assert ray.cluster_resources()["CPU"] == 2
        with session(ClusterOptions(address=other.address)):
            assert ray.cluster_resources()["CPU"] == 1
    finally:
        other.shutdown()

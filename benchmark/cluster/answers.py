"""Asks a Ray cluster for its nodes, in a process of its own: for one that does not answer Ray waits a minute in C++,
where no signal is heard. ``python answers.py <address>`` prints what ``benchmark.cluster.nodes`` reads."""

import json
import socket
import sys
from typing import Any

from ray._private import services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]

ANSWERS = 4.0  # seconds within which a cluster does


def ask(address: str) -> dict[str, Any]:
    """``address`` as host:port, what each living ``nodes`` has, and whether one of them is ``here``."""
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as ray.init does when it joins
    found = services.canonicalize_bootstrap_address(address)
    if found is None:
        raise ConnectionError("no Ray runs on this machine")
    host, port = services.parse_address(found)
    socket.create_connection((host, port), timeout=ANSWERS).close()
    nodes = GcsClient(address=found).get_all_node_info(timeout=ANSWERS, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
    here = services.find_node_ids()
    return {
        "address": found,
        "nodes": [dict(node.resources_total) for node in nodes.values()],
        "here": any(node.hex() in here for node in nodes),
    }


if __name__ == "__main__":
    try:
        print(json.dumps(ask(sys.argv[1])))
    except Exception as error:
        print(json.dumps({"error": " ".join(str(error).split())}))

"""The prototype bridge: network, objectives, landing in an encoder's layout, training, population, positions."""

from benchmark.bridge.training import Bridge

__all__ = ["Bridge"]

"""Simulated subjects whose heart, brain and muscles are known."""

from benchmark.data.simulated.dataset import Simulated

__all__ = ["Simulated"]

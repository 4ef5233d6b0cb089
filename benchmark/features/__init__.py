"""The feature store: one pass over a split keeps what trials need, on disk, memory-mapped and never stale.

``passes`` computes, ``store`` finds or completes an entry, ``files`` says what a file looks like, ``claim`` keeps two
processes from the same work. ``python -m benchmark.features`` lists, verifies and prunes.
"""

from benchmark.features.files import DTYPES, Damaged, Features
from benchmark.features.passes import block_inputs, one_pass
from benchmark.features.store import Store

__all__ = ["DTYPES", "Damaged", "Features", "Store", "block_inputs", "one_pass"]

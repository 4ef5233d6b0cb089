"""Ceiling: the oracle probe with no more than the labels of the pairs that a transfer learns from."""

from baselines.oracle_probe import OracleProbe


class OraclePairProbe(OracleProbe):
    """What labels of ``pair`` would have given, on the same windows as every transfer method."""

    name = "oracle_pair_probe"
    label = "Oracle probe (pair)"
    trains_on = ("pair",)

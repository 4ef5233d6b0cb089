"""The words that help after a misspelling."""

import difflib
from collections.abc import Iterable


def choose(found: str, accepted: Iterable[str]) -> str:
    """'did you mean a or b?', or all that is accepted if nothing is close."""
    accepted = list(accepted)
    close = difflib.get_close_matches(found, accepted, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(accepted)}"

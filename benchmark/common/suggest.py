"""The words that help after a misspelling."""

import difflib
from collections.abc import Iterable


def choose(found: str, accepted: Iterable[str], prefix: str = "") -> str:
    """'did you mean a or b?', or all that is accepted if nothing is close; ``prefix`` is put in front of each."""
    names = list(accepted)
    close = [f"{prefix}{name}" for name in difflib.get_close_matches(found, names, n=3, cutoff=0.6)]
    return (
        f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(f'{prefix}{n}' for n in names)}"
    )

"""What became of work that did not end well, from the text of its error: Python's, Ray's or Tune's."""

import re

TRACEBACK = "Traceback (most recent call last):"
_NAMES = {
    "out of memory": re.compile(r"^[\w.]*MemoryError\b|running low on memory|bad_alloc|allocate memory"),
    "its process died": re.compile(r"died unexpectedly|raylet died|dead or unavailable|^The actor .* is unavailable"),
}
_DEATH = "it was killed, perhaps by the system for want of memory, or crashed"


def cause(error: str) -> str:
    """One line, ``out of memory: ...`` or ``its process died: ...``; empty for any other error."""
    lines = _plain(error).splitlines() or [""]
    frames = [k for k, line in enumerate(lines) if line.startswith("  ")] if lines[0] == TRACEBACK else []
    said = "".join(lines[frames[-1] + 1 :][:1]) if frames else lines[0]
    for name, pattern in _NAMES.items():
        if pattern.search(said):
            return f"{name}: {said if name == 'out of memory' else _DEATH}"
    return ""


def described(error: str) -> str:
    """The last error of a text as Python would write it, behind its ``cause`` where it has one."""
    return "\n".join(filter(None, (cause(error), _plain(error))))


def _plain(error: str) -> str:
    """What Tune has of the last of several failures, without Ray's colours and its heading of a traceback."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", error)
    last = re.split(r"^Failure # \d+ .*\n", plain, flags=re.MULTILINE)[-1].strip()
    return re.sub(r"\A.*\bray::.*", TRACEBACK, last)

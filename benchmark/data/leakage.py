"""What crosses from one part of a split to another: nothing, subjects, or samples of their recordings.

Shapes: N windows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAKAGE = ("none", "choice", "subjects", "samples")
"""What two parts may share, from nothing to the worst: a configuration that was chosen in another fold, whose subjects
are in test here; people; even samples of their recordings."""
MARGIN = 1e-6  # seconds: rounding of starts


@dataclass(frozen=True)
class Moments:
    """When the windows were recorded: overlaps can be told from it."""

    recording: np.ndarray  # (N,) names
    start: np.ndarray  # (N,), seconds within the recording
    seconds: float  # length of a window


@dataclass(frozen=True)
class Timeline:
    """The windows in the order in which they were recorded, recording by recording; made once for many splits."""

    order: np.ndarray  # (N,) indices of windows
    recording: np.ndarray  # (N,) numbers in that order; equal names of two subjects are two recordings
    start: np.ndarray  # (N,) seconds in that order
    seconds: float  # length of a window


def timeline(subject: np.ndarray, moments: Moments) -> Timeline:
    """The timeline of windows of ``subject`` (N,)."""
    names, name = np.unique(moments.recording, return_inverse=True)
    _, person = np.unique(subject, return_inverse=True)
    recording = person * len(names) + name
    order = np.lexsort((moments.start, recording))
    return Timeline(order, recording[order], np.asarray(moments.start)[order], moments.seconds)


def proved(
    name: str,
    parts: Mapping[str, np.ndarray],
    subject: np.ndarray,
    line: Timeline | None = None,
    allowed: str = "none",
    gap: float = 0.0,
) -> str:
    """Prove that no more than ``allowed`` crosses from one part to another, and that no part is empty.

    Parameters
    ----------
    name : of the split, for messages.
    parts : int64 indices (n,) of the windows of each part.
    subject : (N,) integers, the subject of each window.
    line : without it, samples are taken to cross wherever subjects do.
    allowed : one of ``LEAKAGE``.
    gap : seconds that must lie between the windows of two parts in one recording, where samples may not cross.

    Returns
    -------
    What was found to cross, one of ``LEAKAGE``.

    Raises
    ------
    RuntimeError
        With what crosses. A split that fails here must never be trained on.
    """
    part_of = _part_of(name, parts, subject)
    crossing = _crossing_subject(part_of, subject, tuple(parts))
    found, what = ("none", "") if crossing is None else ("subjects", f"subject {crossing[0]} is in {crossing[1]}")
    if line is None and crossing is not None:
        found = "samples"
    elif line is not None:
        distance, pair = _closest(part_of, line)
        if distance < line.seconds - MARGIN:
            found, what = "samples", f"windows {pair[0]} and {pair[1]} of different parts overlap"
        elif allowed != "samples" and distance < line.seconds + gap - MARGIN:
            raise RuntimeError(
                f"split {name}: {distance - line.seconds:g} s between windows {pair[0]} and {pair[1]} of different "
                f"parts, not {gap:g} s"
            )
    if LEAKAGE.index(found) > LEAKAGE.index(allowed):
        raise RuntimeError(f"split {name}: {what}")
    return found


def _part_of(name: str, parts: Mapping[str, np.ndarray], subject: np.ndarray) -> np.ndarray:
    """The number of each window's part, -1 where it is in none, int64 (N,)."""
    part_of = np.full(len(subject), -1)
    for number, (part, indices) in enumerate(parts.items()):
        if indices.dtype != np.int64 or indices.ndim != 1:
            raise RuntimeError(f"split {name}: {part} holds {indices.dtype} {indices.shape}, not int64 (n,)")
        if not len(indices):
            raise RuntimeError(f"split {name}: {part} is empty")
        if indices.min() < 0 or indices.max() >= len(subject):
            raise RuntimeError(f"split {name}: {part} points outside the {len(subject)} windows")
        if len(np.unique(indices)) != len(indices):
            raise RuntimeError(f"split {name}: {part} holds a window twice")
        if (taken := part_of[indices]).max() >= 0:
            where = int(indices[taken.argmax()])
            raise RuntimeError(
                f"split {name}: window {where}, of subject {subject[where]}, is in {tuple(parts)[part_of[where]]} and "
                f"in {part}"
            )
        part_of[indices] = number
    return part_of


def _crossing_subject(part_of: np.ndarray, subject: np.ndarray, parts: tuple[str, ...]) -> tuple[int, str] | None:
    """A subject with windows in several parts, and which these are."""
    used = part_of >= 0
    names, number = np.unique(subject[used], return_inverse=True)
    table = np.zeros((len(names), len(parts)), dtype=bool)
    table[number, part_of[used]] = True
    several = np.flatnonzero(table.sum(axis=1) > 1)
    if not len(several):
        return None
    return int(names[several[0]]), " and in ".join(parts[part] for part in np.flatnonzero(table[several[0]]))


def _closest(part_of: np.ndarray, line: Timeline) -> tuple[float, tuple[int, int]]:
    """The least time between the starts of two windows of one recording that are in different parts, and which."""
    part = part_of[line.order]
    used = np.flatnonzero(part >= 0)
    # Between two windows of different parts there are neighbours of different parts, at most as far from each other.
    apart = np.diff(line.start[used])
    apart[(np.diff(line.recording[used]) != 0) | (np.diff(part[used]) == 0)] = np.inf
    if not len(apart):
        return np.inf, (-1, -1)
    k = int(apart.argmin())
    return float(apart[k]), (int(line.order[used[k]]), int(line.order[used[k + 1]]))


def window_digests(signals: Sequence[np.ndarray]) -> np.ndarray:
    """64 bits of each window's content by signal (n, C, T): int64 (n, signals)."""
    found = np.zeros((len(signals[0]), len(signals)), np.int64)
    for column, signal in enumerate(signals):
        for row, window in enumerate(signal):
            digest = hashlib.blake2b(np.ascontiguousarray(window).data, digest_size=found.itemsize)
            found[row, column] = int.from_bytes(digest.digest(), "little", signed=True)
    return found


def moving(signals: Sequence[np.ndarray]) -> np.ndarray:
    """Whether any channel of a window is not flat, by signal (n, C, T): bool (n, signals)."""
    return np.array([[(window != window[:, :1]).any() for window in signal] for signal in signals], dtype=bool).T


def copied(digests: np.ndarray, moves: np.ndarray, subject: np.ndarray) -> list[tuple[int, int, int]]:
    """Windows of two subjects that are equal in a signal, as (window, other window, signal): the first of each two.

    ``digests`` (N, signals) from ``window_digests``, ``moves`` from ``moving``; flat windows are equal to none.
    """
    found: dict[tuple[int, int], tuple[int, int, int]] = {}
    for column, (digest, moved) in enumerate(zip(digests.T, moves.T, strict=True)):
        order = np.flatnonzero(moved)[np.argsort(digest[moved], kind="stable")]
        one, other = order[:-1], order[1:]
        equal = (digest[one] == digest[other]) & (subject[one] != subject[other])
        for pair in sorted(zip(one[equal].tolist(), other[equal].tolist(), strict=True)):
            first, second = subject[[*pair]].tolist()
            found.setdefault((first, second), (*pair, column))
    return list(found.values())

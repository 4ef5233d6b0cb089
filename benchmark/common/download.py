"""Downloads with checksums, through pooch. What is there and whole already is kept."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pooch
from requests.exceptions import HTTPError, RequestException

from benchmark.errors import InputError


def fetch(url: str, checksum: str | None, file: Path, by_hand: str) -> None:
    """One file, with its checksum as ``sha256:...`` where its publisher states one. Raises InputError, which ends in
    what to do ``by_hand``."""
    _retrieve(url, checksum, file, by_hand, progressbar=True)


def matches(file: Path, checksum: str | None) -> bool:
    """Whether a file has its publisher's checksum; true where none is stated."""
    algorithm, _, expected = (checksum or "").partition(":")
    return not expected or pooch.file_hash(str(file), alg=algorithm) == expected


def text(url: str, by_hand: str, headers: Mapping[str, str] | None = None) -> str:
    """A short text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text"
        _retrieve(url, None, file, by_hand, headers)
        return file.read_text(encoding="utf-8")


def listing(url: str, by_hand: str, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """A JSON array of objects."""
    try:
        found = json.loads(text(url, by_hand, headers))
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{url}: not the listing that was published before; {by_hand}")
    return found


def sums(content: str) -> dict[str, str]:
    """Checksums by name of a ``SHA256SUMS.txt``."""
    pairs = (line.split(maxsplit=1) for line in content.splitlines() if line.strip())
    return {pair[1].strip().lstrip("*"): f"sha256:{pair[0]}" for pair in pairs if len(pair) == 2}


def _retrieve(
    url: str,
    checksum: str | None,
    file: Path,
    by_hand: str,
    headers: Mapping[str, str] | None = None,
    progressbar: bool = False,
) -> None:
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progressbar, headers=dict(headers or {}))
    try:
        pooch.retrieve(url, checksum, fname=file.name, path=file.parent, downloader=downloader)
    except RequestException as error:
        cause = str(error) if isinstance(error, HTTPError) else type(error).__name__
        raise InputError(f"{url}: cannot be downloaded ({cause}); {by_hand}") from None
    except ValueError as error:
        raise InputError(f"{url}: not the published file ({error}); {by_hand}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error}); choose another folder") from None

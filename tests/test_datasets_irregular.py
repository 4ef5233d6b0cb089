"""What stands where a recording should be and is none: each is refused in one line, and never waited for or read."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.data import cache, registry
from benchmark.data.formats import edf
from benchmark.errors import InputError
from tests.test_datasets_damage import FORMATS

TERABYTE = 1 << 40
IN_PLACE: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "an endless device": lambda file: file.symlink_to("/dev/zero"),
}


def refused(file: Path, said: str, read: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=f"{re.escape(str(file))}: .*{said}") as caught:
        read()
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", FORMATS)
def test_only_regular_files_of_a_size_that_a_recording_can_have_are_opened(form: str, tmp_path: Path):
    name, options, make, _ = FORMATS[form]
    root = tmp_path / "root"
    make(root)
    dataset = registry.build(name, {"root": str(root), **options})
    subject = dataset.subjects()[0]
    for file in dataset.files(subject):
        kept = file.rename(tmp_path / "kept")
        for put in IN_PLACE.values():
            put(file)
            refused(file, "not a regular file", lambda: dataset.read(subject))
            refused(
                file, "not a regular file", lambda: cache.load(dataset, *dataset.modalities, tmp_path, progress=False)
            )
            (file.rmdir if file.is_dir() else file.unlink)()
        file.write_bytes(kept.read_bytes())
        os.truncate(file, TERABYTE)  # sparse: it begins as it should and takes no room
        refused(file, f"{TERABYTE} bytes, .* at most", lambda: dataset.read(subject))
        kept.replace(file)
    assert len(dataset.read(subject).label)


@pytest.mark.timeout(60)
def test_a_sparse_edf_that_agrees_with_its_header_is_not_read(tmp_path: Path):
    make = FORMATS["EDF (EEGMAT)"][2]
    make(tmp_path / "root")
    file = tmp_path / "root" / "Subject00_1.edf"
    with file.open("r+b") as stream:
        stream.seek(236)
        stream.write(b"99999999")
    os.truncate(file, edf.read_header(file).file_bytes)
    refused(file, "bytes, .* at most", lambda: edf.read_edf(file))


@pytest.mark.timeout(60)
def test_zeros_behind_the_last_element_of_a_mat_are_not_walked_through(tmp_path: Path):
    """Each would be an element of no bytes: a hole of a size that a night may have has a hundred million of them."""
    make = FORMATS["MATLAB and labels (ISRUC)"][2]
    make(tmp_path)
    file = tmp_path / "ExtractedChannels" / "subject1.mat"
    os.truncate(file, 1 << 24)
    dataset = registry.build("isruc", {"root": str(tmp_path)})
    refused(file, r"not a whole MATLAB file \(ValueError: no element at byte", lambda: dataset.read("001"))

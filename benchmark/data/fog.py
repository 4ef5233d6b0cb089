"""FOG (Mendeley Data r8gmbtv7w2): EEG and leg EMG at 500 Hz while people with Parkinson's disease walk and freeze.

``FilteredData/SSS[/OFF_k]/task_k.txt`` has no header and 61 comma-separated columns, counted from 0: index, time, 25
EEG channels (2-26), EMG and other sensors, and the label in column 60 (1 freezing, 0 not). Which columns hold the EMG
of which leg depends on the subject.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import field_validator

from benchmark.config.options import option
from benchmark.config.schema import DataOptions, SplitOptions
from benchmark.data import fields
from benchmark.data.base import Dataset, Published, Recording, Sensor
from benchmark.data.formats import delimited
from benchmark.data.signals.preparation import label_windows, starts_of
from benchmark.errors import InputError

RATE = 500.0
N_COLUMNS = 61
LABEL = 60
FIRST_EEG = 2
# fmt: off
EEG_COLUMNS = (
    "FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8", "P7", "P8", "Fz", "Cz", "Pz", "FC1",
    "FC2", "CP1", "CP2", "FC5", "FC6", "CP5", "CP6",
)
# fmt: on
EMG_COLUMNS = {
    **dict.fromkeys(("001", "002", "006", "007", "008/OFF_1"), (27, 28, 31)),
    **dict.fromkeys(("003", "004", "005", "010", "011", "012"), (28, 27, 31)),
    "008/OFF_2": (27, 31, 28),
    "009": (28, 27, 30),
}
EMG = ("EMG1", "EMG2", "EMG3")
API = "https://data.mendeley.com/public-api/datasets/r8gmbtv7w2"
VERSION = 3
HEADERS = {"Accept": "application/vnd.mendeley-public-dataset.1+json"}


class FOGOptions(DataOptions):
    """FOG, read from the publisher's filtered texts."""

    name: Literal["fog"] = option("fog", "data set")
    root: str | None = option(None, "folder of FilteredData/")
    subjects: list[int | str] | None = option(
        ["008"], "the paper's; null: all twelve", accepts="a list of subjects such as [008,009]", min_length=1
    )
    seconds: float = option(3.0, "window length", ge=0.5)
    stride: float = option(0.3, fields.STRIDE, gt=0)
    label_share: float = option(0.8, "share of a window's samples that must have its label", gt=0.5, le=1)
    channels: list[str] = option(
        ["F3", "C3", "O1", "F4", "C4", "O2"],
        "of the 25 of the EEG",
        accepts=f"a list of EEG channels, each once, of {', '.join(EEG_COLUMNS)}",
    )
    eeg: fields.Preparation = fields.preparation([{"resample_linear": 200}])
    emg: fields.Preparation = fields.preparation([{"resample_linear": 130}, {"zscore": "recording"}])
    split: SplitOptions = fields.split(
        SplitOptions(kind="paper", units="windows", train=33, val=11, pair=33, test=22, folds=5, block_seconds=30),
        "paper: windows at random, so that overlapping ones lie on both sides and rows are marked | blocked: blocks of "
        "block_seconds with a gap of a window between parts | the others: with subjects=null",
    )

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, channels: list[str]) -> list[str]:
        if not channels or len(set(channels)) != len(channels) or not set(channels) <= set(EEG_COLUMNS):
            fields.refuse()
        return channels


class FOG(Dataset):
    """EEG (uV) and EMG (standardised over the recording) in short windows, freezing or not."""

    Options = FOGOptions
    options: FOGOptions
    name = "fog"
    modalities = ("eeg", "emg")
    classes = ("walking", "freezing")
    contents = "FilteredData/001 to 012"
    licence = "CC BY 4.0"
    citation = (
        "Zhang et al., Scientific Data 9:606, 2022, doi 10.1038/s41597-022-01713-8; Li, Mendeley Data, V3, 2021, "
        "doi 10.17632/r8gmbtv7w2.3"
    )
    how_to_get = "Mendeley Data, https://data.mendeley.com/datasets/r8gmbtv7w2/3; python -m benchmark.data fetch fog"
    published = Published(subjects=12)
    code = (delimited,)
    libraries = ("pyarrow",)

    def __init__(self, options: FOGOptions):
        super().__init__(options)
        self.sensors = {"eeg": Sensor(tuple(options.channels), RATE, "uV"), "emg": Sensor(EMG, RATE, "uV")}
        inner = (self.root / name for name in ("FilteredData", "Filtered Data"))
        self.root = next((path for path in inner if path.is_dir()), self.root)

    @classmethod
    def fetch(cls, folder: Path, url: str = API) -> None:
        """All recordings of Mendeley Data, held against its checksums; about 3.9 GB."""
        from benchmark.common import download

        by_hand = f"get the files by hand from {cls.how_to_get.partition(';')[0]}"
        try:
            inside = {entry["id"]: entry for entry in download.listing(f"{url}/folders/{VERSION}", by_hand, HEADERS)}
            wanted = []
            for identifier, entry in inside.items():
                parts = [entry["name"]]
                while entry.get("parent_id") in inside and len(parts) < 5:
                    entry = inside[entry["parent_id"]]
                    parts.insert(0, entry["name"])
                found = download.listing(f"{url}/files?folder_id={identifier}&version={VERSION}", by_hand, HEADERS)
                for file in found:
                    content, name = file["content_details"], "/".join([*parts, file["filename"]])
                    path = re.fullmatch(r"(?:Filtered ?Data/)?(\d{3}/(?:OFF_\d+/)?task_\d+\.txt)", name)
                    if path:
                        checksum = f"sha256:{content['sha256_hash']}"
                        wanted.append((content["download_url"], checksum, folder / "FilteredData" / path[1]))
        except (KeyError, TypeError):
            raise InputError(f"{url}: its listing has changed; {by_hand}") from None
        if not wanted:
            raise InputError(f"{url}: names no recording; {by_hand}")
        for address, checksum, target in sorted(wanted, key=lambda one: one[2]):
            download.fetch(address, checksum, target, by_hand)

    def found(self) -> Sequence[str]:
        """The chosen ones of the subjects that are there."""
        found = fields.matches(self.root, "*/", r"(\d{3})")
        if self.options.subjects is None or not found:
            return found
        chosen = {f"{one:03d}" if isinstance(one, int) else one for one in self.options.subjects}
        if unknown := chosen - set(found):
            raise InputError(
                f"data.subjects names {min(unknown)!r}, {self.root} has {', '.join(found)}; give some of these, or "
                "null for all"
            )
        return sorted(chosen)

    def files(self, subject: str) -> Sequence[Path]:
        """The subject's recordings, by session and task."""
        folder, pattern = self.root / subject, r"((?:OFF_\d+/)?task_\d+\.txt)"
        names = [name for where in ("*.txt", "*/*.txt") for name in fields.matches(folder, where, pattern)]
        if not names:
            raise InputError(f"{folder}: no task_k.txt in it; download it again")
        files = [folder / name for name in names]
        return sorted(files, key=lambda file: (file.parent.name != subject, file.parent.name, int(file.stem[5:])))

    def recordings(self, subject: str) -> Iterator[Recording]:
        eeg_columns = [FIRST_EEG + EEG_COLUMNS.index(channel) for channel in self.options.channels]
        for file in self.files(subject):
            session = file.parent.relative_to(self.root).as_posix()
            if session not in EMG_COLUMNS:
                raise InputError(
                    f"{file}: which columns hold the EMG of {session} was not published; known are "
                    f"{', '.join(sorted(EMG_COLUMNS))}: leave that folder out"
                )
            values = read_task(file, [*eeg_columns, *EMG_COLUMNS[session]])
            eeg, emg, state = values[: len(eeg_columns)], values[len(eeg_columns) : -1], values[-1].astype(np.int64)
            rates = [RATE, *(self.spec(modality).rate for modality in self.modalities)]
            duration = min(round(len(state) * rate / RATE) / rate for rate in rates)
            starts = starts_of(duration, self.seconds, self.options.stride)
            if not len(starts):
                raise InputError(
                    f"{file}: {duration:g} s long, a window takes {self.seconds:g} s; lower data.seconds or leave that "
                    "file out"
                )
            label, clear = label_windows(state, RATE, starts, self.seconds, self.options.label_share)
            name = file.relative_to(self.root).with_suffix("").as_posix()
            yield Recording(name, {"eeg": eeg, "emg": emg}, label[clear], starts[clear], file)


def read_task(file: Path, columns: Sequence[int]) -> np.ndarray:
    """Columns of a task's text, float64 (len(columns) + 1, T); the last row is the label, checked to be 0 or 1."""
    values = delimited.read_columns(file, [*columns, LABEL], N_COLUMNS)
    label = values[-1]
    if not np.isin(label, (0, 1)).all():
        sample = int(np.flatnonzero(~np.isin(label, (0, 1)))[0])
        raise InputError(
            f"{file}: line {sample + 1} has the label {label[sample]:g} in column {LABEL}; labels are 0 and 1, use "
            "the publisher's files"
        )
    return values

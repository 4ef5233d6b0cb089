"""FOG: texts of 61 columns in the published folders, against an independent preparation."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import cache, registry
from benchmark.data.fog import EEG_COLUMNS, EMG_COLUMNS, FOG
from benchmark.data.formats import delimited
from benchmark.errors import InputError
from tests.formats import write_fog

RATE = 500
EEG_AT = {"F3": 4, "C3": 6, "O1": 10, "F4": 5, "C4": 7, "O2": 11}  # columns of the file
# What method.md says of the EMG, written out again: columns by recording.
EMG_AT = {
    "001": (27, 28, 31),
    "002": (27, 28, 31),
    "006": (27, 28, 31),
    "007": (27, 28, 31),
    "008/OFF_1": (27, 28, 31),
    "003": (28, 27, 31),
    "004": (28, 27, 31),
    "005": (28, 27, 31),
    "010": (28, 27, 31),
    "011": (28, 27, 31),
    "012": (28, 27, 31),
    "008/OFF_2": (27, 31, 28),
    "009": (28, 27, 30),
}


def task(seconds: float, seed: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Columns of a recording and its label: EEG channel in column c is a sine of c / 2 Hz and c uV; each EMG column a
    sine of its own; all have a spike at 6.4 s. Freezing from 4 to 7 s of every 10."""
    n = round(seconds * RATE)
    time = np.arange(n) / RATE
    rng = np.random.default_rng(seed)
    spike = np.exp(-0.5 * ((time - 6.4) / 0.01) ** 2)
    columns = {c: c * np.sin(np.pi * c * time + seed) + 300 * spike for c in range(2, 27)}
    columns |= {
        c: np.sin(2 * np.pi * (c - 20) * time) + 40 * spike + 0.1 * rng.standard_normal(n) for c in range(27, 32)
    }
    phase = np.remainder(time, 10)
    return columns, ((phase >= 4) & (phase < 7)).astype(int)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fog")
    for k, name in enumerate(("008/OFF_1/task_1", "008/OFF_1/task_10", "008/OFF_1/task_2", "008/OFF_2/task_1")):
        write_fog(folder / "FilteredData" / f"{name}.txt", *task(12.5 + k, seed=k))
    write_fog(folder / "FilteredData" / "009" / "task_1.txt", *task(10.1, seed=9))
    return folder


def fog(root: Path, **options):
    return registry.build("fog", {"root": str(root), **options})


def expected_windows(seconds: float, seed: int) -> list[tuple[float, int]]:
    """By the definition: 3 s every 0.3 s, the majority label where it has at least 80 % of the samples."""
    _, label = task(seconds, seed)
    found = []
    for k in range(10_000):
        part = label[150 * k : 150 * k + 1500]
        if len(part) < 1500 or 150 * k + 1500 > seconds * RATE:
            break
        if max(part.mean(), 1 - part.mean()) >= 0.8:
            found.append((round(0.3 * k, 6), int(part.mean() > 0.5)))
    return found


def test_windows_are_counted_labelled_and_named_by_recording(root: Path):
    dataset = fog(root)
    assert dataset.subjects() == ["008"]
    assert fog(root, subjects=None).subjects() == ["008", "009"]
    windows = dataset.read("008")
    recordings = ("008/OFF_1/task_1", "008/OFF_1/task_2", "008/OFF_1/task_10", "008/OFF_2/task_1")
    assert tuple(dict.fromkeys(windows.recording.tolist())) == recordings
    for name, (seconds, seed) in zip(recordings, ((12.5, 0), (14.5, 2), (13.5, 1), (15.5, 3)), strict=True):
        mine = windows.recording == name
        found = [*zip(windows.start[mine].round(6).tolist(), windows.label[mine].tolist(), strict=True)]
        assert found == expected_windows(seconds, seed)
    eeg, emg = dataset.spec("eeg"), dataset.spec("emg")
    assert (eeg.channels, eeg.rate, eeg.n_samples, eeg.unit) == (tuple(EEG_AT), 200, 600, "uV")
    assert (emg.channels, emg.rate, emg.n_samples, emg.unit) == (("EMG1", "EMG2", "EMG3"), 130, 390, "z")
    assert windows.signals["eeg"].shape == (len(windows.label), 6, 600)
    assert windows.signals["emg"].shape == (len(windows.label), 3, 390)


def test_both_signals_are_prepared_as_published(root: Path):
    """Against NumPy's interpolation, column by column of the text."""
    windows = fog(root).read("008")
    for name, seconds, seed in (("008/OFF_1/task_10", 13.5, 1), ("008/OFF_2/task_1", 15.5, 3)):
        columns, _ = task(seconds, seed)
        mine = np.flatnonzero(windows.recording == name)
        for rate, modality, chosen in (
            (200, "eeg", tuple(EEG_AT.values())),
            (130, "emg", EMG_AT[name.rpartition("/")[0]]),
        ):
            for channel, column in enumerate(chosen):
                values = columns[column]
                resampled = np.interp(
                    np.linspace(0, len(values) - 1, round(seconds * rate)), np.arange(len(values)), values
                )
                if modality == "emg":
                    resampled = (resampled - resampled.mean()) / resampled.std()
                for k in mine:
                    first = round(windows.start[k] * rate)
                    expected = resampled[first : first + 3 * rate]
                    # The text has 6 digits.
                    np.testing.assert_allclose(windows.signals[modality][k, channel], expected, atol=2e-3)


def test_both_modalities_show_the_same_moments_to_within_a_sample(root: Path):
    windows = fog(root).read("008")
    seen = 0
    for k, start in enumerate(windows.start):
        if 3.6 < start < 6.2:
            eeg = windows.signals["eeg"][k].sum(axis=0).argmax() / 200 + start
            emg = windows.signals["emg"][k].sum(axis=0).argmax() / 130 + start
            assert abs(eeg - 6.4) <= 1 / 200 + 1e-9
            assert abs(emg - 6.4) <= 1 / 130 + 1e-9
            seen += 1
    assert seen > 10


def test_each_recording_has_its_own_emg_columns(tmp_path: Path):
    assert EMG_COLUMNS == EMG_AT
    for name, chosen in EMG_AT.items():
        columns, label = task(5, seed=0)
        write_fog(tmp_path / "Filtered Data" / name / "task_1.txt", columns, label)
        windows = fog(tmp_path, subjects=[name[:3]]).read(name[:3])
        mine = windows.recording == f"{name}/task_1"
        spectrum = np.abs(np.fft.rfft(windows.signals["emg"][mine][0])) / 390
        frequency = spectrum[:, 3:100].argmax(axis=-1) / 3 + 1
        np.testing.assert_allclose(frequency, np.array(chosen) - 20, atol=0.34)


def test_other_channels_may_be_chosen(root: Path):
    windows = fog(root, channels=["Cz", "FP1"], eeg=[]).read("009")
    columns, _ = task(10.1, seed=9)
    assert EEG_COLUMNS[0] == "FP1"
    assert EEG_COLUMNS[15] == "Cz"
    np.testing.assert_allclose(windows.signals["eeg"][0, 1], columns[2][:1500], atol=1e-3)
    np.testing.assert_allclose(windows.signals["eeg"][0, 0], columns[17][:1500], atol=1e-3)


def test_a_short_read_of_a_long_text_is_never_needed(tmp_path: Path, monkeypatch):
    """Blocks smaller than the file give the same numbers."""
    file = tmp_path / "001" / "task_1.txt"
    write_fog(file, *task(30, seed=1))
    whole = fog(tmp_path, subjects=["001"]).read("001")
    monkeypatch.setattr(delimited, "BLOCK", 1 << 16)
    blocks = fog(tmp_path, subjects=["001"]).read("001")
    assert file.stat().st_size > 20 << 16
    np.testing.assert_array_equal(whole.signals["emg"], blocks.signals["emg"])
    np.testing.assert_array_equal(whole.signals["eeg"], blocks.signals["eeg"])


def lines(change):
    """A damage that changes the text's lines, each a list of its fields."""

    def damage(file: Path) -> None:
        before = [line.split(",") for line in file.read_text().splitlines()]
        file.write_text("\n".join(",".join(line) for line in change(before)) + "\n")

    return damage


def field(line: int, column: int, value: str):
    """A damage of one field."""

    def changed(rows: list[list[str]]) -> list[list[str]]:
        rows[line][column] = value
        return rows

    return lines(changed)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lines(lambda rows: [[f"column{k}" for k in range(61)], *rows]), "not 61 columns of numbers"),
        (lines(lambda rows: [row[:-1] for row in rows]), "60 columns, not 61"),
        (lines(lambda rows: [[*row, "0"] for row in rows]), "62 columns, not 61"),
        (lines(lambda rows: [*rows[:700], rows[700][:30], *rows[701:]]), "Expected 61 columns, got 30"),
        (field(41, 28, "nan"), "line 42 holds nan in column 28, not a finite number"),
        (field(41, 6, ""), "not 61 columns of numbers"),
        (field(99, 60, "2"), "line 100 has the label 2 in column 60; labels are 0 and 1"),
        (lambda file: file.write_bytes(b""), "1 columns, not 61"),
        (lambda file: file.write_bytes(np.random.default_rng(0).bytes(100_000)), "columns, not 61"),
        (lines(lambda rows: rows[:1000]), "2 s long, a window takes 3 s"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, damage, named: str):
    file = tmp_path / "FilteredData" / "001" / "task_1.txt"
    write_fog(file, *task(4, seed=1))
    damage(file)
    with pytest.raises(InputError, match=r"001/task_1.txt: .*" + re.escape(named)) as caught:
        cache.load(fog(tmp_path, subjects=["001"]), "eeg", "emg", tmp_path / "cache", progress=False)
    assert "\n" not in str(caught.value)


def test_a_recording_whose_emg_columns_nobody_published_is_refused(tmp_path: Path):
    write_fog(tmp_path / "013" / "task_1.txt", *task(4, seed=1))
    with pytest.raises(InputError, match=r"task_1.txt: which columns hold the EMG of 013 was not published"):
        fog(tmp_path, subjects=None).read("013")


def test_a_missing_root_or_subject_is_named(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"option data.root is not set; give the folder of FilteredData"):
        registry.build("fog")
    with pytest.raises(InputError, match=r"no FilteredData/001 to 012 in it; download it"):
        fog(tmp_path).subjects()
    with pytest.raises(InputError, match=r"data.subjects names '003', .* has 008, 009"):
        fog(root, subjects=["003"]).subjects()
    with pytest.raises(
        InputError, match=r"data.subjects=\[\] cannot be used; give a list of subjects such as \[008,009\], or null"
    ):
        fog(root, subjects=[]).subjects()
    (tmp_path / "001").mkdir()
    with pytest.raises(InputError, match=r"001: no task_k.txt in it"):
        fog(tmp_path, subjects=None).subjects()


def test_the_scalogram_of_a_window_has_the_published_shape(root: Path):
    """NormWear takes the windows as they are: 390 samples give (3 channels, 3, 388, 65)."""
    from benchmark.encoders import registry as encoders

    dataset = fog(root)
    encoder = encoders.build("normwear", dataset.spec("emg"))
    assert encoder.prepare(dataset.read("009").signals["emg"][:2]).shape == (2, 3, 3, 388, 65)
    assert isinstance(dataset, FOG)

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


def test_windows_go_through_the_cache_and_a_changed_file_never_meets_a_stale_one(tmp_path: Path):
    file = tmp_path / "001" / "task_1.txt"
    write_fog(file, *task(8, seed=1))
    dataset = fog(tmp_path, subjects=["001"])
    before = cache.load(dataset, "eeg", "emg", tmp_path / "cache", progress=False)
    assert set(before.label) == {0, 1}
    write_fog(file, *task(8, seed=2))
    after = cache.load(dataset, "emg", "eeg", tmp_path / "cache", progress=False)
    assert before.content != after.content
    assert not np.array_equal(before.old.take(np.arange(3)), after.new.take(np.arange(3)))


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


def lines_of(file: Path) -> list[list[str]]:
    return [line.split(",") for line in file.read_text().splitlines()]


def write_lines(file: Path, lines: list[list[str]]) -> None:
    file.write_text("\n".join(",".join(line) for line in lines) + "\n")


def with_a_header(file: Path) -> None:
    file.write_text(",".join(f"column{k}" for k in range(61)) + "\n" + file.read_text())


def with_fewer_columns(file: Path) -> None:
    write_lines(file, [line[:-1] for line in lines_of(file)])


def with_more_columns(file: Path) -> None:
    write_lines(file, [[*line, "0"] for line in lines_of(file)])


def with_a_short_line(file: Path) -> None:
    lines = lines_of(file)
    lines[700] = lines[700][:30]
    write_lines(file, lines)


def with_nan(file: Path) -> None:
    lines = lines_of(file)
    lines[41][28] = "nan"
    write_lines(file, lines)


def with_an_empty_field(file: Path) -> None:
    lines = lines_of(file)
    lines[41][6] = ""
    write_lines(file, lines)


def with_an_unknown_label(file: Path) -> None:
    lines = lines_of(file)
    lines[99][60] = "2"
    write_lines(file, lines)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def binary(file: Path) -> None:
    file.write_bytes(np.random.default_rng(0).bytes(100_000))


def too_short(file: Path) -> None:
    write_lines(file, lines_of(file)[:1000])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (with_a_header, "not 61 columns of numbers"),
        (with_fewer_columns, "60 columns, not 61"),
        (with_more_columns, "62 columns, not 61"),
        (with_a_short_line, "Expected 61 columns, got 30"),
        (with_nan, "line 42 holds nan in column 28, not a finite number"),
        (with_an_empty_field, "not 61 columns of numbers"),
        (with_an_unknown_label, "line 100 has the label 2 in column 60; labels are 0 and 1"),
        (empty, "1 columns, not 61"),
        (binary, "columns, not 61"),
        (too_short, "2 s long, a window takes 3 s"),
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
    with pytest.raises(InputError, match=r"no folders 001 to 012 in it; download it"):
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


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"channels": ["T3"]}, "data.channels=[T3] cannot be used; give a list of EEG channels, each once, of FP1"),
        ({"channels": ["F3", "F3"]}, "give a list of EEG channels, each once"),
        ({"channels": []}, "data.channels=[] cannot be used"),
        ({"subjects": 8}, "data.subjects=8 cannot be used; give a list of subjects"),
        ({"seconds": 0}, "data.seconds=0 cannot be used; give a number of at least 0.5"),
        ({"label_share": 2}, "data.label_share=2 cannot be used; give a number above 0.5 and at most 1"),
        ({"emg": [{"scale": "x"}]}, "data.emg: preparation stage scale has 'x'; give a number"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_line(root: Path, option, named: str):
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        fog(root, **option)
    assert "\n" not in str(caught.value)


def test_the_scalogram_of_a_window_has_the_published_shape(root: Path):
    """NormWear takes the windows as they are: 390 samples give (3 channels, 3, 388, 65)."""
    from benchmark.encoders import registry as encoders

    dataset = fog(root)
    encoder = encoders.build("normwear", dataset.spec("emg"))
    assert encoder.prepare(dataset.read("009").signals["emg"][:2]).shape == (2, 3, 3, 388, 65)
    assert isinstance(dataset, FOG)

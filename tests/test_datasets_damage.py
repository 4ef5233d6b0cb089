"""Damaged recordings in every format: each ends in one line of the project's own error, and none is executed."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from benchmark.data import cache, registry
from benchmark.errors import InputError
from tests import test_datasets_eegmat as eegmat
from tests import test_datasets_stress_predict as stress
from tests import test_datasets_troika as troika
from tests import test_datasets_wesad as wesad
from tests.formats import (
    ISRUC_EEG,
    Damage,
    cut_short,
    foreign,
    patched,
    put,
    python2_pickle,
    wesad_content,
    write_edf,
    write_fog,
    write_isruc,
    write_isruc_labels,
)

LEAST = 300
LONGEST = 20.0  # seconds that one damaged input may take


# -- EDF, in EEGMAT's folder and as ISRUC's .rec --------------------------------------------------------------------


def make_eegmat(root: Path) -> None:
    root.mkdir()
    for condition in (1, 2):
        eegmat.write_edf(root / f"Subject00_{condition}.edf", eegmat.LABELS, eegmat.recording(6, 70))


def damage_eegmat(root: Path) -> Iterator[Damage]:
    name = "Subject00_2.edf"
    original = (root / name).read_bytes()
    n = len(eegmat.LABELS)
    yield from cut_short(name, original, 30)
    yield from foreign(name)
    yield f"{name} is longer than its header says", put(name, original + b"\0\0")
    fixed = {"version": (0, 8), "header bytes": (184, 8), "records": (236, 8), "seconds": (244, 8), "signals": (252, 4)}
    for what, (at, width) in fixed.items():
        for value in (b"", b"-1", b"0", b"x", b"1e9", b"99999999"[:width]):
            if (what, value) == ("version", b"0"):  # the right one
                continue
            yield f"{name} has {value!r} for {what}", patched(name, original, at, value.ljust(width))
    samples = 256 + 216 * n
    for value in (b"0", b"-5", b"x", b"499", b"501", b"1000"):
        yield f"{name} has {value!r} samples a record", patched(name, original, samples, value.ljust(8))
    for channel, label in enumerate(eegmat.LABELS):
        if label != "EEG A2-A1":
            at = 256 + 16 * channel
            yield f"{name} has no {label}", patched(name, original, at, b"Other".ljust(16))
    ranges = {"physical minimum": 104, "physical maximum": 112, "digital minimum": 120, "digital maximum": 128}
    for what, offset in ranges.items():
        for value in (b"nan", b"x", b""):
            yield f"{name} has {value!r} for {what}", patched(name, original, 256 + offset * n, value.ljust(8))
    slow = eegmat.recording(6, 70)[:, ::2]
    yield f"{name} is at another rate", lambda root: eegmat.write_edf(root / name, eegmat.LABELS, slow, rate=250)


def isruc_signals(n_epochs: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: 30 * rng.standard_normal(6000 * n_epochs).round(2) for name in (*ISRUC_EEG, "X2")}


def make_isruc(root: Path) -> None:
    write_isruc(root, 1, isruc_signals(), [0, 2])


def make_isruc_raw(root: Path) -> None:
    write_isruc_labels(root, 1, [0, 2])
    channels = {name.replace("_", "-"): (signal, 200) for name, signal in isruc_signals().items()}
    write_edf(root / "RawData" / "1" / "1.rec", channels, seconds=60)


def damage_isruc_raw(root: Path) -> Iterator[Damage]:
    name = "RawData/1/1.rec"
    original = (root / name).read_bytes()
    yield from cut_short(name, original, 15)
    yield from foreign(name)
    channels = {channel.replace("_", "-"): (signal, 200) for channel, signal in isruc_signals().items()}
    for channel, (signal, _) in channels.items():
        without = {other: values for other, values in channels.items() if other != channel}
        slow = {**channels, channel: (signal[::2], 100)}
        yield f"{name} has no {channel}", lambda root, c=without: write_edf(root / name, c, 60)
        yield f"{name} has {channel} at 100 Hz", lambda root, c=slow: write_edf(root / name, c, 60)
    yield f"{name} is shorter than its labels", lambda root: write_edf(root / name, channels, 59)


# -- MATLAB, and the labels' text -----------------------------------------------------------------------------------


def damage_isruc(root: Path) -> Iterator[Damage]:
    name = "ExtractedChannels/subject1.mat"
    original = (root / name).read_bytes()
    yield from cut_short(name, original, 40)
    yield from foreign(name)
    yield f"{name} has bytes behind its end", put(name, original + b"\0\0\0")
    yield f"{name} has an unknown byte order", patched(name, original, 126, b"XX")
    yield f"{name} is of version 7.3", patched(name, original, 124, b"\x00\x02")
    rng = np.random.default_rng(3)
    for at in rng.integers(136, len(original) - 8, 20):  # inside the compressed values, which carry a checksum
        flipped = bytes(255 - byte for byte in original[at : at + 8])
        yield f"{name} has 8 bytes flipped at {at}", patched(name, original, int(at), flipped)
    good = {channel: signal.reshape(-1, 6000) for channel, signal in isruc_signals().items()}
    for channel, values in good.items():
        nan, inf = values.copy(), values.copy()
        nan[1, 77], inf[0, 5999] = np.nan, -np.inf
        wrong: dict[str, Any] = {
            "text": "epochs",
            "a cell": np.array([values, "x"], dtype=object),
            "a struct": {"values": values},
            "complex values": values + 1j,
            "epochs of 3000": values[:, ::2],
            "one epoch less": values[:1],
            "one epoch more": np.concatenate([values, values[:1]]),
            "three dimensions": values[None],
            "epochs in columns": values.T,
            "no epochs": values[:0],
            "NaN": nan,
            "infinity": inf,
        }
        without = {other: found for other, found in good.items() if other != channel}
        yield f"{name} has no {channel}", lambda root, c=without: scipy.io.savemat(root / name, c)
        for what, bad in wrong.items():
            content = {**without, channel: bad}
            yield f"{name} has {what} in {channel}", lambda root, c=content: scipy.io.savemat(root / name, c)
    labels = "RawData/1/1_1.txt"
    yield from foreign(labels)
    yield f"{labels} is missing", lambda root: (root / labels).unlink()
    for stages in ([0], [0, 2, 2], []):
        yield f"{labels} has {len(stages)} labels", lambda root, s=stages: write_isruc_labels(root, 1, s)
    for wrong_label in ("4", "6", "-1", "W", "1.0", "", "0 0", "١"):
        yield f"{labels} has a label {wrong_label!r}", lambda root, w=wrong_label: write_isruc_labels(root, 1, [w, 2])


# -- pickles --------------------------------------------------------------------------------------------------------


def wesad_session() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1, 2, 3], 700 * 6)
    return wesad_content("S2", rng.standard_normal(700 * 24), rng.standard_normal(64 * 24), label)


def make_wesad(root: Path) -> None:
    (root / "S2").mkdir(parents=True)
    (root / "S2" / "S2.pkl").write_bytes(python2_pickle(wesad_session(), 2))


def damage_wesad(root: Path) -> Iterator[Damage]:
    name = "S2/S2.pkl"
    content = wesad_session()
    for protocol in (0, 1, 2):
        original = python2_pickle(content, protocol)
        for what, damage in cut_short(name, original, 20):
            yield f"{what} of protocol {protocol}", damage
    yield from foreign(name)
    marker = root / "marker"
    for number, attack in enumerate(wesad.handmade(marker)):
        yield f"{name} would run something, in the way number {number}", put(name, attack)
    huge = (
        b"\x80\x02T\xff\xff\xff\x7f",  # a string of 2 GB
        b"\x80\x02X\xff\xff\xff\xff",  # text of 4 GB
        b"\x80\x02\x8b\xff\xff\xff\x7f",  # a number of 2 GB
        b"\x80\x02Nr\xff\xff\xff\xff.",  # a memo of 4 G entries
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",  # a frame of 8 EB
        b"L" + b"9" * 100_000 + b"L\n.",
        b"(" * 100_000 + b".",
        b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    )
    for number, data in enumerate(huge):
        yield f"{name} asks for too much, in the way number {number}", put(name, data)
    ecg, bvp = content["signal"]["chest"]["ECG"], content["signal"]["wrist"]["BVP"]
    label = content["label"]
    bad_ecg, bad_bvp = ecg.copy(), bvp.copy()
    bad_ecg[100], bad_bvp[5] = np.nan, np.inf
    parts: dict[str, dict[str, Any]] = {
        "rates swapped": {"ecg": bvp, "bvp": ecg},
        "NaN in the ECG": {"ecg": bad_ecg},
        "infinity in the BVP": {"bvp": bad_bvp},
        "an ECG of text": {"ecg": "1,2,3"},
        "an ECG of a list": {"ecg": [1.0, 2.0]},
        "an ECG that is a number": {"ecg": 7},
        "an ECG that is None": {"ecg": None},
        "two columns of ECG": {"ecg": ecg.repeat(2, axis=1)},
        "an ECG of rows": {"ecg": ecg.T},
        "an ECG of no samples": {"ecg": ecg[:0]},
        "half of the ECG": {"ecg": ecg[::2]},
        "half of the BVP": {"bvp": bvp[: len(bvp) // 2]},
        "a BVP of text": {"bvp": b"abc"},
        "a BVP of three dimensions": {"bvp": bvp[None]},
        "half of the labels": {"label": label[: len(label) // 2]},
        "labels of text": {"label": "0000"},
        "labels of 9": {"label": label + 9},
        "labels below 0": {"label": label - 3},
        "labels that are not whole": {"label": label + 0.5},
        "labels of NaN": {"label": label * np.nan},
        "labels of no condition": {"label": label * 0},
        "labels in two columns": {"label": np.stack([label, label], axis=1)},
    }
    for what, changes in parts.items():
        changed = wesad.changed(content, **changes)
        yield f"{name} has {what}", put(name, python2_pickle(changed, 2))
    for path in (("signal",), ("label",), ("signal", "chest"), ("signal", "wrist"), ("signal", "chest", "ECG")):
        less = wesad_session()
        inner = less
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        yield f"{name} has no {'.'.join(path)}", put(name, python2_pickle(less, 2))
    for what, other in {"a list": [content], "a number": 3, "text": "signal", "nothing": None, "()": ()}.items():
        yield f"{name} is {what}", put(name, python2_pickle(other, 2))


# -- text of 61 columns ---------------------------------------------------------------------------------------------


def make_fog(root: Path) -> None:
    rng = np.random.default_rng(4)
    columns = {c: rng.standard_normal(2000).round(3) for c in range(2, 60)}
    write_fog(root / "FilteredData" / "001" / "task_1.txt", columns, np.repeat([0, 1], [1700, 300]))


def damage_fog(root: Path) -> Iterator[Damage]:
    name = "FilteredData/001/task_1.txt"
    original = (root / name).read_text()
    lines = original.splitlines()
    rng = np.random.default_rng(5)
    for number in rng.integers(1500, 2000, 30):  # within a line, before its last column
        until = sum(len(line) + 1 for line in lines[:number]) + lines[number].rindex(",") - int(rng.integers(0, 200))
        yield f"{name} cut to {until} bytes", put(name, original[:until])
    yield from foreign(name)
    fields = [line.split(",") for line in lines]

    def changed(at: int, column: int, value: str) -> bytes:
        copy = [*lines[:at], ",".join([*fields[at][:column], value, *fields[at][column + 1 :]]), *lines[at + 1 :]]
        return ("\n".join(copy) + "\n").encode()

    for column in (4, 5, 6, 7, 10, 11, 27, 28, 31):
        for value in ("nan", "inf", "", "text", "1,5", "1e999"):
            at = int(rng.integers(0, 2000))
            yield f"{name} has {value!r} in column {column} of line {at + 1}", put(name, changed(at, column, value))
    for value in ("2", "-1", "0.5", "nan", "", "FOG", "1 0"):
        yield f"{name} has the label {value!r}", put(name, changed(700, 60, value))
    whole = {
        "60 columns": [line[:-1] for line in fields],
        "62 columns": [[*line, "0"] for line in fields],
        "one column": [line[:1] for line in fields],
        "no label": [line[:60] for line in fields],
        "a header": [[f"c{k}" for k in range(61)], *fields],
        "a short line": [*fields[:900], fields[900][:-3], *fields[901:]],
        "a long line": [*fields[:900], [*fields[900], "1"], *fields[901:]],
        "decimal commas": [",".join(line).replace(".", ",").split(",") for line in fields],
        "too few lines": fields[:1400],
        "the label first": [[line[60], *line[:60]] for line in fields],
    }
    for what, table in whole.items():
        yield f"{name} has {what}", put(name, "\n".join(",".join(line) for line in table))
    for separator in (";", "\t", " "):
        yield f"{name} is separated by {separator!r}", put(name, original.replace(",", separator))
    yield f"{name} is in UTF-16", put(name, original.encode("utf-16"))
    yield f"{name} has a NUL", put(name, changed(700, 4, "1\0"))

    def as_unknown_subject(root: Path) -> None:
        (root / "FilteredData" / "001").rename(root / "FilteredData" / "099")

    yield "a subject whose EMG columns are unknown", as_unknown_subject


FORMATS: dict[str, tuple[str, dict[str, Any], Callable[[Path], None], Callable[[Path], Iterator[Damage]]]] = {
    "EDF (EEGMAT)": (
        "eegmat",
        {"seconds": 5, "rest_seconds": 6, "task_seconds": 6, "stride": 1},
        make_eegmat,
        damage_eegmat,
    ),
    "EDF (ISRUC .rec)": ("isruc", {"source": "raw"}, make_isruc_raw, damage_isruc_raw),
    "MATLAB and labels (ISRUC)": ("isruc", {}, make_isruc, damage_isruc),
    "pickle (WESAD)": ("wesad", {"seconds": 5, "stride": 1}, make_wesad, damage_wesad),
    "text (FOG)": ("fog", {"subjects": None}, make_fog, damage_fog),
    "text (Stress-Predict)": ("stress_predict", stress.SHORT, stress.make, stress.damages),
    "MATLAB (TROIKA)": ("troika", {}, troika.make, troika.damages),
}


def load(name: str, options: dict[str, Any], root: Path, cache_folder: Path) -> int:
    dataset = registry.build(name, {"root": str(root), **options})
    return len(cache.load(dataset, *dataset.modalities, cache_folder, progress=False))


def test_every_damaged_input_ends_in_one_line_and_none_is_executed(tmp_path: Path, capsys):
    counts = {}
    for number, (form, (name, options, make, damages)) in enumerate(FORMATS.items()):
        pristine = tmp_path / f"{number}"
        make(pristine)
        assert load(name, options, pristine, tmp_path / "cache") > 0, f"{form}: the whole input must be readable"
        marker = pristine / "marker"
        survivors = []
        count = 0
        for what, damage in damages(pristine):
            files = {file: file.read_bytes() for file in pristine.rglob("*") if file.is_file()}
            damage(pristine)
            begin = time.perf_counter()
            try:
                load(name, options, pristine, tmp_path / "cache")
                survivors.append(f"{what}: was read")
            except InputError as error:
                if "\n" in str(error) or len(str(error)) > 600:
                    survivors.append(f"{what}: {error}")
            except Exception as error:
                survivors.append(f"{what}: {type(error).__name__}: {error}")
            if time.perf_counter() - begin > LONGEST:
                survivors.append(f"{what}: took {time.perf_counter() - begin:.0f} s")
            if marker.exists():
                survivors.append(f"{what}: was executed")
                marker.unlink()
            count += 1
            for folder in [folder for folder in (pristine / "FilteredData").glob("099") if folder.is_dir()]:
                folder.rename(folder.with_name("001"))
            for file, content in files.items():
                file.write_bytes(content)
        assert not survivors, f"{form}: {len(survivors)} of {count}:\n" + "\n".join(survivors[:40])
        counts[form] = count
    with capsys.disabled():
        listed = ", ".join(f"{count} {form}" for form, count in counts.items())
        print(f"\n{sum(counts.values())} damaged inputs ended in InputError: {listed}")
    assert sum(counts.values()) >= LEAST


@pytest.mark.parametrize("form", FORMATS)
def test_random_bytes_in_a_file_end_in_windows_or_in_one_line(form: str, tmp_path: Path):
    """What the formats cannot tell from values may be read; nothing else may come of it."""
    name, options, make, _ = FORMATS[form]
    root = tmp_path / "root"
    make(root)
    rng = np.random.default_rng(6)
    victims = sorted(file for file in root.rglob("*") if file.is_file())
    for _ in range(25):
        file = victims[rng.integers(len(victims))]
        original = file.read_bytes()
        damaged = bytearray(original)
        for at in rng.integers(0, min(len(original), 4000 if rng.random() < 0.5 else len(original)), 6):
            damaged[at] = rng.integers(256)
        file.write_bytes(bytes(damaged))
        with contextlib.suppress(InputError):
            assert load(name, options, root, tmp_path / "cache") >= 0
        file.write_bytes(original)

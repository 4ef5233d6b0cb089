"""WESAD: pickles as Python 2 wrote them, against an independent preparation; and what a pickle may not do."""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal as sps

from benchmark.data import cache, registry
from benchmark.data.formats import unpickle
from benchmark.errors import InputError
from tests.formats import Named, python2_pickle, wesad_content, write_wesad

CONDITIONS = ((0, 7), (1, 83), (0, 10.5), (2, 72), (4, 65), (3, 66.5), (0, 3))
SECONDS = sum(seconds for _, seconds in CONDITIONS)


def session(seed: int, interval: float = 0.8) -> dict[str, Any]:
    """A spike for each beat in the ECG, a Gaussian pulse 0.25 s later in the PPG; labels as in CONDITIONS."""
    rng = np.random.default_rng(seed)
    signals = []
    for rate, delay, width in ((700, 0.0, 0.012), (64, 0.25, 0.06)):
        time = np.arange(round(SECONDS * rate)) / rate
        phase = np.remainder(time - delay + interval / 2, interval) - interval / 2
        clean = np.exp(-0.5 * (phase / width) ** 2)
        drift = 0.3 * np.sin(2 * np.pi * 0.21 * time)
        signals.append(clean * (1 + 0.2 * np.sin(0.4 * time)) + drift + 0.01 * rng.standard_normal(len(time)))
    label = np.concatenate([np.full(round(seconds * 700), code) for code, seconds in CONDITIONS])
    return wesad_content(f"S{seed}", signals[0], 40 * signals[1], label)


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, Any]]:
    return {"S2": session(2), "S11": session(11, interval=0.7)}


@pytest.fixture
def root(contents, tmp_path: Path) -> Path:
    folder = tmp_path / "wesad"
    write_wesad(folder, "S2", contents["S2"], protocol=0)
    write_wesad(folder, "S11", contents["S11"], protocol=2)
    return folder


def wesad(root: Path, **options):
    return registry.build("wesad", {"root": str(root), **options})


def expected_starts() -> list[tuple[float, int]]:
    """Windows of 60 s every 5 s that lie within one condition: counted from the table of conditions alone."""
    found, begin = [], 0.0
    for code, seconds in CONDITIONS:
        for start in np.arange(0, SECONDS, 5):
            if code in (1, 2, 3) and begin <= start and start + 60 <= begin + seconds:
                found.append((float(start), code - 1))
        begin += seconds
    return found


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_the_pickles_are_those_of_python_2(contents, protocol: int):
    """Python's own unpickler, on a file written here, agrees with the restricted one."""
    data = python2_pickle(contents["S2"], protocol)
    assert b"numpy.core.multiarray" in data
    theirs = pickle.loads(data, encoding="latin1")
    ours = unpickle.loads(io.BytesIO(data))
    for path in (("signal", "chest", "ECG"), ("signal", "wrist", "BVP"), ("label",)):
        expected: Any = theirs
        for key in path:
            expected = expected[key]
        found = unpickle.item(ours, *path)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert unpickle.item(ours, "subject") == b"S2"


def test_windows_are_counted_labelled_and_within_one_condition(root: Path):
    dataset = wesad(root)
    assert dataset.subjects() == ["S2", "S11"]
    windows = dataset.read("S11")
    expected = expected_starts()
    assert [*zip(windows.start.tolist(), windows.label.tolist(), strict=True)] == expected
    assert np.bincount(windows.label).tolist() == [5, 2, 1]
    ecg, ppg = dataset.spec("ecg"), dataset.spec("ppg")
    assert (ecg.channels, ecg.rate, ecg.n_samples, ecg.unit) == (("ECG",), 100, 6000, "z")
    assert (ppg.channels, ppg.rate, ppg.n_samples, ppg.unit) == (("BVP",), 125, 7500, "z")
    assert windows.signals["ecg"].shape == (8, 1, 6000)
    assert windows.signals["ppg"].shape == (8, 1, 7500)


def test_both_signals_are_prepared_as_published(contents, root: Path):
    """Against NumPy's interpolation and SciPy's own filters over the recording."""
    windows = wesad(root).read("S2")
    ecg, bvp = contents["S2"]["signal"]["chest"]["ECG"][:, 0], contents["S2"]["signal"]["wrist"]["BVP"][:, 0]
    up = np.interp(np.linspace(0, len(ecg) - 1, round(SECONDS * 500)), np.arange(len(ecg)), ecg)
    filtered = sps.filtfilt(sps.firwin(151, [0.05, 47], pass_zero="bandpass", fs=500), 1.0, up)
    down = np.interp(np.linspace(0, len(up) - 1, round(SECONDS * 100)), np.arange(len(up)), filtered)
    heart = (down - down.mean()) / down.std()
    b, a = sps.cheby1(4, 0.5, [0.5, 12], btype="bandpass", fs=125)
    pulse = sps.filtfilt(b, a, sps.resample(bvp, round(SECONDS * 125)))
    pulse = (pulse - pulse.mean()) / pulse.std()
    for k, start in enumerate(windows.start):
        first = round(start * 100)
        np.testing.assert_allclose(windows.signals["ecg"][k, 0], heart[first : first + 6000], atol=1e-4)
        first = round(start * 125)
        np.testing.assert_allclose(windows.signals["ppg"][k, 0], pulse[first : first + 7500], atol=1e-4)


def test_both_modalities_show_the_same_moments_to_within_a_sample(root: Path):
    windows = wesad(root).read("S11")
    for k, start in enumerate(windows.start):
        beats = np.arange(0, SECONDS, 0.7) - start
        beats = beats[(beats > 1) & (beats < 58)]
        r_peaks = sps.find_peaks(windows.signals["ecg"][k, 0], height=1, distance=40)[0] / 100
        pulses = sps.find_peaks(windows.signals["ppg"][k, 0], height=0.5, distance=60)[0] / 125
        nearest = np.abs(r_peaks[:, None] - beats).min(axis=0)
        assert nearest.max() <= 1 / 100 + 1e-9
        nearest = np.abs(pulses[:, None] - beats - 0.25).min(axis=0)
        # The noise and the band-pass move the flat top of a pulse by a sample or two, not its mean.
        assert nearest.max() <= 3 / 125
        assert abs(np.median([(pulses - b - 0.25)[np.abs(pulses - b - 0.25).argmin()] for b in beats])) <= 1 / 125


def test_a_lower_share_keeps_windows_across_a_change(root: Path):
    assert len(wesad(root, label_share=0.9).read("S2").label) > len(wesad(root).read("S2").label)


def test_windows_go_through_the_cache(root: Path, tmp_path: Path):
    windows = cache.load(wesad(root), "ppg", "ecg", tmp_path / "cache", progress=False)
    assert windows.subjects == ("S2", "S11")
    assert np.bincount(windows.label).tolist() == [10, 4, 2]
    assert windows.classes == ("baseline", "stress", "amusement")


class Ran(Exception):
    pass


def run_me(*arguments: Any) -> None:
    raise Ran


class Attack:
    """Pickles as a call of something that must never be called."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def handmade(marker: Path) -> list[bytes]:
    """Pickles that would run a command, in the ways that unpicklers have been made to."""
    import builtins
    import os
    import subprocess

    command = f"touch {marker}"
    return [
        f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        f"cposix\nsystem\n(S'{command}'\ntR.".encode(),
        f"(S'{command}'\nios\nsystem\n.".encode(),  # INST
        f"(cos\nsystem\nS'{command}'\no.".encode(),  # OBJ
        b"\x80\x02cos\nsystem\n(S'" + command.encode() + b"'\nt\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command.encode() + b"\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'x'\n}tR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
        b"P1\n.",  # PERSID
        b"\x80\x02K\x01Q.",  # BINPERSID
        b"\x80\x02\x82\x01.",  # EXT1
        *(pickle.dumps({"signal": Attack(os.system, command)}, protocol) for protocol in range(6)),
        pickle.dumps(Attack(subprocess.Popen, ["touch", str(marker)]), 2),
        pickle.dumps(Attack(builtins.exec, f"open({str(marker)!r}, 'w')"), 2),
        pickle.dumps({"label": Attack(run_me, 1)}, 2),
    ]


def test_a_pickle_that_would_run_something_is_refused_and_not_run(root: Path, tmp_path: Path):
    marker = tmp_path / "marker"
    file = root / "S2" / "S2.pkl"
    for data in handmade(marker):
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"S2.pkl: (asks for|not a whole pickle)") as caught:
            wesad(root).read("S2")
        assert "\n" not in str(caught.value)
        assert not marker.exists()
    assert len(handmade(marker)) >= 20


def test_an_array_may_not_be_made_of_objects_or_records(root: Path, contents):
    reconstruct, ndarray, dtype = (
        Named("numpy.core.multiarray", "_reconstruct"),
        Named("numpy", "ndarray"),
        Named("numpy", "dtype"),
    )

    class Made:
        def __init__(self, *reduced: Any):
            self.reduced = reduced

        def __reduce__(self):
            return self.reduced

    plain_state = (3, b"<", None, None, None, -1, -1, 0)
    record_state = (3, b"|", None, (b"a",), {b"a": 1}, 8, 1, 27)
    for code, state in ((b"O8", plain_state), (b"V8", record_state), (b"f8", record_state), (b"S4", plain_state)):
        kind = Made(dtype, (code, 0, 1), state)
        array = Made(reconstruct, (ndarray, (0,), b"b"), (1, (1,), kind, False, b"\x41" * 8))
        write_wesad(root, "S2", {**contents["S2"], "label": array})
        with pytest.raises(InputError, match=r"S2.pkl: asks for arrays of"):
            wesad(root).read("S2")


def changed(content: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A subject's content with other signals or labels."""
    signal = content["signal"]
    chest, wrist = parts.get("ecg", signal["chest"]["ECG"]), parts.get("bvp", signal["wrist"]["BVP"])
    signals = {"chest": {"ECG": chest}, "wrist": {"BVP": wrist}}
    return {"signal": signals, "label": parts.get("label", content["label"])}


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (lambda ecg, bvp, label: {"ecg": bvp, "bvp": ecg}, "ECG at 700 Hz lasts 28.0686 s, BVP at 64 Hz"),
        (
            lambda ecg, bvp, label: {"ecg": np.where(np.arange(len(ecg))[:, None] == 7000, np.nan, ecg)},
            "signal.chest.ECG holds values that are not finite, the first at 10 s",
        ),
        (lambda ecg, bvp, label: {"ecg": None}, "no signal.chest.ECG in it"),
        (lambda ecg, bvp, label: {"label": None}, "no label in it"),
        (lambda ecg, bvp, label: {"ecg": ecg.repeat(2, axis=1)}, "has shape (214900, 2)"),
        (lambda ecg, bvp, label: {"label": label + 9}, "label holds 9, labels are 0 to 7"),
        (lambda ecg, bvp, label: {"label": label[:-2000]}, "they must be of one length"),
        (lambda ecg, bvp, label: {"label": 0 * label}, "no 60 s of baseline, stress or amusement"),
        (lambda ecg, bvp, label: {"bvp": "text"}, "signal.wrist.BVP is bytes, not an array of numbers"),
    ],
)
def test_a_recording_that_cannot_be_used_is_named_in_one_line(root: Path, contents, parts, named: str):
    content = contents["S2"]
    signal = content["signal"]
    made = parts(signal["chest"]["ECG"], signal["wrist"]["BVP"], content["label"])
    write_wesad(root, "S2", changed(content, **made))
    with pytest.raises(InputError, match=r"S2.pkl: .*" + re.escape(named)) as caught:
        wesad(root).read("S2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda content: content[:-100], "not a whole pickle"),
        (lambda content: b"", "not a whole pickle"),
        (lambda content: pickle.dumps([1, 2], 2), "no signal in it"),
    ],
)
def test_a_pickle_that_is_cut_short_or_holds_something_else_is_named(root: Path, change, named: str):
    file = root / "S2" / "S2.pkl"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=f"S2.pkl: {named}"):
        wesad(root).read("S2")


def test_a_missing_root_or_file_is_named(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"option data.root is not set; give the folder of S2/S2.pkl"):
        registry.build("wesad")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no S2/S2.pkl to S17/S17.pkl in it; download it"):
        wesad(tmp_path / "empty").subjects()
    (root / "S11" / "S11.pkl").unlink()
    with pytest.raises(InputError, match=r"S11.pkl: missing, .*data.exclude=\[S11\]"):
        wesad(root).subjects()
    assert wesad(root, exclude=["S11"]).subjects() == ["S2"]
    with pytest.raises(InputError, match=r"data.exclude names subject S12, .* has 2 subjects \(S2 to S11\)"):
        wesad(root, exclude=["S12"]).subjects()

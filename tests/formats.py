"""Writers of small recordings in the formats of the published data sets, byte for byte where no library writes them;
and what damages them."""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.io

# -- EDF ------------------------------------------------------------------------------------------------------------


def write_edf(file: Path, channels: Mapping[str, tuple[np.ndarray, int]], seconds: int, steps: int = 64) -> None:
    """EDF of one-second records: ``channels[label]`` is a signal and its rate; so many ``steps`` to the unit, which is
    mV for a label that begins with ECG."""

    def each(width: int, values: Sequence[Any]) -> bytes:
        return b"".join(str(value).encode().ljust(width) for value in values)

    n, units = len(channels), ["mV" if label.startswith("ECG") else "uV" for label in channels]
    header = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80) + b"01.01.1022.00.00"
    header += each(8, [256 * (n + 1)]) + b" " * 44 + each(8, [seconds, 1]) + each(4, [n])
    header += each(16, list(channels)) + each(80, [""] * n) + each(8, units) + each(8, [-32768 // steps] * n)
    header += each(8, [f"{32767 / steps:.4f}"] * n) + each(8, [-32768] * n) + each(8, [32767] * n) + each(80, [""] * n)
    header += each(8, [rate for _, rate in channels.values()]) + each(32, [""] * n)
    parts = [np.rint(s[: seconds * rate] * steps).astype("<i2").reshape(seconds, rate) for s, rate in channels.values()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(header + np.concatenate(parts, axis=1).tobytes())


# -- ISRUC ----------------------------------------------------------------------------------------------------------

ISRUC_EEG = ("F3_A2", "C3_A2", "O1_A2", "F4_A1", "C4_A1", "O2_A1")


def write_isruc(root: Path, number: int, signals: Mapping[str, np.ndarray], stages: Sequence[int]) -> None:
    """One subject: ``signals`` (T,) at 200 Hz by channel; 30 labels more than epochs, as published."""
    channels = {name: signal.reshape(-1, 6000) for name, signal in signals.items()}
    (root / "ExtractedChannels").mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / "ExtractedChannels" / f"subject{number}.mat", channels, do_compression=True)
    write_isruc_labels(root, number, stages)


def write_isruc_labels(root: Path, number: int, stages: Sequence[int]) -> None:
    folder = root / "RawData" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}_1.txt").write_text("".join(f"{stage}\n" for stage in [*stages, *[0] * 30]) + "\n")


# -- WESAD ----------------------------------------------------------------------------------------------------------


class Named:
    """A global that a pickle names and that is not imported here."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise AssertionError("never called")


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes what Python 2 would: byte strings as strings, arrays through ``numpy.core.multiarray``."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        if not self.bin:
            self.write(pickle.STRING + repr(data)[1:].encode("ascii") + b"\n")
        elif len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(value)

    def save_named(self, named: Named) -> None:
        self.write(pickle.GLOBAL + f"{named.module}\n{named.name}\n".encode())
        self.memoize(named)

    def save_array(self, array: np.ndarray) -> None:
        call = (Named("numpy", "ndarray"), (0,), b"b")
        state = (1, array.shape, array.dtype, False, array.tobytes())
        self.save_reduce(Named("numpy.core.multiarray", "_reconstruct"), call, state=state, obj=array)

    def save_dtype(self, dtype: np.dtype) -> None:
        state = (3, b"<", None, None, None, -1, -1, 0)
        self.save_reduce(Named("numpy", "dtype"), (dtype.str[1:].encode(), 0, 1), state=state, obj=dtype)

    dispatch[bytes] = dispatch[str] = save_string
    dispatch[Named] = save_named
    dispatch[np.ndarray] = save_array
    for code in "fiub":
        for size in "1248":
            try:
                dispatch[type(np.dtype(code + size))] = save_dtype
            except TypeError:
                continue


def python2_pickle(content: Any, protocol: int) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol).dump(content)
    return stream.getvalue()


def wesad_content(name: str, ecg: np.ndarray, bvp: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """What a subject's pickle holds: the channels that are read, and two that are not."""
    return {
        "signal": {
            "chest": {"ECG": ecg[:, None], "Temp": np.zeros((7, 1), dtype=np.float32)},
            "wrist": {"BVP": bvp[:, None], "ACC": np.zeros((5, 3))},
        },
        "label": label.astype(np.int32),
        "subject": name,
    }


def write_wesad(root: Path, name: str, content: Any, protocol: int = 2) -> Path:
    (root / name).mkdir(parents=True, exist_ok=True)
    file = root / name / f"{name}.pkl"
    file.write_bytes(python2_pickle(content, protocol))
    return file


# -- FOG ------------------------------------------------------------------------------------------------------------


def write_fog(file: Path, columns: Mapping[int, np.ndarray], label: np.ndarray) -> None:
    """A task's text: 61 columns, of which ``columns`` are given and the others hold 1000 + their number."""
    n = len(label)
    table = np.tile(1000.0 + np.arange(61), (n, 1))
    table[:, 0] = np.arange(n)
    for column, values in columns.items():
        table[:, column] = values
    table[:, 60] = label
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for k, row in enumerate(table):
        seconds, milliseconds = divmod(2 * k, 1000)
        time = f"10:{seconds // 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"
        rows.append(",".join([str(k), time, *(f"{value:.6g}" for value in row[2:60]), str(int(row[60]))]))
    file.write_text("\n".join(rows) + "\n")


# -- Stress-Predict -------------------------------------------------------------------------------------------------


def write_e4(file: Path, start: float, rate: float, values: np.ndarray, digits: int = 6) -> None:
    """A text of the Empatica E4: start, rate and a sample a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{start:.6f}\n{rate:.6f}\n" + "".join(f"{value:.{digits}f}\n" for value in values))


def write_seconds(file: Path, rows: Sequence[tuple[int, float, int]]) -> None:
    """Labels by the second: (participant, Unix time, label) with rates that nobody reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{who},{60 + k % 40},{12.5 + k % 3},{time},{label}\n" for k, (who, time, label) in enumerate(rows)]
    file.write_text("Participant,HR,respr,Time(sec),Label\n" + "".join(lines))


# -- TROIKA ---------------------------------------------------------------------------------------------------------


def write_troika(root: Path, run: str, signals: np.ndarray, rates: np.ndarray, compressed: bool = True) -> None:
    """One run: ``signals`` (6, T) at 125 Hz, ``rates`` (n,) of the windows of 8 s every 2 s."""
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / f"DATA_{run}.mat", {"sig": signals}, do_compression=compressed)
    scipy.io.savemat(root / f"REF_{run}.mat", {"BPM0": rates[:, None]}, do_compression=compressed)


# -- damage ---------------------------------------------------------------------------------------------------------

Damage = tuple[str, Callable[[Path], None]]


def put(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Replace a file."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(data) and None


def patched(name: str, original: bytes, at: int, replacement: bytes) -> Callable[[Path], None]:
    return put(name, original[:at] + replacement + original[at + len(replacement) :])


def cut_short(name: str, original: bytes, n: int, last: int | None = None) -> Iterator[Damage]:
    """The first so many bytes of a file, from none to all but one."""
    for size in np.unique(np.linspace(0, (last or len(original)) - 1, n).astype(int)):
        yield f"{name} cut to {size} bytes", put(name, original[:size])


def foreign(name: str) -> Iterator[Damage]:
    """Files of something else."""
    noise = np.random.default_rng(0).bytes(5000)
    for what, content in {
        "nothing": b"",
        "noise": noise,
        "zeros": bytes(5000),
        "spaces": b" " * 5000,
        "lines": b"\n" * 5000,
        "HTML": b"<html><body>404 Not Found</body></html>",
        "HDF5": b"\x89HDF\r\n\x1a\n" + noise,
        "ZIP": b"PK\x03\x04" + noise,
        "UTF-16": "0\n1\n".encode("utf-16") * 500,
        "JSON": b'{"signal": [1, 2, 3]}',
    }.items():
        yield f"{name} holds {what}", put(name, content)

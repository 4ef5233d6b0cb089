"""What every data set promises, its options, and the cache of its windows."""

import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.config.options import described
from benchmark.data import cache, registry
from benchmark.data.base import Dataset
from benchmark.data.simulated import Simulated
from benchmark.data.splits import make_splits
from benchmark.errors import InputError

SMALL = {"subjects": 4, "condition_seconds": 30}


@pytest.mark.parametrize("name", registry.names())
def test_every_data_set_is_one_file_with_its_options_beside_it(name: str):
    kind = registry.dataset_class(name)
    assert issubclass(kind, Dataset)
    assert kind.name == name
    assert kind.licence
    assert kind.citation
    assert kind.how_to_get
    assert set(kind.modalities) <= {"eeg", "ecg", "ppg", "emg"}
    assert registry.options_class(name) is kind.Options
    options = registry.options_of(name)
    assert options == kind.Options()
    assert options.name == name
    lines = [*described(kind.Options, options.model_dump(), "data.")]
    assert len({line.name for line in lines}) == len(lines)
    assert all(line.help and line.accepted for line in lines)
    # The split of the defaults can be made for as many subjects as a small study has.
    subject = np.repeat(np.arange(24), 3)
    assert make_splits(subject, options.split, seed=0)


def test_only_data_sets_are_found():
    assert registry.names() == ("eegmat", "fog", "isruc", "simulated", "wesad")
    assert not registry.NOT_DATASETS & set(registry.names())
    assert registry.dataset_class("simulated") is Simulated


@pytest.mark.parametrize("name", registry.names())
def test_options_survive_being_written_and_read(name: str):
    options = registry.options_of(name, {"split": {"kind": "blocked"}})
    assert registry.options_of(name, json.loads(json.dumps(options.model_dump()))) == options
    # What is said of a split leaves the rest of the data set's own.
    assert options.split == registry.options_class(name)().split.model_copy(update={"kind": "blocked"})


def test_an_unknown_data_set_or_option_is_named_with_the_close_ones():
    with pytest.raises(InputError, match="unknown data set 'simulate'; did you mean simulated"):
        registry.build("simulate")
    with pytest.raises(InputError, match=r"unknown option data.subject; did you mean data.subjects"):
        registry.build("simulated", {"subject": 3})
    with pytest.raises(InputError, match=r"unknown option data.split.fold; did you mean data.split.folds"):
        registry.build("simulated", {"split": {"fold": 3}})
    with pytest.raises(InputError, match=r"data.split=3 cannot be used; give its options, such as data.split.kind=kf"):
        registry.build("simulated", {"split": 3})
    with pytest.raises(InputError, match=r"data.name=fog cannot be used; give simulated"):
        registry.build("simulated", {"name": "fog"})


def test_a_whole_configuration_of_the_data_group_is_taken():
    values = {"name": "simulated", "subjects": 2, "split": {"kind": "subjects"}}
    assert registry.build("simulated", values).subjects() == ["S000", "S001"]
    assert registry.build("simulated", registry.options_of("simulated", values)).subjects() == ["S000", "S001"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [("eeg", "ppg", r"has no 'eeg' for the old modality; it has ecg, ppg"), ("ecg", "ecg", "both ecg")],
)
def test_a_modality_that_the_data_set_lacks_is_refused(old: str, new: str, named: str, tmp_path: Path):
    with pytest.raises(InputError, match=named):
        cache.load(registry.build("simulated", SMALL), old, new, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def load(folder: Path, old: str = "ecg", new: str = "ppg", **options):
    """The windows, and the subjects that had to be read for them."""
    read: list[str] = []
    dataset = registry.build("simulated", {**SMALL, **options})
    windows = cache.load(dataset, old, new, folder, progress=lambda done, total, subject: read.append(subject))
    assert read.pop() == ""
    return windows, read


def test_windows_come_back_as_the_reader_gave_them(tmp_path: Path):
    windows, read = load(tmp_path)
    assert read == ["S000", "S001", "S002", "S003"]
    assert len(windows) == len(windows.old) == len(windows.new) == 4 * 3 * 3
    dataset = registry.build("simulated", SMALL)
    for k, subject in enumerate(windows.subjects):
        expected = dataset.read(subject)
        mine = np.flatnonzero(windows.subject == k)
        np.testing.assert_array_equal(windows.old.take(mine), expected.signals["ecg"])
        np.testing.assert_array_equal(windows.new.take(mine), expected.signals["ppg"])
        np.testing.assert_array_equal(windows.label[mine], expected.label)
        np.testing.assert_array_equal(windows.start[mine], expected.start)
        assert windows.recording[mine].tolist() == expected.recording.tolist()


def test_take_gathers_in_the_order_asked_for_across_subjects(tmp_path: Path):
    windows, _ = load(tmp_path)
    everything = windows.new.take(np.arange(len(windows)))
    indices = np.array([35, 0, 17, 17, 9, 8])
    np.testing.assert_array_equal(windows.new.take(indices), everything[indices])
    assert windows.new.take(np.array([], dtype=np.int64)).shape == (0, 1, 1250)
    for outside in (-1, 36):
        with pytest.raises(IndexError):
            windows.new.take(np.array([outside]))


def test_what_is_cached_is_not_read_again_in_either_direction(tmp_path: Path):
    first, _ = load(tmp_path)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")}
    again, read = load(tmp_path)
    back, read_back = load(tmp_path, old="ppg", new="ecg")
    assert read == read_back == []
    assert files == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")}
    assert again.content == first.content == back.content
    assert first.subject_key("ecg", 1) == back.subject_key("ecg", 1) != first.subject_key("ppg", 1)
    assert first.windows_key("ecg", np.arange(5)) == back.windows_key("ecg", np.arange(5))
    np.testing.assert_array_equal(back.new.take(np.arange(5)), first.old.take(np.arange(5)))


@pytest.mark.parametrize("option", [{"seed": 1}, {"noise": 0.5}, {"stride": 5}, {"ppg": [{"resample_fft": 125}]}])
def test_an_option_that_changes_the_windows_never_meets_a_stale_cache(tmp_path: Path, option):
    before, _ = load(tmp_path)
    after, read = load(tmp_path, **option)
    assert len(read) == 4
    assert after.content != before.content
    assert after.subject_key("ecg", 0) != before.subject_key("ecg", 0)
    assert not np.array_equal(after.new.take(np.arange(36)), before.new.take(np.arange(36)))


def test_more_subjects_go_on_from_those_that_are_there(tmp_path: Path):
    few, _ = load(tmp_path)
    more, read = load(tmp_path, subjects=6)
    assert read == ["S004", "S005"]
    # What was computed of a subject is computed no more because there are others.
    assert more.subject_key("ecg", 3) == few.subject_key("ecg", 3) != few.subject_key("ecg", 2)
    np.testing.assert_array_equal(more.old.take(np.arange(36)), few.old.take(np.arange(36)))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path):
    def interrupt(done: int, total: int, subject: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.load(registry.build("simulated", SMALL), "ecg", "ppg", tmp_path, progress=interrupt)
    windows, read = load(tmp_path)
    assert read == ["S002", "S003"]
    np.testing.assert_array_equal(np.bincount(windows.subject), [9, 9, 9, 9])


def test_a_write_that_fails_leaves_nothing_behind_that_is_taken_for_whole(tmp_path: Path, monkeypatch):
    real = cache.pa.ipc.new_file

    def disk_full(sink, schema):
        sink.write(b"ARROW1\0\0")
        raise OSError("No space left on device")

    monkeypatch.setattr(cache.pa.ipc, "new_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        load(tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    monkeypatch.setattr(cache.pa.ipc, "new_file", real)
    assert len(load(tmp_path)[1]) == 4


def test_a_damaged_file_is_made_anew(tmp_path: Path):
    whole, _ = load(tmp_path)
    expected = whole.old.take(np.arange(36))
    del whole
    damaged = sorted(tmp_path.rglob("*.arrow"))[1]
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[: len(content) // 2])
    windows, read = load(tmp_path)
    assert read == ["S001"]
    np.testing.assert_array_equal(windows.old.take(np.arange(36)), expected)


def test_windows_of_several_subjects_are_told_apart_by_subject(tmp_path: Path):
    windows, _ = load(tmp_path)
    assert windows.offsets.tolist() == [0, 9, 18, 27, 36]
    found = [(subject, own.tolist()) for subject, own in windows.by_subject(np.array([2, 8, 9, 27, 35]))]
    assert found == [(0, [2, 8]), (1, [0]), (3, [0, 8])]


@pytest.mark.parametrize("module", ["body", "sensors", "shapes", "electrophysiology", "dataset"])
def test_the_code_of_every_module_that_makes_windows_is_in_the_key(module: str, monkeypatch):
    """A cache that an older program filled is never read."""
    dataset = registry.build("simulated", SMALL)
    found: list[str] = []

    def digested(*modules) -> str:
        found.extend(one.__name__ for one in modules)
        return "digest"

    monkeypatch.setattr(cache, "source_digest", digested)
    assert len(cache.content_key(dataset)) == 32
    assert f"benchmark.data.simulated.{module}" in found


def test_two_processes_fill_one_cache_at_once(tmp_path: Path):
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from benchmark.data import cache, registry\n"
        "windows = cache.load(registry.build('simulated', json.loads(sys.argv[2])), 'ecg', 'ppg', Path(sys.argv[1]))\n"
        "print(windows.content, float(windows.new.take(range(len(windows))).sum()))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), json.dumps(SMALL)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == [f"S00{k}.arrow" for k in range(4)]
    assert "reading simulated" in answers[0][1] + answers[1][1]


def test_windows_pickle_as_file_names_and_not_as_numbers(tmp_path: Path):
    windows, _ = load(tmp_path)
    expected = windows.new.take(np.arange(3))
    pickled = pickle.dumps(windows.new)
    assert len(pickled) < 5_000
    np.testing.assert_array_equal(pickle.loads(pickled).take(np.arange(3)), expected)


def test_a_reader_that_breaks_its_promise_is_stopped(tmp_path: Path):
    class NotFinite(registry.dataset_class("simulated")):  # type: ignore[misc]
        def read(self, subject: str):
            windows = super().read(subject)
            windows.signals["ppg"][0, 0, 0] = np.nan
            return windows

    with pytest.raises(InputError, match="subject S000: ppg holds values that are not finite"):
        cache.load(NotFinite(registry.options_of("simulated", SMALL)), "ecg", "ppg", tmp_path, progress=False)


def test_subjects_are_read_on_all_cores_and_kept_in_order(tmp_path: Path, monkeypatch):
    running, most = 0, 0
    lock = threading.Lock()

    class Watched(registry.dataset_class("simulated")):  # type: ignore[misc]
        def read(self, subject: str):
            nonlocal running, most
            with lock:
                running, most = running + 1, max(most, running + 1)
            time.sleep(0.2 if subject == "S000" else 0.02)  # later ones are done earlier
            windows = super().read(subject)
            with lock:
                running -= 1
            return windows

    monkeypatch.setattr(cache, "_workers", lambda n_subjects: 3)
    dataset = Watched(registry.options_of("simulated", {**SMALL, "subjects": 5}))
    windows = cache.load(dataset, "ecg", "ppg", tmp_path / "watched", progress=False)
    assert most == 3
    expected, _ = load(tmp_path / "plain", subjects=5)
    np.testing.assert_array_equal(windows.old.take(np.arange(45)), expected.old.take(np.arange(45)))
    assert windows.subjects == expected.subjects


def test_as_many_subjects_are_read_at_once_as_there_are_cores_and_memory(monkeypatch):
    monkeypatch.setattr(cache, "cores", lambda: 8)
    pages = {"SC_AVPHYS_PAGES": 3 << 20, "SC_PAGE_SIZE": 1024}
    monkeypatch.setattr(cache.os, "sysconf", pages.__getitem__)
    assert cache._workers(20) == 3  # of 3 GB
    assert cache._workers(2) == 2
    pages["SC_AVPHYS_PAGES"] = 1
    assert cache._workers(20) == 1
    pages["SC_AVPHYS_PAGES"] = 100 << 20
    assert cache._workers(20) == 8

"""What every data set promises, its options, and the cache of its windows."""

import json
import pickle
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.common import store
from benchmark.config.options import described
from benchmark.data import cache, registry
from benchmark.data.base import Dataset, SubjectWindows
from benchmark.data.simulated import Simulated
from benchmark.data.splits import make_splits
from benchmark.errors import InputError, RunError
from benchmark.registry import configure

SMALL = {"subjects": 4, "condition_seconds": 30}


@pytest.mark.parametrize("name", registry.names())
def test_every_data_set_is_one_file_with_its_options_beside_it(name: str):
    kind = registry.dataset_class(name)
    assert issubclass(kind, Dataset)
    assert kind.name == name
    assert kind.licence
    assert kind.citation
    assert kind.how_to_get
    assert set(kind.modalities) <= {"eeg", "ecg", "ppg", "emg", "eda"}
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


PAGES = Path(__file__).parents[1] / "docs" / "datasets"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_cites_what_its_reader_cites_and_an_experiment_of_each_direction_is_there(page: Path):
    kind, text = registry.dataset_class(page.stem), page.read_text()
    for fact in re.findall(r"10\.\d{4,}/[^\s;,]+", kind.citation) + re.findall(r"https://[^\s;,]+", kind.how_to_get):
        assert fact in text
    assert kind.licence.partition(";")[0] in text
    for experiment in re.findall(r"`(\w+_\w+2\w+)`", text):
        loaded = configure([f"experiment={experiment}"])
        assert loaded.data.name == page.stem
        assert experiment.endswith(f"_{loaded.old.modality}2{loaded.new.modality}")


def test_only_data_sets_are_found():
    assert registry.names() == ("eegmat", "fog", "isruc", "simulated", "stress_predict", "troika", "wesad")
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


@pytest.mark.parametrize(
    ("name", "option", "named"),
    [
        ("eegmat", {"reference": "ears"}, "data.reference=ears cannot be used; give average, or null"),
        ("eegmat", {"eeg_bandpass": [45, 0.5]}, "data.eeg_bandpass=[45,0.5] cannot be used; give [low, high] in Hz"),
        ("eegmat", {"eeg_bandpass": [0.5, 300]}, "data.eeg_bandpass=[0.5,300] cannot be used; give [low, high] in Hz"),
        ("eegmat", {"eeg_bandpass": 45}, "data.eeg_bandpass=45 cannot be used; give [low, high] in Hz with 0 <"),
        (
            "eegmat",
            {"rest_seconds": 5},
            "data.rest_seconds=5 cannot be used; give a number of at least data.seconds",
        ),
        ("eegmat", {"stride": True}, "data.stride=true cannot be used; give a number above 0"),
        (
            "fog",
            {"channels": ["T3"]},
            "data.channels=[T3] cannot be used; give a list of EEG channels, each once",
        ),
        ("fog", {"channels": ["F3", "F3"]}, "give a list of EEG channels, each once"),
        ("fog", {"channels": []}, "data.channels=[] cannot be used"),
        ("fog", {"subjects": 8}, "data.subjects=8 cannot be used; give a list of subjects"),
        (
            "fog",
            {"subjects": []},
            "data.subjects=[] cannot be used; give a list of subjects such as [008,009], or",
        ),
        ("fog", {"label_share": 2}, "data.label_share=2 cannot be used; give a number above 0.5 and at most 1"),
        ("isruc", {"source": "mat"}, "data.source=mat cannot be used; give one of extracted, raw"),
        ("isruc", {"exclude": "8"}, "data.exclude=8 cannot be used; give a list of numbers of subjects such as [8,40]"),
        ("isruc", {"exclude": ["eight"]}, "data.exclude=[eight] cannot be used; give a list of numbers of subjects"),
        ("isruc", {"exclude": [-8]}, "data.exclude=[-8] cannot be used; give a list of numbers of subjects"),
        ("isruc", {"exclude": [True]}, "data.exclude=[true] cannot be used; give a list of numbers of subjects"),
        ("wesad", {"exclude": [2]}, "data.exclude=[2] cannot be used; give a list of subjects such as [S2]"),
        ("wesad", {"ppg": [{"resample_fft": "fast"}]}, "data.ppg: preparation stage resample_fft has 'fast'"),
        (
            "wesad",
            {"ecg": [{"zscores": "window"}]},
            "data.ecg: unknown preparation stage 'zscores'; did you mean",
        ),
        ("simulated", {"ecg": "zscore"}, "data.ecg=zscore cannot be used; give a list of stages such as"),
        ("simulated", {"seed": None}, "data.seed=null cannot be used; give a whole number of at least 0"),
        ("simulated", {"subjects": 2.5}, "data.subjects=2.5 cannot be used; give a whole number of at least 1"),
        (
            "simulated",
            {"condition_seconds": 5},
            "data.condition_seconds=5 cannot be used; give a number of at least",
        ),
        ("simulated", {"like": "isruc", "condition_seconds": 60}, "give a number of at least 240"),
        (
            "simulated",
            {"like": "isruc", "stride": 10},
            "data.stride=10 cannot be used with data.like=isruc, whose",
        ),
        ("simulated", {"like": "isruk"}, "data.like=isruk cannot be used; give one of wesad, isruc, fog, or null"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_line(name: str, option, named: str):
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        registry.options_of(name, option)
    assert "\n" not in str(caught.value)


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
    changed = [name for name in ("ecg", "ppg") if after.subject_key(name, 0) != before.subject_key(name, 0)]
    assert changed == (["ppg"] if "ppg" in option else ["ecg", "ppg"])
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


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, at: b"",
        lambda content, at: content[: len(content) // 2],
        lambda content, at: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
    ],
    ids=["emptied", "cut short", "a flipped bit"],
)
def test_a_damaged_file_is_said_and_read_again(tmp_path: Path, damage, monkeypatch):
    whole, _ = load(tmp_path)
    expected = [side.take(np.arange(36)) for side in (whole.old, whole.new)]
    file = whole.old.store.path(whole.old.keys[1])
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(damage(content, content.index(expected[1][12].tobytes())))
    monkeypatch.setattr(store, "_checked", {})  # as in a process that has not seen it
    with pytest.warns(UserWarning, match=f"{file} is damaged .*; it is computed again"):
        windows, read = load(tmp_path)
    assert read == ["S001"]
    for side, values in zip((windows.old, windows.new), expected, strict=True):
        np.testing.assert_array_equal(side.take(np.arange(36)), values)
    assert load(tmp_path)[1] == []


def test_a_process_that_finds_no_whole_file_says_so(tmp_path: Path):
    windows, _ = load(tmp_path)
    pickled = pickle.dumps(windows.new)
    windows.new.store.path(windows.new.keys[2]).unlink()
    with pytest.raises(RunError, match="what was written is not what is read"):
        pickle.loads(pickled).take(np.arange(3))


def test_a_subject_without_windows_and_names_of_any_length_are_kept(tmp_path: Path):
    class Uneven(Simulated):
        def read(self, subject: str):
            windows, n = super().read(subject), int(subject[1:])
            names = np.array([f"night {'é' * k} of {subject}" for k in range(n)], dtype=object)
            signals = {modality: signal[:n] for modality, signal in windows.signals.items()}
            return SubjectWindows(signals, windows.label[:n], windows.start[:n], names)

    for _ in range(2):
        dataset = Uneven(registry.options_of("simulated", SMALL))
        windows = cache.load(dataset, "ecg", "ppg", tmp_path, progress=False)
        assert windows.subject.tolist() == [1, 2, 2, 3, 3, 3]
        assert windows.recording[3:].tolist() == ["night  of S003", "night é of S003", "night éé of S003"]
        np.testing.assert_array_equal(windows.old.take(np.array([5])), dataset.read("S003").signals["ecg"][[2]])


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
    assert len(cache.source_key(dataset)) == 32
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
    assert [file.suffix for file in tmp_path.iterdir()] == [".arrow"] * 4
    assert "reading simulated" in answers[0][1] + answers[1][1]


def test_windows_pickle_as_keys_of_files_and_not_as_numbers(tmp_path: Path):
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

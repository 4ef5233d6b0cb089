"""``python -m benchmark.data``: what it lists, what it finds in recordings, and what it downloads."""

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import inspection, registry
from benchmark.data.__main__ import main
from benchmark.data.eegmat import EEGMAT
from benchmark.data.fog import FOG
from benchmark.data.stress_predict import LABELS, StressPredict
from benchmark.errors import InputError
from tests import test_datasets_eegmat as eegmat
from tests import test_datasets_stress_predict as stress
from tests.formats import ISRUC_EEG, write_fog, write_isruc


def test_every_data_set_is_listed_with_licence_citation_and_how_to_get_it(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    flat = " ".join(printed.split())
    for name in registry.names():
        kind = registry.dataset_class(name)
        assert f"\n{name}\n" in f"\n{printed}"
        for fact in (kind.licence, kind.citation, kind.how_to_get):
            assert fact in flat


@pytest.mark.parametrize("words", [[], ["like=wesad"], ["like=isruc", "condition_seconds=600"], ["like=fog"]])
def test_the_simulated_sets_pass(words: list[str], capsys):
    assert main(["check", "simulated", "subjects=5", *words]) == 0
    printed = capsys.readouterr().out
    assert "all of it can be read" in printed
    assert "parts share nothing" in printed
    assert "S004" in printed


def test_the_real_recordings_pass(recordings: Path, capsys):
    assert main(["check", "eegmat", "--root", str(recordings)]) == 0
    printed = capsys.readouterr().out
    assert "24 subjects, 528 windows of 10 s" in printed
    assert "eeg: recorded at 500 Hz, prepared to 19 x 2000 samples at 200 Hz in uV" in printed
    assert "24 subjects here, 36 published" in printed


def night(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {name: 30 * rng.standard_normal(6 * 6000) for name in (*ISRUC_EEG, "X2")}


def test_counts_flat_and_clipped_channels_and_disagreements_are_found(tmp_path: Path, capsys):
    for number in range(1, 6):
        signals = night(number)
        if number == 2:
            signals["C3_A2"][6000:18000] = 7.0
            signals["O2_A1"] = np.clip(signals["O2_A1"], -40, 40)
        write_isruc(tmp_path, number, signals, [0, 0, 1, 2, 3, 5])
    assert main(["check", "isruc", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith("  00")}
    assert rows["001"][1:] == ["2", "4", "1", "180", "none", "none", "none"]
    assert rows["002"][1:] == ["2", "4", "1", "180", "none", "C3", "2", "O2", "6"]
    assert "split paper; parts share nothing" in printed
    assert "differs from what was published: 5 subjects here, 100 published" in printed
    assert "wake 4 here, 4687 published, sleep 8 here, 14550 published" in printed


def test_pauses_and_leaks_are_told(tmp_path: Path, capsys):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 0], [10000, 2500, 12500])
    for session in ("OFF_1", "OFF_2"):
        columns = {c: rng.standard_normal(len(label)) for c in range(2, 60)}
        write_fog(tmp_path / "008" / session / "task_1.txt", columns, label)
    assert main(["check", "fog", "--root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "parts share SAMPLES: leaky" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.startswith("  008")]
    # In each recording, two changes of label with windows of neither before and after.
    assert row[3] == "2"
    assert row[5] == "4"
    assert main(["check", "fog", "--root", str(tmp_path), "split.kind=blocked", "split.block_seconds=10"]) == 0
    assert "parts share subjects, no samples" in capsys.readouterr().out


def test_words_are_read_as_those_of_a_run(tmp_path: Path, capsys):
    """008 and 010 are names and no numbers, whatever YAML makes of them."""
    for name in ("008", "010"):
        write_fog(tmp_path / name / "OFF_1" / "task_1.txt", {c: np.zeros(2500) for c in range(2, 60)}, np.zeros(2500))
    assert main(["check", "fog", "--root", str(tmp_path), "data.subjects=[010]", "split={kind: blocked}"]) == 2
    assert "which columns hold the EMG of 010/OFF_1 was not published" in capsys.readouterr().out


def test_all_subjects_that_cannot_be_read_are_named_at_once(tmp_path: Path, capsys):
    for number in range(1, 7):
        write_isruc(tmp_path, number, night(number), [0, 0, 1, 2, 3, 5])
    for number in (2, 5):
        file = tmp_path / "ExtractedChannels" / f"subject{number}.mat"
        file.write_bytes(file.read_bytes()[:-50])
    assert main(["check", "isruc", "--root", str(tmp_path)]) == 2
    printed = capsys.readouterr().out
    assert printed.count("error: ") == 2
    assert "subject2.mat: not a whole MATLAB file" in printed
    assert "subject5.mat: not a whole MATLAB file" in printed
    assert "2 of 6 subjects cannot be read" in printed
    assert "004" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "isruk"], "unknown data set 'isruk'; did you mean isruc"),
        (["check", "isruc"], "option data.root is not set"),
        (
            ["check", "simulated", "subjcts=3"],
            "unknown option data.subjcts; did you mean data.subjects",
        ),
        (["check", "simulated", "subjects"], "cannot read 'subjects'; write key=value"),
        (["check", "simulated", "seconds=10,20"], "cannot read 'seconds=10,20'; write key=value"),
        (
            ["check", "simulated", "split=3"],
            "data.split=3 cannot be used; give its options, such as data.split.kind=kfold",
        ),
        (["check", "fog", "split.kind=kfolds"], "data.split.kind=kfolds cannot be used; give one of subjects, kfold"),
        (["check", "fog", "seconds=x"], "data.seconds=x cannot be used; give a number of at least 0.5"),
        (["fetch", "wesad"], "data set wesad cannot be fetched by a program: WESAD, https://"),
        (["fetch", "troika"], "data set troika cannot be fetched by a program: the author's page, https://"),
        (["fetch", "simulated"], "nothing to get: it is computed"),
    ],
)
def test_a_wrong_word_is_said_in_one_line(words: list[str], said: str, capsys):
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_the_module_is_a_command_line():
    words = ["check", "isruc", "--root", "nowhere"]
    done = subprocess.run([sys.executable, "-m", "benchmark.data", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: data.root nowhere: found nothing; give the folder")
    assert done.stderr.count("\n") == 1


def test_a_split_that_cannot_be_made_is_reported_and_the_rest_too(capsys):
    assert main(["check", "simulated", "subjects=3", "condition_seconds=20"]) == 2
    printed = capsys.readouterr().out
    assert "the data set has 3 subjects, too few" in printed
    assert "S002" in printed


def test_options_of_the_command_line_reach_the_data_set():
    split = {"kind": "kfold", "folds": 4, "train": 1, "val": 1, "pair": 1}
    options = {"subjects": 4, "condition_seconds": 20, "seconds": 5, "split": split}
    report = inspection.inspect(registry.options_of("simulated", options), 1)
    assert len(report.label) == 4 * 3 * 2
    assert len(report.splits) == 4
    assert not report.errors


# -- downloads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of a folder: its address and the folder."""
    folder = tmp_path / "published"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, format: str, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_eegmat_is_downloaded_and_held_against_its_checksums(published: tuple[str, Path], tmp_path: Path):
    url, source = published
    for condition in (1, 2):
        eegmat.write_edf(source / f"Subject00_{condition}.edf", eegmat.LABELS, eegmat.recording(62, 70))
    (source / "subject-info.csv").write_text("Subject,Age\n00,21\n")
    (source / "notes.html").write_text("not a recording")
    files = sorted(source.iterdir())
    (source / "SHA256SUMS.txt").write_text("".join(f"{sha256(file)} {file.name}\n" for file in files))
    target = tmp_path / "eegmat"
    EEGMAT.fetch(target, url)
    assert sorted(f.name for f in target.iterdir()) == ["Subject00_1.edf", "Subject00_2.edf", "subject-info.csv"]
    assert registry.build("eegmat", {"root": str(target)}).read("Subject00").label.tolist()
    # What is there and whole is kept; what was changed is fetched again.
    kept = (target / "Subject00_1.edf").stat().st_mtime_ns
    (target / "Subject00_2.edf").write_bytes(b"damaged")
    EEGMAT.fetch(target, url)
    assert (target / "Subject00_1.edf").stat().st_mtime_ns == kept
    assert sha256(target / "Subject00_2.edf") == sha256(source / "Subject00_2.edf")
    # What is not what was published is never kept.
    (source / "subject-info.csv").write_text("something else")
    (target / "subject-info.csv").unlink()
    with pytest.raises(InputError, match=r"subject-info.csv: not the published file .* by hand from PhysioNet"):
        EEGMAT.fetch(target, url)
    assert not (target / "subject-info.csv").exists()


def test_a_publisher_out_of_reach_is_said_with_what_to_do(published: tuple[str, Path], tmp_path: Path):
    url, _ = published
    with pytest.raises(InputError, match=r"SHA256SUMS.txt: cannot be downloaded \(404.*by hand from PhysioNet, https"):
        EEGMAT.fetch(tmp_path, url)
    with pytest.raises(
        InputError, match=r"cannot be downloaded \(ConnectionError\); get the files by hand from Mendeley"
    ):
        FOG.fetch(tmp_path, "http://127.0.0.1:9")


def test_stress_predict_is_downloaded_as_its_reader_takes_it(published: tuple[str, Path], tmp_path: Path):
    url, source = published
    stress.make(source)
    for k in range(2, 36):  # everyone but the first, who has no labels
        for name in ("BVP.csv", "EDA.csv"):
            (source / "Raw_data" / f"S{k:02d}").mkdir(exist_ok=True)
            (source / "Raw_data" / f"S{k:02d}" / name).touch()
    StressPredict.fetch(tmp_path / "stress", url)
    fetched = [file.relative_to(tmp_path / "stress") for file in (tmp_path / "stress").rglob("*.csv")]
    assert len(fetched) == 1 + 34 * 2
    assert Path(LABELS) in fetched
    assert len(stress.stress(tmp_path / "stress").read("S13").label) == 18
    (source / LABELS).unlink()
    with pytest.raises(InputError, match=r"binary.csv: cannot be downloaded \(404.*by hand from GitHub, https"):
        StressPredict.fetch(tmp_path / "again", url)


class Mendeley(http.server.BaseHTTPRequestHandler):
    """Answers like the publisher's interface: folders, files of a folder, and their contents."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        folders = [{"id": "a", "name": "Filtered Data"}, {"id": "b", "name": "008", "parent_id": "a"}]
        folders.append({"id": "c", "name": "OFF_1", "parent_id": "b"})
        if self.path == "/folders/3":
            body = json.dumps(folders).encode()
        elif self.path.startswith("/files?folder_id="):
            inside = {"a": ["readme.txt"], "b": [], "c": ["task_1.txt"]}[self.path[len("/files?folder_id=")]]
            listed = [
                {
                    "filename": name,
                    "content_details": {
                        "sha256_hash": hashlib.sha256(self.files[name]).hexdigest(),
                        "download_url": f"{base}/content/{name}",
                    },
                }
                for name in inside
            ]
            body = json.dumps(listed).encode()
        else:
            body = self.files[self.path.rpartition("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args) -> None:
        pass


def test_fog_is_downloaded_into_the_folders_that_its_reader_takes(tmp_path: Path):
    rng = np.random.default_rng(0)
    write_fog(tmp_path / "one.txt", {c: rng.standard_normal(2000) for c in range(2, 60)}, np.zeros(2000))
    Mendeley.files = {"task_1.txt": (tmp_path / "one.txt").read_bytes(), "readme.txt": b"hello"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mendeley) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        FOG.fetch(tmp_path / "fog", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert [f.relative_to(tmp_path / "fog").as_posix() for f in (tmp_path / "fog").rglob("*.txt")] == [
        "FilteredData/008/OFF_1/task_1.txt"
    ]
    assert len(registry.build("fog", {"root": str(tmp_path / "fog")}).read("008").label) == 4

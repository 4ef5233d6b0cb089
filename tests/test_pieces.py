"""What a run prepares, piece by piece: every fold finds all that it reads, while others are still prepared."""

from types import SimpleNamespace

import pytest

from benchmark.config.schema import Config
from benchmark.errors import InputError, RunError
from benchmark.frozen.prepare import Piece, pieces
from benchmark.plan import Final, Study
from benchmark.registry import configure
from benchmark.search.actor import WRONG
from benchmark.search.board import PREPARED, Board
from benchmark.search.finals import FinalTrials
from benchmark.search.preparation import Preparation
from benchmark.search.tuning import Ended, StudiesSearcher
from benchmark.search.watcher import Watcher
from tests.conftest import changed
from tests.test_mishaps import DEATH
from tests.test_studies import Kept, rows_of, study


@pytest.fixture
def local(small: Config) -> Config:
    """Two folds, of which each has weights of its own on the new side."""
    split = small.data.split.model_copy(update={"kind": "kfold", "folds": 2})
    return changed(small, data={"split": split}, new={"weights": "local"})


def in_order(found: list[Piece]) -> bool:
    """Whether each comes behind all that must be done before."""
    names = [piece.job.name for piece in found]
    assert len(set(names)) == len(names)
    return all(piece.after <= {*names[:k]} for k, piece in enumerate(found))


@pytest.mark.parametrize("training", ["probe", "finetune"])
@pytest.mark.parametrize(("parts", "of_a_side"), [(None, 8), (3, 3), (100, 8)])
def test_every_fold_has_its_weights_features_and_teacher(local, training, parts, of_a_side):
    found = pieces(changed(local, teacher={"training": training}), range(2), last_tokens=True, parts=parts)
    assert in_order(found)
    tuned = training == "finetune"
    for fold in range(2):
        mine = [piece for piece in found if fold in piece.folds]
        kinds = [piece.kind for piece in mine]
        heard = "features of the teacher" if tuned else "features"
        assert {kind: kinds.count(kind) for kind in kinds} == {
            "local weights": 1,
            "teacher": 1,
            "features": of_a_side * (1 if tuned else 2),
            **({heard: of_a_side} if tuned else {}),
        }
        read = [one for piece in mine if "features" in piece.kind for one in piece.job.arguments[1]]
        assert {(one.side, one.subject) for one in read} == {(side, k) for side in ("old", "new") for k in range(8)}
    shared = [piece for piece in found if len(piece.folds) == 2]  # the same random weights in both folds
    assert {piece.kind for piece in shared} == (set() if tuned else {"features"})
    assert all(piece.job.arguments[1][0].side == "old" for piece in shared)


def done(searcher: StudiesSearcher, name: str) -> None:
    searcher.on_trial_complete(name, {"rows": [{"saved": 1.5}]})


def test_a_fold_is_searched_and_tested_while_others_are_prepared(local):
    found = pieces(local, range(2), last_tokens=True, parts=2)
    of = [Study("bridge", fold, 4) for fold in (0, 1)]
    finals, studies = [Final("teacher", fold, 0) for fold in (1, 0)], [study(of=one) for one in of]
    preparation = Preparation(found)
    tested = FinalTrials(configure([]), finals, studies, "simulated", Kept())
    searcher = StudiesSearcher(studies, lambda: 100, tested, retries=1, preparation=preparation)
    asked: dict[str, str] = {}

    def ask() -> list[str]:
        """All that can be done now; their names."""
        new = []
        while (config := searcher.suggest(str(len(asked)))) is not None:
            new.append(config.get("piece") or config.get("study") or config["final"]["trial_id"])
            asked[str(len(asked))] = new[-1]
        return new

    def end(*names: str) -> None:
        for key, name in [*asked.items()]:
            if name in names:
                done(searcher, key)

    first = ask()
    assert first[0] == "weights of ppg, fold 0"
    assert set(first[1:-1]) == {piece.job.name for piece in found if piece.kind == "features" and not piece.after}
    assert first[-1] == "weights of ppg, fold 1"
    end(*first[1:-1])
    assert ask() == ["teacher of fold 0", "teacher of fold 1"]
    end("teacher of fold 0", "teacher of fold 1")
    lost = next(key for key, name in asked.items() if name == first[0])
    searcher.on_trial_complete(lost, error=True)
    assert searcher.takes_up(lost)
    assert ask() == [first[0]]
    done(searcher, str(len(asked) - 1))
    mine = ask()
    assert all(name.startswith("ppg of ") and name.endswith("fold 0") for name in mine)
    end(*mine)
    assert not preparation.ready(1)
    assert ask() == ["bridge-fold0"] * 4 + ["teacher-final-fold0-seed0"]
    end(first[-1])
    end(*ask())
    assert preparation.over
    assert preparation.saved == 1.5 * len(found)
    assert ask() == ["bridge-fold1"] * 4 + ["teacher-final-fold1-seed0"]


def test_nothing_is_prepared_for_what_is_known():
    asked = study(of=Study("bridge", 0, 4))
    assert asked.peek()
    assert asked.peek()
    ones = [asked.next() for _ in range(4)]
    assert [one.number for one in ones] == [*range(4)]
    rows = {one.number: rows_of(one)[0] for one in ones}
    assert not study(rows=[*rows.values()], of=Study("bridge", 0, 4)).peek()
    assert study(rows=[rows[0]], of=Study("bridge", 0, 4)).peek()


def ended_in(error: object = None, file: str | None = None) -> Exception:
    """What the driver ends with where a piece ended so."""
    searcher = StudiesSearcher([], lambda: 1, preparation=Preparation([]))
    board = Board({}, {}, slots=lambda: 1, pieces=1)
    watcher = Watcher(configure([]), searcher, "simulated", None, board, SimpleNamespace(read=str))
    trial = SimpleNamespace(
        trial_id="0",
        config={"piece": "ecg of S2, fold 0", "workers": 1},
        last_result={WRONG: error, "rows": []},
        error_file=file,
    )
    watcher.on_trial_start(0, [], trial)
    with pytest.raises(Ended) as found:
        (watcher.on_trial_error if file else watcher.on_trial_complete)(0, [], trial)
    return found.value.error


def test_what_a_piece_ends_in_is_what_the_run_ends_in(tmp_path):
    mistake = InputError("teacher.solver=lbfgs chooses")
    mistake.add_note("a traceback")
    assert ended_in(mistake) is mistake
    memory = MemoryError("8 PiB")
    memory.add_note('Traceback (most recent call last):\n  File "x", line 1\nMemoryError: 8 PiB')
    assert str(ended_in(memory)).startswith("ecg of S2, fold 0: out of memory: MemoryError: 8 PiB; free memory or run ")
    file = tmp_path / "error.txt"
    file.write_text("The actor died unexpectedly before finishing this task.")
    died = ended_in(file=str(file))
    assert isinstance(died, RunError)
    assert str(died).startswith(f"ecg of S2, fold 0: {DEATH}; free memory or run ")


def test_a_piece_is_no_training_and_takes_a_slot():
    board = Board({"bridge": 4}, {}, slots=lambda: 2, pieces=3)
    board.started(PREPARED)
    assert board.pace() == "1 of 2 slots"
    board.ended(PREPARED)
    assert (board.done, board.total, board.preparation.done) == (0, 4, 1)

"""A search that goes on is seen: a table on a terminal, a line now and then elsewhere."""

import sys
import time

import pytest

from benchmark.common.progress import Bar
from benchmark.search.board import Board
from tests.test_progress import Screen


def search(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Board:
    """Of six trainings two were done before, one fails, and one is sent to no further fold."""
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(Bar, "EVERY", 0.1)
    with Board({"bridge": 4, "kd_logits": 2}, {"bridge": 2}, slots=lambda: 2) as board:
        for name in ("bridge", "kd_logits"):
            board.started(name)
        assert board.pace() == "2 of 2 slots"
        time.sleep(0.25)
        board.ended("bridge", score=0.5)
        board.started("bridge")
        board.ended("bridge", score=0.75)
        time.sleep(0.25)
        assert board.pace().startswith("1 of 2 slots, ")
        board.ended("kd_logits", failed=True)
        board.settle()
    return board


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch):
    screen = Screen(terminal=True)
    board = search(screen, monkeypatch)
    last = screen.getvalue()[screen.getvalue().rindex("search") :]
    rows = {
        line.split()[1]: [cell.strip() for cell in line.split("│")[2:-1]] for line in last.splitlines() if "│" in line
    }
    assert rows == {"bridge": ["0", "4/4", "0", "0.750"], "kd_logits": ["0", "1/1", "1", ""]}
    assert "5 of 5 trainings; 0 of 2 slots" in last
    assert (board.done, board.total) == (5, 5)


def test_elsewhere_a_line_says_the_same(monkeypatch: pytest.MonkeyPatch):
    screen = Screen(terminal=False)
    search(screen, monkeypatch)
    *between, last = screen.getvalue().splitlines()
    assert last.startswith("trials 5/5 in ")
    assert between[0].startswith("trials 2/6 after 0 s: 2 of 2 slots")
    assert any("1 of 2 slots, " in line and line.endswith("left; best bridge 0.750") for line in between)


def test_each_worker_of_a_trial_has_a_slot() -> None:
    with Board({"kd_logits": 3}, {}, slots=lambda: 4) as board:
        for _ in range(2):
            board.started("kd_logits", workers=2)
        assert (board.methods["kd_logits"].running, board.pace()) == (2, "4 of 4 slots")
        board.lost("kd_logits", workers=2)
        assert board.pace() == "2 of 4 slots"
        board.ended("kd_logits", workers=2)
        assert board.pace().startswith("0 of 4 slots")

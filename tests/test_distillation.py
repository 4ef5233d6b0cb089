"""Every loss of distillation is its formula, computed here in another way, by NumPy and SciPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import kendalltau, pearsonr
from torch import Tensor

from baselines._distillation import without_target
from baselines._student import Outputs
from baselines.kd_crossmodal import rank_correlation
from baselines.kd_decoupled import decoupled
from baselines.kd_dist import distance
from baselines.kd_relational import relational
from baselines.kd_stages import enhanced, stage_ends
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from tests.test_students import STUDENTS
from tests.test_transfer import KD, make

T = KD["temperature"]


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def soft(s: np.ndarray, t: np.ndarray) -> float:
    return float(np.mean([T**2 * kl(softmax(b / T), softmax(a / T)) for a, b in zip(s, t, strict=True)]))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()


def z_scores(task: Task, block: int) -> np.ndarray:
    x = task.pooled("old", "pair", block).double().numpy()
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-8)


def logits_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    return soft(s, t)


def decoupled_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    total = []
    for a, b in zip(softmax(s / T, axis=1), softmax(t / T, axis=1), strict=True):
        y = b.argmax()
        binary = kl([b[y], 1 - b[y]], [a[y], 1 - a[y]])
        others = kl(np.delete(b, y) / (1 - b[y]), np.delete(a, y) / (1 - a[y]))
        total.append(T**2 * (binary + 3.0 * others))
    return float(np.mean(total))


def dist_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    p, q = softmax(s / T, axis=1), softmax(t / T, axis=1)
    inter = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(p, q, strict=True)])
    intra = np.mean([1 - pearsonr(a, b)[0] for a, b in zip(p.T, q.T, strict=True)])
    return float(T**2 * (inter + 2.0 * intra))


def features_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    hints = z_scores(task, 3)[rows]
    error = linear(m.helpers["regressor"], pooled[5]) - hints
    return soft(s, t) + 0.7 / 2 * float(np.sum(error**2)) / error.size


def contrast_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    ours = linear(m.helpers["student"], pooled[-1])
    theirs = linear(m.helpers["teacher"], z_scores(task, task.old.n_blocks)[rows])
    cosines = np.array([[unit(a) @ unit(b) / 0.1 for b in theirs] for a in ours])
    both = [-log_softmax(matrix, axis=1)[k, k] for matrix in (cosines, cosines.T) for k in range(len(rows))]
    return soft(s, t) + 0.7 * float(np.mean(both))


def huber(x: float) -> float:
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5


def relations_apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """By loops over all pairs and triples of different rows."""
    n = range(len(a))
    pairs = [(i, j) for i in n for j in n if i != j]
    lengths = [np.array([np.linalg.norm(x[i] - x[j]) for i, j in pairs]) for x in (a, b)]
    distances = np.mean([huber(u - v) for u, v in zip(*(x / x.mean() for x in lengths), strict=True)])
    angles = [
        huber(np.subtract(*(unit(x[i] - x[j]) @ unit(x[k] - x[j]) for x in (a, b))))
        for i, j in pairs
        for k in n
        if k not in (i, j)
    ]
    return float(distances), float(np.mean(angles))


def relational_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    theirs = task.pooled("old", "pair", task.old.n_blocks).double().numpy()[rows]
    distances, angles = relations_apart(pooled[-1], theirs)
    return soft(s, t) + 0.7 * (distances + 2 * angles)


def stages_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    # eight blocks in three stages end with blocks 1, 4 and 7
    logits = [linear(m.helpers["1"], pooled[1]), linear(m.helpers["4"], pooled[4]), s]
    total = []
    for one in logits:
        for a, b in zip(one / T, t / T, strict=True):
            p, logs, y = softmax(b), log_softmax(a), b.argmax()
            others = sum(p[c] * logs[c] for c in range(3) if c != y)
            total.append(-((1 + p[y]) ** 1.5) * logs[y] - others)
    return float(np.mean(total))


def crossmodal_loss(task: Task, m: Any, s: np.ndarray, pooled: list, t: np.ndarray, rows: np.ndarray) -> float:
    def proxied(layers: Any, x: np.ndarray) -> np.ndarray:
        hidden = linear(layers[0], x)
        return linear(layers[2], np.where(hidden > 0, hidden, 0.1 * hidden))

    ps = proxied(m.helpers["student"], pooled[-1])
    pt = proxied(m.helpers["teacher"], z_scores(task, task.old.n_blocks)[rows])
    label = t.argmax(1)
    loss = float(np.mean([-log_softmax(a)[y] for a, y in zip(s, label, strict=True)]))
    loss += soft(ps, s) + soft(s, ps) + soft(pt, t)
    without = [np.array([np.delete(a, y) for a, y in zip(x, label, strict=True)]) for x in (ps, pt)]
    chosen = [kendalltau(a, b)[0] > 0 for a, b in zip(pt, ps, strict=True)]
    assert 0 < sum(chosen) < len(chosen)
    both = [soft(x[None], y[None]) + soft(y[None], x[None]) for x, y in zip(*without, strict=True)]
    return loss + 0.7 * float(np.mean(np.where(chosen, both, 0)))


EXPECTED: dict[str, Callable[..., float]] = {
    "kd_logits": logits_loss,
    "kd_decoupled": decoupled_loss,
    "kd_dist": dist_loss,
    "kd_features": features_loss,
    "kd_contrast": contrast_loss,
    "kd_relational": relational_loss,
    "kd_stages": stages_loss,
    "kd_crossmodal": crossmodal_loss,
}


def outputs_of(task: Task, seed: int = 0, n: int = 7) -> tuple[Outputs, Tensor]:
    """What a student might make of some windows of pair, and their positions."""
    generator = torch.Generator().manual_seed(seed)
    widths = [task.new.shape_at(block + 1)[1] for block in range(task.new.n_blocks)]
    pooled = [torch.randn(n, width, generator=generator) for width in widths]
    logits = 2 * torch.randn(n, task.n_classes, generator=generator)
    return Outputs(logits.requires_grad_(), pooled), torch.randperm(len(task.indices("pair")), generator=generator)[:n]


@pytest.mark.parametrize("name", STUDENTS)
def test_a_loss_is_its_formula(task: Task, name: str):
    method, (outputs, rows) = make(name, task, STUDENTS[name]), outputs_of(task)
    pooled = [x.double().numpy() for x in outputs.pooled]
    teacher = task.teacher_logits("pair")[rows].double().numpy()
    expected = EXPECTED[name](task, method, outputs.logits.detach().double().numpy(), pooled, teacher, rows.numpy())
    assert method.batch_loss(outputs, rows).item() == pytest.approx(expected, rel=2e-5)


def test_standardised_logits_are_compared_as_z_scores(task: Task):
    method, (outputs, rows) = make("kd_logits", task, {**KD, "standardise": True}), outputs_of(task)
    teacher = task.teacher_logits("pair")[rows].double().numpy()
    s, t = ((x - x.mean(1)[:, None]) / x.std(1)[:, None] for x in (outputs.logits.detach().numpy(), teacher))
    assert method.batch_loss(outputs, rows).item() == pytest.approx(soft(s, t), rel=1e-5)
    shifted = Outputs(5 * outputs.logits + 3, ())
    assert method.batch_loss(shifted, rows).item() == pytest.approx(soft(s, t), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [("kd_logits", {}), ("kd_logits", {"standardise": True}), *((n, {}) for n in ("kd_decoupled", "kd_dist"))],
)
def test_a_student_that_is_the_teacher_has_no_loss(task: Task, name: str, options: dict[str, Any]):
    method = make(name, task, {**STUDENTS[name], **options})
    rows = torch.arange(7)
    assert method.batch_loss(Outputs(task.teacher_logits("pair")[rows], ()), rows).item() == pytest.approx(0, abs=1e-5)


def test_features_that_are_the_hint_have_no_loss(task: Task):
    method, (outputs, rows) = make("kd_features", task, STUDENTS["kd_features"]), outputs_of(task)
    with torch.no_grad():
        x, hint = outputs.pooled[5], method.hints[rows]
        method.helpers["regressor"].bias.zero_()
        method.helpers["regressor"].weight.copy_((torch.linalg.pinv(x) @ hint).T)
    same = Outputs(task.teacher_logits("pair")[rows], outputs.pooled)
    assert method.batch_loss(same, rows).item() == pytest.approx(0, abs=1e-5)


def test_relations_do_not_see_a_rotation_a_shift_or_a_scale(task: Task):
    method, rows = make("kd_relational", task, STUDENTS["kd_relational"]), torch.arange(7)
    embedding = task.pooled("old", "pair", task.old.n_blocks)[rows]
    rotation = torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(0)))[0]
    moved = Outputs(task.teacher_logits("pair")[rows], [3 * embedding @ rotation + 1])
    assert method.batch_loss(moved, rows).item() == pytest.approx(0, abs=1e-4)
    assert relational(embedding, embedding.flip(0))[1] > 0.01


def test_decoupled_parts_weighted_as_in_a_divergence_are_one():
    """Equation 7 of the paper: KD = TCKD + (1 - p_target) NCKD; with two classes TCKD is all of it."""
    s, t = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(1)).double()
    whole = kl(t.softmax(1)[0].numpy(), s.softmax(1)[0].numpy())
    assert decoupled(s, t, 1.0, 1 - t.softmax(1).max().item()).item() == pytest.approx(whole)
    two = [x[:, :2] for x in (s, t)]
    assert decoupled(*two, 1.0, 9.0).item() == pytest.approx(kl(two[1].softmax(1)[0], two[0].softmax(1)[0]))


def test_a_sure_teacher_enhances_its_class():
    teacher, student = torch.tensor([[4.0, 0.0, 0.0]]), torch.zeros(1, 3)
    assert enhanced(student, teacher, 2.0) > enhanced(student, teacher, 1.0)
    p = teacher.softmax(1)[0]
    assert enhanced(student, teacher, 1.0).item() == pytest.approx((1 + p.sum()).item() * np.log(3))
    assert stage_ends(8, 4) == [1, 3, 5, 7]
    assert stage_ends(3, 4) == [0, 1, 2]


def test_the_rank_correlation_is_scipys_with_ties_too():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 3.0, 0.0], [2.0, 0.0, 1.0, 5.0], [1.0, 1.0, 1.0, 1.0]])
    y = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 2.0, 2.0, 1.0], [2.0, 1.0, 0.0, 5.0], [1.0, 2.0, 3.0, 4.0]])
    expected = [kendalltau(a, b)[0] for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(x, y), np.nan_to_num(expected), atol=1e-6)
    assert without_target(x, torch.tensor([0, 3, 1, 2])).sort(1).values[1].tolist() == [1.0, 1.0, 3.0]


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("case", ["one window", "equal windows", "certain"])
def test_gradients_are_finite_where_a_formula_divides_by_nothing(task: Task, name: str, case: str):
    method, (outputs, rows) = make(name, task, STUDENTS[name]), outputs_of(task, n=1 if case == "one window" else 4)
    rows = rows[:1].expand(len(rows)) if case == "equal windows" else rows
    scale = 1e4 if case == "certain" else 1.0
    logits = (scale * (outputs.logits.detach()[:1].expand(len(rows), -1))).requires_grad_()
    pooled = [x[:1].repeat(len(rows), 1).requires_grad_() for x in outputs.pooled]
    method.batch_loss(Outputs(logits, pooled), rows).backward()
    for tensor in (logits, *pooled, *method.helpers.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


def test_two_classes_leave_windows_to_compare():
    """Over two classes a correlation is 1 or -1; over windows it is not."""
    s, t = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(2)).softmax(2)
    s.requires_grad_()
    assert set(np.round(distance(s[:1], t[:1]).detach().numpy(), 4).ravel()) <= {0.0, 2.0}
    (distance(s, t) + distance(s.T, t.T)).backward()
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().max() > 1e-3


def test_who_is_learnt_from_does_not_move(task: Task):
    method = make("kd_crossmodal", task, STUDENTS["kd_crossmodal"])
    learner, source = (torch.randn(4, 3).requires_grad_() for _ in range(2))
    method._each(learner, source).sum().backward()
    assert learner.grad.abs().max() > 0
    assert source.grad is None


def test_z_scores_of_two_classes_are_refused(task: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Task, "n_classes", 2)
    with pytest.raises(InputError, match="standardise=true leaves nothing to learn of two classes"):
        make("kd_logits", task, {**KD, "standardise": True})

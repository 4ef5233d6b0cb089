"""The teacher's head, by scikit-learn or by the paper's training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmark.config.schema import TeacherOptions
from benchmark.errors import InputError
from benchmark.frozen.task import Task
from benchmark.frozen.teacher import class_weights, fit_head
from tests.conftest import changed

OPTIONS = TeacherOptions(solver="lbfgs", class_weighted=True, learning_rate=1e-2, epochs=60, batch_size=16)


def blobs(n_classes: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, 300)
    centres = 3 * rng.standard_normal((n_classes, 6))
    pooled = 10 + 5 * (centres[label] + rng.standard_normal((300, 6)))
    return torch.tensor(pooled, dtype=torch.float32), label, rng.integers(0, 6, 300)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_linear_head_says_what_scikit_learn_says(n_classes):
    pooled, label, subject = blobs(n_classes)
    head = fit_head(pooled, label, subject, n_classes, OPTIONS, seed=0)
    said = head(pooled).softmax(1).numpy()
    x = StandardScaler().fit_transform(pooled.numpy())
    references = [
        LogisticRegression(C=c, class_weight="balanced", max_iter=2000).fit(x, label).predict_proba(x)
        for c in (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    ]
    assert min(np.abs(said - reference).max() for reference in references) < 1e-3


def test_the_papers_solver_learns_too():
    pooled, label, subject = blobs(3)
    head = fit_head((pooled - 10) / 15, label, subject, 3, OPTIONS.model_copy(update={"solver": "adam"}), seed=0)
    assert (head((pooled - 10) / 15).argmax(1).numpy() == label).mean() > 0.9


def test_class_weights_are_one_over_count():
    assert class_weights(torch.tensor([0, 0, 0, 0, 2]), 3).tolist() == [0.25, 1.0, 1.0]


def test_a_fine_tuned_teacher_is_trained_once_and_found_again(small):
    tuned = changed(small, teacher={"training": "finetune", "epochs": 2, "learning_rate": 1e-3})
    task = Task(tuned, 0)
    untrained = Task(small, 0).old
    _ = task.head
    assert any(not torch.equal(a, b) for a, b in zip(untrained.parameters(), task.old.parameters(), strict=True))
    assert not any(p.requires_grad for p in task.old.parameters())
    assert task.kept_teacher.path.exists()  # named by the weights before they were tuned
    files = {file: file.stat().st_mtime_ns for file in (Path(small.cache) / "teachers").iterdir()}
    again = Task(tuned, 0)
    assert torch.equal(again.teacher_logits("test"), task.teacher_logits("test"))
    assert files == {file: file.stat().st_mtime_ns for file in (Path(small.cache) / "teachers").iterdir()}


def test_the_teacher_reads_train_labels_alone(small):
    task, spoiled = Task(small, 0), Task(small.model_copy(update={"cache": f"{small.cache}-spoiled"}), 0)
    outside = np.concatenate([task.indices(split) for split in ("val", "pair", "test")])
    spoiled.data.label.setflags(write=True) if not spoiled.data.label.flags.writeable else None
    spoiled.data.label[outside] = 0
    assert torch.equal(task.head.weight, spoiled.head.weight)


def test_one_subject_or_one_class_is_too_few_to_choose_a_penalty():
    pooled, label, subject = blobs(2)
    with pytest.raises(InputError, match="one of subjects; give data"):
        fit_head(pooled, label, subject * 0, 2, OPTIONS, seed=0)
    with pytest.raises(InputError, match="one of classes"):
        fit_head(pooled, label * 0, subject, 2, OPTIONS, seed=0)

"""The teacher: the old modality's encoder with a linear head, as a probe or fine-tuned, from ``train`` labels alone."""

import sys
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.common.keys import source_digest
from benchmark.common.progress import Progress, silent
from benchmark.config.schema import Config, TeacherOptions
from benchmark.data.base import PairedWindows, Windows
from benchmark.data.splits import Split
from benchmark.encoders import base
from benchmark.encoders.base import Encoder
from benchmark.errors import InputError
from benchmark.frozen import calibration as calibrating
from benchmark.frozen.features import Features
from benchmark.frozen.weights import Kept, encoder_module

C_GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def class_weights(label: Tensor, n_classes: int) -> Tensor:
    """1 / count per class, as in the paper; a class that is absent counts as one window."""
    return 1.0 / torch.bincount(label, minlength=n_classes).clamp(min=1)


def fit_head(
    pooled: Tensor, label: np.ndarray, subject: np.ndarray, n_classes: int, options: TeacherOptions, seed: int
) -> nn.Linear:
    """A linear head on pooled features (N, D).

    ``options.solver``: ``lbfgs`` (scikit-learn's logistic regression on standardised features, its penalty chosen by
    cross-validation over the training subjects) or ``adam`` (the paper's training).
    """
    check_probe(options, label, subject)
    device, pooled = pooled.device, pooled.cpu()  # small, and then the same on all devices
    if options.solver == "lbfgs":
        return _fit_logistic(pooled, label, subject, n_classes, options.class_weighted, seed).to(device)
    head = new_head(pooled.shape[1], n_classes, seed)
    optimizer = torch.optim.Adam(head.parameters(), lr=options.learning_rate)
    target = torch.from_numpy(label)
    weight = class_weights(target, n_classes) if options.class_weighted else None
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.epochs):
        for batch in torch.randperm(len(target), generator=generator).split(options.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(head(pooled[batch]), target[batch], weight).backward()
            optimizer.step()
    return head.requires_grad_(False).to(device)


def check_probe(options: TeacherOptions, label: np.ndarray, subject: np.ndarray) -> None:
    """InputError for windows that a probe cannot be fitted on."""
    for what, found in (("subjects", subject), ("classes", label)):
        if (options.training, options.solver) == ("probe", "lbfgs") and len(np.unique(found)) < 2:
            raise InputError(
                f"teacher.solver=lbfgs chooses its penalty between training subjects, but these windows have one of "
                f"{what}; give data.split more training subjects, or teacher.solver=adam"
            )


def _fit_logistic(
    pooled: Tensor, label: np.ndarray, subject: np.ndarray, n_classes: int, class_weighted: bool, seed: int
) -> nn.Linear:
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(class_weight="balanced" if class_weighted else None, max_iter=2000, random_state=seed),
    )
    folds = GroupKFold(min(5, len(np.unique(subject))))
    search = GridSearchCV(model, {"logisticregression__C": C_GRID}, cv=folds, scoring="balanced_accuracy")
    search.fit(pooled.double().numpy(), label, groups=subject)
    scaler, logistic = search.best_estimator_
    return as_linear(scaler, logistic, n_classes)


def as_linear(scaler: StandardScaler, logistic: LogisticRegression, n_classes: int) -> nn.Linear:
    """A logistic regression on standardised features as one linear layer on the features as they are."""
    weight = np.zeros((n_classes, len(scaler.scale_)))
    bias = np.full(n_classes, -30.0)  # a class that no training window has is not predicted
    coefficients, intercepts = logistic.coef_ / scaler.scale_, logistic.intercept_
    intercepts = intercepts - coefficients @ scaler.mean_
    if len(logistic.classes_) == 2:  # one row that speaks for the second class
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    weight[logistic.classes_], bias[logistic.classes_] = coefficients, intercepts
    return linear(weight, bias)


def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    """A frozen layer in float32 of ``weight`` (out, in) and ``bias`` (out,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer.requires_grad_(False)


def new_head(width: int, n_classes: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, n_classes)


def finetune(
    encoder: Encoder,
    head: nn.Linear,
    windows: Windows,
    indices: np.ndarray,
    label: np.ndarray,
    options: TeacherOptions,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Train all weights of encoder and head, in place, on ``windows[indices]`` with ``label`` (len(indices),)."""
    encoder.requires_grad_(True)
    head.requires_grad_(True)
    encoder.train()
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=options.learning_rate)
    target = torch.from_numpy(label).to(encoder.device)
    weight = class_weights(target, head.out_features) if options.class_weighted else None
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(options.epochs):
        for batch in torch.randperm(len(target), generator=generator).split(options.batch_size):
            inputs = encoder.inputs(windows.take(indices[batch.numpy()]))
            optimizer.zero_grad()
            F.cross_entropy(head(encoder.pool(encoder(inputs))), target[batch], weight).backward()
            optimizer.step()
        progress(epoch + 1, options.epochs, "fine-tuning")
    encoder.freeze()
    head.requires_grad_(False)


def kept_teacher(config: Config, data: PairedWindows, split: Split, encoder: Encoder) -> Kept:
    """The teacher that is made of a pre-trained encoder and the labels of ``train``."""
    key = {
        "what": "teacher",
        "encoder": encoder.name,
        "preset": encoder.preset,
        "weights": encoder.fingerprint(),
        **data.windows_key(encoder.signal.modality, split.train),
        **data.labels_key(split.train),
        "options": config.teacher.model_dump(),
        "features": config.features.model_dump(),
        "seed": config.seed,
        "code": source_digest(sys.modules[__name__], base, encoder_module(encoder.name)),
    }
    return Kept(config, "teachers", key)


def kept_head(config: Config, data: PairedWindows, split: Split, encoder: Encoder, calibration: str) -> Kept:
    """A head on features of the teacher's encoder that are standardised within each wearer."""
    wearers = np.unique(data.subject[split.train])
    key = {
        "what": "head",
        "weights": encoder.fingerprint(),
        "subjects": [data.subject_key(encoder.signal.modality, one) for one in wearers],
        **data.moments_key(np.flatnonzero(np.isin(data.subject, wearers))),
        **data.windows_key(encoder.signal.modality, split.train),
        **data.labels_key(split.train),
        "calibration": {"kind": calibration, **config.wearer.model_dump()},
        "options": config.teacher.model_dump(),
        "features": config.features.model_dump(),
        "seed": config.seed,
        "code": source_digest(sys.modules[__name__], calibrating, base, encoder_module(encoder.name)),
    }
    return Kept(config, "teachers", key)


def train(
    config: Config,
    data: PairedWindows,
    split: Split,
    encoder: Encoder,
    features: Features,
    kept: Kept,
    progress: Progress = silent,
) -> nn.Linear:
    """The teacher's head, frozen; ``encoder`` is fine-tuned in place where the configuration asks for it.

    ``features`` are those of the encoder as it was pre-trained; ``kept``, from ``kept_teacher``, is what is found, or
    kept from now on.
    """
    options, seed = config.teacher, config.seed
    label, n_classes = data.label[split.train], len(data.classes)
    head = new_head(encoder.shape_at(encoder.n_blocks)[1], n_classes, seed).to(encoder.device)
    parts: dict[str, nn.Module] = {"head.": head}
    if options.training == "finetune":
        parts["encoder."] = encoder

    def compute() -> Mapping[str, Tensor]:
        if options.training == "finetune":
            windows = data.side(encoder.signal.modality)
            finetune(encoder, head, windows, split.train, label, options, seed, progress)
        else:
            pooled = features.pooled(split.train, encoder.n_blocks)
            fitted = fit_head(pooled, label, data.subject[split.train], n_classes, options, seed)
            head.load_state_dict(fitted.state_dict())
        return {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}

    found = kept.tensors(compute)
    for prefix, part in parts.items():
        part.load_state_dict({name.removeprefix(prefix): found[name] for name in found if name.startswith(prefix)})
    encoder.freeze()
    return head.requires_grad_(False)

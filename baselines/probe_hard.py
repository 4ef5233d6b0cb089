"""A logistic regression on frozen new features that learns the teacher's most likely class of each pair."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from baselines._features import LinearOnFeatures
from benchmark.frozen.teacher import as_linear, linear
from search_spaces.probe_hard import Options


class HardProbe(LinearOnFeatures):
    """The simplest transfer there is: what it cannot beat need not be trained. Features are standardised over pair."""

    name = "probe_hard"
    label = "Hard probe"
    seeded = False

    def fit(self, x: Tensor, options: Options, seed: int) -> None:
        said = self.task.teacher_logits("pair").argmax(1).cpu().numpy()
        k = self.task.n_classes
        if len(np.unique(said)) == 1:  # a teacher with one opinion on all pairs
            self.keep(linear(np.zeros((k, x.shape[1])), np.where(np.arange(k) == said[0], 0.0, -30.0)))
            return
        scaler = StandardScaler()
        standardised = scaler.fit_transform(x.double().cpu().numpy())
        balance = "balanced" if options.class_weighted else None
        model = LogisticRegression(C=options.c, class_weight=balance, max_iter=2000, random_state=seed)
        self.keep(as_linear(scaler, model.fit(standardised, said), k))

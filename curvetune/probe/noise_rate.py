"""An estimate of the share of wrong labels, for methods that must be told.

A mixture of two Gaussians over each sample's mean loss, as Arazo et al., "Unsupervised Label Noise
Modeling and Loss Correction", ICML 2019, section 3.1, do with a beta mixture. The losses are first
centred by the median of their given class, since rare classes have high losses whatever their
labels; so it is for rates below one half. It overestimates clean data, whose hard samples are a
component too: docs/methods.md.
"""

import numpy as np
from numpy.typing import NDArray

FEWEST = 10  # samples that a mixture of two is fitted to; below, the estimate is 0


def estimate_noise_rate(curves: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Return the estimated share of wrong labels, in [0, 1).

    Args:
        curves: (N, T) losses; rows of NaN, which the probe never saw, are left out.
        y: (N,) given labels.
    """
    # Inside: it takes 1.5 s to import, and most methods never come here.
    from sklearn.mixture import GaussianMixture

    seen = ~np.isnan(curves).any(axis=1)
    losses, y = np.asarray(curves[seen], np.float64).mean(axis=1), y[seen]
    if len(losses) < FEWEST:
        return 0.0
    for k in np.unique(y):
        losses[y == k] -= np.median(losses[y == k])
    mixture = GaussianMixture(2, n_init=3, random_state=0).fit(losses[:, None])
    wrong = mixture.predict_proba(losses[:, None])[:, mixture.means_.argmax()]
    return float(min(wrong.mean(), 0.99))

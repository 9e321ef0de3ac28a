"""The density ratio of two sets of points. In: embeddings and marks. Out: one ratio for each point. Knows no text, no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 100
TOLERANCE = 1e-9


def density_ratios(embeddings: Floats, good: NDArray[np.bool_], fitted: NDArray[np.intp]) -> Floats:
    """p(good | x) / p(bad | x) of every point, both marks taken as equally frequent: exp of a fitted linear function.

    embeddings: [N, D]; good: [N]; fitted: indices of the points that the function is fitted to, of both marks.
    """
    points = np.concatenate([embeddings, np.ones((len(embeddings), 1))], axis=1)
    coefficients = fit(points[fitted], good[fitted])
    ratios: Floats = np.exp(np.clip(points @ coefficients, -50, 50))
    return ratios


def fit(points: Floats, good: NDArray[np.bool_]) -> Floats:
    """Coefficients [D + 1] of a logistic regression whose last column is the intercept.

        1/2 |w|^2 + sum_i c_i log(1 + exp(-y_i f(x_i))),   f = w x + b,   c_i: half of all points / those of the same mark

    The minimum, by Newton's method; w is held small as is usual (C = 1), b is free.
    """
    signs = np.where(good, 1.0, -1.0)
    shares = len(good) / (2 * np.where(good, good.sum(), (~good).sum()))
    ridge = np.append(np.ones(points.shape[1] - 1), 0.0)
    found = np.zeros(points.shape[1])

    def loss(at: Floats) -> float:
        return float(0.5 * ridge @ at**2 + shares @ np.logaddexp(0, -signs * (points @ at)))

    for _ in range(STEPS):
        wrong = 1 / (1 + np.exp(np.clip(signs * (points @ found), -500, 500)))
        slope = ridge * found - points.T @ (shares * signs * wrong)
        if np.abs(slope).max() < TOLERANCE * len(good):
            break
        curvature = points.T @ (points * (shares * wrong * (1 - wrong))[:, None]) + np.diag(ridge + 1e-12)
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        while size > TOLERANCE and loss(found - size * step) > loss(found):
            size /= 2
        found = found - size * step
    return found

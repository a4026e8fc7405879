"""Do two ways to initialize give one distribution? Parameter by parameter, and law by law with all that share it.

    constants, tables       equal to 1e-6 of the largest
    random values           two-sample Kolmogorov–Smirnov; t test of the means; F test of the variances with effective
                            degrees of freedom 2n/(kurtosis − 1); extremes: how many values of one lie past all of
                            the other, of which the chance is (its share)^count, so truncation is at the same place
    orthogonal matrices     singular values, to 1e-4; besides, the tests of random values, which are conservative there
    a stated law            the same with one sample: Kolmogorov–Smirnov, t, chi-squared, the law of the extremes

FAMILY bounds the chance that right presets would have failed with other seeds, over all comparisons of all cases:
each of at most CASES cases has an equal share, which its own comparisons divide (Bonferroni).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "ALL",
    "CASES",
    "ENOUGH",
    "FAMILY",
    "LEVEL",
    "SEEDS",
    "Finding",
    "Values",
    "equal",
    "law_of",
    "same",
    "spectrum",
]

FAMILY = 1e-3
CASES = 250
LEVEL = FAMILY / CASES
"""A case's share, for all its p-values together."""
ALL = os.environ.get("INITPOLICY_PARITY") == "1"
"""The full suite, which the report is made of."""
ENOUGH, SEEDS = 10_000, 100 if ALL else 24
"""Values that a law's pool is to reach (a tenth more spread is then 9 standard errors), and seeds to spend on it."""
MOST = 200_000
"""Values of a pool that are compared."""
FEW = 50
"""With fewer values a parameter is compared in its law's pool only."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: of what, how, and how likely so large a difference is where there is none."""

    name: str
    how: str
    p: float


def equal(name: str, one: Values, other: Values) -> Finding:
    """Of constants: 1 or 0."""
    scale = max(float(np.abs(one).max(initial=0)), float(np.abs(other).max(initial=0)))
    alike = one.shape == other.shape and bool(np.all(np.abs(one - other) <= 1e-6 * scale))
    return Finding(name, "equal", float(alike))


def spectrum(name: str, ours: Values, theirs: Values) -> Finding:
    """Of orthogonal matrices of one shape: 1 or 0."""
    one, other = (np.linalg.svd(values.reshape(len(values), -1), compute_uv=False) for values in (ours, theirs))
    return Finding(name, "singular values", float(np.allclose(one, other, rtol=1e-4, atol=1e-5)))


def same(name: str, ours: Values, theirs: Any) -> Iterator[Finding]:
    """Two samples, or one and a frozen distribution of scipy."""
    ours = _thinned(ours)
    if isinstance(theirs, np.ndarray):
        theirs = _thinned(theirs)
        yield Finding(name, "KS", float(stats.ks_2samp(ours, theirs, method="asymp").pvalue))
        yield Finding(name, "mean", float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue))
        yield Finding(name, "spread", _spread(ours, theirs))
        yield Finding(name, "extremes", _extremes(ours, theirs))
    else:
        yield Finding(name, "KS", float(stats.kstest(ours, theirs.cdf, method="asymp").pvalue))
        yield Finding(name, "mean", float(stats.ttest_1samp(ours, theirs.mean()).pvalue))
        yield Finding(name, "spread", _spread_of(ours, theirs))
        yield Finding(name, "extremes", _extremes_of(ours, theirs))


def law_of(how: Iterable[Finding]) -> str:
    """The kinds of comparison, in words."""
    return ", ".join(sorted({finding.how for finding in how}))


def _thinned(values: Values) -> Values:
    return values[:: max(1, -(-len(values) // MOST))]


def _freedom(*samples: Values) -> list[float]:
    """Of each sample's variance: 2n/(kurtosis − 1), the kurtosis that of all together."""
    centred = np.concatenate([sample - sample.mean() for sample in samples])
    scale = float(np.abs(centred).max(initial=0)) or 1.0
    powers = (centred / scale) ** 2
    second = float(powers.mean())
    kurtosis = float((powers**2).mean()) / second**2 if second else 3.0
    return [2 * len(sample) / (max(kurtosis, 1.5) - 1) for sample in samples]


def _two_sided(below: float, above: float) -> float:
    return min(1.0, 2 * min(below, above))


def _spread(ours: Values, theirs: Values) -> float:
    one, other = float(ours.var()), float(theirs.var())
    if not one or not other:
        return float(one == other)
    law = stats.f(*_freedom(ours, theirs))
    return _two_sided(float(law.cdf(one / other)), float(law.sf(one / other)))


def _spread_of(ours: Values, law: Any) -> float:
    freedom = _freedom(ours)[0]
    value = float(((ours - law.mean()) ** 2).mean()) / float(law.var()) * freedom
    chance = stats.chi2(freedom)
    return _two_sided(float(chance.cdf(value)), float(chance.sf(value)))


def _extremes(ours: Values, theirs: Values) -> float:
    """Of four: values of either above, and below, all of the other."""
    found = []
    for one, other in ((ours, theirs), (theirs, ours)):
        share = len(one) / (len(one) + len(other))
        found += [share ** int((one > other.max()).sum()), share ** int((one < other.min()).sum())]
    return min(1.0, 4 * min(found))


def _extremes_of(ours: Values, law: Any) -> float:
    """Of four: the largest and the smallest, each too far out and not far enough."""
    low, high = law.support()
    slack = 1e-6 * float(law.std())
    if ours.min() < low - slack or ours.max() > high + slack:
        return 0.0
    found = []
    for tail in (float(law.sf(min(ours.max(), high - slack))), float(law.cdf(max(ours.min(), low + slack)))):
        inside = float(np.exp(len(ours) * np.log1p(-tail)))  # the chance that all lie within
        found += [inside, -float(np.expm1(len(ours) * np.log1p(-tail)))]
    return min(1.0, 4 * min(found))

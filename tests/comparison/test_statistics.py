"""The statistics agree with scipy, with published examples, and with what simulation says about them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from crossover.comparison.analysis import quantiles
from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.verdicts import judge

# Darwin's maize: heights of crossed less self-fertilised plants, in eighths of an inch. Fisher, The Design of
# Experiments (1935), sections 17 and 21: t = 2.148, and 863 of 32768 sign patterns reach a sum as far on one side.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_t_test_gives_fishers_value_for_darwins_maize():
    """Student's t over Darwin's pairs is 2.148 on 14 degrees of freedom."""
    assert st.t_test(DARWIN) == pytest.approx(2 * stats.t.sf(2.148, 14), rel=1e-3)


def test_sign_flips_give_fishers_count_for_darwins_maize():
    """The exact randomisation test counts 2 * 863 of 2^15 patterns."""
    assert st.sign_flip_test(DARWIN, seed=0) == pytest.approx(2 * 863 / 2**15)


def test_mean_interval_is_scipys():
    """The t interval is that of scipy.stats.ttest_1samp."""
    theirs = stats.ttest_1samp(DARWIN, 0).confidence_interval(0.95)
    ours = st.mean_interval(DARWIN)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_bootstrap_is_close_to_scipys():
    """The block bootstrap agrees with scipy's percentile bootstrap within the error of both."""
    theirs = stats.bootstrap((DARWIN,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    ours = st.bootstrap_interval(DARWIN, seed=2, draws=20_000)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.7)


def test_random_sign_flips_agree_with_exact_ones(monkeypatch):
    """Where patterns are too many to try, a sample of them gives nearly the same p-value."""
    monkeypatch.setattr(st, "EXACT_SIGN_FLIPS", 3)
    assert st.sign_flip_test(DARWIN, seed=3) == pytest.approx(2 * 863 / 2**15, abs=0.006)


def test_hodges_lehmann_is_the_median_of_walsh_averages():
    """It is 2.5 for (1, 2, 3, 100): half of the pairwise means lie below."""
    walsh = [1, 1.5, 2, 50.5, 2, 2.5, 51, 3, 51.5, 100]
    assert st.hodges_lehmann([1, 2, 3, 100]) == np.median(walsh)


def test_holm_gives_the_textbook_adjustment():
    """p = .01, .04, .03, .005 become .03, .06, .06, .02 (R: p.adjust, method "holm")."""
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_superiority_is_the_mann_whitney_u_over_the_pairs():
    """A12 = U / (m n), with ties counted half."""
    a, b = [1, 2, 2, 5, 9], [2, 3, 4, 4]
    u = stats.mannwhitneyu(b, a).statistic
    assert st.superiority(a, b) == pytest.approx(u / 20)


@pytest.mark.parametrize(("p", "count"), [(0.5, 6), (0.99, 368), (0.999, 3688)])
def test_smallest_samples_for_quantiles(p, count):
    """An interval exists as soon as max(p, 1 - p)^n is at most 2.5 %, and not with one value fewer."""
    assert quantiles.fewest(p) == count
    assert quantiles.ranks(count, p) is not None
    assert quantiles.ranks(count - 1, p) is None


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_quantile_intervals_cover_the_true_quantile(p):
    """Order-statistic intervals hold the true quantile in at least 95 % of samples (less simulation error)."""
    random, runs = np.random.default_rng(4), 1000
    truth = stats.expon.ppf(p)
    intervals = [quantiles.quantile(random.exponential(size=400), p) for _ in range(runs)]
    covered = sum(interval.covers(truth) for interval in intervals if interval is not None)
    assert covered / runs > 0.93


def test_a_quantile_without_interval_is_none():
    """With 100 values p99 has no interval, so it is not given."""
    assert quantiles.quantile(range(100), 0.99) is None


@given(some.integers(0, 50), some.integers(1, 50))
def test_clopper_pearson_is_scipys(hits, more):
    """The exact interval of a share is that of scipy.stats.binomtest."""
    theirs = stats.binomtest(hits, hits + more).proportion_ci(0.95, "exact")
    ours = quantiles.proportion(hits, hits + more)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_equal_arms_are_covered_at_the_nominal_rate():
    """A/A: over 2000 simulated runs of 6 blocks the interval of the ratio holds 1 in 95 % of them."""
    random, runs = np.random.default_rng(5), 2000
    covered = 0
    for _ in range(runs):
        shared = random.normal(7, 0.2, 6)
        one, two = np.exp(shared + random.normal(0, 0.03, 6)), np.exp(shared + random.normal(0, 0.03, 6))
        interval = st.mean_interval(st.log_ratios(one, two))
        covered += interval is not None and interval.covers(0)
    assert 0.935 <= covered / runs <= 0.965


def test_holm_keeps_false_verdicts_on_equal_arms_rare():
    """Over families of 9 equal cells, any of them is called better in at most about 5 % of runs."""
    random, runs = np.random.default_rng(6), 300
    wrong = 0
    for _ in range(runs):
        cells = random.normal(0, 0.2, (9, 6))
        adjusted = st.holm([st.t_test(cell) for cell in cells])
        verdicts = [judge(cell, seed=1, holm_p=p).verdict for cell, p in zip(cells, adjusted, strict=True)]
        wrong += any(verdict in {"grpc", "rest"} for verdict in verdicts)
    assert wrong / runs < 0.08


@pytest.mark.parametrize(
    ("differences", "resolution", "verdict"),
    [
        ([-0.30, -0.32, -0.31, -0.29, -0.30, -0.33], 0.02, "grpc"),
        ([0.30, 0.32, 0.31, 0.29, 0.30, 0.33], 0.02, "rest"),
        ([0.01, -0.01, 0.012, -0.011, 0.0, 0.002], 0.02, "equal"),
        ([0.5, -0.4, 0.3, -0.6, 0.2, 0.1], 0.02, "undecided"),
        ([0.30, 0.32, 0.31, 0.29, 0.30, 0.33], 0.40, "undecided"),
    ],
)
def test_verdicts(differences, resolution, verdict):
    """Below 1 gRPC is better, above it REST; tight around 1 equal; wide, or within the A/A distance, undecided."""
    d = np.array(differences)
    assert judge(d, seed=1, holm_p=st.t_test(d), resolution=resolution).verdict == verdict


def test_undecided_says_how_many_more_blocks():
    """The number of blocks that it names makes the interval narrow enough, and one fewer does not."""
    d = np.array([0.10, -0.02, 0.12, 0.05, -0.04, 0.06])
    needed = st.blocks_needed(d)
    assert needed is not None
    assert needed > len(d)
    reaches = [stats.t.ppf(0.975, b - 1) * d.std(ddof=1) / math.sqrt(b) for b in (needed, needed - 1)]
    assert reaches[0] < d.mean() <= reaches[1]
    assert judge(d, seed=1, holm_p=st.t_test(d)).more_blocks == needed - len(d)


def test_one_block_gives_no_interval():
    """With one block the verdict is undecided and has no interval."""
    judged = judge(np.array([0.5]), seed=1, holm_p=1.0)
    assert (judged.verdict, judged.interval) == ("undecided", None)

"""The distributions of scipy.special that the lab uses are those of scipy.stats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crossover.comparison.analysis.distributions import beta_quantile, binomial_quantile, t_above, t_quantile

SHARE = st.floats(0.0005, 0.9995)


@given(SHARE, st.floats(1, 2000), st.floats(-40, 40))
def test_student_s_t(p, freedom, t):
    assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-12)
    assert t_above(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)


@given(SHARE, st.integers(1, 5000), st.data())
def test_beta(p, count, data):
    hits = data.draw(st.integers(0, count))
    assert beta_quantile(p, hits + 1, count - hits + 1) == pytest.approx(stats.beta.ppf(p, hits + 1, count - hits + 1))


@given(SHARE, st.integers(1, 20_000), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]))
def test_binomial(q, count, p):
    hits = binomial_quantile(q, count, p)
    assert stats.binom.cdf(hits, count, p) >= q - 1e-12
    assert stats.binom.cdf(hits - 1, count, p) < q + 1e-12

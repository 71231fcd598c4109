// Quantiles and intervals of what was measured; nothing here knows of requests or pages.

/** The q-quantile of sorted values by linear interpolation (type 7 of Hyndman and Fan); NaN without values. */
export function quantile(sorted, q) {
  if (!sorted.length) return NaN;
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
}

export const sorted = (values) => Float64Array.from(values).sort();

/** Counts in `bins` equal steps of log10 between `low` and `high`; values outside go to the ends. */
export function histogram(values, low, high, bins) {
  const counts = new Array(bins).fill(0);
  const [from, to] = [Math.log10(low), Math.log10(high)];
  for (const value of values) {
    const at = Math.floor(((Math.log10(value) - from) / (to - from)) * bins);
    counts[Math.min(bins - 1, Math.max(0, at))] += 1;
  }
  return counts;
}

const FEWEST_PAIRS = 6; // below six the whole range covers the median in less than 95 of 100 cases

/**
 * The median of the ratios a/b of pairs, with the order statistics that cover it in at least 95 of 100 cases whatever
 * the distribution is (the sign test's interval); null for fewer than six pairs.
 */
export function medianRatio(pairs) {
  const ratios = sorted(pairs.map(([a, b]) => a / b));
  if (ratios.length < FEWEST_PAIRS) return null;
  const rank = coverRank(ratios.length);
  return { ratio: quantile(ratios, 0.5), low: ratios[rank], high: ratios[ratios.length - 1 - rank] };
}

/** The largest k for which fewer than k + 1 of n fair coins show heads in at most 2.5 of 100 cases. */
function coverRank(n) {
  let term = -n * Math.LN2; // log of C(n, 0) / 2^n; exp of it only in the sum, so that n = 2000 does not underflow first
  let below = Math.exp(term);
  let rank = 0;
  while (below + Math.exp(term + Math.log((n - rank) / (rank + 1))) <= 0.025) {
    term += Math.log((n - rank) / (rank + 1));
    rank += 1;
    below += Math.exp(term);
  }
  return rank;
}

/** Whether the interval leaves out equality. */
export const differs = ({ low, high }) => low > 1 || high < 1;

/** In which order requests are sent: rounds in which each upstream has its turn, shuffled anew. */
export function* rounds(names, count, random = Math.random) {
  for (let round = 0; round < count; round++) {
    const order = [...names];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    for (const name of order) yield { name, round };
  }
}

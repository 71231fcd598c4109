// Quantiles of what was measured; nothing here knows of requests or pages.

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

/** In which order requests are sent: rounds in which each upstream has its turn, shuffled anew. */
export function* rounds(names, count, random = Math.random) {
  for (let round = 0; round < count; round++) {
    const order = [...names];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    yield* order;
  }
}

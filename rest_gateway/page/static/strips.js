// Latency distributions as strips that grow: one row an upstream, all on one logarithmic axis.

import { svg, styled } from "./dom.js";
import { t } from "./language.js";
import { ms } from "./numbers.js";
import { histogram, quantile } from "./quantiles.js";
import { colour } from "./upstreams.js";

const [LANE, GAP, AXIS, BIN] = [62, 12, 26, 9];
const [LEAST, MOST] = [0.02, 20000];
const TEXT = 13;

/** `lanes`: Map of upstream to its sorted latencies in milliseconds; `width` in CSS pixels. */
export function strips(lanes, width) {
  const [low, high] = range([...lanes.values()]);
  const x = (value) => (Math.log10(Math.max(low, value) / low) / Math.log10(high / low)) * width;
  const height = lanes.size * (LANE + GAP) + AXIS;
  const rows = [...lanes].map(([name, values], i) => lane(name, values, [low, high, width], x, i * (LANE + GAP) + LANE));
  const names = [...lanes].map(([upstream, values]) => t("strip", {
    upstream, median: ms(quantile(values, 0.5)), p99: ms(quantile(values, 0.99)), count: values.length,
  }));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": names.join("; "), class: "strips" },
    ...axis([low, high, width], x, height), ...rows);
}

function range(all) {
  const filled = all.filter((values) => values.at(-1) > 0); // in the gateway's own process the hop takes nothing
  if (!filled.length) return [0.1, 100];
  const least = Math.min(...filled.map((values) => quantile(values, 0.001)));
  const most = Math.max(...filled.map((values) => quantile(values, 0.995)));
  const clip = (value) => Math.min(MOST, Math.max(LEAST, value));
  return [clip(least / 1.25), clip(Math.max(most * 1.25, least * 4))];
}

function lane(name, values, [low, high, width], x, base) {
  const group = styled(svg("g", { class: "lane" }), { "--colour": colour(name) });
  group.append(svg("line", { x1: 0, x2: width, y1: base, y2: base, class: "base" }));
  group.append(svg("text", { x: 4, y: base - LANE + TEXT, class: "name" }, name));
  if (!values.length) return group;
  const bins = Math.max(20, Math.round(width / BIN));
  const counts = histogram(values, low, high, bins);
  const top = Math.max(...counts);
  const step = width / bins;
  const path = counts.map((n, i) => `L${(i * step).toFixed(1)} ${(base - (n / top) * LANE * 0.66).toFixed(1)}h${step.toFixed(1)}`);
  group.append(svg("path", { d: `M0 ${base}${path.join("")}V${base}Z`, class: "hill" }));
  const [median, tail] = [x(quantile(values, 0.5)), x(Math.min(high, quantile(values, 0.99)))];
  group.append(svg("line", { x1: median, x2: median, y1: base + 4, y2: base - LANE * 0.72, class: "median" }));
  group.append(svg("line", { x1: tail, x2: tail, y1: base + 4, y2: base - 10, class: "tail" }));
  group.append(svg("text", { x: width - 4, y: base - LANE + TEXT, class: "value", "text-anchor": "end" }, ms(quantile(values, 0.5))));
  return group;
}

function axis([low, high, width], x, height) {
  return ticks([low, high], width).map(({ value, text }) => svg("g", { class: "tick" },
    svg("line", { x1: x(value), x2: x(value), y1: 0, y2: height - AXIS + 4 }),
    svg("text", { x: x(value), y: height - 8, "text-anchor": "middle" }, x(value) < 24 || x(value) > width - 24 ? "" : text)));
}

/** Round values between `low` and `high` milliseconds, as many as `width` pixels of a logarithmic axis have room for. */
export function ticks([low, high], width) {
  const found = [];
  const steps = width * Math.log10(2) / Math.log10(high / low) > 40 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of steps) found.push(step * 10 ** power);
  }
  return found.filter((value) => value >= low && value <= high).map((value) => ({ value, text: label(value) }));
}

const label = (tick) => (tick >= 1000 ? `${tick / 1000} s` : `${Number(tick.toPrecision(1))} ms`);

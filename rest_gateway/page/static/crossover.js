// The crossover as a picture: each upstream's time as a multiple of the reference's, against the payload, with its band.

import { svg, styled } from "./dom.js";
import { t } from "./language.js";
import { bytes, factor } from "./numbers.js";
import { differs } from "./quantiles.js";
import { colour } from "./upstreams.js";

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [250, 44, 12, 14, 30];
const MARKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];

/** Draw into `node` what `result` has, for the payloads `sizes`; `current` is the one that the slider shows. */
export function draw(node, { reference, points }, sizes, current) {
  const width = node.clientWidth || 600;
  const lines = byName(points);
  const [low, high] = extent([...lines.values()].flat());
  const x = (size) => LEFT + (Math.log2(size / sizes[0]) / Math.log2(sizes.at(-1) / sizes[0])) * (width - LEFT - RIGHT);
  const y = (ratio) => TOP + (Math.log(high / ratio) / Math.log(high / low)) * (HEIGHT - TOP - BOTTOM);
  node.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  node.setAttribute("aria-label", words(reference, lines));
  node.replaceChildren(
    ...MARKS.filter((mark) => mark >= low && mark <= high).flatMap((mark) => [
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark), class: mark === 1 ? "even" : "rule" }),
      svg("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, `${mark}×`)]),
    ...sizes.map((size, i) => svg("text", { x: x(size), y: HEIGHT - 10, class: size === current ? "current" : "", "text-anchor": i ? i === sizes.length - 1 ? "end" : "middle" : "start" },
      width < 500 && i % 2 ? "" : bytes(size))),
    svg("line", { x1: x(current), x2: x(current), y1: TOP, y2: HEIGHT - BOTTOM, class: "current" }),
    svg("text", { x: width - RIGHT, y: y(1) + 16, "text-anchor": "end", class: "reference" }, reference),
    ...[...lines].map(([name, line]) => series(name, line, x, y)),
    ...names([...lines], x, y),
    ...[...lines].flatMap(([name, line]) => crossings(line).map((at) => svg("g", { class: "crossing" },
      svg("circle", { cx: x(at), cy: y(1), r: 6 }), svg("title", {}, t("crossing", { upstream: name, reference, payload: bytes(at) }))))));
}

function byName(points) {
  const lines = new Map();
  for (const [size, ratios] of [...points].sort(([a], [b]) => a - b)) {
    for (const [name, ratio] of ratios) lines.set(name, [...(lines.get(name) ?? []), { size, ...ratio }]);
  }
  return lines;
}

function extent(found) {
  const low = Math.min(0.5, ...found.map((point) => point.low / 1.1));
  const high = Math.max(2.2, ...found.map((point) => point.high * 1.1));
  return [Math.max(0.01, low), Math.min(200, high)];
}

function series(name, line, x, y) {
  const path = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  const above = line.map(({ size, high }) => [x(size), y(high)]);
  const below = line.map(({ size, low }) => [x(size), y(low)]).reverse();
  const middle = line.map(({ size, ratio }) => [x(size), y(ratio)]);
  return styled(svg("g", { class: "series", "data-upstream": name },
    svg("path", { d: `${path([...above, ...below])}Z`, class: "band" }),
    svg("path", { d: path(middle), class: "line" }),
    ...middle.map(([cx, cy], i) => svg("circle", { cx, cy, r: differs(line[i]) ? 4.5 : 3, class: differs(line[i]) ? "sure" : "unsure" }))),
  { "--colour": colour(name) });
}

const NAME_HEIGHT = 15;

/** Each line's name at its left end, from the highest down, below each other where lines lie close. */
function names(lines, x, y) {
  let free = TOP;
  return lines.map(([name, [first]]) => [name, x(first.size), y(first.ratio)]).sort((a, b) => a[2] - b[2]).map(([name, px, py]) => {
    const at = free = Math.max(free, py - 24) + NAME_HEIGHT;
    return styled(svg("text", { x: px + 9, y: at, class: "name" }, name), { "--colour": colour(name) });
  });
}

/** Payloads at which a line passes 1, where the points on both sides are surely on different sides of it. */
export function crossings(line) {
  const sure = line.filter(differs);
  return sure.slice(1).flatMap((next, i) => {
    const before = sure[i];
    if ((before.ratio > 1) === (next.ratio > 1)) return [];
    const share = Math.log(before.ratio) / (Math.log(before.ratio) - Math.log(next.ratio));
    return [before.size * (next.size / before.size) ** share];
  });
}

function words(reference, lines) {
  const list = [...lines].map(([name, line]) =>
    `${name}: ${line.map(({ size, ratio }) => `${bytes(size)} ${factor(ratio)}`).join(", ")}`).join("; ");
  return list ? t("crossoverWords", { reference, list }) : t("crossoverNone");
}

/** One sentence for each crossing that is sure. */
export function crossingWords({ reference, points }) {
  return [...byName(points)].flatMap(([upstream, line]) =>
    crossings(line).map((at) => t("crossing", { upstream, reference, payload: bytes(at) })));
}

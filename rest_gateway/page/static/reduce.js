// A drawing as the data set's makers reduced theirs: a centred 32x32 bitmap, ink counted in blocks of 4x4, 0 to 16.
// (E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits.)

export const SIDE = 8;
const BLOCK = 4;
const BITMAP = SIDE * BLOCK;
const TALL = 30; // the largest ink box; these and the nib suit the model best
const WIDE = 28;
const NIB = 2.25;
const SMALLEST = 12; // a drawing below this extent is not blown up: a dot stays a dot

/** Strokes of [x, y] points in any unit -> 64 numbers, row by row; null without ink. */
export function reduce(strokes) {
  const points = strokes.flat();
  return points.length ? count(bitmap(centred(strokes, points))) : null;
}

function centred(strokes, points) {
  const [left, right] = extent(points.map(([x]) => x));
  const [top, bottom] = extent(points.map(([, y]) => y));
  const largest = (TALL - 2 * NIB) / SMALLEST;
  const scale = Math.min((TALL - 2 * NIB) / (bottom - top), (WIDE - 2 * NIB) / (right - left), largest);
  const place = ([x, y]) => [
    (x - (left + right) / 2) * scale + BITMAP / 2,
    (y - (top + bottom) / 2) * scale + BITMAP / 2,
  ];
  return strokes.map((stroke) => stroke.map(place));
}

const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

function bitmap(strokes) {
  const ink = new Uint8Array(BITMAP * BITMAP);
  for (const stroke of strokes) {
    stroke.forEach((point, i) => press(ink, stroke[Math.max(0, i - 1)], point));
  }
  return ink;
}

function press(ink, from, to) {
  for (let row = 0; row < BITMAP; row++) {
    for (let column = 0; column < BITMAP; column++) {
      if (distance([column + 0.5, row + 0.5], from, to) <= NIB) ink[row * BITMAP + column] = 1;
    }
  }
}

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

function count(ink) {
  const picture = new Array(SIDE * SIDE).fill(0);
  ink.forEach((pixel, i) => {
    const [row, column] = [Math.floor(i / BITMAP), i % BITMAP];
    picture[Math.floor(row / BLOCK) * SIDE + Math.floor(column / BLOCK)] += pixel;
  });
  return picture;
}

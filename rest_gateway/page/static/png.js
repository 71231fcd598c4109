// A drawn SVG as a PNG file: its own lines, paths, circles and texts, in the colours that they have on the page.

const SCALE = 2;
const [MARGIN, TITLE, LINE] = [16, 15, 20];

/** The SVG `node` below the sentences `titles`, as a Blob. */
export function png(node, titles) {
  const { width, height } = node.viewBox.baseVal;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const page = getComputedStyle(document.body);
  context.font = `${TITLE}px ${page.fontFamily}`;
  const lines = titles.flatMap((title) => wrapped(context, title, width));
  const above = MARGIN + lines.length * LINE;
  [canvas.width, canvas.height] = [(width + 2 * MARGIN) * SCALE, (above + height + MARGIN) * SCALE];
  context.scale(SCALE, SCALE);
  context.fillStyle = page.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = page.color;
  context.font = `${TITLE}px ${page.fontFamily}`;
  lines.forEach((line, i) => context.fillText(line, MARGIN, MARGIN + TITLE + i * LINE));
  context.translate(MARGIN, above);
  for (const shape of node.querySelectorAll("line, path, circle, text")) draw(context, shape);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function wrapped(context, text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && context.measureText(longer).width > width) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.filter(Boolean);
}

function draw(context, shape) {
  const style = getComputedStyle(shape);
  const value = (name) => shape[name].baseVal.value;
  context.save();
  context.fillStyle = style.fill;
  context.strokeStyle = style.stroke;
  context.lineWidth = parseFloat(style.strokeWidth);
  context.setLineDash(style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map(parseFloat));
  if (shape.tagName === "text") {
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    context.textAlign = { middle: "center", end: "right" }[style.textAnchor] ?? "left";
    if (style.stroke !== "none") context.strokeText(shape.textContent, Number(shape.getAttribute("x")), Number(shape.getAttribute("y")));
    context.fillText(shape.textContent, Number(shape.getAttribute("x")), Number(shape.getAttribute("y")));
  } else {
    const path = new Path2D(shape.tagName === "path" ? shape.getAttribute("d") : undefined);
    if (shape.tagName === "circle") path.arc(value("cx"), value("cy"), value("r"), 0, 2 * Math.PI);
    if (shape.tagName === "line") {
      path.moveTo(value("x1"), value("y1"));
      path.lineTo(value("x2"), value("y2"));
    }
    if (style.fill !== "none" && shape.tagName !== "line") {
      context.globalAlpha = Number(style.fillOpacity);
      context.fill(path);
      context.globalAlpha = 1;
    }
    if (style.stroke !== "none") context.stroke(path);
  }
  context.restore();
}

/** Let the browser save a Blob under a name. */
export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

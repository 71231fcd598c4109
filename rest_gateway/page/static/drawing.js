// The canvas: mouse, finger, pen, or the arrow keys. Strokes are in units of a hundredth of its side.
//
// A finger that comes to scroll is let through: a touch draws only once the canvas was tapped, until something else is.

import { SIDE } from "./reduce.js";

const UNITS = 100;
const NIB = 7;
const STEP = 4;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Drawing {
  #canvas;
  #changed;
  #strokes = [];
  #picture = null;
  #pointer = null;
  #pen = { at: [UNITS / 2, UNITS / 5], down: false, shown: false };

  /** `changed(strokes)` is called after every stroke and when it is cleared. */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    const on = (name, handle) => canvas.addEventListener(name, handle);
    on("pointerdown", (event) => this.#begin(event));
    on("pointermove", (event) => this.#go(event));
    for (const name of ["pointerup", "pointercancel"]) on(name, (event) => this.#end(event));
    on("keydown", (event) => this.#key(event));
    on("blur", () => this.#show({ shown: false }));
    on("click", () => this.#arm(true));
    document.addEventListener("pointerdown", (event) => event.target !== canvas && this.#arm(false));
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  clear() {
    this.#strokes = [];
    this.#picture = null;
    this.#pen = { at: [UNITS / 2, UNITS / 5], down: false, shown: false };
    this.#finish();
  }

  /** Show an 8x8 picture in place of strokes. */
  show(picture) {
    this.#strokes = [];
    this.#picture = picture;
    this.paint();
  }

  /** Whether a touch draws (`touch-action` in the style sheet). */
  #arm(on) {
    this.#canvas.classList.toggle("armed", on);
  }

  #begin(event) {
    if (this.#pointer !== null || event.button !== 0) return;
    if (event.pointerType === "touch" && !this.#canvas.classList.contains("armed")) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#start(this.#place(event));
  }

  #go(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#strokes.at(-1).push(this.#place(each));
    this.paint();
  }

  #end(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#finish();
  }

  #key(event) {
    if (event.key === " ") {
      event.preventDefault();
      this.#pen.down = !this.#pen.down;
      if (this.#pen.down) this.#start(this.#pen.at);
      else this.#finish();
    } else if (ARROWS[event.key]) {
      event.preventDefault();
      this.#pen.at = this.#pen.at.map((v, i) => Math.min(UNITS, Math.max(0, v + STEP * ARROWS[event.key][i])));
      if (this.#pen.down) this.#strokes.at(-1).push(this.#pen.at);
    } else return;
    this.#show({ shown: true });
    if (this.#pen.down) this.#changed(this.#strokes);
  }

  #show(state) {
    Object.assign(this.#pen, state);
    this.paint();
  }

  #start(point) {
    this.#picture = null;
    this.#strokes.push([point]);
    this.paint();
  }

  #finish() {
    this.paint();
    this.#changed(this.#strokes);
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * UNITS, ((event.clientY - box.top) / box.height) * UNITS];
  }

  paint() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (!side) return;
    if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
    const pen = this.#canvas.getContext("2d");
    const colour = getComputedStyle(this.#canvas);
    pen.setTransform(side / UNITS, 0, 0, side / UNITS, 0, 0);
    pen.clearRect(0, 0, UNITS, UNITS);
    this.#guides(pen, colour.getPropertyValue("--rule"));
    pen.fillStyle = pen.strokeStyle = colour.color;
    if (this.#picture) this.#blocks(pen);
    Object.assign(pen, { lineWidth: NIB, lineCap: "round", lineJoin: "round" });
    for (const stroke of this.#strokes) line(pen, stroke);
    if (this.#pen.shown) this.#cross(pen, colour.getPropertyValue("--accent"));
  }

  #guides(pen, colour) {
    Object.assign(pen, { strokeStyle: colour, lineWidth: 0.3 });
    pen.setLineDash([1, 1.5]);
    line(pen, [[UNITS / 2, 0], [UNITS / 2, UNITS]]);
    line(pen, [[0, UNITS / 2], [UNITS, UNITS / 2]]);
    pen.setLineDash([]);
  }

  #blocks(pen) {
    const side = UNITS / SIDE;
    this.#picture.forEach((ink, i) => {
      pen.globalAlpha = ink / 16;
      pen.fillRect((i % SIDE) * side, Math.floor(i / SIDE) * side, side + 0.1, side + 0.1);
    });
    pen.globalAlpha = 1;
  }

  #cross(pen, colour) {
    const [x, y] = this.#pen.at;
    Object.assign(pen, { strokeStyle: colour, lineWidth: this.#pen.down ? 1.6 : 0.7 });
    line(pen, [[x - 4, y], [x + 4, y]]);
    line(pen, [[x, y - 4], [x, y + 4]]);
  }
}

function line(pen, points) {
  pen.beginPath();
  pen.moveTo(...points[0]);
  for (const point of points.length > 1 ? points.slice(1) : points) pen.lineTo(...point);
  pen.stroke();
}

// An 8x8 input, large with its numbers or small as a thumbnail.

import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { SIDE } from "./reduce.js";

const FULL = 16;

function rows(picture) {
  return Array.from({ length: SIDE }, (_, row) => picture.slice(row * SIDE, (row + 1) * SIDE).join(" ")).join("; ");
}

/** Show `picture` (64 numbers, or null) in a box of 64 cells. */
export function show(box, picture) {
  const values = picture ?? new Array(SIDE * SIDE).fill(null);
  box.setAttribute("aria-label", picture ? t("picture", { rows: rows(picture) }) : t("pictureEmpty"));
  box.replaceChildren(...values.map((ink) => {
    const shade = ink > FULL / 2 ? "dark" : ink ? "light" : "";
    return styled(el("span", { class: shade }, ink === null ? "" : String(ink)), { "--share": (ink ?? 0) / FULL });
  }));
}

export function thumbnail(picture) {
  const side = 28;
  const canvas = el("canvas", { width: SIDE, height: SIDE, class: "thumbnail", role: "img", "aria-label": rows(picture) });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#7d8590";
  picture.forEach((ink, i) => {
    pen.globalAlpha = Math.min(1, ink / FULL);
    pen.fillRect(i % SIDE, Math.floor(i / SIDE), 1, 1);
  });
  return styled(canvas, { "--side": `${side}px` });
}

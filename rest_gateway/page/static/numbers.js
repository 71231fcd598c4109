// Numbers as people read them; figures line up because the page sets them tabular.

import { language } from "./language.js";

const digits = (value, places) =>
  value.toLocaleString(language(), { minimumFractionDigits: places, maximumFractionDigits: places });

/** Milliseconds with three significant figures. */
export function ms(value) {
  if (!Number.isFinite(value)) return "–";
  return `${digits(value, value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

export const percent = (share, places = 1) => `${digits(share * 100, places)}%`;

/** A factor with as many places as one reads: 1.04, 1.9, 12. */
export const factor = (value) => digits(value, value < 1.2 ? 2 : value < 10 ? 1 : 0);
export const whole = (value) => digits(value, 0);

const UNITS = ["B", "KiB", "MiB", "GiB"];

export function bytes(value) {
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** power;
  return `${digits(scaled, power && scaled < 100 && !Number.isInteger(scaled) ? 1 : 0)} ${UNITS[power]}`;
}

export const clock = (text) => new Date(text).toLocaleTimeString("en-GB"); // 24 hours with colons, in both languages
export const day = (text) => new Date(text).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short", hour12: false });
export const moment = (text) => new Date(text).toLocaleString(language(), { dateStyle: "medium", timeStyle: "medium", hour12: false });

// A service's sentence in the page's language.

import { language } from "./language.js";
import KOREAN from "./lang/sentences.js";

const PART = /\{(\w+)\}/;
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const PATTERNS = Object.entries(KOREAN).map(([english, korean]) => {
  const pieces = english.split(PART); // text and names in turn
  const source = pieces.map((piece, i) => (i % 2 ? `(?<${piece}>.+?)` : escaped(piece))).join("");
  return { pattern: new RegExp(`^${source}$`, "s"), korean };
});

/** The sentence in the page's language; null where there is none. */
export function inLanguage(english) {
  if (language() === "en" || !english) return english || null;
  return inKorean(english);
}

function inKorean(english) {
  for (const { pattern, korean } of PATTERNS) {
    const parts = pattern.exec(english)?.groups;
    if (parts || pattern.test(english)) return korean.replaceAll(/\{(\w+)\}/g, (_, name) => inKorean(parts[name]) ?? parts[name]);
  }
  return null;
}

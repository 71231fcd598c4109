// The page's words: one table a language, the choice remembered.

import en from "./lang/en.js";
import ko from "./lang/ko.js";

const TABLES = { en, ko };
const KEY = "crossover.language";
const listeners = [];
let current = remembered() ?? (navigator.languages.some((tag) => tag.startsWith("ko")) ? "ko" : "en");

function remembered() {
  try {
    const stored = localStorage.getItem(KEY);
    return TABLES[stored] ? stored : null;
  } catch {
    return null; // storage may be forbidden; then the choice lasts as long as the page
  }
}

export const language = () => current;

/** The words for `key`, `{name}` replaced by `values.name`. */
export function t(key, values = {}) {
  const words = TABLES[current][key] ?? en[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export const whenLanguageChanges = (listener) => listeners.push(listener);

export function choose(name) {
  current = name;
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // see remembered()
  }
  translate();
  for (const listener of listeners) listener();
}

/** Fill in every element that names its words: data-t as text, data-t-label as its accessible name. */
export function translate() {
  document.documentElement.lang = current;
  document.title = t("title");
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
  for (const node of document.querySelectorAll("[data-language]")) {
    node.setAttribute("aria-pressed", String(node.dataset.language === current));
  }
}

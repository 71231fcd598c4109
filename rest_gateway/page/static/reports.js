// The lab's reports: pair, payloads, ratios, verdicts and date of each, as the lab kept them.

import { byId, el } from "./dom.js";
import { language, t } from "./language.js";
import { bytes, day } from "./numbers.js";

const two = (value) => value.toLocaleString(language(), { minimumFractionDigits: 2, maximumFractionDigits: 2 });

const isCell = (cell) => typeof cell?.where === "string" && typeof cell.verdict === "string";

function ratio({ ratio: value, interval }) {
  if (typeof value !== "number") return "–";
  return Array.isArray(interval) ? t("reportRatio", { ratio: two(value), low: two(interval[0]), high: two(interval[1]) }) : two(value);
}

const verdict = (name) => (t(`verdict_${name}`) === `verdict_${name}` ? name : t(`verdict_${name}`));

/** Which model or method was measured, and by which arms; a run without these has its name alone. */
function title({ subject, pair }, name) {
  const arms = pair?.join(" / ");
  return [subject, arms].filter(Boolean).join(": ") || name;
}

function item({ name, written_at: written, bytes: size, href, headline }) {
  const cells = (headline?.cells ?? []).filter(isCell);
  const named = title(headline ?? {}, name);
  return el("li", {},
    el("p", {}, el("a", { href: `${href}?lang=${language()}` }, named),
      el("span", {}, [day(headline?.created ?? written), headline?.complete === false ? t("reportIncomplete") : "", named === name ? bytes(size) : name].filter(Boolean).join(" · "))),
    cells.length
      ? el("table", {}, el("caption", { class: "unseen" }, `${named}: ${t("reportColumns")}`), el("tbody", {}, ...cells.map((cell) => el("tr", {},
        el("th", { scope: "row" }, cell.where), el("td", {}, ratio(cell)), el("td", {}, verdict(cell.verdict))))))
      : null);
}

export function show(reports) {
  byId("reports-empty").hidden = reports.length > 0;
  byId("report-list").replaceChildren(...reports.map(item));
}

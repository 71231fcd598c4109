// What went wrong just now, at the edge of the window where it is seen wherever one has scrolled; and whether services are away.

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { t, whenLanguageChanges } from "./language.js";

const SHOWN_MS = 8000;
const LOOK_MS = 2000;
let words = null;
let timer = 0;

function show() {
  byId("notice").hidden = words === null;
  if (words !== null) byId("notice-text").textContent = words();
}

/** Say something for some seconds; `said` is called again when the language changes. */
export function notify(said) {
  words = said;
  clearTimeout(timer);
  if (said) timer = setTimeout(() => notify(null), SHOWN_MS);
  show();
}

/** Do `work`; a failure becomes a notice. Gives whether it succeeded. */
export async function attempt(work, said = (error) => () => t("failedReason", { reason: api.reasonOf(error) })) {
  try {
    await work();
    return true;
  } catch (error) {
    notify(said(error));
    return false;
  }
}

/** What `read` gives; while the gateway does not answer, the page says so and reads again. */
export async function answered(read) {
  for (;;) {
    try {
      const found = await read();
      byId("away").hidden = true;
      return found;
    } catch (error) {
      if (error.status && error.status < 500) throw error;
      byId("away").textContent = t("gatewayAway");
      byId("away").hidden = false;
      await new Promise((done) => setTimeout(done, LOOK_MS));
    }
  }
}

export function installNotices() {
  byId("notice-close").addEventListener("click", () => notify(null));
  byId("notice-close").replaceChildren(el("span", { "aria-hidden": "true" }, "×"));
  whenLanguageChanges(show);
}

/** Looks whether the gateway and what it asks are ready, and says so while they are not; `back()` when they are again. */
export class Watch {
  #away = null;
  #back;
  #looking = false;

  constructor(back) {
    this.#back = back;
    whenLanguageChanges(() => this.#show());
    document.addEventListener("visibilitychange", () => this.look());
    setInterval(() => this.look(), LOOK_MS);
    this.look();
  }

  async look() {
    if (document.hidden || this.#looking) return;
    this.#looking = true;
    const before = this.#away;
    try {
      await api.ready(AbortSignal.timeout(LOOK_MS));
      this.#away = null;
    } catch (error) {
      this.#away = error.status ? "modelAway" : "gatewayAway";
    }
    this.#looking = false;
    if (before !== this.#away) this.#show();
    if (before && !this.#away) this.#back();
  }

  #show() {
    byId("away").hidden = this.#away === null;
    byId("away").textContent = this.#away ? t(this.#away) : "";
  }
}

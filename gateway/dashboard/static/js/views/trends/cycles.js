/** The choice of cycles that are laid over each other: a point that marks their beginnings, and some of them. */

import { h, set } from "../../dom.js";
import { DAY, elapsedText, HOUR, MINUTE } from "../../chart/scales.js";
import { cycles, pointsOf } from "../../stored.js";
import { measured, t } from "../../texts.js";

/** Cycles that can be shown at once. */
const MOST = 6;

/** Microseconds that are searched for cycles, at least. */
const SHORTEST_SEARCH = 4 * HOUR;

/** Names of points that mark cycles, the likeliest first. */
const LIKELY = ["phase", "cycle_count", "cycle_counter", "state"];

/** @typedef {{begin: number, end: number, value: any, whole: boolean}} Cycle */

export class CyclePicker {
  /**
   * @param {import("../../chart/scales.js").Clock} clock
   * @param {() => {from: number, to: number}} span where cycles are looked for
   * @param {(overlay: {point: string, begins: number[]} | null) => void} changed
   */
  constructor(clock, span, changed) {
    this.clock = clock;
    this.span = span;
    this.changed = changed;
    this.isOpen = false;
    /** @type {Cycle[]} */
    this.found = [];
    /** @type {number[]} */
    this.chosen = [];
    this.machine = "";
    this.field = h("select", { class: "field", "aria-label": t("Point that begins a cycle"), on: { change: () => this.search(null) } });
    this.list = h("div", { class: "cycle-list", role: "group", "aria-label": t("Cycles") });
    this.note = h("span", { class: "muted" });
    this.element = h("div", { class: "cycles", hidden: true },
      h("div", { class: "row" }, h("label", { class: "row" }, h("span", { class: "muted", text: t("A cycle begins with") }), this.field),
        h("button", { class: "button quiet", type: "button", text: t("Search again"), on: { click: () => this.search(null) } }), this.note), this.list);
  }

  get point() {
    return /** @type {HTMLSelectElement} */ (this.field).value;
  }

  /** @param {string[]} points @param {{point: string, begins: number[]} | null} overlay */
  async open(points, overlay) {
    this.isOpen = true;
    set(this.element, { hidden: null });
    await this.fill(points, overlay?.point);
    if (overlay?.begins.length) this.chosen = overlay.begins;
    await this.search(overlay);
  }

  close() {
    this.isOpen = false;
    this.found = [];
    this.chosen = [];
    this.machine = "";
    set(this.element, { hidden: true });
  }

  /** @param {string[]} points */
  setPoints(points) {
    if (this.isOpen && points[0] && !points[0].startsWith(`${this.machine}/`)) this.open(points, null);
  }

  /** Offer the states and the counters of the machine. @param {string[]} points @param {string} [wanted] */
  async fill(points, wanted) {
    const machine = (wanted ?? points[0] ?? "").split("/").slice(0, 5).join("/");
    if (!machine || machine === this.machine) return;
    this.machine = machine;
    try {
      const found = (await pointsOf(machine)).points.filter((one) => one.steps || one.type === "int");
      const name = (/** @type {{point: string}} */ one) => one.point.split("/").slice(5).join("/");
      const rank = (/** @type {{point: string}} */ one) => (LIKELY.includes(name(one)) ? LIKELY.indexOf(name(one)) : LIKELY.length);
      found.sort((a, b) => rank(a) - rank(b));
      this.field.replaceChildren(...found.map((one) => h("option", { value: one.point, text: name(one) })));
      if (wanted) /** @type {HTMLSelectElement} */ (this.field).value = wanted;
    } catch (error) {
      this.say(/** @type {Error} */ (error).message);
    }
  }

  /** Find the cycles of the span; the newest two are chosen. @param {{begins: number[]} | null} overlay */
  async search(overlay) {
    if (!this.point) return this.say(t("Choose a point of a machine first."));
    const { from, to } = this.span();
    // a cycle may be longer than what is shown, and those of an address may be older
    const since = Math.min(from, to - SHORTEST_SEARCH, ...(overlay?.begins ?? []).map((one) => one - MINUTE));
    try {
      const answer = await cycles(this.point, Math.max(since, to - 7 * DAY), to);
      this.found = answer.cycles;
      this.say(this.found.length ? "" : t("No whole cycle in this time: choose a longer time."));
      const known = new Set(this.found.map((one) => one.begin));
      this.chosen = overlay?.begins.filter((one) => known.has(one)) ?? this.found.slice(-2).map((one) => one.begin);
    } catch (error) {
      this.found = [];
      this.say(/** @type {Error} */ (error).message || t("The server does not answer."));
    }
    this.show();
    this.changed({ point: this.point, begins: this.chosen });
  }

  /** @param {string} text */
  say(text) {
    this.note.textContent = text;
  }

  show() {
    this.list.replaceChildren(...[...this.found].reverse().map((one) =>
      h("button", { class: "button cycle", type: "button", "aria-pressed": String(this.chosen.includes(one.begin)), title: one.whole ? "" : t("Readings are missing in this cycle"),
        on: { click: () => this.toggle(one) } },
      h("strong", { text: this.name(one) }), h("span", { class: "muted", text: ` ${elapsedText(one.end - one.begin)}${one.whole ? "" : " ⚠"}` }))));
  }

  /** @param {Cycle} one */
  toggle(one) {
    if (this.chosen.includes(one.begin)) this.chosen = this.chosen.filter((begin) => begin !== one.begin);
    else if (this.chosen.length < MOST) this.chosen = [...this.chosen, one.begin];
    this.show();
    this.changed({ point: this.point, begins: this.chosen });
  }

  /** The chosen cycles. @param {AbortSignal} signal @returns {Promise<Cycle[]>} */
  async spans(signal) {
    if (signal.aborted) return [];
    return this.chosen.map((begin) => this.found.find((one) => one.begin === begin)).filter((one) => one !== undefined);
  }

  /** The name of a cycle: when it began, and the number of a counter. @param {Cycle} one */
  name(one) {
    const time = this.clock.text(one.begin, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    return typeof one.value === "number" && this.point.includes("count") ? `${time} #${measured(one.value)}` : time;
  }
}

/** The choice of points: a search over all, or machine by machine. */

import { h, set, setText } from "../../dom.js";
import { findPoints, MOST_POINTS, pointsOf } from "../../stored.js";
import { t, unit } from "../../texts.js";

/** Milliseconds after the last key until a search begins. */
const TYPING = 150;

export class PointPicker {
  /** @param {import("../../main.js").App} app @param {string[]} chosen @param {(points: string[]) => void} changed */
  constructor(app, chosen, changed) {
    this.app = app;
    this.chosen = [...chosen];
    this.changed = changed;
    this.typing = 0;
    /** @type {AbortController | null} */
    this.searching = null;
    this.field = h("input", { class: "field", type: "search", placeholder: t("Search points"), "aria-label": t("Search points"), autocomplete: "off", on: {
      input: () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.search(), TYPING); },
      keydown: (event) => { if (event.key === "ArrowDown") { event.preventDefault(); this.options()[0]?.focus(); } },
    } });
    this.list = h("div", { class: "picker-list", role: "group", "aria-label": t("Points"), on: { keydown: (event) => this.key(event) } });
    this.foot = h("p", { class: "muted picker-foot" });
    this.element = h("section", { class: "panel picker", "aria-label": t("Points") },
      h("div", { class: "row picker-head" }, h("h2", { text: t("Points") }), h("button", { class: "button quiet", type: "button", text: t("Clear"), on: { click: () => this.choose([]) } })),
      this.field, this.list, this.foot);
    this.showMachines();
    this.showCount();
  }

  /** @returns {HTMLElement[]} */
  options() {
    return [...this.list.querySelectorAll("button:not([hidden]), summary")].filter((one) => one.checkVisibility()).map((one) => /** @type {HTMLElement} */ (one));
  }

  /** Arrows go through the list. @param {KeyboardEvent} event */
  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const options = this.options();
    const next = options.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + by;
    (next < 0 ? this.field : options[Math.min(next, options.length - 1)])?.focus();
  }

  async search() {
    this.searching?.abort();
    const words = /** @type {HTMLInputElement} */ (this.field).value.trim();
    if (!words) return this.showMachines();
    const searching = (this.searching = new AbortController());
    try {
      const { points, complete } = await findPoints(words, searching.signal);
      if (searching.signal.aborted) return;
      this.list.replaceChildren(...points.map((one) => this.option(one, true)));
      if (!points.length) this.list.append(h("p", { class: "empty", text: t("No point has these words.") }));
      if (!complete) this.list.append(h("p", { class: "muted", text: t("There are more: write another word.") }));
    } catch (error) {
      if (!searching.signal.aborted) this.list.replaceChildren(h("p", { class: "empty", text: /** @type {Error} */ (error).message || t("The server does not answer.") }));
    }
  }

  /** All machines, each with its points when it is opened; those with a chosen point are open. */
  showMachines() {
    const rows = this.app.rows?.all ?? [];
    const open = new Set(this.chosen.map((point) => point.split("/").slice(0, 5).join("/")));
    const paths = new Set([...rows.map((row) => row.path), ...open]);
    if (!paths.size) {
      // the rows come with the first message of the server
      this.list.replaceChildren(h("p", { class: "empty", text: t("No machine is known yet.") }));
      setTimeout(() => this.list.querySelector(".empty") && !/** @type {HTMLInputElement} */ (this.field).value && this.element.isConnected && this.showMachines(), 500);
      return;
    }
    this.waitForRows(rows.length);
    this.list.replaceChildren(...[...paths].map((path) => this.machine(path, open.has(path))));
  }

  /** @param {number} known */
  waitForRows(known) {
    if (known) return;
    setTimeout(() => {
      if (!this.element.isConnected || /** @type {HTMLInputElement} */ (this.field).value) return;
      if (this.app.rows?.all.length) this.showMachines();
      else this.waitForRows(0);
    }, 500);
  }

  /** @param {string} path @param {boolean} isOpen */
  machine(path, isOpen) {
    const [, site, area, line, name] = path.split("/");
    const content = h("div", { class: "picker-points" });
    const details = h("details", { open: isOpen }, h("summary", { title: path }, h("strong", { text: name }), h("span", { class: "muted", text: ` ${[site, area, line].join(" › ")}` })), content);
    const fill = async () => {
      if (!details.hasAttribute("open") || content.childElementCount) return;
      try {
        const { points } = await pointsOf(path);
        content.replaceChildren(...points.map((one) => this.option(one, false)));
      } catch (error) {
        content.replaceChildren(h("p", { class: "muted", text: /** @type {Error} */ (error).message || t("The server does not answer.") }));
      }
    };
    details.addEventListener("toggle", fill);
    return details;
  }

  /** @param {any} one @param {boolean} whole */
  option(one, whole) {
    const levels = one.point.split("/");
    const name = levels.slice(5).join("/");
    const button = h("button", { class: "picker-point", type: "button", title: `${one.point}\n${one.description}`, data: { point: one.point }, "aria-pressed": String(this.chosen.includes(one.point)),
      on: { click: () => this.toggle(one.point) } },
    h("span", { class: "picker-name" }, whole ? h("span", { class: "muted", text: `${levels[4]} · ` }) : null, name),
    h("span", { class: "unit", text: one.steps ? t("state") : unit(one.unit) }),
    one.description ? h("span", { class: "muted picker-description", text: one.description }) : null);
    return button;
  }

  /** @param {string} point */
  toggle(point) {
    if (this.chosen.includes(point)) this.remove(point);
    else this.add(point);
  }

  /** Why a point can't be added; empty if it can. @param {string} point */
  refusal(point) {
    if (this.chosen.includes(point)) return t("This point is in the chart already.");
    return this.chosen.length >= MOST_POINTS ? t("{count} points are the most.", { count: MOST_POINTS }) : "";
  }

  /** @param {string} point */
  add(point) {
    if (!this.refusal(point)) this.choose([...this.chosen, point]);
  }

  /** @param {string} point */
  remove(point) {
    this.choose(this.chosen.filter((one) => one !== point));
  }

  /** @param {string[]} points */
  choose(points) {
    this.chosen = points;
    for (const button of this.list.querySelectorAll(".picker-point")) {
      set(/** @type {HTMLElement} */ (button), { "aria-pressed": String(points.includes(/** @type {HTMLElement} */ (button).dataset.point ?? "")) });
    }
    this.showCount();
    this.changed([...points]);
  }

  showCount() {
    const isFull = this.chosen.length >= MOST_POINTS;
    setText(this.foot, isFull ? t("{count} points are the most.", { count: MOST_POINTS }) : t("{count} of {most} points", { count: this.chosen.length, most: MOST_POINTS }));
  }
}


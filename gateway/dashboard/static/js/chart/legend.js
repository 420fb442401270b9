/** The legend of a chart: a row for each series with its value at the cross-hair, or its newest. */

import { h, keep, set, setText } from "../dom.js";
import { t } from "../texts.js";
import { drawKey } from "./chart.js";
import { BAD, UNCERTAIN } from "./series.js";
import { fit } from "./surface.js";
import { onThemeChange } from "./theme.js";

/** Milliseconds between two updates of the newest values. */
const EVERY = 500;

export class Legend {
  /**
   * @param {HTMLElement} element
   * @param {import("./chart.js").Chart} chart
   * @param {(id: string) => void} remove
   */
  constructor(element, chart, remove) {
    this.chart = chart;
    this.remove = remove;
    this.rows = h("tbody");
    this.time = h("th", { scope: "col", class: "number legend-time" });
    this.element = h("table", { class: "table series-table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col", text: t("Series") }), this.time, h("th", { scope: "col", text: t("Unit") }),
        h("th", { scope: "col", text: t("Quality") }), h("th", { scope: "col" }, h("span", { class: "visually-hidden", text: t("Remove") })))),
      this.rows);
    element.append(this.element);
    this.timer = setInterval(() => this.update(), EVERY);
    this.unwatch = onThemeChange(() => this.drawKeys());
  }

  destroy() {
    clearInterval(this.timer);
    this.unwatch();
  }

  /** Show the series of the chart. */
  arrange() {
    keep(this.rows, this.chart.series, (one) => one.id, (one) => this.row(one), (row, one) => {
      setText(/** @type {Element} */ (row.querySelector(".legend-name")), one.label);
      setText(/** @type {Element} */ (row.querySelector(".unit")), one.unit);
      set(/** @type {HTMLElement} */ (row.querySelector("button")), { "aria-pressed": String(one.visible) });
      row.classList.toggle("legend-off", !one.visible);
    });
    this.drawKeys();
    this.update();
  }

  /** @param {import("./series.js").Series} one */
  row(one) {
    const toggle = h("button", { class: "legend-toggle", type: "button", title: t("Show or hide"), on: { click: () => {
      const series = this.chart.find(one.id);
      this.chart.setVisible(one.id, !series?.visible);
      this.arrange();
    } } }, h("canvas", { class: "legend-key", "aria-hidden": "true" }), h("span", { class: "legend-name" }));
    return h("tr", { on: { pointerenter: () => this.chart.highlight(one.id), pointerleave: () => this.chart.highlight(null) } },
      h("th", { scope: "row" }, toggle), h("td", { class: "number legend-value" }), h("td", { class: "unit" }),
      h("td", { class: "legend-quality" }),
      h("td", {}, h("button", { class: "button quiet legend-remove", type: "button", text: "×", "aria-label": t("Remove {name}", { name: one.label }),
        on: { click: () => this.remove(one.id) } })));
  }

  drawKeys() {
    for (const row of this.rows.children) {
      const series = this.chart.find(/** @type {HTMLElement} */ (row).dataset.key ?? "");
      const surface = fit(/** @type {HTMLCanvasElement} */ (row.querySelector("canvas")));
      if (series && surface) drawKey(surface.context, series, 1, surface.height / 2);
    }
  }

  /** Show the values at the cross-hair, or the newest. */
  update() {
    const { chart } = this;
    const time = chart.cursor;
    setText(this.time, time === null ? t("Newest value") : chart.timeText(time));
    for (const row of this.rows.children) {
      const series = chart.find(/** @type {HTMLElement} */ (row).dataset.key ?? "");
      if (!series) continue;
      const sample = series.at(time ?? Math.min(series.lastTime, chart.to));
      setText(/** @type {Element} */ (row.querySelector(".legend-value")), chart.valueText(series, sample));
      const quality = /** @type {HTMLElement} */ (row.querySelector(".legend-quality"));
      const kind = sample?.quality === BAD ? "bad" : sample?.quality === UNCERTAIN ? "uncertain" : "";
      set(quality, { data: { quality: kind } });
      setText(quality, { bad: `✕ ${t("bad")}`, uncertain: `? ${t("uncertain")}`, "": sample ? "" : t("no reading") }[kind]);
    }
  }
}

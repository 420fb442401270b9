/** Trends: stored and live readings of chosen points, and cycles laid over each other. */

import { ACTIVE } from "../alarms/parts.js";
import { Chart, MOST_AXES } from "../chart/chart.js";
import { Legend } from "../chart/legend.js";
import { Clock, DAY, HOUR, MINUTE, SECOND } from "../chart/scales.js";
import { h, set, setText } from "../dom.js";
import { may } from "../live.js";
import { remember } from "../router.js";
import * as stored from "../stored.js";
import { MOST_POINTS } from "../stored.js";
import { number, place, t, unit } from "../texts.js";
import { PointPicker } from "./trends/picker.js";
import { PointDrag } from "./trends/dragging.js";
import { CyclePicker } from "./trends/cycles.js";
import { Follower } from "./trends/follower.js";

const RANGES = [5 * MINUTE, 15 * MINUTE, HOUR, 8 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY];
const FIRST_RANGE = 15 * MINUTE;

/** Milliseconds after the last movement until data are asked for; until a store that was away is asked again. */
const SETTLE = 180;
const AGAIN = 10_000;

/** Milliseconds between two requests for the states above a live chart. */
const REFRESH = 15_000;

/** Microseconds of the longest span with alarms. */
const MOST_ALARMS = 7 * DAY;

/** How many spans a double click can go back. */
const HISTORY = 50;

/** Microseconds by which the end may differ from the present while the chart still follows it. */
const NEAR = 0.02;

/** @typedef {{from: number, to: number, following: number | null}} Span */

class Trends {
  /** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
  constructor(root, app, route) {
    this.app = app;
    this.clock = new Clock(place().locale, place().timeZone);
    /** @type {string[]} */
    this.points = route.query.getAll("point").slice(0, MOST_POINTS);
    /** @type {{point: string, begins: number[]} | null} */
    this.overlay = null;
    /** @type {Span[]} spans for a double click to go back to, the newest last */
    this.history = [];
    /** @type {Span | null} the span whose data were asked for last */
    this.settled = null;
    /** @type {AbortController | null} */
    this.loading = null;
    this.settling = 0;
    this.again = 0;
    /** @type {Map<string, any>} descriptions of points, by their names */
    this.known = new Map();
    /** @type {Map<string, [number, number]>} the usual ranges of points */
    this.usual = new Map();

    this.notes = h("div", { class: "trend-notes", role: "status", "aria-live": "polite" });
    this.empty = h("div", { class: "empty", text: t("Choose points, or drag them here, to see their trends.") });
    this.plot = h("div", { class: "trend-plot" });
    this.legendPlace = h("div", { class: "trend-legend" });
    this.picker = new PointPicker(app, this.points, (points) => this.choosePoints(points));
    const panel = h("section", { class: "panel trend-main", "aria-label": t("Trend") }, this.notes, this.empty, this.plot, this.legendPlace);
    root.append(
      h("div", { class: "title" }, h("h1", { text: t("Trends") }), this.toolbar()),
      h("div", { class: "trend-page" }, this.picker.element, panel));
    this.dragging = new PointDrag({
      list: this.picker.list, target: panel, refusal: (point) => this.picker.refusal(point), drop: (point) => this.picker.add(point),
    });

    this.chart = new Chart(this.plot, {
      clock: this.clock, label: t("Trend"), now: () => app.live.now(),
      onSpan: (from, to, moving) => this.onSpan(from, to, moving), onBack: () => this.back(), onCursor: () => this.legend?.update(),
    });
    this.legend = new Legend(this.legendPlace, this.chart, (id) => this.removeSeries(id));
    this.cycles = new CyclePicker(this.clock, () => this.span(), (overlay) => this.chooseCycles(overlay));
    this.plot.before(this.cycles.element);
    this.follower = new Follower(app.live, {
      reading: (point, time, value, quality) => this.chart.append(point, [time], [value], [quality]),
      described: (point, info) => this.describe(point, info),
      usual: (point, ends) => {
        this.usual.set(point, ends);
        this.chart.setNormal(point, ends);
      },
    });
    this.onVisible = () => document.hidden || this.load();
    document.addEventListener("visibilitychange", this.onVisible);
    this.refreshing = setInterval(() => this.refreshBands(), REFRESH);
    this.restore(route.query);
  }

  destroy() {
    document.removeEventListener("visibilitychange", this.onVisible);
    this.loading?.abort();
    clearTimeout(this.settling);
    clearTimeout(this.again);
    clearInterval(this.refreshing);
    this.follower.close();
    this.dragging.destroy();
    this.legend.destroy();
    this.chart.destroy();
  }

  // -- controls --

  toolbar() {
    const names = { [5 * MINUTE]: t("5 min"), [15 * MINUTE]: t("15 min"), [HOUR]: t("1 h"), [8 * HOUR]: t("8 h"), [DAY]: t("24 h"), [7 * DAY]: t("7 days"), [30 * DAY]: t("30 days"), [365 * DAY]: t("1 year") };
    this.ranges = h("div", { class: "segments", role: "group", "aria-label": t("Time range") },
      ...RANGES.map((range) => h("button", { class: "button", type: "button", text: names[range], data: { range }, on: { click: () => this.followRange(range) } })));
    this.fromField = h("input", { class: "field", type: "datetime-local", step: 1, "aria-label": t("From") });
    this.toField = h("input", { class: "field", type: "datetime-local", step: 1, "aria-label": t("To") });
    for (const field of [this.fromField, this.toField]) field.addEventListener("change", () => this.fromFields());
    this.liveButton = h("button", { class: "button", type: "button", "aria-pressed": "false", text: t("Live"), on: { click: () => this.toggleLive() } });
    this.wholeButton = h("button", { class: "button", type: "button", "aria-pressed": "false", text: t("Full range"), title: t("Show the whole range of the points"), on: { click: () => this.toggleWhole() } });
    this.cyclesButton = h("button", { class: "button", type: "button", "aria-pressed": "false", text: t("Compare cycles"), on: { click: () => this.toggleCycles() } });
    return h("div", { class: "row trend-tools" }, this.liveButton, this.ranges,
      h("span", { class: "row trend-span" }, this.fromField, h("span", { class: "muted", text: "–" }), this.toField),
      this.wholeButton, this.cyclesButton, this.exportMenu());
  }

  exportMenu() {
    const decimal = h("select", { class: "field", "aria-label": t("Decimal mark") }, h("option", { value: "point", text: "1.5" }), h("option", { value: "comma", text: "1,5" }));
    if (number(1.5).includes(",")) /** @type {HTMLSelectElement} */ (decimal).value = "comma";
    const zone = h("select", { class: "field", "aria-label": t("Time zone") }, h("option", { value: "plant", text: t("Time of the plant") }), h("option", { value: "UTC", text: "UTC" }));
    const every = h("select", { class: "field", "aria-label": t("Rows") }, h("option", { value: "", text: t("All readings") }),
      ...["1s", "10s", "1m", "15m", "1h"].map((one) => h("option", { value: one, text: t("One row every {span}", { span: one }) })));
    const link = h("a", { class: "button primary", text: t("Save CSV"), download: "", hidden: !may("export") });
    const value = (/** @type {HTMLElement} */ one) => /** @type {HTMLSelectElement} */ (one).value;
    const refresh = () => {
      const { from, to } = this.span();
      set(link, { href: stored.exportAddress(this.points, from, to, { comma: value(decimal) === "comma", zone: value(zone), every: value(every) }), "aria-disabled": this.points.length ? null : "true" });
    };
    const menu = h("details", { class: "menu" }, h("summary", { class: "button", text: t("Export") }),
      h("div", { class: "menu-content stack" }, every, zone, decimal, link,
        h("button", { class: "button", type: "button", text: t("Save picture"), on: { click: () => this.savePicture() } }),
        h("button", { class: "button", type: "button", text: t("Copy link"), on: { click: (event) => this.copyLink(event.currentTarget) } })));
    for (const one of [decimal, zone, every, link]) {
      one.addEventListener("change", refresh);
      one.addEventListener("pointerenter", refresh);
      one.addEventListener("focus", refresh);
    }
    menu.addEventListener("toggle", refresh);
    menu.addEventListener("focusout", (event) => menu.contains(/** @type {Node} */ (/** @type {FocusEvent} */ (event).relatedTarget)) || menu.removeAttribute("open"));
    return menu;
  }

  async savePicture() {
    const blob = await this.chart.toPNG(this.points.length === 1 ? this.points[0] : t("Trends"));
    const link = h("a", { href: URL.createObjectURL(blob), download: `trend-${this.clock.write(this.chart.to).replaceAll(":", "")}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(/** @type {HTMLAnchorElement} */ (link).href), 10_000);
  }

  /** Copy an address that shows the same span later, too. @param {HTMLElement} button */
  async copyLink(button) {
    const { from, to } = this.span();
    const query = new URLSearchParams([...this.query().filter(([name]) => !["range", "from", "to"].includes(name)), ["from", String(Math.round(from))], ["to", String(Math.round(to))]]);
    await navigator.clipboard?.writeText(`${location.origin}${location.pathname}?${query}`).then(() => setText(button, t("Copied")), () => setText(button, t("Not allowed")));
    setTimeout(() => setText(button, t("Copy link")), 2000);
  }

  // -- what is shown --

  /** @param {URLSearchParams} query */
  restore(query) {
    const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
    const range = Number(query.get("range")) * SECOND;
    this.chart.showWhole(query.get("axes") === "range");
    set(this.wholeButton, { "aria-pressed": String(this.chart.whole) });
    if (from > 0 && to > from) this.chart.setSpan(from, to);
    else this.chart.follow(range > 0 ? range : FIRST_RANGE);
    const cycle = query.get("cycle");
    const begins = query.getAll("begin").map(Number).filter((one) => one > 0);
    if (cycle) {
      this.overlay = { point: cycle, begins };
      this.cycles.open(this.points, this.overlay);
      set(this.cyclesButton, { "aria-pressed": "true" });
    }
    this.arrange();
  }

  /** The query that shows the same again. @returns {[string, string][]} */
  query() {
    /** @type {[string, string][]} */
    const query = this.points.map((point) => ["point", point]);
    if (this.followed !== null) query.push(["range", String(Math.round(this.followed / SECOND))]);
    else query.push(["from", String(Math.round(this.spanBefore?.from ?? this.chart.from))], ["to", String(Math.round(this.spanBefore?.to ?? this.chart.to))]);
    if (this.chart.whole) query.push(["axes", "range"]);
    if (this.overlay) query.push(["cycle", this.overlay.point], ...this.overlay.begins.map((one) => /** @type {[string, string]} */ (["begin", String(one)])));
    return query;
  }

  /** Microseconds that are followed; also while cycles are compared. */
  get followed() {
    return this.spanBefore ? this.spanBefore.following : this.chart.following;
  }

  /** The span of the time axis, also while cycles are compared. @returns {{from: number, to: number}} */
  span() {
    if (this.followed !== null) return { from: this.app.live.now() - this.followed, to: this.app.live.now() };
    return this.spanBefore ?? { from: this.chart.from, to: this.chart.to };
  }

  /** @param {string[]} points */
  choosePoints(points) {
    this.points = points;
    this.cycles.setPoints(points);
    this.arrange();
  }

  /** @param {string} id */
  removeSeries(id) {
    const point = id.split("@")[0];
    this.picker.remove(point);
  }

  /** Show the series of the points, or of the cycles. */
  arrange() {
    this.isComparing = this.overlay !== null && this.overlay.begins.length > 0;
    if (this.isComparing !== this.chart.elapsed) this.changeAxis();
    set(this.empty, { hidden: this.points.length > 0 });
    set(this.plot, { hidden: this.points.length === 0 });
    set(this.legendPlace, { hidden: this.points.length === 0 });
    if (!this.isComparing) this.chart.setSeries(this.points.map((point, n) => this.seriesOf(point, n)));
    this.size();
    this.legend.arrange();
    this.follower.set(this.isComparing ? [] : this.points);
    this.note();
    this.load();
  }

  /** Give each lane its room beside the lines. */
  size() {
    const lanes = this.chart.series.filter((one) => one.steps).length;
    this.plot.style.blockSize = lanes > 5 ? `${420 + lanes * 20}px` : "";
  }

  /** Change between the time and the time since the start of a cycle. */
  changeAxis() {
    this.chart.setSeries([]);
    this.chart.setLanes([]);
    this.history = [];
    if (this.isComparing) this.spanBefore = { from: this.chart.from, to: this.chart.to, following: this.chart.following };
    this.chart.elapsed = this.isComparing ?? false;
    if (!this.isComparing && this.spanBefore) {
      const { from, to, following } = this.spanBefore;
      this.spanBefore = null;
      if (following !== null) this.chart.follow(following);
      else this.chart.setSpan(from, to);
    }
  }

  /** The name of a point, with as much of its path as tells it from the others. @param {string} point */
  labelOf(point) {
    const levels = point.split("/");
    const name = levels.slice(5).join("/");
    const others = this.points.map((one) => one.split("/")).filter((one) => one.slice(0, 5).join("/") !== levels.slice(0, 5).join("/"));
    if (!others.length) return name;
    const same = others.some((one) => one[4] === levels[4]);
    return `${same ? `${levels.slice(1, 4).join("/")}/` : ""}${levels[4]} · ${name}`;
  }

  /** @param {string} point @param {number} n */
  seriesOf(point, n) {
    const found = this.known.get(point);
    return {
      id: point, label: this.labelOf(point), unit: unit(found?.unit ?? ""), steps: found?.steps ?? false,
      labels: found?.labels ?? {}, gap: found?.gap ?? null, normal: found?.normal ?? this.usual.get(point) ?? null, range: found?.range ?? null, colour: n,
    };
  }

  note() {
    remember(this.query());
    const { from, to } = this.span();
    /** @type {HTMLInputElement} */ (this.fromField).value = this.clock.write(from);
    /** @type {HTMLInputElement} */ (this.toField).value = this.clock.write(to);
    set(this.liveButton, { "aria-pressed": String(this.followed !== null) });
    for (const button of this.ranges.children) set(/** @type {HTMLElement} */ (button), { "aria-pressed": String(Number(/** @type {HTMLElement} */ (button).dataset.range) === this.followed) });
  }

  // -- spans --

  /** @param {number} range */
  followRange(range) {
    this.leaveCycles();
    this.remember();
    this.chart.follow(range);
    this.note();
    this.load();
  }

  toggleLive() {
    this.leaveCycles();
    if (this.chart.following !== null) this.chart.setSpan(this.chart.from, this.chart.to);
    else this.chart.follow(this.chart.to - this.chart.from);
    this.note();
    this.load();
  }

  toggleWhole() {
    this.chart.showWhole(!this.chart.whole);
    set(this.wholeButton, { "aria-pressed": String(this.chart.whole) });
    this.note();
  }

  fromFields() {
    const from = this.clock.parse(/** @type {HTMLInputElement} */ (this.fromField).value);
    const to = this.clock.parse(/** @type {HTMLInputElement} */ (this.toField).value);
    if (from === null || to === null || to <= from) return;
    this.leaveCycles();
    this.remember();
    this.chart.setSpan(from, to);
    this.note();
    this.load();
  }

  /** Keep the span for a double click. */
  remember() {
    this.history.push({ ...this.span(), following: this.followed });
    if (this.history.length > HISTORY) this.history.shift();
  }

  back() {
    const before = this.history.pop();
    if (!before) return;
    this.settled = null;
    if (before.following !== null) this.chart.follow(before.following);
    else this.chart.setSpan(before.from, before.to);
    this.note();
    this.settle();
  }

  /** The reader moved the chart. @param {number} from @param {number} to @param {boolean} moving */
  onSpan(from, to, moving) {
    if (this.settled) this.history.push(this.settled);
    if (this.history.length > HISTORY) this.history.shift();
    this.settled = null;
    // whoever zooms at the present goes on to follow it
    const now = this.app.live.now();
    if (!this.chart.elapsed && !moving && Math.abs(now - to) < (to - from) * NEAR) this.chart.follow(to - from);
    this.note();
    this.settle();
  }

  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.load(), SETTLE);
  }

  // -- data --

  async load() {
    clearTimeout(this.settling);
    clearTimeout(this.again);
    this.loading?.abort();
    if (this.points.length === 0) return;
    const loading = (this.loading = new AbortController());
    const { from, to } = this.isComparing ? this.chart : this.span();
    this.settled = { from, to, following: this.chart.following };
    set(this.plot, { "aria-busy": "true" });
    try {
      if (this.isComparing) await this.loadCycles(loading.signal);
      else await this.loadTrend(loading.signal);
      if (!loading.signal.aborted) this.say("");
    } catch (error) {
      if (loading.signal.aborted) return;
      this.fail(/** @type {stored.StoredError} */ (error));
    } finally {
      if (!loading.signal.aborted) set(this.plot, { "aria-busy": null });
    }
  }

  /** @param {AbortSignal} signal */
  async loadTrend(signal) {
    const { from, to } = this.span();
    // a little more than is seen, so that a small movement shows no empty edge
    const margin = this.followed === null ? (to - from) * 0.1 : 0;
    const width = this.chart.width * (1 + (2 * margin) / (to - from));
    const answer = await stored.trend(this.points, from - margin, to + margin, width, signal);
    if (signal.aborted) return;
    this.take(answer.series);
    this.problems = answer.problems;
    await this.loadBands(from - margin, to + margin, signal);
  }

  /** Take the description of a point from its machine, until the store has one. @param {string} point @param {any} info */
  describe(point, info) {
    if (this.known.has(point)) return;
    const steps = Boolean(info.labels) || ["bool", "string", "json"].includes(info.type);
    const gap = info.every ? (2.5 * info.every + 60) * SECOND : null;
    this.known.set(point, { unit: info.unit, steps, labels: info.labels ?? {}, gap, range: info.range ?? null, normal: null, live: true });
    this.renew([point]);
  }

  /** Make series again whose kind or unit is known only now. @param {string[]} points */
  renew(points) {
    const before = this.chart.series.filter((one) => !one.visible).map((one) => one.id);
    const kept = new Set(this.points.filter((point) => !points.includes(point)));
    this.chart.setSeries(this.points.filter((point) => kept.has(point)).map((point) => this.seriesOf(point, this.points.indexOf(point))));
    this.chart.setSeries(this.points.map((point, n) => this.seriesOf(point, n)));
    for (const id of before) this.chart.setVisible(id, false);
    this.size();
    this.legend.arrange();
  }

  /** @param {any[]} series */
  take(series) {
    const isNew = (/** @type {any} */ one) => !this.known.has(one.point) || this.known.get(one.point).live;
    const renewed = series.filter(isNew).map((one) => one.point);
    for (const one of series) this.known.set(one.point, one);
    if (renewed.length) this.renew(renewed);
    for (const one of series) this.chart.setData(one.point, one);
    this.size();
    this.legend.arrange();
  }

  /** The states of the machine, if all points are of one. @param {number} from @param {number} to @param {AbortSignal} signal */
  async loadBands(from, to, signal) {
    const machines = new Set(this.points.map((point) => point.split("/").slice(0, 5).join("/")));
    const [machine] = machines;
    if (machines.size !== 1 || to - from > 400 * DAY) {
      this.chart.setLanes([]);
      return;
    }
    const { lanes } = await stored.bands(machine, from, to, signal);
    if (signal.aborted) return;
    const names = { state: t("State"), phase: t("Phase"), alarms: t("Alarms") };
    const shown = lanes.filter((/** @type {any} */ one) => one.bands.length && !this.points.includes(one.point))
      .map((/** @type {any} */ one) => ({ name: names[/** @type {keyof typeof names} */ (one.lane)], bands: one.bands }));
    this.chart.setLanes(shown);
    if (to - from > MOST_ALARMS) return;
    const { changes } = await stored.alarms(machine, from, to, signal);
    const bands = alarmBands(changes, from);
    if (!signal.aborted && bands.length) this.chart.setLanes([...shown.filter((/** @type {any} */ one) => one.name !== names.alarms), { name: names.alarms, bands }]);
  }

  /** Live readings come by themselves; the states above them are asked for again. */
  async refreshBands() {
    if (document.hidden || this.isComparing || this.chart.following === null || !this.points.length || !this.loading) return;
    const { signal } = this.loading;
    const { from, to } = this.span();
    try {
      await this.loadBands(from, to, signal);
    } catch (error) {
      if (!signal.aborted) this.fail(/** @type {stored.StoredError} */ (error));
    }
  }

  /** @param {AbortSignal} signal */
  async loadCycles(signal) {
    const found = await this.cycles.spans(signal);
    const points = this.points;
    const width = this.chart.width;
    const answers = await Promise.all(found.map(({ begin, end }) => stored.trend(points, begin, end, width, signal)));
    if (signal.aborted) return;
    /** @type {any[]} */
    const options = [];
    answers.forEach((answer, n) => answer.series.forEach((one) => {
      this.known.set(one.point, one);
      const place = points.indexOf(one.point);
      const own = this.seriesOf(one.point, place);
      if (!own.steps) options.push({ ...own, id: `${one.point}@${found[n].begin}`, label: `${this.cycles.name(found[n])} · ${own.label.split(" · ").at(-1)}`, colour: points.length === 1 ? n : place, dash: n });
    }));
    this.chart.setSeries([]);
    this.chart.setSeries(options);
    answers.forEach((answer, n) => answer.series.forEach((one) => this.chart.setData(`${one.point}@${found[n].begin}`, shifted(one, found[n].begin))));
    const longest = Math.max(...found.map(({ begin, end }) => end - begin));
    if (Number.isFinite(longest) && !this.history.length) this.chart.setSpan(0, longest);
    this.legend.arrange();
  }

  /** @param {stored.StoredError} error */
  fail(error) {
    const isAway = error.kind === "store_unavailable" || error.kind === "no_store";
    const text = error.kind === "no_server" ? t("The server does not answer.") : error.message;
    this.say(isAway ? `${text} ${t("Only live values are shown.")}` : text, "severe");
    if (error.kind !== "bad_request" && error.kind !== "no_store") this.again = setTimeout(() => this.load(), AGAIN);
  }

  /** @param {string} problem @param {string} [kind] */
  say(problem, kind = "") {
    const notes = [problem, ...(problem ? [] : this.problems ?? [])].filter(Boolean);
    if (!problem && this.chart.isNormalised) notes.push(t("More than {count} units: the lines of the others are drawn over the whole height, each with its own scale.", { count: MOST_AXES }));
    const without = problem || this.isComparing ? [] : this.points.filter((point) => !this.known.has(point) || this.known.get(point).live);
    if (without.length) notes.push(t("Not stored yet: {points}", { points: without.map((one) => one.split("/").slice(4).join("/")).join(", ") }));
    this.notes.replaceChildren(...notes.map((text) => h("p", { class: `trend-note ${kind}`, text })));
  }

  // -- cycles --

  toggleCycles() {
    if (this.cycles.isOpen) this.leaveCycles();
    else this.cycles.open(this.points, null);
    set(this.cyclesButton, { "aria-pressed": String(this.cycles.isOpen) });
  }

  leaveCycles() {
    if (!this.cycles.isOpen) return;
    this.cycles.close();
    set(this.cyclesButton, { "aria-pressed": "false" });
    this.chooseCycles(null);
  }

  /** @param {{point: string, begins: number[]} | null} overlay */
  chooseCycles(overlay) {
    if (this.overlay === null && overlay === null) return;
    this.overlay = overlay;
    this.history = [];
    this.arrange();
  }
}

/**
 * Return the times of alarms as bands. An alarm that ends, and whose beginning is not known, began before: its gateway
 * says so by the state before, and its device by an end that nobody has acknowledged. Others may not have been active.
 * @param {any[]} changes newest first @param {number} from
 */
export function alarmBands(changes, from) {
  /** @type {Map<string, any>} */
  const open = new Map();
  /** @type {import("../chart/small.js").Segment[]} */
  const bands = [];
  for (const change of [...changes].reverse()) {
    const key = `${change.source} ${change.name}`;
    const wasActive = change.previous ? ACTIVE.has(change.previous) : !change.acknowledged;
    if (!change.active && !open.has(key) && !wasActive) continue;
    const band = open.get(key) ?? { begin: change.active ? change.time : from, end: null, kind: `priority-${change.priority}`, label: change.message || change.name };
    if (change.active) open.set(key, band);
    else {
      bands.push({ ...band, end: change.time });
      open.delete(key);
    }
  }
  return [...bands, ...open.values()];
}

/** Return data whose times count from the start of a cycle. @param {any} data @param {number} begin */
function shifted(data, begin) {
  const name = data.kind === "buckets" ? "start" : "time";
  return { ...data, [name]: data[name].map((/** @type {number} */ time) => time - begin) };
}

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  const trends = new Trends(root, app, route);
  return { destroy: () => trends.destroy(), trends };
}


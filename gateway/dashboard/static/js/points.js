/**
 * The points of a machine as a tree grid: groups that fold, a search, and rows that exist only where they are seen, so
 * that ten thousand points cost no more than thirty.
 */

import { rangebar, sparkline, strip } from "./chart/small.js";
import { h, set, setText } from "./dom.js";
import { BAD, GOOD, NONE, qualityOf, stale, UNCERTAIN } from "./freshness.js";
import { mark, measured, number, span, t, unit } from "./texts.js";
import { isNumeric, isState, written } from "./values.js";

const GROUPS = {
  state: mark("State"), production: mark("Production"), part: mark("Part and result"), alarms: mark("Alarms"),
  temperature: mark("Temperature"), pressure: mark("Pressure"), force: mark("Force and torque"), position: mark("Position and size"),
  speed: mark("Speed and frequency"), flow: mark("Flow"), mass: mark("Mass"), electrical: mark("Electrical"), energy: mark("Energy"),
  time: mark("Time"), ratio: mark("Ratio"), signals: mark("Signals"), other: mark("Other points"),
};
const SHADES = ["idle", "producing", "changing", "suspended"]; // of states, which are told apart, and mean nothing
const AROUND = 8; // rows beyond the edges of the window
const TRAIL = 240e6, STEP = 2e6; // microseconds of a sparkline, and between two of its points

/** @param {string} group */
export const groupText = (group) => (GROUPS[group] ? t(GROUPS[group]) : group);

export class PointTable {
  /**
   * @param {{now: () => number, visible: (positions: number[]) => Iterable<number>, open: (positions: number[]) => void, chosen: (count: number) => void}} owner
   */
  constructor(owner) {
    this.owner = owner;
    this.points = [];
    this.groups = [];
    this.entries = [];
    this.folded = new Set();
    this.chosen = new Set();
    this.words = [];
    this.only = false;
    this.notGood = new Set();
    /** @type {Map<number, import("./freshness.js").Reading>} */
    this.readings = new Map();
    this.trails = new Map();
    this.usual = new Map();
    this.silent = null;
    this.rows = new Map(); // key of an entry -> element
    this.dirty = new Set();
    this.active = "";
    this.wanted = "";
    this.frame = 0;
    this.body = h("div", { class: "points-body", role: "rowgroup" });
    this.empty = h("p", { class: "empty", hidden: true });
    this.element = h("div", { class: "points", role: "treegrid", tabindex: "0", "aria-label": t("Points"), "aria-multiselectable": "true", "aria-colcount": 6,
      on: { keydown: (event) => this.key(event), focus: () => this.focused(), click: (event) => this.click(event) } }, this.head(), this.body);
    this.scrolled = () => this.schedule();
    addEventListener("scroll", this.scrolled, { passive: true });
    addEventListener("resize", this.scrolled);
  }

  head() {
    const titles = [t("Point"), t("Value"), t("Range"), t("Last minutes"), t("Quality"), t("Age")];
    const names = ["name", "value", "range", "trend", "quality", "age"];
    return h("div", { class: "points-heads", role: "rowgroup" }, h("div", { class: "point-row points-head", role: "row" },
      ...titles.map((text, at) => h("div", { class: `cell-${names[at]}`, role: "columnheader", text }))));
  }

  destroy() {
    removeEventListener("scroll", this.scrolled);
    removeEventListener("resize", this.scrolled);
    cancelAnimationFrame(this.frame);
  }

  /** @param {any[]} points @param {[string, number[]][]} groups */
  describe(points, groups) {
    const chosen = new Set([...this.chosen].map((at) => this.points[at]?.name));
    this.points = points.map((point, at) => ({ ...point, at, found: `${point.name} ${point.description} ${point.unit}`.toLowerCase() }));
    for (const [group, positions] of groups) for (const at of positions) this.points[at].found += ` ${groupText(group).toLowerCase()}`;
    this.groups = groups;
    this.chosen = new Set(this.points.filter((point) => chosen.has(point.name)).map((point) => point.at));
    for (const map of [this.readings, this.trails, this.usual]) map.clear();
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.wanted = "";
    this.filter();
  }

  /** Show the points with all words of a text; with `only` those that are not good. */
  search(text, only = this.only) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.only = only;
    this.filter();
  }

  filter() {
    const filtered = this.words.length > 0 || this.only;
    this.entries = [];
    this.shown = 0;
    for (const [group, positions] of this.groups) {
      const kept = positions.filter((at) => (!this.only || this.notGood.has(at)) && this.words.every((word) => this.points[at].found.includes(word)));
      if (filtered && !kept.length) continue;
      this.shown += kept.length;
      this.entries.push({ key: `g${group}`, group, count: kept.length, bad: kept.filter((at) => this.notGood.has(at)).length });
      if (!this.folded.has(group)) for (const at of kept) this.entries.push({ key: `p${at}`, at, group });
    }
    set(this.element, { "aria-rowcount": this.entries.length + 1 });
    set(this.empty, { hidden: this.shown > 0 });
    setText(this.empty, this.only && !this.words.length ? t("All points are good.") : t("No point fits."));
    this.schedule();
  }

  fold(group, folded = !this.folded.has(group)) {
    if (folded) this.folded.add(group);
    else this.folded.delete(group);
    this.filter();
  }

  foldAll(folded) {
    this.folded = new Set(folded ? this.groups.map(([group]) => group) : []);
    this.filter();
  }

  /** @param {number[]} notGood positions of all points that are not good */
  setNotGood(notGood) {
    this.notGood = new Set(notGood);
    this.filter();
  }

  setSilent(silent) {
    const before = this.silent?.why;
    this.silent = silent;
    if (before !== silent?.why) for (const at of this.readings.keys()) this.dirty.add(at);
    this.schedule();
  }

  /** @param {number} at @param {import("./freshness.js").Reading} one */
  take(at, one) {
    this.readings.set(at, one);
    const point = this.points[at];
    if (point && (isNumeric(point) || isState(point))) this.extend(at, point, one);
    this.dirty.add(at);
    this.schedule();
  }

  extend(at, point, one) {
    const trail = this.trails.get(at) ?? { times: [], values: [] };
    this.trails.set(at, trail);
    const last = trail.times.at(-1) ?? 0, before = trail.values.at(-1);
    const value = one.quality === BAD ? null : Number(one.value);
    if (one.time <= last || (one.time - last < STEP && (value === null) === (before === null))) return;
    // a point that is sent on change had its last value until now
    if (last && point.quiet !== point.every && one.time - last > STEP) {
      trail.times.push(one.time - 1);
      trail.values.push(before);
    }
    trail.times.push(one.time);
    trail.values.push(value);
    while (trail.times[0] < one.time - TRAIL) trail.times.shift(), trail.values.shift();
  }

  takeTrail(at, [first, millis, values]) {
    this.trails.set(at, { times: millis.map((one) => first + one * 1000), values });
    this.dirty.add(at);
  }

  schedule() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  /** The height of a row, as the styles say. */
  get height() {
    return (this.rowHeight ??= parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 40);
  }

  /** Make the rows of the window, drop all others, and show what changed. */
  render() {
    if (!this.element.isConnected) return;
    const { height, entries } = this;
    this.body.style.height = `${entries.length * height}px`;
    const top = -this.body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - AROUND);
    const last = Math.min(entries.length, Math.ceil((top + innerHeight) / height) + AROUND);
    const needed = new Set();
    for (let index = first; index < last; index++) {
      const entry = entries[index];
      needed.add(entry.key);
      let row = this.rows.get(entry.key);
      if (!row) {
        row = entry.at === undefined ? this.groupRow(entry) : this.pointRow(entry.at);
        this.rows.set(entry.key, row);
        row.classList.toggle("active", entry.key === this.active);
        this.body.append(row);
        if (entry.at !== undefined) this.dirty.add(entry.at);
      }
      if (row.index !== index) {
        row.index = index;
        row.style.transform = `translateY(${index * height}px)`;
        set(row, { "aria-rowindex": index + 2 });
      }
      if (entry.at === undefined) this.updateGroup(row, entry);
    }
    for (const [key, row] of this.rows) {
      if (needed.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    for (const at of this.dirty) this.updatePoint(at);
    this.dirty.clear();
    this.subscribe(entries.slice(first, last));
  }

  subscribe(entries) {
    const positions = entries.filter((entry) => entry.at !== undefined).map((entry) => entry.at);
    const wanted = positions.join();
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.look(positions), 60);
  }

  /** Subscribe to points, and forget all others: what they showed may be old when they are seen again. */
  look(positions) {
    const kept = new Set(this.owner.visible(positions));
    for (const map of [this.readings, this.trails]) for (const at of map.keys()) if (!kept.has(at)) map.delete(at);
  }

  groupRow(entry) {
    return h("div", { class: "point-row group-row", role: "row", id: `row-${entry.key}`, "aria-level": "1", data: { group: entry.group } },
      h("div", { class: "cell-group", role: "gridcell", "aria-colspan": "6" }, h("i", { class: "fold", "aria-hidden": "true" }), h("strong", { text: groupText(entry.group) }), h("span", { class: "muted" }), h("span", { class: "chip bad" })));
  }

  updateGroup(row, entry) {
    const cell = row.firstElementChild;
    set(row, { "aria-expanded": this.folded.has(entry.group) ? "false" : "true" });
    setText(cell.children[2], number(entry.count, 0));
    set(cell.children[3], { hidden: !entry.bad });
    setText(cell.children[3], t("{count} not good", { count: number(entry.bad, 0) }));
  }

  pointRow(at) {
    const point = this.points[at];
    const title = [point.description, t("every {span}", { span: `${number(point.every)} s` }), ...Object.entries(point.revised ?? {}).map(([name, value]) => `${name}: ${measured(value)}`)].filter(Boolean).join(" · ");
    const row = h("div", { class: "point-row", role: "row", id: `row-p${at}`, "aria-level": "2", data: { point: point.name, text: point.type === "string" || point.type === "json" ? "yes" : "no" } },
      h("div", { class: "cell-name", role: "gridcell", title }, h("i", { class: "check", "aria-hidden": "true" }), h("span", { class: "names" }, h("span", { class: "point-name", text: point.name }), h("span", { class: "muted description", text: point.description }))),
      h("div", { class: "cell-value", role: "gridcell" }, h("span", { class: "value" }), " ", h("span", { class: "unit" })),
      h("div", { class: "cell-range", role: "gridcell" }),
      h("div", { class: "cell-trend", role: "gridcell" }),
      h("div", { class: "cell-quality", role: "gridcell" }, h("i", { class: "symbol", "aria-hidden": "true" }), h("span")),
      h("div", { class: "cell-age muted", role: "gridcell" }));
    row.at = at;
    const [, , range, trend] = row.children;
    if (point.range) range.append(h("span", { class: "end muted", text: measured(point.range[0]) }), h("div", { class: "bar" }), h("span", { class: "end muted", text: measured(point.range[1]) }));
    if (isNumeric(point) || isState(point)) trend.append(h("canvas", { class: isState(point) ? "strip" : "sparkline" }));
    set(row, { "aria-selected": this.chosen.has(at) ? "true" : "false" });
    return row;
  }

  updatePoint(at) {
    const row = this.rows.get(`p${at}`), one = this.readings.get(at);
    if (!row || !one) return;
    const point = this.points[at], [, value, range, , quality] = row.children;
    const old = stale(point, one, this.silent, this.owner.now());
    const shown = written(point, one.quality === BAD ? null : one.value);
    setText(value.firstElementChild, one.quality === BAD || one.quality === NONE ? "—" : shown.text);
    setText(value.lastElementChild, shown.unit);
    set(value, { title: shown.text.length > 16 ? shown.text : null });
    const said = qualityOf(one, old);
    if (row.dataset.kind !== said.kind) row.dataset.kind = said.kind;
    row.dataset.time = one.time;
    setText(quality.firstElementChild, said.symbol);
    setText(quality.lastElementChild, said.text);
    set(quality, { title: said.kind === "good" ? null : said.text });
    if (point.range) this.updateRange(range.children[1], point, one, old);
    if (!row.drawn) this.draw(row, point);
    this.updateAge(row, one);
  }

  /** Move the pointer of the bar, if it moves by as much as can be seen. */
  updateRange(bar, point, one, old) {
    const [low, high] = point.range, numeric = one.quality !== BAD && typeof one.value === "number";
    const usual = this.usual.get(point.at);
    const seen = numeric ? `${Math.round(((one.value - low) / (high - low || 1)) * 200)} ${one.quality} ${!!old} ${usual}` : "none";
    if (bar.seen === seen) return;
    bar.seen = seen;
    rangebar(bar, { value: numeric ? one.value : null, low, high, normalLow: usual?.[0], normalHigh: usual?.[1], quality: old && one.quality === GOOD ? UNCERTAIN : one.quality, unit: point.unit ? unit(point.unit) : "", label: point.name });
  }

  draw(row, point) {
    const canvas = row.children[3].firstElementChild, trail = this.trails.get(point.at), one = this.readings.get(point.at);
    if (!canvas || !trail || !trail.times.length || !one) return;
    row.drawn = true;
    if (isState(point)) return this.drawStates(canvas, point, trail);
    const now = this.owner.now(), usual = this.usual.get(point.at);
    let { times, values } = trail;
    if (one.quality === GOOD && !stale(point, one, this.silent, now) && now > times.at(-1) && point.quiet !== point.every) {
      times = [...times, now];
      values = [...values, values.at(-1)];
    }
    const quality = values.map((value) => (value === null ? BAD : GOOD));
    sparkline(canvas, { times, values, quality, from: now - TRAIL, to: now, band: usual ? { low: usual[0], high: usual[1] } : null, gap: point.quiet ? Math.max(3 * point.quiet * 1e6, 3 * STEP) : Infinity, label: point.name });
  }

  drawStates(canvas, point, { times, values }) {
    const now = this.owner.now(), from = now - TRAIL;
    const segments = values.map((value, at) => {
      const known = value !== null, text = known ? written(point, point.type === "bool" ? Boolean(value) : value).text : "";
      return { begin: Math.max(from, times[at]), end: times[at + 1] ?? now, kind: known ? SHADES[Math.abs(value) % SHADES.length] : "unknown", label: text };
    }).filter((one, at, all) => one.end > from && (at === 0 || all[at - 1].label !== one.label || all[at - 1].end < one.begin));
    segments.forEach((one, at) => { one.end = segments[at + 1]?.begin ?? now; });
    strip(canvas, { from, to: now, segments, label: point.name });
  }

  updateAge(row, one) {
    setText(row.lastElementChild, one.time ? span((this.owner.now() - one.time) / 1e6) : "");
  }

  /** Once a second: ages, sparklines, and readings that have become stale. */
  tick() {
    for (const row of this.rows.values()) {
      const one = this.readings.get(row.at);
      if (!one) continue;
      const point = this.points[row.at], kind = stale(point, one, this.silent, this.owner.now()) ? "stale" : "";
      if ((kind === "stale") !== (row.dataset.kind === "stale")) this.updatePoint(row.at);
      this.updateAge(row, one);
      this.draw(row, point);
    }
  }

  // -- mouse and keyboard --

  click(event) {
    const row = /** @type {Element} */ (event.target).closest("[role=row]");
    if (!row || row.classList.contains("points-head")) return;
    if (row.dataset.group !== undefined) {
      this.activate(`g${row.dataset.group}`);
      this.fold(row.dataset.group);
    } else {
      this.activate(`p${row.at}`);
      this.choose(row.at);
    }
  }

  choose(at) {
    if (!this.chosen.delete(at)) this.chosen.add(at);
    const row = this.rows.get(`p${at}`);
    if (row) set(row, { "aria-selected": this.chosen.has(at) ? "true" : "false" });
    this.owner.chosen(this.chosen.size);
  }

  chooseNone() {
    for (const at of [...this.chosen]) this.choose(at);
  }

  activate(key) {
    this.rows.get(this.active)?.classList.remove("active");
    this.active = key;
    set(this.element, { "aria-activedescendant": `row-${key}` });
    this.rows.get(key)?.classList.add("active");
  }

  focused() {
    if (!this.entries.some((entry) => entry.key === this.active) && this.entries.length) this.activate(this.entries[0].key);
  }

  key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = Math.max(0, this.entries.findIndex((entry) => entry.key === this.active)), entry = this.entries[at];
    if (!entry) return;
    const page = Math.max(1, Math.floor(innerHeight / this.height) - 6);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.entries.length - 1 };
    if (event.key in moves) this.go(moves[event.key]);
    else if (event.key === "ArrowLeft") entry.at === undefined ? this.fold(entry.group, true) : this.go(this.entries.findIndex((one) => one.key === `g${entry.group}`));
    else if (event.key === "ArrowRight") entry.at === undefined ? this.fold(entry.group, false) : null;
    else if (event.key === " ") entry.at === undefined ? this.fold(entry.group) : this.choose(entry.at);
    else if (event.key === "Enter") entry.at === undefined ? this.fold(entry.group) : this.owner.open(this.chosen.size ? [...this.chosen] : [entry.at]);
    else return;
    event.preventDefault();
  }

  /** Make an entry the active entry, and bring it into the window. */
  go(index) {
    const at = Math.min(this.entries.length - 1, Math.max(0, index));
    const top = this.body.getBoundingClientRect().top + at * this.height;
    const above = this.element.querySelector(".points-head").getBoundingClientRect().bottom;
    if (top < above) scrollBy(0, top - above);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight + 4);
    this.render();
    this.activate(this.entries[at].key);
  }
}

/** Production: what each machine did in a span of time, and how many parts it made. */

import { doubtsOf, machineDetails } from "../production/details.js";
import { ShiftReport } from "../production/oee.js";
import { shiftStart } from "../production/shift.js";
import { ShiftStops } from "../production/stops.js";
import { strip } from "../chart/small.js";
import { h, keep, set, setText } from "../dom.js";
import { request } from "../live.js";
import { PlaceChoice } from "../places.js";
import { address, remember } from "../router.js";
import { segmented } from "../segmented.js";
import { stateMark, stateText, updateStateMark } from "../states.js";
import { measured, moment, number, span, t, unit } from "../texts.js";

const SPANS = { "1h": 3600, "8h": 8 * 3600, shift: 0 }; // seconds
const AGAIN = 15, LOAD = 12; // seconds between two requests, and their least multiple of the time that one takes

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  return new ProductionView(root, app, route.query);
}

class ProductionView {
  constructor(root, app, query) {
    this.app = app;
    this.path = query.get("path") ?? "";
    this.span = query.get("span") in SPANS ? query.get("span") : "1h";
    this.begins = /^\d\d:\d\d$/.test(query.get("begins") ?? "") ? query.get("begins") : localStorage.getItem("shift") ?? "06:00";
    this.rows = new Map();
    this.stored = new Map();
    this.open = new Set();
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.lines = h("div", { class: "stack" });
    this.heading = h("span", { class: "muted", role: "status", text: t("Reading the store…") });
    this.report = new ShiftReport(query.get("shift") ?? "current", (shift) => { this.chosen = shift; this.remember(); this.stops.show(this.path, shift); });
    this.stops = new ShiftStops();
    this.chosen = query.get("shift") ?? "current";
    root.append(
      h("div", { class: "title" }, h("h1", { text: t("Production") }), this.heading),
      this.toolbar(), this.notice, this.report.element, this.stops.element, this.lines);
    this.report.show(this.path);
    this.stops.show(this.path, this.chosen);
    this.feed = app.live.open("production", { path: this.path }, (changes) => this.receive(changes));
    this.number = 0;
    this.load();
  }

  toolbar() {
    this.place = new PlaceChoice(this.app, this.path, (path) => { this.path = path; this.feed.set({ path }); this.apply(); });
    this.time = h("input", { class: "field", type: "time", value: this.begins, required: true, on: {
      change: () => { if (this.time.value) { this.begins = this.time.value; localStorage.setItem("shift", this.begins); this.apply(); } },
    } });
    this.shift = h("label", { class: "row tight muted" }, t("a shift begins at"), this.time);
    return h("div", { class: "row toolbar" }, this.place.element,
      segmented(t("Span"), [["1h", span(3600)], ["8h", span(8 * 3600)], ["shift", t("This shift")]], this.span, (value) => { this.span = value; this.apply(); }),
      this.shift, legend());
  }

  remember() {
    remember({ ...(this.path ? { path: this.path } : {}), ...(this.span === "1h" ? {} : { span: this.span }), ...(this.span === "shift" ? { begins: this.begins } : {}), ...(this.chosen === "current" ? {} : { shift: this.chosen }) });
  }

  apply() {
    this.remember();
    this.report.show(this.path);
    this.stops.show(this.path, this.chosen);
    this.load();
  }

  receive(changes) {
    if (changes.machines) this.rows = new Map(changes.machines.map((row) => [row.path, row]));
    for (const row of changes.changed ?? []) this.rows.set(row.path, row);
    this.report.live(this.rows);
    this.show();
  }

  async load() {
    const own = ++this.number;
    clearTimeout(this.timer);
    set(this.shift, { hidden: this.span !== "shift" });
    const from = this.span === "shift" ? String(shiftStart(this.app.live.now(), this.begins)) : `-${SPANS[this.span]}s`;
    set(this.lines, { "aria-busy": "true" });
    const began = performance.now();
    let problem = "";
    try {
      const found = await request(`/api/production?${new URLSearchParams({ path: this.path, from })}`);
      if (own !== this.number) return;
      this.times = found;
      this.stored = new Map(found.machines.map((one) => [one.path, one]));
    } catch (error) {
      if (own !== this.number) return;
      problem = error.message;
    }
    set(this.lines, { "aria-busy": null });
    this.showNotice(problem);
    this.show();
    const took = (performance.now() - began) / 1000;
    this.timer = setTimeout(() => this.load(), Math.max(AGAIN, took * LOAD) * 1000);
  }

  showNotice(problem) {
    const texts = problem ? [t("Times and counts can't be read: {error}", { error: problem })] : [...this.times.problems];
    if (this.times && this.times.known_since > this.times.from) texts.push(t("The store was read back to {time}; what was before does not count here.", { time: moment(this.times.known_since) }));
    if (this.times && !this.times.witnessed) texts.push(t("Machines that report changes alone: a time in which the gateway was off can't be told from the store."));
    setText(this.notice, texts.join(" "));
    set(this.notice, { hidden: texts.length === 0 });
    setText(this.heading, this.times ? t("{from} to {to}", { from: moment(Math.max(this.times.from, this.times.known_since)), to: moment(this.times.to) }) : "");
    set(this.heading, { hidden: !this.times });
  }

  show() {
    const groups = new Map();
    for (const row of this.rows.values()) {
      const line = row.path.split("/").slice(0, 4).join("/");
      if (!groups.has(line)) groups.set(line, []);
      groups.get(line).push(row);
    }
    keep(this.lines, groups, ([line]) => line, ([line]) => panel(line), (element, [, rows]) => {
      keep(element.querySelector(".produced"), rows, (row) => row.path, (row) => this.machine(row), (own, row) => this.update(own, row));
    });
    if (groups.size === 0) this.lines.replaceChildren(h("p", { class: "panel empty", text: t("No machine here reports a state of production or counts parts.") }));
  }

  machine(row) {
    const details = h("div", { class: "produced-details", hidden: true });
    const toggle = h("button", { class: "button quiet produced-toggle", type: "button", "aria-expanded": "false", title: t("More about this machine"), "aria-label": t("More about {machine}", { machine: row.path.split("/").at(-1) }), on: {
      click: () => {
        const opened = this.open.delete(row.path) ? false : Boolean(this.open.add(row.path));
        set(toggle, { "aria-expanded": String(opened) });
        this.show();
      },
    } }, h("span", { class: "chevron", "aria-hidden": "true" }));
    return h("li", { class: "produced-machine" },
      h("div", { class: "produced-row" },
        h("div", { class: "produced-name" }, h("a", { href: address("machine", row.path) }, h("strong", { text: row.path.split("/").at(-1) })), stateMark(row)),
        h("canvas", { class: "produced-strip", width: 10, height: 10 }),
        ...["good", "reject", "rate", "cycle"].map((name) => h("div", { class: `figure figure-${name}` }, h("strong"), h("span", { class: "muted" }))),
        toggle),
      details);
  }

  update(element, row) {
    const stored = this.stored.get(row.path);
    const line = element.firstElementChild;
    updateStateMark(line.querySelector(".state"), row);
    const canvas = line.querySelector("canvas");
    if (this.times && canvas.dataset.drawn !== String(this.times.to)) {
      canvas.dataset.drawn = this.times.to;
      strip(canvas, { from: this.times.from, to: this.times.to, segments: segmentsOf(stored, this.times), label: t("States") });
    }
    for (const [name, figure] of Object.entries(figures(row, stored))) {
      const box = line.querySelector(`.figure-${name}`);
      setText(box.firstElementChild, figure.value);
      setText(box.lastElementChild, figure.text);
      set(box, { title: figure.title || null, data: { doubt: figure.doubt ? "yes" : "no" } });
    }
    const details = element.lastElementChild;
    const opened = this.open.has(row.path);
    set(details, { hidden: !opened });
    if (opened && this.times && details.dataset.shown !== String(this.times.to)) {
      details.dataset.shown = this.times.to;
      details.replaceChildren(...machineDetails(row, stored));
    }
  }

  destroy() {
    this.number++;
    clearTimeout(this.timer);
    this.place.destroy();
    this.report.destroy();
    this.stops.destroy();
    this.feed.close();
  }
}

function panel(line) {
  const levels = line.split("/");
  return h("section", { class: "panel", "aria-label": levels[3] },
    h("h2", {}, h("span", { class: "muted", text: `${levels.slice(1, 3).join(" › ")} › ` }), h("a", { href: address("line", line), text: levels[3] })),
    h("ul", { class: "produced" }));
}

const LEGEND = [["producing", "execute"], ["idle", "idle"], ["suspended", "suspended"], ["stopped", "stopped"], ["held", "held"], ["aborted", "aborted"], ["unknown", "not known"]];

const legend = () => h("div", { class: "row legend", "aria-hidden": "true" }, ...LEGEND.map(([kind, name]) =>
  h("span", { class: "state", data: { kind } }, h("i"), h("span", { text: stateText(name) }))));

/** Return the segments of a stored timeline; the time before it is empty. */
function segmentsOf(stored, times) {
  const found = stored?.strip ?? [];
  return found.map(([begin, state, kind], at) => ({ begin, end: found[at + 1]?.[0] ?? times.to, kind, label: stateText(state) }));
}

/** Return the figures of a machine: its counts in the span, and what it says of its cycle. */
function figures(row, stored) {
  const known = (stored?.states ?? []).reduce((sum, [state, , length]) => sum + (state === "not known" ? 0 : length), 0) / 3600e6;
  const good = counted(stored?.good), reject = counted(stored?.reject);
  const rate = stored?.good && known > 0.01 ? number(stored.good.parts / known, 1) : "–";
  const cycle = stored?.cycles ? measured(stored.cycles.median) : row.cycle_time !== undefined ? measured(row.cycle_time) : "–";
  const cycleText = stored?.cycles ? t("{unit} median", { unit: unit(stored.cycles.unit) }) : row.cycle_time !== undefined ? t("{unit} last", { unit: unit(row.cycle_unit ?? "") }) : t("cycle");
  return {
    good: { ...good, text: t("good") }, reject: { ...reject, text: t("rejects") },
    rate: { value: rate, text: t("good per hour"), title: t("Of the time in which the state is known.") }, cycle: { value: cycle, text: cycleText, title: "" },
  };
}

/** Return the number of parts that a counter counted, and what makes it less certain. */
function counted(found) {
  if (!found) return { value: "–", title: "" };
  const doubts = doubtsOf(found);
  return { value: number(found.parts, 0) + (doubts.length ? " *" : ""), title: doubts.join(" "), doubt: doubts.length > 0 };
}

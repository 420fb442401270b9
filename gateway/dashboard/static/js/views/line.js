/** A line: its machines as a flow, who waits for whom, the bottleneck, and all timelines on one time axis. */

import { choice, crumbs } from "../crumbs.js";
import { h, keep, set, setText } from "../dom.js";
import { knownStates, silence } from "../freshness.js";
import { address, remember } from "../router.js";
import { alarmBadge, reasonText, shown, stateMark, stateText, updateStateMark, urgency } from "../states.js";
import { mark, moment, number, percent, span, t, tn } from "../texts.js";
import { stateAt, Timelines } from "../timelines.js";

const SPANS = [[900, mark("15 min")], [3600, mark("1 h")], [8 * 3600, mark("8 h")]];
const PAGE = 40; // machines that are shown at once
const MOST_STOPS = 30;

/** What a machine waits for: text, and an arrow that points to the cause. */
const WAITS = {
  starved: { text: mark("starved"), symbol: "◂", title: mark("No part comes: no machine before it produces.") },
  blocked: { text: mark("blocked"), symbol: "▸", title: mark("No part can leave: the machines after it stand, or are full.") },
  waits: { text: mark("waits"), symbol: "◇", title: mark("It waits; the states of its neighbours do not tell what for.") },
};

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  return new LineView(root, app, route);
}

class LineView {
  constructor(root, app, route) {
    this.app = app;
    this.path = route.path.join("/");
    this.span = SPANS.some(([value]) => value === Number(route.query.get("span"))) ? Number(route.query.get("span")) : SPANS[0][0];
    this.first = Math.max(0, Math.floor(Number(route.query.get("first")) || 0));
    this.rows = [];
    this.stages = [];
    this.figures = new Map();
    this.timelines = new Map();
    this.lanes = new Map();
    this.stops = [];
    this.bottleneck = null;
    this.link = null;
    this.build(root, route);
    this.feed = app.live.open("line", this.arguments(), (changes) => this.receive(changes));
    this.onTick = () => this.tick();
    addEventListener("tick", this.onTick);
  }

  destroy() {
    this.feed.close();
    removeEventListener("tick", this.onTick);
  }

  arguments() {
    return { path: this.path, span: this.span, first: this.first, last: this.first + PAGE };
  }

  get last() {
    return Math.min(this.first + PAGE, this.rows.length);
  }

  build(root, route) {
    this.summary = h("span", { class: "muted" });
    this.missing = h("div", { class: "panel empty", hidden: true, text: t("No line {path} is known: no machine of it is configured, and none has been heard at the broker.", { path: this.path }) });
    const chosen = choice(t("Time shown"), SPANS.map(([value, text]) => [value, t(text)]), this.span, (value) => this.choose({ span: value }));
    this.pager = h("div", { class: "row pager", hidden: true }, h("button", { class: "button", type: "button", text: t("Previous"), on: { click: () => this.choose({ first: Math.max(0, this.first - PAGE) }) } }),
      h("span", { role: "status" }), h("button", { class: "button", type: "button", text: t("Next"), on: { click: () => this.choose({ first: this.first + PAGE }) } }));
    this.figuresList = h("dl", { class: "line-figures" });
    this.flow = h("ol", { class: "stages", "aria-label": t("Machines in their order") });
    this.hint = h("p", { class: "muted bottleneck-hint" });
    this.chart = new Timelines(t("States of all machines"), (at) => this.showCursor(at));
    this.chart.element.classList.add("line-lanes");
    this.stopList = h("ol", { class: "stops" });
    this.calm = h("p", { class: "muted", text: t("No machine has stopped in this time.") });
    this.lost = h("div", { class: "notice", role: "status", hidden: true });
    this.content = h("div", { class: "stack" }, this.lost,
      h("section", { class: "panel", "aria-label": t("Flow") }, h("div", { class: "card-head" }, h("h2", { text: t("Flow") }), this.figuresList, this.pager), this.flow, this.hint),
      h("section", { class: "panel", "aria-label": t("States") }, h("div", { class: "card-head" }, h("h2", { text: t("States") }), chosen), this.laneHead(), this.chart.element),
      h("section", { class: "panel", "aria-label": t("Stops") }, h("h2", { text: t("Stops, and who waited because of them") }), this.stopList, this.calm));
    root.append(crumbs(route.path.slice(0, 3)), h("div", { class: "title" }, h("h1", { text: route.path.at(-1) ?? "" }), this.summary), this.missing, this.content);
  }

  laneHead() {
    const titles = [t("Good"), t("Reject"), t("Good per hour"), t("Cycle"), t("Waited")];
    return h("div", { class: "lane lanes-head line-lanes" }, h("div", { class: "lane-head", text: t("Machine") }), h("span"), h("div", { class: "lane-tail" }, h("div", { class: "lane-figures" }, ...titles.map((text) => h("span", { text })))));
  }

  choose(changes) {
    Object.assign(this, changes);
    this.timelines.clear();
    remember({ ...(this.span === SPANS[0][0] ? {} : { span: this.span }), ...(this.first ? { first: this.first } : {}) });
    this.feed.set(this.arguments());
    this.showFlow();
    this.drawLanes();
  }

  // -- what the feed says --

  receive(changes) {
    if (changes.missing || changes.error || changes.failed) {
      set(this.missing, { hidden: false });
      set(this.content, { hidden: true });
      setText(this.summary, "");
      if (changes.error) setText(this.missing, t("This is not the address of a line: {path}", { path: this.path }));
      return;
    }
    if (changes.machines) this.describe(changes);
    for (const [at, row] of changes.changed ?? []) this.update(at, row);
    for (const [at, figures] of Object.entries(changes.figures ?? {})) this.figures.set(Number(at), figures);
    if (changes.link) this.link = changes.link;
    if ("bottleneck" in changes) this.bottleneck = changes.bottleneck;
    for (const [at, states] of Object.entries(changes.timelines ?? {})) this.timelines.set(Number(at), states);
    if (changes.stops) this.showStops(changes.stops);
    this.showSummary();
    this.showFlow();
    if (changes.machines || changes.timelines || changes.stops || changes.changed || changes.figures) this.drawLanes();
  }

  describe({ machines, stages }) {
    set(this.missing, { hidden: true });
    set(this.content, { hidden: false });
    this.rows = machines;
    this.stages = stages;
    this.figures.clear();
    this.timelines.clear();
    this.lanes.clear();
    this.flow.replaceChildren();
    if (this.first >= machines.length && this.first > 0) this.choose({ first: 0 });
  }

  update(at, row) {
    const before = this.rows[at], states = this.timelines.get(at);
    this.rows[at] = row;
    if (states && row.production !== undefined && row.production_since !== before.production_since) {
      states.push([row.production_since, row.production, row.kind]);
    }
  }

  name(at) {
    return this.rows[at].path.split("/").at(-1);
  }

  showSummary() {
    const counts = { producing: 0, waiting: 0, wrong: 0 };
    for (const row of this.rows) {
      const { kind } = shown(row);
      counts[{ producing: "producing", idle: "waiting", suspended: "waiting", changing: "waiting", stopped: "waiting" }[kind] ?? "wrong"]++;
    }
    const parts = [tn("{count} machine", "{count} machines", this.rows.length), t("{count} running", { count: number(counts.producing, 0) }), t("{count} waiting", { count: number(counts.waiting, 0) })];
    if (counts.wrong) parts.push(t("{count} in trouble", { count: number(counts.wrong, 0) }));
    setText(this.summary, parts.join(" · "));
    this.showFigures();
    set(this.pager, { hidden: this.rows.length <= PAGE });
    const [previous, status, next] = this.pager.children;
    set(previous, { disabled: this.first === 0 });
    set(next, { disabled: this.last >= this.rows.length });
    setText(status, t("{first} to {last} of {count} machines", { first: number(this.first + 1, 0), last: number(this.last, 0), count: number(this.rows.length, 0) }));
  }

  /** What leaves the line: the good parts of its last stage that counts, and the rejects of all machines. */
  showFigures() {
    const total = (positions, place) => {
      const known = positions.map((at) => this.figures.get(at)?.[place]).filter((one) => one !== null && one !== undefined);
      return known.length ? known.reduce((sum, one) => sum + one, 0) : null;
    };
    const last = [...this.stages].reverse().find((stage) => total(stage, 0) !== null) ?? [];
    const all = this.rows.map((_, at) => at);
    const good = total(last, 0), reject = total(all, 1), perHour = total(last, 2), rejectPerHour = total(all, 3);
    const facts = [];
    if (good !== null) facts.push([t("Good"), number(good, 0), perHour === null ? "" : t("{count} per hour", { count: number(perHour, 0) })]);
    if (reject !== null) facts.push([t("Reject"), number(reject, 0), rejectPerHour === null ? "" : t("{count} per hour", { count: number(rejectPerHour, 1) })]);
    if (good + reject > 0) facts.push([t("Rejected"), percent(reject / (good + reject)), ""]);
    keep(this.figuresList, facts, ([name]) => name, ([name]) => h("div", {}, h("dt", { text: name }), h("dd"), h("dd", { class: "muted" })), (element, [, value, rate]) => {
      setText(element.children[1], value);
      setText(element.children[2], rate);
    });
  }

  // -- the flow --

  showFlow() {
    const stages = this.stages.map((machines, number_) => ({ number: number_, machines: machines.filter((at) => at >= this.first && at < this.last) })).filter((stage) => stage.machines.length);
    keep(this.flow, stages, (stage) => String(stage.number), () => h("li", { class: "stage" }, h("div", { class: "stage-head" }), h("ol", { class: "stage-machines" }), h("div", { class: "passed" }, h("span", { class: "passed-count" }), h("span", { class: "arrow", "aria-hidden": "true" }), h("span", { class: "passed-time muted" }))),
      (element, stage) => this.updateStage(element, stage));
    this.showHint();
  }

  updateStage(element, stage) {
    const [head, list, passed] = element.children;
    const narrow = this.bottleneck?.stage === stage.number;
    set(element, { data: { bottleneck: narrow ? "yes" : "no" } });
    set(head, { hidden: false });
    setText(head, narrow ? t("Bottleneck") : "");
    keep(list, stage.machines, (at) => String(at), (at) => this.tile(at), (tile, at) => this.updateTile(tile, at));
    set(passed, { hidden: stage.number === this.stages.length - 1 });
    const counts = this.stages[stage.number].map((at) => this.figures.get(at)?.[4]).filter((one) => one !== null && one !== undefined);
    const sum = counts.reduce((all, one) => all + one, 0);
    setText(passed.children[0], counts.length ? number(sum, 0) : "–");
    setText(passed.children[2], t("in 5 min"));
    set(passed, { data: { flows: sum > 0 ? "yes" : "no" }, title: counts.length ? t("{count} good parts left this stage in the last five minutes", { count: number(sum, 0) }) : t("The machines of this stage do not count parts") });
  }

  tile(at) {
    const row = this.rows[at];
    return h("li", {}, h("a", { class: "tile line-tile", href: address("machine", row.path), data: { path: row.path } },
      h("span", { class: "tile-head" }, h("strong", { text: this.name(at), title: row.template }), h("span", { class: "badge-place" })), stateMark(row), h("span", { class: "waits", hidden: true }, h("i", { "aria-hidden": "true" }), h("span")), h("span", { class: "tile-counts muted" })));
  }

  updateTile(item, at) {
    const tile = item.firstElementChild, row = this.rows[at], figures = this.figures.get(at);
    updateStateMark(tile.querySelector(".state"), row);
    const badge = tile.querySelector(".badge-place"), count = `${row.alarms} ${row.bad}`;
    if (badge.shown !== count) {
      badge.shown = count;
      badge.replaceChildren(alarmBadge(row.alarms) ?? (row.bad ? h("span", { class: "chip bad", text: t("{count} bad", { count: row.bad }) }) : ""));
    }
    const waits = tile.querySelector(".waits"), kind = WAITS[row.waits];
    set(waits, { hidden: !kind, data: { kind: row.waits ?? "" }, title: kind ? t(kind.title) : null });
    if (kind) {
      setText(waits.firstElementChild, kind.symbol);
      setText(waits.lastElementChild, t(kind.text));
    }
    const counts = [];
    if (row.good !== undefined) counts.push(`${number(row.good, 0)} ✓`);
    if (row.reject) counts.push(`${number(row.reject, 0)} ✗`);
    if (figures?.[2] !== null && figures?.[2] !== undefined) counts.push(t("{count}/h", { count: number(figures[2], 0) }));
    setText(tile.querySelector(".tile-counts"), counts.join("  "));
    set(tile, { data: { urgent: urgency(row) > 0 ? "yes" : "no" } });
  }

  showHint() {
    const found = this.bottleneck;
    set(this.flow, { data: { bottleneck: found ? "yes" : "no" } });
    if (!found) {
      setText(this.hint, this.stages.length > 1 ? t("No machine stands out as the bottleneck of the last half hour.") : "");
      return;
    }
    const machines = this.stages[found.stage], names = machines.slice(0, 3).map((at) => this.name(at)).join(", ") + (machines.length > 3 ? " …" : "");
    const why = found.why === "waiting" ? mark("Bottleneck of the last half hour: {machine}. It waited least, {percent} of the time.")
      : mark("Bottleneck of the last half hour: {machine}. It waited {percent} of the time, as little as others, and has the longest cycle.");
    setText(this.hint, t(why, { machine: names, percent: percent(found.waiting) }));
  }

  // -- timelines and stops --

  tick() {
    const silent = silence({ state: "", broker: this.link }, this.app.lost);
    set(this.content, { data: { old: silent ? "yes" : "no" } });
    set(this.lost, { hidden: !silent });
    if (silent) setText(this.lost, t("What you see is from {time} and older: {why}.", { time: moment(silent.since || this.app.live.now()), why: silent.why }));
    this.drawLanes();
  }

  drawLanes() {
    if (!this.rows.length) return;
    const now = this.app.live.now(), from = now - this.span * 1e6, rows = [];
    for (let at = this.first; at < this.last; at++) rows.push(this.lane(at));
    this.chart.show(rows, from, now);
  }

  lane(at) {
    const row = this.rows[at], name = this.name(at);
    if (!this.lanes.has(at)) {
      this.lanes.set(at, { key: String(at), label: name, head: h("a", { class: "lane-machine", href: address("machine", row.path) }, h("strong", { text: name }), h("span", { class: "lane-state" })), tail: h("div", { class: "lane-figures" }, ...Array.from({ length: 5 }, () => h("span"))) });
    }
    const lane = this.lanes.get(at), figures = this.figures.get(at) ?? [];
    lane.states = knownStates(this.timelines.get(at) ?? [], silence({ ...row, broker: this.link }, this.app.lost));
    lane.marks = this.marksOf(at);
    const texts = [figures[0], figures[1], figures[2], figures[5], figures[6]];
    const shapes = [(one) => number(one, 0), (one) => number(one, 0), (one) => number(one, 0), (one) => (one < 120 ? `${number(one, 1)} s` : span(one)), percent];
    texts.forEach((one, place) => setText(lane.tail.children[place], one === null || one === undefined ? "–" : shapes[place](one)));
    this.showLaneState(at, lane);
    return lane;
  }

  showLaneState(at, lane) {
    const place = lane.head.lastElementChild, cursor = this.chart.cursor;
    if (cursor === null) {
      const { kind, name, reason } = shown(this.rows[at]);
      set(place, { data: { kind, past: "no" } });
      setText(place, [stateText(name), reason && reasonText(reason), WAITS[this.rows[at].waits] && t(WAITS[this.rows[at].waits].text)].filter(Boolean).join(" · "));
    } else {
      const found = stateAt(lane.states, cursor, this.app.live.now());
      set(place, { data: { kind: found?.kind ?? "unknown", past: "yes" } });
      setText(place, found ? `${stateText(found.state)} · ${span(found.lasted)}` : t("not known"));
    }
  }

  showCursor() {
    for (const [at, lane] of this.lanes) if (at >= this.first && at < this.last && lane.states) this.showLaneState(at, lane);
  }

  /** Marks at the begin of each stop, and where a machine began to wait because of one. */
  marksOf(at) {
    const marks = [];
    for (const stop of this.stops) {
      if (stop.machine === at) marks.push({ time: stop.begin, kind: stop.kind, symbol: "▼", title: t("{machine} stopped", { machine: this.name(at) }) });
      for (const [machine, since, why] of stop.affected) {
        if (machine === at) marks.push({ time: since, kind: stop.kind, symbol: WAITS[why].symbol, title: t("{why} because {machine} stopped", { why: t(WAITS[why].text), machine: this.name(stop.machine) }) });
      }
    }
    return marks;
  }

  showStops(stops) {
    this.stops = stops;
    const latest = [...stops].reverse().sort((a, b) => (a.end === null ? 0 : 1) - (b.end === null ? 0 : 1)).slice(0, MOST_STOPS);
    set(this.calm, { hidden: latest.length > 0 });
    keep(this.stopList, latest, (stop) => `${stop.machine} ${stop.begin}`, (stop) =>
      h("li", {}, h("button", { class: "stop", type: "button", on: { click: () => this.chart.pin(stop.begin), focus: () => this.chart.pin(stop.begin), blur: () => this.chart.leave(true) } },
        h("span", { class: "state", data: { kind: stop.kind } }, h("i"), h("strong", { text: this.name(stop.machine) })), h("span", { class: "when" }), h("span", { class: "affected" }))),
    (element, stop) => {
      const [, when, affected] = element.firstElementChild.children, now = this.app.live.now();
      const lasted = span(((stop.end ?? now) - stop.begin) / 1e6);
      setText(when, stop.end === null ? t("since {time}, {span}", { time: moment(stop.begin), span: lasted }) : t("{time}, for {span}", { time: moment(stop.begin), span: lasted }));
      const parts = stop.affected.map(([at, since, why]) => t("{machine} {why} after {span}", { machine: this.name(at), why: t(WAITS[why].text), span: span((since - stop.begin) / 1e6) }));
      setText(affected, parts.length ? parts.join(" · ") : t("nobody waited"));
      set(affected, { class: parts.length ? "affected" : "affected muted" });
    });
  }
}

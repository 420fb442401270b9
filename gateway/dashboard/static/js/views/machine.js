/** A machine: its state, the part in work, alarms, what its driver knows, and all its points, live. */

import { choice, crumbs } from "../crumbs.js";
import { h, keep, set, setText } from "../dom.js";
import { BAD, knownStates, NONE, reading, silence } from "../freshness.js";
import { may } from "../live.js";
import { PointTable } from "../points.js";
import { address, go, remember } from "../router.js";
import { alarmBadge, reasonText, shown, stateMark, stateText, updateStateMark } from "../states.js";
import { mark, measured, moment, number, percent, span, t, tn } from "../texts.js";
import { Timelines } from "../timelines.js";
import { written } from "../values.js";

const SPANS = [[3600, mark("1 h")], [4 * 3600, mark("4 h")], [8 * 3600, mark("8 h")]];
const PART = [["serial", mark("Part")], ["order", mark("Order")], ["recipe", mark("Recipe")], ["mode", mark("Mode")]];
const COUNTS = [["good", mark("Good")], ["reject", mark("Reject")], ["cycles", mark("Cycles")], ["cycle_time", mark("Last cycle")]];
const COUNTERS = {
  requests: mark("requests"), timeouts: mark("unanswered requests"), refused: mark("refused requests"), retries: mark("repeated requests"), connects: mark("connections made"),
  republished: mark("notifications requested again"), lost_messages: mark("lost notifications"), overflows: mark("queue overflows"),
  discarded_answers: mark("discarded responses"), polled_instead: mark("points polled in place of pushed"), failovers: mark("changes of the server"),
  driver_faults: mark("driver faults"), backfilled: mark("readings from the history"), undecodable: mark("responses that can't be decoded"),
};
const KINDS_OF_CONNECTION = { online: "producing", degraded: "degraded", offline: "offline", starting: "changing" };
const MOST = 50; // rows of a list in a panel

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  return new MachineView(root, app, route);
}

class MachineView {
  constructor(root, app, route) {
    this.app = app;
    this.path = route.path.join("/");
    this.span = Number(route.query.get("span")) || SPANS[0][0];
    this.state = { state: "unknown", standing: [] };
    this.roles = {};
    this.states = [];
    this.connection = [];
    this.visible = [];
    this.table = new PointTable({
      now: () => app.live.now(), visible: (positions) => this.look(positions), open: (positions) => this.trends(positions), chosen: (count) => this.noteChosen(count),
    });
    this.build(root, route);
    this.feed = app.live.open("machine", { path: this.path, visible: [] }, (changes) => this.receive(changes));
    this.onTick = (event) => this.tick(event.detail);
    this.onKey = (event) => this.key(event);
    addEventListener("tick", this.onTick);
    addEventListener("keydown", this.onKey);
  }

  destroy() {
    this.feed.close();
    this.table.destroy();
    this.edge.disconnect();
    removeEventListener("tick", this.onTick);
    removeEventListener("keydown", this.onKey);
  }

  build(root, route) {
    this.mark = stateMark(this.state);
    this.about = h("span", { class: "muted" });
    this.lost = h("div", { class: "notice severe", role: "status", hidden: true });
    this.missing = h("div", { class: "panel empty", hidden: true, text: t("No machine {path} is known: none is configured, and none has been heard at the broker.", { path: this.path }) });
    this.content = h("div", { class: "stack" }, this.lost, h("div", { class: "cards" }, this.stateCard(), this.partCard(), this.alarmCard(), this.driverCard()), this.pointPanel());
    root.append(crumbs(route.path.slice(0, 4)), h("div", { class: "title" }, h("h1", { text: route.path.at(-1) ?? "" }), this.mark, this.about), this.missing, this.content);
  }

  stateCard() {
    this.big = h("p", { class: "big-state" }, h("span", { class: "state" }, h("i"), h("span")), h("span", { class: "muted" }));
    this.lanes = new Timelines(t("States"));
    this.laneRows = [{ key: "production", head: h("span", { text: t("Production") }), label: t("Production") }, { key: "connection", head: h("span", { text: t("Connection") }), label: t("Connection") }];
    const chosen = choice(t("Time shown"), SPANS.map(([value, text]) => [value, t(text)]), this.span, (value) => {
      this.span = value;
      remember(value === SPANS[0][0] ? {} : { span: value });
      this.drawLanes();
    });
    return h("section", { class: "panel card-state", "aria-label": t("State") }, h("div", { class: "card-head" }, h("h2", { text: t("State") }), chosen), this.big, this.lanes.element);
  }

  partCard() {
    this.facts = {};
    const fact = ([role, text], css) => {
      this.facts[role] = h("dd", { text: "—" });
      return h("div", { class: css, hidden: true }, h("dt", { text: t(text) }), this.facts[role]);
    };
    this.rejected = h("p", { class: "muted" });
    this.noPart = h("p", { class: "muted", text: t("The machine has no counters, and names no part.") });
    return h("section", { class: "panel card-part", "aria-label": t("Part in work") }, h("h2", { text: t("Part in work") }),
      h("dl", { class: "part-facts" }, ...PART.map((one) => fact(one, "fact"))), h("dl", { class: "part-figures" }, ...COUNTS.map((one) => fact(one, "figure"))), this.rejected, this.noPart);
  }

  alarmCard() {
    this.alarms = h("ol", { class: "standing" });
    this.calm = h("p", { class: "muted", text: t("No alarm stands.") });
    return h("section", { class: "panel card-alarms", "aria-label": t("Standing alarms") }, h("div", { class: "card-head" }, h("h2", { text: t("Standing alarms") }),
      h("a", { class: "link", href: address("alarms"), text: t("All alarms") })), this.alarms, this.calm);
  }

  driverCard() {
    this.counts = h("p", { class: "quality-counts" });
    this.reasons = h("ul", { class: "plain" });
    this.refused = h("details", { hidden: true }, h("summary"), h("ul", { class: "plain" }));
    this.revised = h("details", { hidden: true }, h("summary"), h("ul", { class: "plain" }));
    this.counters = h("dl", { class: "driver-counters" });
    this.asOf = h("p", { class: "muted" });
    return h("section", { class: "panel card-driver", "aria-label": t("Driver") }, h("div", { class: "card-head" }, h("h2", { text: t("Driver") }), this.counts), this.reasons, this.refused, this.revised, this.counters, this.asOf);
  }

  pointPanel() {
    this.search = h("input", { class: "field", type: "search", placeholder: t("Search points  ( / )"), "aria-label": t("Search points"), on: { input: () => this.filter() } });
    this.only = h("button", { class: "button", type: "button", "aria-pressed": "false", text: t("Only points that are not good"), on: { click: () => this.toggleOnly() } });
    this.openButton = h("button", { class: "button primary", type: "button", hidden: true, on: { click: () => this.trends([...this.table.chosen]) } });
    this.clear = h("button", { class: "button quiet", type: "button", hidden: true, text: t("Clear the selection"), on: { click: () => this.table.chooseNone() } });
    this.found = h("span", { class: "muted", role: "status" });
    const folding = h("button", { class: "button quiet", type: "button", text: t("Fold all"), on: { click: () => {
      this.foldedAll = !this.foldedAll;
      this.table.foldAll(this.foldedAll);
      setText(folding, this.foldedAll ? t("Unfold all") : t("Fold all"));
    } } });
    this.tools = h("div", { class: "points-tools" }, h("h2", { text: t("Points") }), this.search, this.only, folding, this.found, h("span", { class: "space" }), this.clear, this.openButton);
    // the header of the page grows with its banners; what sticks below follows
    const header = document.querySelector(".header-area");
    this.edge = new ResizeObserver(() => document.documentElement.style.setProperty("--header", `${header.offsetHeight}px`));
    this.edge.observe(header);
    return h("section", { class: "panel points-panel", "aria-label": t("Points") }, this.tools, this.table.element, this.table.empty);
  }

  // -- what the feed says --

  receive(changes) {
    if (changes.missing || changes.error || changes.failed) {
      set(this.missing, { hidden: false });
      set(this.content, { hidden: true });
      if (changes.error) setText(this.missing, t("This is not the address of a machine: {path}", { path: this.path }));
      return;
    }
    if (changes.points) this.describe(changes);
    if (changes.timeline) this.states = changes.timeline;
    if (changes.more) this.states.push(...changes.more);
    if (changes.connection) this.connection = changes.connection.map(([begin, state, reason]) => [begin, state, KINDS_OF_CONNECTION[state] ?? "unknown", reason && reasonText(reason)]);
    if (changes.state) this.showState(changes.state);
    if (changes.faults) this.showFaults(changes.faults);
    if (changes.driver) this.showDriver(changes.driver);
    for (const [at, ends] of Object.entries(changes.usual ?? {})) this.table.usual.set(Number(at), ends);
    for (const [at, trail] of Object.entries(changes.trails ?? {})) this.table.takeTrail(Number(at), trail);
    for (const one of changes.readings ?? []) this.table.take(one[0], reading(one));
    if (changes.readings) this.showPart(changes.readings);
    if (changes.timeline || changes.more || changes.connection) this.drawLanes();
  }

  describe({ machine, points, groups, roles }) {
    set(this.missing, { hidden: true });
    set(this.content, { hidden: false });
    this.machine = machine;
    this.points = points;
    this.roles = roles;
    this.values = new Map();
    this.table.describe(points, groups);
    this.look(this.visible);
    for (const role of Object.keys(this.facts)) set(this.facts[role].parentElement, { hidden: roles[role] === undefined });
    set(this.noPart, { hidden: Object.keys(roles).length > 0 });
    this.showRevised();
    this.filter();
    this.describeAbout();
  }

  describeAbout() {
    const open = this.machine?.unauthenticated;
    const parts = [this.machine?.template, this.machine?.protocol, open && t("{protocol} proves no identity", { protocol: open }), this.state.gateway && t("gateway {gateway}", { gateway: this.state.gateway })];
    setText(this.about, parts.filter(Boolean).join(" · "));
  }

  /** Subscribe to the readings of the rows that are seen, and to those of the part in work; return all of these. */
  look(positions) {
    this.visible = positions;
    const wanted = [...new Set([...Object.values(this.roles), ...positions])].slice(0, 500);
    this.feed?.set({ visible: wanted });
    return wanted;
  }

  showState(state) {
    this.state = state;
    updateStateMark(this.mark, state);
    this.table.setSilent(silence(state, this.app.lost));
    this.describeAbout();
    this.showBig();
    this.showAlarms(state.standing);
  }

  showBig() {
    const { kind, name, reason } = shown(this.state), [mark_, since] = this.big.children;
    set(mark_, { data: { kind } });
    setText(mark_.lastElementChild, stateText(name));
    const begin = ["offline", "degraded", "unknown"].includes(kind) ? this.state.since : this.state.production_since ?? this.state.since;
    const lasts = begin ? t("since {time}, {span}", { time: moment(begin), span: span((this.app.live.now() - begin) / 1e6) }) : "";
    setText(since, [reason && reasonText(reason), lasts].filter(Boolean).join(" · "));
  }

  showAlarms(standing) {
    set(this.calm, { hidden: standing.length > 0 });
    keep(this.alarms, standing.slice(0, MOST), (one) => `${one.source} ${one.name} ${one.since}`, () =>
      h("li", {}, h("span", { class: "badge-place" }), h("span", { class: "what" }), h("span", { class: "muted" })),
    (element, one) => {
      const [badge, what, when] = element.children;
      if (!badge.firstChild) badge.append(alarmBadge([1, 2, 3, 4].map((priority) => (priority === one.priority ? 1 : 0))));
      setText(what, one.message || one.name);
      set(what, { title: `${one.source} · ${one.name} · ${t("severity {severity}", { severity: one.severity })}` });
      const words = [one.active ? t("active") : t("gone"), one.acknowledged ? t("acknowledged") : t("not acknowledged")];
      setText(when, `${words.join(", ")} · ${t("since {time}, {span}", { time: moment(one.since), span: span((this.app.live.now() - one.since) / 1e6) })}`);
    });
  }

  showPart(readings) {
    const byPosition = new Map(readings.map((one) => [one[0], reading(one)]));
    for (const [role, place] of Object.entries(this.facts)) {
      const at = this.roles[role], one = byPosition.get(at);
      if (!one) continue;
      const good = one.quality !== BAD && one.quality !== NONE;
      const { text, unit } = written(this.points[at], role === "cycle_time" && good ? Math.round(one.value * 10) / 10 : one.value);
      if (good) this.values.set(role, one.value);
      else this.values.delete(role);
      place.replaceChildren(good ? text : "—", h("span", { class: "unit", text: unit ? ` ${unit}` : "" }));
      set(place, { data: { bad: good ? "no" : "yes" }, title: good && text.length > 20 ? text : one.reason ? reasonText(one.reason) : null });
    }
    const good = this.values.get("good"), reject = this.values.get("reject");
    setText(this.rejected, good + reject > 0 ? t("{percent} of all parts are rejects", { percent: percent(reject / (good + reject)) }) : "");
  }

  showFaults({ not_good: notGood, reasons, refused, silent, quiet }) {
    this.table.setNotGood(notGood);
    this.countFound();
    const uncertain = reasons.filter(([quality]) => quality === 2).reduce((sum, [, , count]) => sum + count, 0);
    const bad = notGood.length - uncertain;
    const chips = [["good", "", t("{count} good", { count: number(this.points.length - notGood.length - silent - quiet, 0) })]];
    if (uncertain) chips.push(["uncertain", "?", t("{count} uncertain", { count: number(uncertain, 0) })]);
    if (bad) chips.push(["bad", "✕", t("{count} bad", { count: number(bad, 0) })]);
    if (silent) chips.push(["none", "–", t("{count} without a reading", { count: number(silent, 0) })]);
    keep(this.counts, chips, ([kind]) => kind, ([kind, symbol]) => h("span", { class: "quality-chip", data: { kind } }, h("i", { class: "symbol", text: symbol, "aria-hidden": "true" }), h("span")), (element, [, , text]) => setText(element.lastElementChild, text));
    keep(this.reasons, reasons, ([quality, reason]) => `${quality} ${reason}`, ([quality]) => h("li", { class: "quality-line", data: { kind: quality === 2 ? "uncertain" : "bad" } }), (element, [, reason, count]) =>
      setText(element, tn("{count} point: {reason}", "{count} points: {reason}", count, { reason: reasonText(reason) })));
    set(this.refused, { hidden: refused.length === 0 });
    setText(this.refused.firstElementChild, tn("{count} point that the device refuses", "{count} points that the device refuses", refused.length));
    keep(this.refused.lastElementChild, refused.slice(0, MOST), ([at]) => String(at), () => h("li"), (element, [at, reason, code]) =>
      setText(element, [this.points[at]?.name, reasonText(reason), code].filter(Boolean).join(" · ")));
  }

  showRevised() {
    const revised = this.points.filter((point) => point.revised);
    set(this.revised, { hidden: revised.length === 0 });
    setText(this.revised.firstElementChild, tn("{count} point with other parameters than requested", "{count} points with other parameters than requested", revised.length));
    const names = { sampling: t("sampling"), publishing: t("publishing"), queue: t("queue") };
    keep(this.revised.lastElementChild, revised.slice(0, MOST), (point) => point.name, () => h("li"), (element, point) => {
      const parts = Object.entries(point.revised).map(([name, value]) => `${names[name] ?? name} ${measured(value)}${name === "queue" ? "" : " s"}`);
      setText(element, t("{point}: {parameters}, requested {every} s", { point: point.name, parameters: parts.join(", "), every: measured(point.every) }));
    });
  }

  showDriver({ counters, due, missed, time }) {
    const always = new Set(["requests", "timeouts", "refused", "connects"]);
    const known = Object.entries(counters ?? {}).filter(([name, count]) => COUNTERS[name] ? count || always.has(name) : count);
    const rows = known.map(([name, count]) => [COUNTERS[name] ? t(COUNTERS[name]) : name.replaceAll("_", " "), count]);
    if (due !== undefined) rows.push([t("missed scans"), missed]);
    keep(this.counters, rows, ([name]) => name, ([name]) => h("div", {}, h("dt", { text: name, title: name }), h("dd")), (element, [, count]) => setText(element.lastElementChild, number(count, 0)));
    setText(this.asOf, time ? t("All machines of the gateway together, since its start; as of {time}.", { time: moment(time) }) : t("The gateway has not reported yet."));
  }

  drawLanes() {
    const now = this.app.live.now(), [production, connection] = this.laneRows, silent = silence(this.state, this.app.lost);
    production.states = knownStates(this.states, silent);
    connection.states = this.state.state === "offline" ? this.connection : knownStates(this.connection, silent);
    this.lanes.show(this.laneRows, now - this.span * 1e6, now);
  }

  tick(now) {
    const silent = silence(this.state, this.app.lost);
    this.table.setSilent(silent);
    set(this.lost, { hidden: !silent || !this.machine });
    if (silent) setText(this.lost, t("What you see is from {time} and older: {why}.", { time: moment(silent.since || now), why: silent.why }));
    this.showBig();
    this.drawLanes();
    this.table.tick();
    if (this.state.standing.length) this.showAlarms(this.state.standing);
  }

  // -- search and selection --

  filter() {
    this.table.search(this.search.value);
    this.countFound();
  }

  countFound() {
    setText(this.found, this.table.words.length || this.table.only ? t("{count} of {all} points", { count: number(this.table.shown, 0), all: number(this.points.length, 0) }) : tn("{count} point", "{count} points", this.points?.length ?? 0));
  }

  toggleOnly() {
    const only = this.only.getAttribute("aria-pressed") !== "true";
    set(this.only, { "aria-pressed": only ? "true" : "false" });
    this.table.search(this.search.value, only);
    this.countFound();
  }

  noteChosen(count) {
    set(this.openButton, { hidden: count === 0 });
    set(this.clear, { hidden: count === 0 });
    setText(this.openButton, t("Show {count} in trends", { count: number(count, 0) }));
  }

  trends(positions) {
    if (!may("trends")) return;
    const query = positions.map((at) => ["point", `${this.path}/${this.points[at].name}`]);
    go(address("trends", [], query));
  }

  key(event) {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      this.search.focus();
      this.search.select();
    } else if (event.target === this.search && (event.key === "Escape" || event.key === "ArrowDown" || event.key === "Enter")) {
      if (event.key === "Escape") this.search.value = "";
      this.filter();
      this.table.element.focus();
      event.preventDefault();
    }
  }
}



/** Events: the journal of the plants, newest first, filtered, live with a pause. */

import { STATES } from "../alarms/parts.js";
import { saveCsv } from "../csv.js";
import { h, set, setText } from "../dom.js";
import { address, go, remember } from "../router.js";
import { reasonText, stateText } from "../states.js";
import { dateTime, mark, moment, number, t, tn } from "../texts.js";
import { VirtualList } from "../virtual.js";

const KINDS = {
  machine: mark("Machines"), production: mark("Production"), alarm: mark("Alarms"), gateway: mark("Gateways"), ingest: mark("Ingests"),
  store: mark("Stores"), broker: mark("Brokers"), configuration: mark("Configurations"), operator: mark("Operators"),
};
const ONE = {
  machine: mark("machine"), production: mark("production"), alarm: mark("alarm"), gateway: mark("gateway"), ingest: mark("ingest"),
  store: mark("store"), broker: mark("broker"), configuration: mark("configuration"), operator: mark("operator"),
};
const LEVELS = { info: mark("All levels"), warning: mark("Warnings and errors"), error: mark("Errors alone") };
const RANK = { info: 0, warning: 1, error: 2 };
const SPOKEN = { info: "", warning: mark("warning"), error: mark("error") };
const SYMBOLS = { info: "producing", warning: "degraded", error: "aborted" };

/** Events of the journal alone; others are states of machines. */
const EVENTS = {
  connected: mark("connected"), "not connected": mark("not connected"), active: mark("active"), inactive: mark("inactive"),
  acknowledged: mark("acknowledged"), removed: mark("removed"), "noted as acknowledged": mark("noted as acknowledged"),
  "note removed": mark("note removed"), unshelved: mark("returned to the list"), "returned to service": mark("returned to service"), reset: mark("reset"), "shelving ended": mark("shelving ended"),
  ...STATES, normal: mark("normal"),
  "certificate renewed": mark("certificate renewed"), "certificate refused": mark("certificate refused"),
  "message refused": mark("message refused"),
};

const FIELDS = {
  was: mark("before"), reason: mark("reason"), gateway: mark("gateway"), host: mark("host"), version: mark("version"), error: mark("error"),
  serial: mark("serial number"), topic: mark("topic"),
  message: mark("message"), source: mark("source"), name: mark("name"), severity: mark("severity"),
  who: mark("who"), comment: mark("comment"),
};

/** @typedef {{number: number, time: number, kind: string, subject: string, event: string, level: string, fields: Record<string, string>, text: string}} Entry */

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  const page = new Events(root, app, route);
  return { destroy: () => page.destroy() };
}

class Events {
  constructor(root, app, { query }) {
    /** @type {Entry[]} */
    this.all = [];
    /** @type {Entry[]} */
    this.shown = [];
    this.waiting = [];
    this.paused = false;
    this.kinds = new Set((query.get("kind") ?? "").split(",").filter((kind) => kind in KINDS));
    this.makeTools(query);
    this.list = new VirtualList({
      label: t("Events"), columns: [t("Time"), t("Kind"), t("Where"), t("Event"), t("Details")],
      make: () => [h("span"), h("span", { class: "state" }, h("i"), h("span", { class: "visually-hidden" }), h("span")), h("span", {}, h("strong"), " ", h("span", { class: "muted" })), h("span"), h("span")],
      update: (cells, entry) => showRow(cells, entry), activate: (entry) => open(entry), select: (entry) => this.showDetail(entry),
    });
    this.detail = h("section", { class: "panel event-detail", "aria-label": t("Details"), "aria-live": "polite", hidden: true });
    this.none = h("p", { class: "empty", hidden: true });
    root.append(h("div", { class: "title" }, h("h1", { text: t("Events") }), this.count), this.since, this.tools, h("section", { class: "panel events-panel", "aria-label": t("Events") }, this.list.element, this.none), this.detail);
    this.known = { began: 0, after: 0, before: 0 };
    this.feed = app.live.open("events", this.known, (changes) => this.receive(changes));
    this.keys = (event) => this.key(event);
    document.addEventListener("keydown", this.keys);
  }

  makeTools(query) {
    this.count = h("div", { class: "summary muted", role: "status" });
    this.since = h("p", { class: "muted events-since" });
    const changed = () => { this.filter(); this.remember(); };
    const field = (name, label, properties) => h("input", { class: "field", type: "search", "aria-label": label, placeholder: label, value: query.get(name) ?? "", autocomplete: "off", on: { input: changed }, ...properties });
    this.text = field("text", t("Text"), {});
    this.path = field("path", t("Path, as in acme/north"), {});
    const level = query.get("level") in LEVELS ? query.get("level") : "info";
    this.level = h("select", { class: "field", "aria-label": t("Level"), on: { change: changed } },
      ...Object.entries(LEVELS).map(([value, text]) => h("option", { value, text: t(text), selected: value === level })));
    this.chips = h("div", { class: "row chips", role: "group", "aria-label": t("Kinds") }, ...Object.entries(KINDS).map(([kind, text]) =>
      h("button", { class: "button", type: "button", text: t(text), "aria-pressed": String(this.kinds.has(kind)), data: { kind }, on: { click: (event) => { this.toggle(kind, event.currentTarget); changed(); } } })));
    this.pause = h("button", { class: "button", type: "button", on: { click: () => this.setPaused(!this.paused) } });
    this.exported = h("button", { class: "button", type: "button", text: t("Save as CSV"), on: { click: () => this.save() } });
    this.tools = h("div", { class: "row events-tools" }, this.text, this.path, this.level, h("span", { class: "space" }), this.pause, this.exported, this.chips);
    this.showPause();
  }

  destroy() {
    this.feed.close();
    this.list.destroy();
    document.removeEventListener("keydown", this.keys);
  }

  receive({ all, events, began, earliest }) {
    if (all) {
      this.all = [];
      this.waiting = [];
      Object.assign(this.known, { after: 0, before: 1 });
    }
    if (began !== undefined) {
      this.known.began = began;
      const earlier = earliest < began ? ` ${t("Changes of production come from the store, since {time}.", { time: moment(earliest) })}` : "";
      setText(this.since, t("The journal begins at {time}, when the server of this page was started.", { time: moment(began) }) + earlier);
    }
    const entries = (events ?? []).map(entryOf);
    for (const { number: one } of entries) {
      // the arguments are sent again after a new connection, and the server then sends what is missing
      this.known.after = Math.max(this.known.after, one);
      this.known.before = Math.min(this.known.before, one);
    }
    if (this.paused && !all) this.waiting.push(...entries);
    else this.add(entries);
    this.showPause();
  }

  add(entries) {
    this.all = this.all.concat(entries).sort((a, b) => b.time - a.time || b.number - a.number);
    this.filter();
  }

  /** Show the events that fit; what is visible stays where it is, and the current row too. */
  filter() {
    const anchor = this.shown[this.list.first];
    const current = this.shown[this.list.current];
    const words = this.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const path = this.path.value.trim().toLowerCase();
    const least = RANK[this.level.value];
    this.shown = this.all.filter((entry) => (this.kinds.size === 0 || this.kinds.has(entry.kind)) && RANK[entry.level] >= least &&
      (!path || entry.subject.toLowerCase().includes(path)) && words.every((word) => entry.text.includes(word)));
    if (current) this.list.current = this.shown.indexOf(current);
    const place = anchor ? this.shown.indexOf(anchor) : -1;
    this.list.show(this.shown.length, (index) => this.shown[index], place < 0 ? undefined : place);
    setText(this.count, this.shown.length === this.all.length ? tn("{count} event", "{count} events", this.all.length) : t("{shown} of {count} events", { shown: number(this.shown.length), count: number(this.all.length) }));
    set(this.none, { hidden: this.shown.length > 0 });
    setText(this.none, this.all.length ? t("No event fits the filter.") : t("Nothing has changed since the journal began."));
    set(this.exported, { disabled: this.shown.length === 0 });
  }

  remember() {
    const query = {};
    if (this.kinds.size) query.kind = [...this.kinds].join(",");
    if (this.level.value !== "info") query.level = this.level.value;
    if (this.text.value) query.text = this.text.value;
    if (this.path.value) query.path = this.path.value;
    remember(query);
  }

  toggle(kind, button) {
    if (!this.kinds.delete(kind)) this.kinds.add(kind);
    set(button, { "aria-pressed": String(this.kinds.has(kind)) });
  }

  setPaused(paused) {
    this.paused = paused;
    if (!paused) this.add(this.waiting.splice(0));
    this.showPause();
  }

  showPause() {
    setText(this.pause, !this.paused ? t("Pause") : this.waiting.length ? t("Go on ({count} new)", { count: number(this.waiting.length) }) : t("Go on"));
    set(this.pause, { "aria-pressed": String(this.paused), title: t("Key: p") });
  }

  key(event) {
    if (event.target.closest?.("input, select, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "/") this.text.focus();
    else if (event.key === "p") this.setPaused(!this.paused);
    else return;
    event.preventDefault();
  }

  showDetail(entry) {
    set(this.detail, { hidden: !entry });
    if (!entry) return;
    const rows = [[t("Time"), dateTime(entry.time)], [t("Where"), entry.subject], [t("Event"), `${t(ONE[entry.kind] ?? entry.kind)}: ${eventText(entry)}`], ...fieldsOf(entry)];
    const link = machineOf(entry);
    this.detail.replaceChildren(h("dl", { class: "fact-grid" }, ...rows.map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", { text: value })))),
      ...(link ? [h("a", { class: "link", href: link, text: t("Show the machine") })] : []));
  }

  save() {
    const rows = this.shown.map((entry) => [new Date(entry.time / 1000).toISOString(), entry.level, entry.kind, entry.subject, entry.event, Object.entries(entry.fields).filter(([, value]) => value).map(([name, value]) => `${name}: ${value}`).join("; ")]);
    saveCsv(`events-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.csv`, ["time", "level", "kind", "subject", "event", "details"], rows);
  }
}

/** @returns {Entry} */
function entryOf([one, time, kind, subject, event, level, fields]) {
  const entry = { number: one, time, kind, subject, event, level, fields, text: "" };
  entry.text = [subject, event, eventText(entry), detailsOf(entry), ...Object.values(fields)].join(" ").toLowerCase();
  return entry;
}

function eventText({ kind, event }) {
  if (kind === "configuration" && /^[0-9a-f]{17,}$/.test(event)) return event.slice(0, 16); // its digest
  return EVENTS[event] ? t(EVENTS[event]) : stateText(event);
}

/** Return the fields of an event that say something, as names and texts. */
function fieldsOf({ kind, fields }) {
  const text = (name, value) => (name === "reason" ? reasonText(value) : name === "was" && kind !== "alarm" ? stateText(value) : value);
  return Object.entries(fields).filter(([, value]) => value).map(([name, value]) => [FIELDS[name] ? t(FIELDS[name]) : name, text(name, value)]);
}

function detailsOf(entry) {
  const { message, name } = entry.fields;
  if (entry.kind === "alarm") return [message || name, entry.fields.source].filter(Boolean).join(" · ");
  return fieldsOf(entry).map(([field, value]) => `${field}: ${value}`).join(" · ");
}

/** Return the name of a subject, and the levels above it: the name is what a reader looks for. */
function place(subject) {
  const at = subject.includes("://") ? -1 : subject.lastIndexOf("/");
  return at < 0 ? [subject, ""] : [subject.slice(at + 1), subject.slice(0, at).replaceAll("/", " › ")];
}

function machineOf({ kind, subject }) {
  return ["machine", "production", "alarm", "operator"].includes(kind) && subject.split("/").length === 5 ? address("machine", subject) : null;
}

function open(entry) {
  const target = machineOf(entry);
  if (target) go(target);
}

function showRow(cells, entry) {
  if (!entry) return;
  const [time, kind, where, event, details] = cells.map((cell) => cell.firstElementChild);
  setText(time, moment(entry.time));
  set(kind, { data: { kind: SYMBOLS[entry.level] } });
  setText(kind.children[1], SPOKEN[entry.level] ? t(SPOKEN[entry.level]) : "");
  setText(kind.lastElementChild, ONE[entry.kind] ? t(ONE[entry.kind]) : entry.kind);
  const [name, rest] = place(entry.subject);
  setText(where.firstElementChild, name);
  setText(where.lastElementChild, rest);
  setText(event, eventText(entry));
  setText(details, detailsOf(entry));
  set(where, { title: entry.subject });
}

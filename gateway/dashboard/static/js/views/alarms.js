/** The alarms: those that stand, their history, and statistics after EEMUA 191. */

import { HistoryPart, StatisticsPart } from "../alarms/past.js";
import { noteDialog, mayReset } from "../alarms/notes.js";
import { machineLink, priorityMark, changeText } from "../alarms/parts.js";
import { h, keep, set, setText } from "../dom.js";
import { may } from "../live.js";
import { PlaceChoice } from "../places.js";
import { remember } from "../router.js";
import { segmented } from "../segmented.js";
import { mark, moment, number, span, t, tn } from "../texts.js";

const SHOWN = 200, MOST = 1000;
const TYPING = 250; // milliseconds after the last key until a text is searched

/** What a role has to permit for each action. */
const PERMISSIONS = { acknowledge: "acknowledge", shelve: "shelve", remove: "shelve", reset: "acknowledge" };

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  return new AlarmsView(root, app, route.query);
}

class AlarmsView {
  constructor(root, app, query) {
    this.app = app;
    this.filter = {
      path: query.get("path") ?? "", text: query.get("text") ?? "", state: query.get("state") ?? "all",
      shelved: query.get("shelved") === "1", priorities: (query.get("priorities") ?? "1,2,3,4").split(",").map(Number),
    };
    this.tab = ["history", "statistics"].includes(query.get("tab")) ? query.get("tab") : "standing";
    this.summary = h("div", { class: "row alarm-summary", role: "status" });
    this.body = h("div", { class: "stack" });
    root.append(
      h("div", { class: "title" }, h("h1", { text: t("Alarms") }), this.summary),
      this.toolbar(),
      this.body);
    this.standing = new StandingPart(app, () => this.filter, (summary) => this.showSummary(summary));
    this.show();
  }

  toolbar() {
    const changed = (change) => { Object.assign(this.filter, change); this.apply(); };
    this.place = new PlaceChoice(this.app, this.filter.path, (path) => changed({ path }));
    let typing;
    const text = h("input", { class: "field", type: "search", value: this.filter.text, placeholder: t("Search"), "aria-label": t("Search in alarms"), maxlength: 200, on: {
      input: () => { clearTimeout(typing); typing = setTimeout(() => changed({ text: text.value }), TYPING); },
    } });
    const priorities = h("div", { class: "segmented", role: "group", "aria-label": t("Priorities") }, ...[1, 2, 3, 4].map((one) =>
      h("button", { class: "button priority-choice", type: "button", "aria-pressed": this.filter.priorities.includes(one) ? "true" : "false", title: t("Priority {priority}", { priority: one }), "aria-label": t("Priority {priority}", { priority: one }), on: {
        click: (event) => {
          const own = new Set(this.filter.priorities);
          if (!own.delete(one)) own.add(one);
          set(event.currentTarget, { "aria-pressed": own.has(one) ? "true" : "false" });
          changed({ priorities: [...own].sort() });
        },
      } }, h("span", { class: "priority", data: { priority: one }, text: one, "aria-hidden": "true" }))));
    this.state = segmented(t("State"), [["all", t("All")], ["active", t("Active")], ["unacknowledged", t("Unacknowledged")]], this.filter.state, (state) => changed({ state }));
    this.shelved = h("button", { class: "button", type: "button", text: t("Shelved"), "aria-pressed": this.filter.shelved ? "true" : "false", on: {
      click: () => { set(this.shelved, { "aria-pressed": this.filter.shelved ? "false" : "true" }); changed({ shelved: !this.filter.shelved }); },
    } });
    const tabs = segmented(t("View"), [["standing", t("Standing")], ["history", t("History")], ["statistics", t("Statistics")]], this.tab, (tab) => { this.tab = tab; this.apply(); });
    return h("div", { class: "row toolbar" }, tabs, this.place.element, priorities, text, this.state, this.shelved);
  }

  apply() {
    const { path, text, state, shelved, priorities } = this.filter;
    remember({
      ...(this.tab === "standing" ? {} : { tab: this.tab }), ...(path ? { path } : {}), ...(text ? { text } : {}),
      ...(state === "all" ? {} : { state }), ...(shelved ? { shelved: "1" } : {}),
      ...(priorities.length === 4 ? {} : { priorities: priorities.join(",") }),
    });
    this.standing.choose();
    this.show();
  }

  show() {
    set(this.state, { hidden: this.tab !== "standing" });
    set(this.shelved, { hidden: this.tab !== "standing" });
    if (this.past?.tab === this.tab) return this.past.choose(this.filter);
    this.past?.destroy();
    this.past = undefined;
    if (this.tab === "standing") return this.body.replaceChildren(...this.standing.elements);
    this.past = this.tab === "history" ? new HistoryPart(this.app) : new StatisticsPart(this.app);
    this.past.tab = this.tab;
    this.body.replaceChildren(...this.past.elements);
    this.past.choose(this.filter);
  }

  showSummary({ standing, priorities, shelved }) {
    this.summary.replaceChildren(
      h("span", { class: "muted", text: standing ? tn("{count} standing alarm", "{count} standing alarms", standing) : t("No standing alarm") }),
      ...priorities.flatMap((count, at) => (count ? [h("span", { class: "row tight" }, priorityMark(at + 1), h("span", { text: `×${number(count, 0)}` }))] : [])),
      shelved ? h("span", { class: "chip", text: t("{count} shelved", { count: number(shelved, 0) }) }) : "");
  }

  destroy() {
    this.place.destroy();
    this.past?.destroy();
    this.standing.destroy();
  }
}

/** The standing alarms, and the alarm words of machines. */
class StandingPart {
  constructor(app, filter, summarised) {
    this.app = app;
    this.filter = filter;
    this.summarised = summarised;
    this.limit = SHOWN;
    this.rows = new Map();
    this.order = [];
    this.selected = new Set();
    this.list = h("tbody");
    this.all = h("input", { type: "checkbox", "aria-label": t("Select all shown alarms"), on: { change: () => this.select(this.all.checked ? this.order : []) } });
    this.table = h("table", { class: "table alarm-table" },
      h("thead", {}, h("tr", {}, h("th", { class: "check", scope: "col" }, this.all),
        ...[["", t("Priority")], ["", t("Machine")], ["", t("Alarm")], ["wide", t("Source")], ["wide number", t("Severity")], ["", t("Since")], ["", t("State")]]
          .map(([style, text]) => h("th", { scope: "col", class: style, text })))),
      this.list);
    this.empty = h("p", { class: "empty" });
    this.more = h("button", { class: "button", type: "button", on: { click: () => { this.limit = Math.min(MOST, this.limit * 2); this.choose(); } } });
    this.actions = this.actionBar();
    this.words = h("section", { class: "panel", "aria-label": t("Alarm words") });
    this.lost = h("p", { class: "notice", role: "status", hidden: true });
    this.elements = [
      h("section", { class: "panel", "aria-label": t("Standing alarms") }, this.actions, this.lost, h("div", { class: "scroll" }, this.table), this.empty, this.more),
      this.words];
    this.feed = app.live.open("alarms", this.args(), (changes) => this.receive(changes));
    this.tick = (event) => this.showSince(event.detail);
    addEventListener("tick", this.tick);
  }

  actionBar() {
    const act = (action) => () => noteDialog(action, [...this.selected].map((id) => this.rows.get(id)).filter(Boolean), () => this.select([]));
    this.hint = h("span", { class: "muted note-hint" });
    const button = (action, text) => h("button", { class: "button", type: "button", text, hidden: !may(PERMISSIONS[action]), data: { action }, on: { click: act(action) } });
    this.buttons = [button("acknowledge", t("Acknowledge on this page…")), button("shelve", t("Shelve…")), button("remove", t("Remove the note…"))];
    this.reset = button("reset", t("Reset…"));
    this.chosen = h("span", { class: "muted" });
    return h("div", { class: "row alarm-actions" }, ...this.buttons, this.reset, this.chosen,
      this.hint);
  }

  args() {
    const { path, priorities, text, state, shelved } = this.filter();
    return { path, priorities, text, state, shelved, limit: this.limit };
  }

  choose() {
    this.feed.set(this.args());
  }

  receive(changes) {
    for (const row of changes.rows ?? []) this.rows.set(row.id, row);
    if (changes.order) {
      this.order = changes.order;
      const shown = new Set(this.order);
      for (const id of this.rows.keys()) if (!shown.has(id)) this.rows.delete(id);
      for (const id of this.selected) if (!shown.has(id)) this.selected.delete(id);
    }
    if (changes.summary) {
      this.summary = changes.summary;
      this.summarised(changes.summary);
      this.showLosses(changes.summary);
    }
    if (changes.words) this.showWords(changes.words);
    this.show();
  }

  show() {
    const shown = this.order.map((id) => this.rows.get(id)).filter(Boolean);
    keep(this.list, shown, (row) => String(row.id), (row) => this.line(row), (element, row) => this.update(element, row));
    set(this.table, { hidden: shown.length === 0 });
    set(this.empty, { hidden: shown.length > 0 || this.summary === undefined });
    setText(this.empty, this.emptyText());
    const left = (this.summary?.matching ?? 0) - shown.length;
    set(this.more, { hidden: left <= 0 || this.limit >= MOST });
    setText(this.more, tn("Show more: {count} alarm is not shown", "Show more: {count} alarms are not shown", Math.max(0, left)));
    this.showSelection();
    this.showSince(this.app.live.now());
  }

  emptyText() {
    if (this.summary?.standing) return t("No alarm matches.");
    return this.summary?.sources !== 0 ? t("No alarm stands.") : t("No alarm stands. No alarm is configured, and no machine reports alarms of its own (OPC UA, mode: events).");
  }

  line(row) {
    const check = h("input", { type: "checkbox", "aria-label": t("Select this alarm"), on: { change: () => { this.selected[check.checked ? "add" : "delete"](row.id); this.showSelection(); } } });
    return h("tr", {}, h("td", { class: "check" }, check), h("td"), h("td", {}, machineLink(row.path)), h("td", {}, h("strong", { class: "alarm-name" }), h("div", { class: "alarm-message" }), h("div", { class: "muted alarm-note" })),
      h("td", { class: "wide" }), h("td", { class: "wide number" }), h("td", {}, h("div", { class: "since" }), h("div", { class: "muted at" })), h("td", { class: "alarm-state" }));
  }

  update(element, row) {
    const cells = element.children;
    if (cells[1].dataset.priority !== String(row.priority)) {
      cells[1].dataset.priority = row.priority;
      cells[1].replaceChildren(priorityMark(row.priority));
    }
    setText(cells[3].children[0], row.name);
    setText(cells[3].children[1], row.message === row.name ? "" : row.message);
    set(cells[3].children[1], { title: row.message });
    setText(cells[3].children[2], noteText(row));
    setText(cells[4], row.source);
    setText(cells[5], number(row.severity, 0));
    setText(cells[6].children[1], moment(row.since));
    setText(cells[7], stateText(row));
    const offList = OFF_LIST.has(row.gateway?.state) || row.note?.kind === "shelved";
    set(element, { data: { active: row.active ? "yes" : "no", shelved: offList ? "yes" : "no" } });
  }

  showSince(now) {
    for (const line of this.list.children) {
      const row = this.rows.get(Number(line.dataset.key));
      if (row) setText(line.children[6].children[0], t("for {span}", { span: span((now - row.since) / 1e6) }));
    }
  }

  showSelection() {
    for (const line of this.list.children) {
      const chosen = this.selected.has(Number(line.dataset.key));
      line.firstElementChild.firstElementChild.checked = chosen;
      set(line, { "aria-selected": chosen ? "true" : null });
    }
    this.all.checked = this.order.length > 0 && this.selected.size === this.order.length;
    this.all.indeterminate = this.selected.size > 0 && !this.all.checked;
    for (const button of this.buttons) button.disabled = this.selected.size === 0;
    const resettable = this.selected.size > 0 && [...this.selected].every((id) => mayReset(this.rows.get(id)));
    this.reset.disabled = !resettable;
    set(this.reset, { title: resettable ? null : t("For alarms of gateways that are latched, have ended, and are acknowledged.") });
    const commanded = [...(this.selected.size ? this.selected : this.order)].some((id) => this.rows.get(id)?.command);
    setText(this.buttons[0], commanded ? t("Acknowledge…") : t("Acknowledge on this page…"));
    setText(this.buttons[2], commanded ? t("Return to the list…") : t("Remove the note…"));
    setText(this.hint, commanded
      ? t("Alarms of gateways are changed at the gateway. Other alarms get a note for the readers of this page.")
      : t("What you note here is for the readers of this page. Nothing is changed at the machine."));
    setText(this.chosen, this.selected.size ? t("{count} selected", { count: number(this.selected.size, 0) }) : "");
  }

  select(ids) {
    this.selected = new Set(ids);
    this.showSelection();
  }

  showLosses({ dropped, invalid }) {
    const texts = [];
    if (dropped) texts.push(tn("{count} alarm is not shown: the page has no room for more.", "{count} alarms are not shown: the page has no room for more.", dropped));
    if (invalid) texts.push(tn("{count} event could not be read.", "{count} events could not be read.", invalid));
    setText(this.lost, texts.join(" "));
    set(this.lost, { hidden: texts.length === 0 });
  }

  showWords(words) {
    set(this.words, { hidden: words.length === 0 });
    if (words.length === 0) return this.words.replaceChildren();
    return this.words.replaceChildren(
      h("h2", { text: t("Alarm words of machines") }),
      h("p", { class: "muted", text: t("These machines report alarms as bits of a number, without a priority.") }),
      h("div", { class: "scroll" }, h("table", { class: "table" },
        h("thead", {}, h("tr", {}, ...[t("Machine"), t("Alarm word"), t("Description of the point")].map((text) => h("th", { scope: "col", text })))),
        h("tbody", {}, ...words.map((one) => h("tr", {}, h("td", {}, machineLink(one.path)), h("td", { text: wordText(one) }), h("td", { class: "muted", text: one.description })))))));
  }

  destroy() {
    this.feed.close();
    removeEventListener("tick", this.tick);
  }
}

/** Return what an alarm word says: the label of its value, or which bits are set. */
function wordText({ label, bits }) {
  if (label) return label;
  return tn("{count} alarm bit set: {bits}", "{count} alarm bits set: {bits}", bits.length, { bits: bits.join(", ") });
}

const OFF_LIST = new Set(["shelved", "out_of_service"]);

function stateText(row) {
  const parts = [changeText({ active: row.active, acknowledged: row.acknowledged, state: row.gateway?.state })];
  const acknowledged = row.gateway ? t("acknowledged") : t("acknowledged at the machine");
  if (row.active) parts.push(row.acknowledged ? acknowledged : t("not acknowledged"));
  if (row.machine) parts.push(row.machine === "offline" ? t("machine not connected: may have ended") : t("gateway offline: may have ended"));
  return parts.join(", ");
}

const GATEWAY_NOTES = {
  shelved: mark("Shelved by {who} until {until}"), out_of_service: mark("Taken out of service by {who}, {at}"),
  acknowledged: mark("Acknowledged by {who}, {at}"), latched: mark("Acknowledged by {who}, {at}"),
};

function noteText({ note, gateway }) {
  if (!note) return gateway?.who ? gatewayText(gateway) : "";
  const text = note.kind === "shelved"
    ? t("Shelved by {who} until {until}", { who: note.who, until: moment(note.until) })
    : t("Noted as acknowledged by {who}, {at}", { who: note.who, at: moment(note.at) });
  return note.comment ? `${text}: ${note.comment}` : text;
}

function gatewayText({ state, who, at, until, reason }) {
  if (!(state in GATEWAY_NOTES)) return "";
  const text = t(GATEWAY_NOTES[state], { who, at: moment(at), until: moment(until) });
  return reason ? `${text}: ${reason}` : text;
}

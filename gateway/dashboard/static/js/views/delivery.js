/** Delivery: who is dead or mute, whether a reading was lost, and each gateway and ingest with its figures. */

import { Flow } from "../chart/flow.js";
import { sparkline } from "../chart/small.js";
import { h, keep, set, setText } from "../dom.js";
import { problemText, reasonText, stateText } from "../states.js";
import { bytes, list, milliseconds, moment, number, span, t, tn } from "../texts.js";

const MOST_PROBLEMS = 12;

/** Reasons of dropped readings whose values are in a file, or in the spool of another gateway: they are not lost. */
const KEPT = new Set(["rejected_by_store", "too_large", "adopted"]);

/** @param {HTMLElement} root @param {import("../main.js").App} app */
export function view(root, app) {
  const page = new Delivery(root, app);
  return { destroy: () => page.destroy() };
}

class Delivery {
  constructor(root, app) {
    this.app = app;
    /** @type {Map<string, any>} */
    this.members = new Map();
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    this.visible = new Set();
    this.summary = h("div", { class: "summary muted" });
    this.problems = h("ol", { class: "problems", "aria-label": t("Needs attention") });
    this.calm = h("p", { class: "state", data: { kind: "producing" } }, h("i"), h("span", { text: t("Every gateway and every ingest is online and reports.") }));
    this.accounts = h("ul", { class: "accounts" });
    this.grid = h("div", { class: "members" });
    this.attention = h("section", { class: "panel", "aria-label": t("Needs attention"), hidden: true }, h("h2", { text: t("Needs attention") }), this.problems, this.calm);
    this.empty = h("div", { class: "panel empty", text: t("No gateway and no ingest has been heard yet."), hidden: true });
    root.append(
      h("div", { class: "title" }, h("h1", { text: t("Delivery") }), this.summary), this.attention,
      h("section", { class: "panel", "aria-label": t("Was anything lost?") }, h("h2", { text: t("Was anything lost?") }), this.accounts),
      this.empty, this.grid);
    this.observer = new IntersectionObserver((entries) => this.noteVisible(entries), { rootMargin: "200px" });
    this.feed = app.live.open("delivery", { visible: [] }, (changes) => this.receive(changes));
    this.tick = (event) => this.showTimes(event.detail);
    addEventListener("tick", this.tick);
  }

  destroy() {
    this.feed.close();
    this.observer.disconnect();
    removeEventListener("tick", this.tick);
  }

  receive({ members, changed, sites, more, figures }) {
    if (members) this.members = new Map(members.map((one) => [one.key, one]));
    for (const one of changed ?? []) this.members.set(one.key, one);
    if (more !== undefined) this.more = more;
    if (members || changed || more !== undefined) this.showMembers();
    if (sites) this.showAccounts(sites);
    for (const [key, one] of Object.entries(figures ?? {})) this.cards.get(key)?.showFigures(one);
  }

  /** Ask for the figures of the cards that are visible. */
  noteVisible(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.visible.add(target.dataset.key);
      else this.visible.delete(target.dataset.key);
    }
    this.feed.set({ visible: [...this.visible].slice(0, 50) });
  }

  showMembers() {
    const sorted = [...this.members.values()].sort((a, b) => rankOf(b) - rankOf(a) || a.site.localeCompare(b.site) || a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
    keep(this.grid, sorted, (one) => one.key, (one) => {
      const card = one.kind === "gateway" ? new GatewayCard() : new IngestCard();
      this.cards.set(one.key, card);
      this.observer.observe(card.element);
      return card.element;
    }, (_, one) => this.cards.get(one.key).showState(one, this.app.live.now()));
    for (const key of this.cards.keys()) {
      if (this.members.has(key)) continue;
      this.observer.unobserve(this.cards.get(key).element);
      this.cards.delete(key);
      this.visible.delete(key);
    }
    const of = (kind) => sorted.filter((one) => one.kind === kind).length;
    const parts = [t("Gateways: {count}", { count: number(of("gateway")) }), t("Ingests: {count}", { count: number(of("ingest")) })];
    if (this.more) parts.push(t("not shown: {count}", { count: number(this.more) }));
    setText(this.summary, parts.join(" · "));
    set(this.empty, { hidden: sorted.length > 0 });
    set(this.attention, { hidden: sorted.length === 0 });
    this.showProblems(sorted);
  }

  showProblems(members) {
    const now = this.app.live.now();
    const all = members.flatMap((one) => one.problems.map(([code, level, more]) => ({ one, code, level, more, key: `${one.key} ${code} ${more.store ?? ""}` }))).sort((a, b) => (DEAD.has(b.code) ? 3 : b.level) - (DEAD.has(a.code) ? 3 : a.level));
    keep(this.problems, all.slice(0, MOST_PROBLEMS), (item) => item.key, () =>
      h("li", {}, h("span", { class: "state" }, h("i")), h("strong"), h("span", { class: "what" }), h("span", { class: "muted" })),
    (element, { one, code, level, more }) => {
      set(element.children[0], { data: { kind: markOf(code, level) } });
      setText(element.children[1], `${kindText(one.kind)} ${one.name}`);
      setText(element.children[2], problemText(code, more));
      setText(element.children[3], sinceText(code, more, now));
    });
    set(this.calm, { hidden: all.length > 0 });
  }

  showAccounts(sites) {
    keep(this.accounts, sites, (one) => one.site, () =>
      h("li", { class: "account" }, h("span", { class: "account-mark", "aria-hidden": "true" }), h("div", {}, h("div", { class: "account-site" }), h("p", { class: "account-text" })), h("p", { class: "account-more muted" })),
    (element, one) => {
      const { kind, mark, text, more } = accountOf(one);
      set(element, { data: { kind } });
      setText(element.children[0], mark);
      setText(element.querySelector(".account-site"), one.site.replace("/", " › "));
      setText(element.querySelector(".account-text"), text);
      setText(element.children[2], more);
      set(element.children[2], { hidden: !more });
    });
  }

  showTimes(now) {
    this.showProblems([...this.members.values()]);
    for (const card of this.cards.values()) card.showTimes(now);
  }
}

/** Return what is said of a plant's readings: the kind of its mark, the mark, one sentence, and what limits it. */
function accountOf(one) {
  const more = [];
  if (one.offline.length) {
    more.push(t("Offline: {names}. The numbers are those of the last reports, the oldest of {time}; readings acquired since then wait in the spool.", { names: list(one.offline), time: moment(one.as_of) }));
  }
  if (one.unknown.length && one.unknown.length < one.gateways) more.push(t("Not in these numbers, since no report has been heard: {names}.", { names: list(one.unknown) }));
  if (one.unknown.length === one.gateways) {
    return { kind: "unknown", mark: "?", text: t("Nothing is known yet, since no report has been heard: {names}.", { names: list(one.unknown) }), more: "" };
  }
  const acquired = number(one.acquired, 0);
  const lost = [];
  const kept = [];
  for (const [reason, count] of Object.entries(one.dropped)) {
    if (count) (KEPT.has(reason) ? kept : lost).push(t("{count} ({reason})", { count: number(count, 0), reason: reasonText(reason) }));
  }
  if (!one.balanced || one.missing) {
    const text = one.missing > 0
      ? t("{missing} of {acquired} readings acquired are not accounted for.", { missing: number(one.missing, 0), acquired })
      : t("The account does not balance: {surplus} readings more are accounted for than the {acquired} acquired.", { surplus: number(-one.missing, 0), acquired });
    if (lost.length) more.unshift(t("Also lost: {counts}.", { counts: list(lost) }));
    return { kind: "wrong", mark: "✗", text, more: [t("This is an error in Lineside: keep what `lineside diagnose` writes, and report it."), ...more].join(" ") };
  }
  const parts = [t("{count} are stored", { count: number(one.confirmed, 0) }), t("{count} had not changed and were not sent", { count: number(one.unchanged, 0) })];
  if (one.pending) parts.push(t("{count} wait in a spool", { count: number(one.pending, 0) }));
  if (kept.length) parts.push(t("set aside: {counts}", { counts: list(kept) }));
  const verdict = lost.length ? t("Lost: {counts}.", { counts: list(lost) }) : t("None was lost.");
  return {
    kind: lost.length ? "dropped" : "good", mark: lost.length ? "!" : "✓",
    text: `${t("All {acquired} readings acquired are accounted for: {parts}.", { acquired, parts: list(parts) })} ${verdict}`, more: more.join(" "),
  };
}

const kindText = (kind) => (kind === "gateway" ? t("Gateway") : t("Ingest"));

/** Problems of a member that nothing is heard of: they come first. */
const DEAD = new Set(["offline", "mute", "unheard"]);

/** Return how early a member is shown: who is dead or mute first, then the others by their worst problem. */
const rankOf = (one) => (one.problems.some(([code]) => DEAD.has(code)) ? 3 : one.level);

/** Return the kind of symbol for a problem. */
function markOf(code, level) {
  if (DEAD.has(code)) return "offline";
  return level === 2 ? "aborted" : "degraded";
}

/** Return since when a problem lasts, as far as that is known: a lost connection has no time of its own. */
function sinceText(code, more, now) {
  if (more.since) return t("for {span}", { span: span((now - more.since) / 1e6) });
  return more.seen ? t("last seen {time}, {span} ago", { time: moment(more.seen), span: span((now - more.seen) / 1e6) }) : "";
}

/** What the cards of gateways and ingests share: a head, what is wrong, and facts. */
class Card {
  constructor() {
    this.mark = h("span", { class: "state" }, h("i"), h("span"));
    this.name = h("h2");
    this.about = h("span", { class: "about muted" });
    this.wrong = h("ul", { class: "member-problems" });
    this.facts = h("dl", { class: "fact-grid" });
    this.rows = new Map();
    this.element = h("section", { class: "panel member" }, h("div", { class: "member-head" }, this.name, this.mark, this.about), this.wrong);
  }

  showState(one, now) {
    this.one = one;
    set(this.element, { data: { level: one.level }, "aria-label": `${kindText(one.kind)} ${one.name}` });
    setText(this.name, `${kindText(one.kind)} ${one.name}`);
    const dead = one.problems.find(([code]) => DEAD.has(code));
    set(this.mark, { data: { kind: dead ? "offline" : one.level === 2 ? "aborted" : one.level === 1 ? "degraded" : "producing" } });
    this.showTimes(now);
  }

  showTimes(now) {
    const { one } = this;
    keep(this.wrong, one.problems, ([code, , more]) => `${code} ${more.store ?? ""}`, () => h("li"), (element, [code, level, more]) => {
      set(element, { data: { level } });
      const since = sinceText(code, more, now);
      setText(element, since ? `${problemText(code, more)} · ${since}` : problemText(code, more));
    });
    const text = stateText(one.state);
    setText(this.mark.lastElementChild, one.since ? t("{state} for {span}", { state: text, span: span((now - one.since) / 1e6) }) : text);
    const about = [one.site.replace("/", " › ")];
    if (one.host) about.push(t("on {host}", { host: one.host }));
    if (one.version) about.push(t("version {version}", { version: one.version }));
    if (one.config) about.push(t("configuration {digest}", { digest: one.config.slice(0, 16) }));
    if (one.started) about.push(t("running for {span}", { span: span((now - one.started) / 1e6) }));
    setText(this.about, about.join(" · "));
  }

  /** Show a fact, in the order of the first call for each name. */
  fact(name, text, { odd = false, title = null } = {}) {
    let value = this.rows.get(name);
    if (!value) {
      value = h("dd");
      this.rows.set(name, value);
      this.facts.append(h("div", {}, h("dt", { text: name }), value));
    }
    const line = value.firstElementChild ?? value.appendChild(h("span"));
    setText(line, text);
    set(value, { data: { odd: odd ? "yes" : "no" }, title });
    return value;
  }

  /** Show a rate with its trend. */
  rate(name, value, trend) {
    const fact = this.fact(name, value === undefined ? "–" : t("{rate} per second", { rate: number(value, 1) }));
    if (trend.length < 2) return;
    if (fact.children.length < 2) fact.append(h("canvas", { width: 10, height: 10 }));
    sparkline(fact.lastElementChild, { times: trend.map((one) => one[0]), values: trend.map((one) => one[1]), label: name });
  }
}

class GatewayCard extends Card {
  showFigures(one) {
    if (!this.flow) {
      this.flow = new Flow(t("readings acquired"));
      this.equation = h("div", { class: "equation" }, h("span"), h("span", { class: "verdict" }));
      this.element.append(this.flow.element, this.equation, this.facts);
    }
    this.showFlow(one);
    this.showFacts(one);
  }

  showFlow(one) {
    const { ledger, rates } = one;
    const per = (name) => (rates[name] ? t("{rate} per second", { rate: number(rates[name], 1) }) : "");
    const late = this.one.problems.some(([code]) => code === "waiting");
    const parts = [
      { key: "confirmed", kind: "confirmed", value: ledger.confirmed, label: t("confirmed: stored"), note: per("confirmed") },
      { key: "unchanged", kind: "unchanged", value: ledger.unchanged, label: t("unchanged: not sent again"), note: per("unchanged") },
      { key: "pending", kind: late ? "late" : "pending", value: ledger.pending, label: t("pending: in the spool"), note: pendingNote(one) },
      ...dropped(ledger.dropped).map(([reason, count], _, all) => ({ key: `dropped ${reason}`, kind: "dropped", value: count, label: reason ? t("dropped: {reason}", { reason: reasonText(reason) }) : t("dropped"), note: all.length === 1 ? per("dropped") : "" })),
    ];
    if (one.missing > 0) parts.push({ key: "missing", kind: "missing", value: one.missing, label: t("not accounted for") });
    const dead = this.one.problems.some(([code]) => DEAD.has(code));
    this.flow.show({ total: ledger.acquired, note: dead && one.time ? t("as of {time}", { time: moment(one.time) }) : per("acquired"), parts });
    const sum = Object.values(ledger.dropped).reduce((all, count) => all + count, 0);
    setText(this.equation.firstElementChild, t("{acquired} acquired = {unchanged} unchanged + {dropped} dropped + {pending} pending + {confirmed} confirmed", {
      acquired: number(ledger.acquired, 0), unchanged: number(ledger.unchanged, 0), dropped: number(sum, 0), pending: number(ledger.pending, 0), confirmed: number(ledger.confirmed, 0),
    }));
    const balanced = one.balanced && one.missing === 0;
    set(this.equation, { data: { balanced: balanced ? "yes" : "no" } });
    setText(this.equation.lastElementChild, balanced ? t("✓ balanced") : t("✗ differs by {count} readings", { count: number(Math.abs(one.missing), 0) }));
  }

  showFacts(one) {
    const { schedule, rates, broker, drivers, clock, points } = one;
    this.rate(t("Acquired"), rates.acquired, one.trend);
    this.fact(t("Spool"), one.spool_limit ? t("{size} of {limit}", { size: bytes(one.spool_bytes), limit: bytes(one.spool_limit) }) : bytes(one.spool_bytes));
    this.fact(t("Oldest pending reading"), oldestText(one), { odd: this.one.problems.some(([code]) => code === "waiting") });
    const taken = schedule.taken ?? schedule.due - schedule.missed;
    const fits = schedule.due === taken + schedule.missed;
    this.fact(t("Scans"), t("{due} due = {taken} taken + {missed} missed", { due: number(schedule.due, 0), taken: number(taken, 0), missed: number(schedule.missed, 0) }) + (fits ? " ✓" : " ✗"), { odd: !fits || rates.missed > 0 });
    if (schedule.late_ms) this.fact(t("Scans begin late by"), t("{mean} on average, {most} at most", { mean: milliseconds(schedule.late_ms.mean), most: milliseconds(schedule.late_ms.most) }));
    if (points) this.fact(t("Points"), pointsText(points), { odd: points.bad > 0 });
    if (broker) {
      const counts = [tn("{count} reconnect", "{count} reconnects", Math.max(0, (this.one.connection ?? 1) - 1)), tn("{count} record sent again", "{count} records sent again", broker.again)];
      if (broker.nobody) counts.push(t("{count} without a subscriber", { count: number(broker.nobody, 0) }));
      if (broker.refused) counts.push(t("{count} refused", { count: number(broker.refused, 0) }));
      this.fact(t("Broker"), counts.join(", "), { odd: broker.refused > 0 });
    }
    if (drivers && Object.keys(drivers).length) this.fact(t("Devices"), t("connects: {connects}, requests: {requests}, time-outs: {timeouts}, refused: {refused}", {
      connects: number(drivers.connects ?? 0, 0), requests: number(drivers.requests ?? 0, 0), timeouts: number(drivers.timeouts ?? 0, 0), refused: number(drivers.refused ?? 0, 0),
    }));
    if (clock) this.fact(t("Clock"), clockText(clock), { odd: !clock.trusted });
    if (one.workers.length) {
      const restarts = one.workers.reduce((sum, worker) => sum + worker.restarts, 0);
      this.fact(t("Workers"), t("workers: {count}, restarts: {restarts}", { count: one.workers.length, restarts: number(restarts, 0) }), { odd: restarts > 0 });
    }
  }
}

class IngestCard extends Card {
  showFigures(one) {
    if (!this.stores) {
      this.stores = h("tbody");
      this.element.append(this.facts, h("table", { class: "table stores" },
        h("thead", {}, h("tr", {}, ...[t("Store"), t("State"), t("Since"), t("Error")].map((text) => h("th", { scope: "col", text })))), this.stores));
    }
    this.figures = one;
    this.rate(t("Stored"), one.rates.readings, one.trend);
    this.fact(t("Readings stored since the start"), t("{readings} in {records} records", { readings: number(one.readings, 0), records: number(one.records, 0) }));
    this.fact(t("From reading to store"), one.lag_ms === null ? t("nothing written yet") : milliseconds(Math.max(0, one.lag_ms)), { odd: one.lag_ms > 60_000 });
    this.fact(t("Last write"), one.stored ? moment(one.stored) : "–");
    this.fact(t("Dead letters"), number(one.dead_letters, 0), { odd: one.dead_letters > 0, title: t("Messages and readings that no store took; they are in a file beside ingest.") });
    keep(this.stores, one.stores, (store) => store.store, () => h("tr", {}, h("td"), h("td", {}, h("span", { class: "state" }, h("i"), h("span"))), h("td"), h("td")), (element, store) => {
      const [name, state, since, error] = element.children;
      setText(name, store.store);
      set(state.firstElementChild, { data: { kind: { available: "producing", opening: "degraded", unavailable: "aborted" }[store.state] } });
      setText(state.firstElementChild.lastElementChild, stateText(store.state));
      setText(since, store.since ? moment(store.since) : "–");
      setText(error, store.error || "–");
    });
  }
}

/** Return the reasons for which readings were dropped, with their counts; one without a reason where none was. */
function dropped(counts) {
  const found = Object.entries(counts).filter(([, count]) => count > 0);
  return found.length ? found : [["", 0]];
}

function pendingNote(one) {
  if (!one.ledger.pending || one.oldest_seconds === undefined) return "";
  return one.oldest_seconds === null ? t("from before the gateway's start") : t("oldest {age}", { age: oldestText(one) });
}

function oldestText(one) {
  if (!one.ledger.pending) return t("none");
  if (one.oldest_seconds === undefined) return t("not reported");
  if (one.oldest_seconds === null) return t("older than the gateway's start, {span} ago", { span: span(one.seconds) });
  return one.oldest_seconds < 2 ? t("under {span}", { span: span(2) }) : span(one.oldest_seconds);
}

function pointsText(points) {
  const unread = Math.max(0, points.configured - points.good - points.uncertain - points.bad);
  const parts = [t("{count} good", { count: number(points.good, 0) })];
  if (points.uncertain) parts.push(t("{count} uncertain", { count: number(points.uncertain, 0) }));
  if (points.bad) parts.push(t("{count} bad", { count: number(points.bad, 0) }));
  if (unread) parts.push(t("{count} not read yet", { count: number(unread, 0) }));
  return t("{parts} of {count}", { parts: parts.join(", "), count: number(points.configured, 0) });
}

function clockText(clock) {
  const parts = [clock.trusted ? t("trusted") : t("not trusted")];
  parts.push(clock.steps ? t("set {count} times", { count: number(clock.steps, 0) }) : t("never set"));
  if (clock.ahead_ms) parts.push(t("{span} ahead", { span: milliseconds(clock.ahead_ms) }));
  return parts.join(", ");
}

/** OEE of a shift: factors of machines and lines, losses, the bottleneck, and who stopped whom. */

import { h, keep, set, setText } from "../dom.js";
import { request } from "../live.js";
import { address } from "../router.js";
import { segmented } from "../segmented.js";
import { mark, measured, moment, number, percent, span, t, time } from "../texts.js";

const AGAIN = 30; // seconds between two requests for a shift that runs

const KINDS = {
  down: mark("down"), micro_stop: mark("micro-stops"), setup: mark("setup"), idle: mark("idle: without work"),
  starved: mark("starved: no parts"), blocked: mark("blocked: parts can't leave"), waiting: mark("waiting: starved or blocked"),
  speed: mark("loss of speed"), quality: mark("rejected parts"), unknown: mark("not known: no connection"),
};

/** The report of a shift; `chosen` is called when a reader chooses another. */
export class ShiftReport {
  constructor(shift, chosen) {
    this.shift = shift;
    this.path = "";
    this.number = 0;
    this.oee = new Map();
    this.select = h("select", { class: "field", "aria-label": t("Shift"), on: { change: () => choose(this.select.value) } });
    const choose = (value) => {
      this.shift = value;
      this.select.value = value;
      chosen(value);
      this.load();
    };
    this.choice = segmented(t("Shift"), [["current", t("Running shift")], ["last", t("Last shift")]], shift, choose);
    this.heading = h("span", { class: "muted", role: "status" });
    this.notice = h("p", { class: "notice", hidden: true });
    this.lines = h("div", { class: "stack" });
    this.element = h("section", { class: "panel oee", "aria-label": t("OEE of a shift"), hidden: true },
      h("div", { class: "row between" }, h("h2", { text: t("OEE of a shift") }), h("div", { class: "row" }, this.choice, this.select)),
      this.heading, this.notice, this.lines);
  }

  /** Show the machines below a path. */
  show(path) {
    this.path = path;
    this.load();
  }

  async load() {
    const own = ++this.number;
    clearTimeout(this.timer);
    let found, problem = "";
    try {
      found = await request(`/api/oee?${new URLSearchParams({ path: this.path, shift: this.shift })}`);
    } catch (error) {
      problem = error.message;
    }
    if (own !== this.number) return;
    if (found) this.draw(found);
    const texts = problem ? [t("The shift can't be read: {error}", { error: problem })] : found.problems;
    setText(this.notice, texts.join(" "));
    set(this.notice, { hidden: texts.length === 0 });
    set(this.element, { hidden: found ? found.factories.length === 0 && texts.length === 0 : false });
    if (this.shift === "current") this.timer = setTimeout(() => this.load(), AGAIN * 1000);
  }

  draw(found) {
    const first = found.factories[0];
    if (!first) return this.lines.replaceChildren();
    const choices = [...new Set(found.factories.flatMap((one) => one.shifts))];
    this.select.replaceChildren(h("option", { value: "", text: t("earlier…"), disabled: true }), ...choices.map((one) => h("option", { value: one, text: one.replace("/", " ") })));
    this.select.value = choices.includes(this.shift) ? this.shift : "";
    for (const button of this.choice.children) set(button, { "aria-pressed": button.dataset.value === this.shift ? "true" : "false" });
    const texts = { shift: first.shift.replace("/", " "), from: moment(first.begin), to: moment(first.end), until: moment(first.until) };
    setText(this.heading, first.until < first.end
      ? t("{shift}: {from} to {to}, counted until {until}; rows are written at the end of each hour", texts)
      : t("{shift}: {from} to {to}", texts));
    const lines = found.factories.flatMap((one) => one.lines.map((line) => ({ place: `${one.enterprise}/${one.site}/${line.area}/${line.line}`, ...line })));
    keep(this.lines, lines, (line) => line.place, (line) => h("div", { class: "oee-line", "aria-label": line.line }), (element, line) => {
      element.replaceChildren(this.table(line), h("div", { class: "oee-details" }, losses(line.summary), plan(line), stopped(line)));
    });
    this.live(this.rows ?? new Map());
  }

  table(line) {
    const slow = new Set(line.bottleneck?.machines ?? []);
    const head = [t("OEE"), t("Availability"), t("Performance"), t("Quality"), t("Known"), t("Good"), t("Rejects"), t("Planned"), t("Median cycle")];
    return h("div", { class: "scroll" }, h("table", { class: "table small-table oee-table" },
      h("caption", {}, h("a", { href: address("line", line.place), text: `${line.area} › ${line.line}` })),
      h("thead", {}, h("tr", {}, h("th", { scope: "col", text: t("Machine") }), ...head.map((text) => h("th", { scope: "col", class: "number", text })))),
      h("tbody", {}, ...line.machines.map((one) => this.row(one, `${line.place}/${one.name}`, slow.has(one.name) ? line.bottleneck.why : "")), this.row(line.summary, "", ""))));
  }

  row(one, path, why) {
    const name = path
      ? h("th", { scope: "row" }, h("a", { href: address("machine", path), text: one.name }), why ? h("span", { class: "chip", title: why === "waiting" ? t("It waits least of the line.") : t("It has the longest cycle of the line."), text: t("bottleneck") }) : "")
      : h("th", { scope: "row", text: t("Line") });
    const doubt = doubts(one);
    const counted = (value) => h("td", { class: "number", title: doubt || null, text: number(value, 0) + (doubt ? " *" : "") });
    return h("tr", { class: path ? "" : "sum" }, name,
      h("td", { class: "number oee-value" }, h("strong", { text: ratio(one.oee) }), path ? h("span", { class: "muted small oee-live", data: { path } }) : ""),
      ...["availability", "performance", "quality_ratio", "known"].map((key) => h("td", { class: "number" }, factor(one[key]))),
      counted(one.good), counted(one.reject), h("td", { class: "number", text: one.target ? number(one.target, 0) : "–" }),
      h("td", { class: "number", text: one.cycles ? `${measured(one.cycles.median)} s` : "–" }));
  }

  /** Show the live OEE of machines beside that of the rows, while the shift runs. */
  live(rows) {
    this.rows = rows;
    for (const element of this.lines.querySelectorAll(".oee-live")) {
      const oee = this.shift === "current" ? rows.get(element.dataset.path)?.oee : undefined;
      setText(element, oee === undefined ? "" : t("now {percent}", { percent: percent(oee / 100) }));
    }
  }

  destroy() {
    this.number++;
    clearTimeout(this.timer);
  }
}

const ratio = (value) => (value === null || value === undefined ? "–" : percent(value));

function factor(value) {
  if (value === null || value === undefined) return h("span", { text: "–" });
  const bar = h("span", { class: "share-bar", "aria-hidden": "true" }, h("span"));
  bar.firstElementChild.style.width = `${Math.min(100, 100 * value).toFixed(1)}%`;
  return h("span", { class: "factor" }, h("span", { text: percent(value) }), bar);
}

function losses(summary) {
  if (!summary.losses.length) return null;
  const most = summary.losses[0].seconds;
  return h("div", {}, h("h3", { text: t("Losses of the planned time") }), h("ul", { class: "shares losses" }, ...summary.losses.map((one) => {
    const bar = h("span", { class: "share-bar", "aria-hidden": "true" }, h("span"));
    bar.firstElementChild.style.width = `${((100 * one.seconds) / most).toFixed(2)}%`;
    if (one.kind === "unknown") bar.firstElementChild.dataset.kind = "unknown";
    const name = one.reason ? `${t(KINDS[one.kind])}: ${one.reason}` : t(KINDS[one.kind]);
    return h("li", {}, h("span", { text: name }), bar, h("span", { class: "number", text: span(one.seconds) }), h("span", { class: "number muted", text: percent(one.share) }));
  })));
}

function plan(line) {
  const planned = line.machines.filter((one) => one.target > 0);
  if (!planned.length) return null;
  return h("div", {}, h("h3", { text: t("Good parts against plan") }), h("ul", { class: "shares losses" }, ...planned.map((one) => {
    const bar = h("span", { class: "share-bar", "aria-hidden": "true" }, h("span"));
    bar.firstElementChild.style.width = `${Math.min(100, (100 * one.good) / one.target).toFixed(2)}%`;
    return h("li", {}, h("span", { text: one.name }), bar, h("span", { class: "number", text: `${number(one.good, 0)} / ${number(one.target, 0)}` }), h("span", { class: "number muted", text: percent(one.good / one.target) }));
  })));
}

const WHY = { starved: mark("{machine} starved for {span}"), blocked: mark("{machine} was blocked for {span}") };

function stopped(line) {
  if (!line.stopped.length) return null;
  return h("div", {}, h("h3", { text: t("Who stopped whom") }), h("ul", { class: "plain" }, ...line.stopped.slice(0, 6).map((one) => {
    const why = one.affected.map((other) => t(WHY[other.cause], { machine: other.machine, span: span(other.seconds) })).join(", ");
    return h("li", { class: "small" }, h("strong", { text: `${one.machine} ` }), `${t(KINDS[one.state])}${one.reason ? ` (${one.reason})` : ""}, ${time(one.begin, false)}, ${span((one.end - one.begin) / 1e6)}: ${why}`);
  })));
}

/** Return what makes the counts of a machine less certain. */
function doubts(one) {
  const found = [];
  if (one.resets) found.push(t("A counter was reset: parts just before may be missing."));
  if (one.jumps) found.push(t("A counter jumped: the jump is not counted."));
  if (one.unknown_parts) found.push(t("{count} parts are of a time that is not known.", { count: number(one.unknown_parts, 0) }));
  if (one.unplanned_parts) found.push(t("{count} parts have no planned cycle time.", { count: number(one.unplanned_parts, 0) }));
  return found.join(" ");
}

/** What alarms did: their history, and statistics after EEMUA 191 and ISA-18.2. */

import { bars } from "../bars.js";
import { h, set, setText } from "../dom.js";
import { request } from "../live.js";
import { segmented } from "../segmented.js";
import { mark, moment, number, span, t, tn } from "../texts.js";
import { changeText, machineLink, priorityMark } from "./parts.js";

const SPANS = [3600, 8 * 3600, 24 * 3600, 7 * 24 * 3600]; // seconds
const AGAIN = 20000; // milliseconds between two requests while the part is shown
const ROWS = 500;

const LEVELS = [mark("very likely acceptable"), mark("manageable"), mark("over-demanding"), mark("very likely unacceptable")];

/** Fetches the history of the chosen alarms, again and again, and shows it. */
class Past {
  constructor(app) {
    this.app = app;
    this.span = SPANS[1];
    this.body = h("div", { class: "stack" });
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.elements = [
      h("div", { class: "row" }, segmented(t("Span"), SPANS.map((one) => [String(one), span(one)]), String(this.span), (value) => { this.span = Number(value); this.load(); })),
      this.notice, this.body];
    this.number = 0;
  }

  choose(filter) {
    this.filter = { ...filter };
    this.load();
  }

  async load() {
    const own = ++this.number;
    clearTimeout(this.timer);
    const { path, text, priorities } = this.filter;
    if (priorities.length === 0) return this.body.replaceChildren(h("p", { class: "panel empty", text: t("No priority is chosen.") }));
    set(this.body, { "aria-busy": "true" });
    const query = new URLSearchParams({ from: `-${this.span}s`, path, text, priorities: priorities.join(","), limit: ROWS });
    try {
      const found = await request(`/api/alarms/history?${query}`);
      if (own !== this.number) return undefined;
      this.showNotice(found);
      this.show(found);
    } catch (error) {
      if (own !== this.number) return undefined;
      setText(this.notice, error.message);
      set(this.notice, { hidden: false });
    }
    set(this.body, { "aria-busy": null });
    this.timer = setTimeout(() => this.load(), AGAIN);
    return undefined;
  }

  showNotice({ problems, known_since: since, from }) {
    const texts = [...problems];
    if (since > from) texts.push(t("What happened before {time} is not known here.", { time: moment(since) }));
    setText(this.notice, texts.join(" "));
    set(this.notice, { hidden: texts.length === 0 });
  }

  destroy() {
    this.number++;
    clearTimeout(this.timer);
  }
}

/** The changes of alarms, the newest first. */
export class HistoryPart extends Past {
  show({ changes, number: all }) {
    if (changes.length === 0) return this.body.replaceChildren(h("p", { class: "panel empty", text: t("No alarm in this time.") }));
    return this.body.replaceChildren(h("section", { class: "panel", "aria-label": t("History") },
      h("div", { class: "scroll" }, h("table", { class: "table alarm-table" },
        h("thead", {}, h("tr", {}, ...[t("Time"), t("Priority"), t("Machine"), t("Alarm"), t("Source"), t("Change")].map((text) => h("th", { scope: "col", text })))),
        h("tbody", {}, ...changes.map((one) => h("tr", { data: { active: one.active ? "yes" : "no" } },
          h("td", { class: "number left", text: moment(one.time) }), h("td", {}, priorityMark(one.priority)), h("td", {}, machineLink(one.path)),
          h("td", {}, h("strong", { class: "alarm-name", text: one.name }), h("div", { class: "alarm-message", text: one.message === one.name ? "" : one.message })),
          h("td", { text: one.source }), h("td", { text: changeText(one) })))))),
      all > changes.length ? h("p", { class: "muted", text: t("The newest {shown} of {all} changes are shown.", { shown: number(changes.length, 0), all: number(all, 0) }) }) : ""));
  }
}

/** How many alarms there were, which ones most often, and which ones chatter. */
export class StatisticsPart extends Past {
  show(found) {
    const { rates } = found;
    const picture = h("div", { class: "bars-box" });
    const times = (at) => moment(rates.begin + at * 600e6);
    bars(picture, {
      values: rates.counts, limit: 10,
      label: tn("Alarms in each ten minutes: at most {count}", "Alarms in each ten minutes: at most {count}", rates.peak),
      title: (at) => `${times(at)}: ${number(rates.counts[at], 0)}`,
    });
    this.body.replaceChildren(
      h("section", { class: "panel stack", "aria-label": t("Alarm rate") }, h("h2", { text: t("Alarms in ten minutes") }),
        h("div", { class: "facts" },
          fact(number(rates.average, 1), t("on average: {level} for one operator (EEMUA 191)", { level: t(LEVELS.find((one) => one === rates.level) ?? rates.level) })),
          fact(number(rates.peak, 0), t("at most")),
          fact(number(rates.floods, 0), t("of {count} windows with a flood: more than 10 alarms", { count: number(rates.counts.length, 0) }))),
        picture,
        h("div", { class: "row between muted" }, h("span", { text: moment(rates.begin) }), h("span", { text: moment(found.to) }))),
      h("div", { class: "columns" },
        ranked(t("Most frequent"), found.frequent, (one) => tn("{count} time", "{count} times", one.count)),
        ranked(t("Longest standing"), found.longest, (one) => t("for {span}", { span: span((found.now - one.since) / 1e6) })),
        ranked(t("Chattering: three times in a minute, or more"), found.chattering, (one) => tn("{count} time in a minute", "{count} times in a minute", one.count))));
  }
}

const fact = (figure, text) => h("div", { class: "fact" }, h("strong", { text: figure }), h("span", { class: "muted", text }));

function ranked(title, alarms, figure) {
  return h("section", { class: "panel", "aria-label": title }, h("h2", { text: title }),
    alarms.length === 0 ? h("p", { class: "muted", text: t("None") })
      : h("ol", { class: "ranked" }, ...alarms.map((one) => h("li", {}, priorityMark(one.priority), h("span", { class: "ranked-name" }, h("strong", { text: [one.source, one.name].filter(Boolean).join(": ") }), machineLink(one.path)), h("span", { class: "number", text: figure(one) })))));
}

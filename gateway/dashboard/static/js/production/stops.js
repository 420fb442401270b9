/** The stops of a shift: those without a reason first. An operator gives the reason; the gateway keeps it. */

import { outcomeText } from "../commands.js";
import { machineLink } from "../alarms/parts.js";
import { sendDialog } from "../dialog.js";
import { h, keep, set, setText } from "../dom.js";
import { may, request } from "../live.js";
import { mark, moment, span, t, tn } from "../texts.js";

const AGAIN = 30; // seconds between two requests for a shift that runs

const STATES = {
  down: mark("down"), setup: mark("setup"), idle: mark("idle: without work"), starved: mark("starved: no parts"),
  blocked: mark("blocked: parts can't leave"), waiting: mark("waiting: starved or blocked"),
};

const id = (stop) => `${stop.path} ${stop.begin}`;

export class ShiftStops {
  constructor() {
    this.path = "";
    this.shift = "current";
    this.number = 0;
    this.given = new Map(); // reasons that a gateway has, and the store does not have yet
    this.heading = h("span", { class: "muted", role: "status" });
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.list = h("tbody");
    this.table = h("table", { class: "table stop-table" },
      h("thead", {}, h("tr", {}, ...[t("Machine"), t("Begin"), t("Duration"), t("State"), t("Reason")].map((text) => h("th", { scope: "col", text })))),
      this.list);
    this.element = h("section", { class: "panel stops", "aria-label": t("Stops of the shift"), hidden: true },
      h("div", { class: "row between" }, h("h2", { text: t("Stops of the shift") }), this.heading),
      this.notice, h("div", { class: "scroll" }, this.table));
  }

  /** Show the stops of the machines below a path, in a shift. */
  show(path, shift) {
    this.path = path;
    this.shift = shift;
    this.load();
  }

  async load() {
    const own = ++this.number;
    clearTimeout(this.timer);
    let problem = "";
    try {
      const found = await request(`/api/stops?${new URLSearchParams({ path: this.path, shift: this.shift })}`);
      if (own !== this.number) return;
      this.found = found;
    } catch (error) {
      if (own !== this.number) return;
      problem = error.message;
    }
    this.draw(problem);
    if (this.shift === "current") this.timer = setTimeout(() => this.load(), AGAIN * 1000);
  }

  draw(problem = "") {
    const { stops = [], machines = {}, problems = [], number: count = 0 } = this.found ?? {};
    const texts = problem ? [t("The stops can't be read: {error}", { error: problem })] : [...problems];
    if (count > stops.length) texts.push(tn("{count} stop is not shown.", "{count} stops are not shown.", count - stops.length));
    if (stops.length && Object.values(machines).every((one) => !one.may)) texts.push(t("Reasons can't be given here: the gateway takes no commands of this page."));
    setText(this.notice, texts.join(" "));
    set(this.notice, { hidden: texts.length === 0 });
    const wanted = stops.filter((stop) => stop.wanted && !this.given.has(id(stop))).length;
    setText(this.heading, wanted ? tn("{count} stop without a reason", "{count} stops without a reason", wanted) : t("no stop without a reason"));
    set(this.element, { hidden: !this.found || (stops.length === 0 && texts.length === 0) }); // without a store the report says why
    keep(this.list, stops, id, (stop) => this.line(stop), (element, stop) => this.update(element, stop, machines[stop.path]));
  }

  line(stop) {
    const give = h("button", { class: "button", type: "button", on: { click: () => reasonDialog(stop, this.found.machines[stop.path].reasons, (reason) => this.gave(stop, reason)) } });
    return h("tr", {}, h("td", {}, machineLink(stop.path)), h("td", { text: moment(stop.begin) }), h("td", { class: "number" }),
      h("td", {}, h("span"), h("div", { class: "muted small" })), h("td", {}, h("div", { class: "row" }, h("span", { class: "stop-reason" }), give)));
  }

  update(element, stop, machine) {
    const [, , length, state, reason] = element.children;
    const given = this.given.get(id(stop));
    if (given !== undefined && stop.given === given) this.given.delete(id(stop));
    setText(length, span((stop.end - stop.begin) / 1e6));
    setText(state.children[0], t(STATES[stop.state] ?? stop.state));
    setText(state.children[1], stop.label);
    const [shown, button] = reason.firstElementChild.children;
    const known = (given ?? stop.given) || stop.reason;
    setText(shown, known || (stop.wanted ? t("no reason") : "–"));
    set(shown, { title: stop.given && stop.reason ? t("the machine reported: {reason}", { reason: stop.reason }) : null });
    set(element, { data: { wanted: stop.wanted && !known ? "yes" : "no" } });
    set(button, { hidden: !machine?.may, title: may("reasons") ? null : t("Your role does not permit this."),
      "aria-label": t("Give the reason of the stop of {machine} at {time}", { machine: stop.path.split("/").at(-1), time: moment(stop.begin) }) });
    button.disabled = !may("reasons");
    setText(button, known ? t("Change…") : t("Give the reason…"));
  }

  gave(stop, reason) {
    this.given.set(id(stop), reason);
    this.draw();
    const line = [...this.list.children].find((one) => one.dataset.key === id(stop));
    line?.querySelector("button").focus();
  }

  destroy() {
    this.number++;
    clearTimeout(this.timer);
  }
}

/**
 * Ask for the reason of a stop, and send it to the gateway.
 * @param {{path: string, begin: number, end: number}} stop @param {string[]} reasons those to choose from, or none for any
 * @param {(reason: string) => void} done called with the reason when the gateway has it
 */
function reasonDialog(stop, reasons, done) {
  const machine = stop.path.split("/").at(-1);
  const reason = reasons.length
    ? h("select", { class: "field", required: true }, h("option", { value: "", text: t("choose…") }), ...reasons.map((one) => h("option", { value: one, text: one })))
    : h("input", { class: "field", type: "text", required: true, maxlength: 100 });
  const comment = h("textarea", { class: "field", rows: 2, maxlength: 500 });
  const content = [
    h("p", { class: "muted", text: t("{from}, for {span}", { from: moment(stop.begin), span: span((stop.end - stop.begin) / 1e6) }) }),
    h("label", { class: "stack tight" }, t("Reason"), reason),
    h("label", { class: "stack tight" }, t("Comment"), comment),
  ];
  sendDialog(t("Reason of the stop of {machine}", { machine }), content, t("Give the reason"), async (close) => {
    const answer = await request("/api/stops/reason", { path: stop.path, begin: stop.begin, reason: reason.value, comment: comment.value });
    if (answer.outcome !== "done") throw new Error(outcomeText(answer));
    close();
    done(reason.value.trim());
  });
}

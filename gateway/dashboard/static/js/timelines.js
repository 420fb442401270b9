/** Timelines under each other on one time axis, with a common cursor that the mouse and the keyboard move. */

import { strip } from "./chart/small.js";
import { h, keep, set, setText } from "./dom.js";
import { stateText } from "./states.js";
import { moment, span, t, time } from "./texts.js";

const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200]; // seconds between two ticks of the axis
const MOST_TICKS = 9;

/**
 * @typedef {object} Row
 * @property {string} key
 * @property {Node} head             what stands before the strip
 * @property {Node} [tail]           what stands behind it
 * @property {string} label          for screen readers
 * @property {[number, string, string, string?][]} states   begin, state, kind and reason, oldest first
 * @property {{time: number, kind: string, symbol: string, title: string}[]} [marks]
 */

/** Return the state of a row at a time with its begin and end, null where none is known. */
export function stateAt(states, at, now) {
  let low = 0, high = states.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (states[middle][0] <= at) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return null;
  const [begin, state, kind, reason] = states[low - 1];
  return { begin, state, kind, reason: reason ?? "", end: states[low]?.[0] ?? null, lasted: ((states[low]?.[0] ?? now) - begin) / 1e6 };
}

export class Timelines {
  /**
   * @param {string} label of the whole, for screen readers
   * @param {(at: number|null) => void} [moved] called when the cursor moves; null when it leaves
   */
  constructor(label, moved) {
    this.moved = moved;
    /** @type {Row[]} */
    this.rows = [];
    this.from = this.to = 0;
    this.cursor = null;
    this.pinned = false;
    this.list = h("div", { class: "lanes-rows" });
    this.line = h("div", { class: "lanes-cursor", hidden: true });
    this.ticks = h("div", { class: "lanes-ticks", "aria-hidden": "true" });
    this.axis = h("div", { class: "lanes-axis", role: "slider", tabindex: "0", "aria-label": t("Time of {what}", { what: label }), "aria-orientation": "horizontal",
      on: { keydown: (event) => this.key(event), focus: () => this.focused(), blur: () => this.leave(true) } }, this.ticks);
    this.said = h("p", { class: "lanes-said", role: "status" });
    this.element = h("div", { class: "lanes", role: "group", "aria-label": label }, this.list,
      h("div", { class: "lanes-foot" }, h("span"), this.axis, h("span")), this.line, this.said);
    this.list.addEventListener("pointermove", (event) => this.point(event));
    this.list.addEventListener("pointerdown", (event) => this.point(event));
    this.list.addEventListener("pointerleave", () => this.leave());
  }

  /** @param {Row[]} rows @param {number} from @param {number} to */
  show(rows, from, to) {
    this.rows = rows;
    this.from = from;
    this.to = to;
    keep(this.list, rows, (row) => row.key, (row) =>
      h("div", { class: "lane" }, h("div", { class: "lane-head" }, row.head), h("div", { class: "lane-strip" }, h("canvas", { class: "strip" }), h("div", { class: "lane-marks" })), h("div", { class: "lane-tail" })),
    (element, row) => this.update(element, row));
    this.drawTicks();
    if (this.cursor !== null) this.moveTo(this.cursor);
  }

  /** @param {HTMLElement} element @param {Row} row */
  update(element, row) {
    const [head, lane, tail] = element.children;
    if (head.firstChild !== row.head) head.replaceChildren(row.head);
    if (row.tail && tail.firstChild !== row.tail) tail.replaceChildren(row.tail);
    const segments = [];
    for (let at = 0; at < row.states.length; at++) {
      const [begin, state, kind] = row.states[at];
      const end = row.states[at + 1]?.[0] ?? this.to;
      if (end > this.from && begin < this.to) segments.push({ begin: Math.max(begin, this.from), end: Math.min(end, this.to), kind, label: stateText(state) });
    }
    strip(/** @type {HTMLCanvasElement} */ (lane.firstElementChild), { from: this.from, to: this.to, segments, label: row.label });
    const marks = (row.marks ?? []).filter((one) => one.time >= this.from && one.time <= this.to);
    keep(lane.lastElementChild, marks, (one) => `${one.time} ${one.kind}`, (one) => h("i", { class: "lane-mark", data: { kind: one.kind }, text: one.symbol, title: one.title }),
      (mark, one) => { mark.style.left = `${((one.time - this.from) / (this.to - this.from)) * 100}%`; });
  }

  drawTicks() {
    const seconds = (this.to - this.from) / 1e6;
    const step = (STEPS.find((one) => seconds / one <= MOST_TICKS) ?? 14400) * 1e6;
    const times = [];
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) times.push(at);
    keep(this.ticks, times, String, (at) => h("span", { text: time(at, false) }), (element, at) => {
      element.style.left = `${((at - this.from) / (this.to - this.from)) * 100}%`;
    });
    set(this.axis, { "aria-valuemin": Math.round(this.from / 1e6), "aria-valuemax": Math.round(this.to / 1e6) });
    if (this.cursor === null) set(this.axis, { "aria-valuenow": Math.round(this.to / 1e6), "aria-valuetext": t("now") });
  }

  /** The strips' left edge and width, relative to the element. */
  place() {
    const whole = this.element.getBoundingClientRect(), axis = this.axis.getBoundingClientRect();
    return { left: axis.left - whole.left, width: axis.width, origin: axis.left };
  }

  point(event) {
    const { origin, width } = this.place();
    const part = (event.clientX - origin) / Math.max(1, width);
    if (part < 0 || part > 1) return this.leave();
    this.pinned = false;
    this.moveTo(this.from + part * (this.to - this.from));
  }

  focused() {
    if (this.cursor === null) this.moveTo(this.to);
  }

  key(event) {
    const small = (this.to - this.from) / 120, at = this.cursor ?? this.to;
    const moves = {
      ArrowLeft: () => (event.shiftKey ? this.border(at, -1) : at - small), ArrowRight: () => (event.shiftKey ? this.border(at, 1) : at + small),
      PageUp: () => at - 10 * small, PageDown: () => at + 10 * small, Home: () => this.from, End: () => this.to,
    };
    if (event.key === "Escape") this.leave(true);
    else if (moves[event.key]) this.pin(moves[event.key]());
    else return;
    event.preventDefault();
  }

  /** The nearest begin of a state in a direction. */
  border(at, direction) {
    let found = direction < 0 ? this.from : this.to;
    for (const row of this.rows) {
      for (const [begin] of row.states) {
        if (direction < 0 ? begin < at && begin > found : begin > at && begin < found) found = begin;
      }
    }
    return found;
  }

  /** Put the cursor at a time, and keep it there. */
  pin(at) {
    this.pinned = true;
    this.moveTo(at);
  }

  moveTo(at) {
    this.cursor = Math.min(this.to, Math.max(this.from, at));
    const { left, width } = this.place();
    set(this.line, { hidden: false });
    this.line.style.transform = `translateX(${left + ((this.cursor - this.from) / Math.max(1, this.to - this.from)) * width}px)`;
    const said = this.describe();
    setText(this.said, said);
    set(this.axis, { "aria-valuenow": Math.round(this.cursor / 1e6), "aria-valuetext": said });
    this.moved?.(this.cursor);
  }

  /** What the rows were at the cursor; of many rows the time alone, for they show it themselves. */
  describe() {
    const parts = [moment(this.cursor)];
    if (this.rows.length <= 3) {
      for (const row of this.rows) {
        const found = stateAt(row.states, this.cursor, this.to);
        if (!found) parts.push(`${row.label}: ${t("not known")}`);
        else parts.push(`${row.label}: ${stateText(found.state)}${found.reason ? ` (${found.reason})` : ""}, ${t("since {time}, {span}", { time: moment(found.begin), span: span(found.lasted) })}`);
      }
    }
    return parts.join("  ·  ");
  }

  /** Take the cursor away; one that the keyboard has put stays while the axis has the focus, unless it has to. */
  leave(now = false) {
    if (this.cursor === null || (!now && this.pinned && document.activeElement === this.axis)) return;
    this.cursor = null;
    this.pinned = false;
    set(this.line, { hidden: true });
    setText(this.said, "");
    this.moved?.(null);
  }
}

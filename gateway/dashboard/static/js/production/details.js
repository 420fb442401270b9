/** What a machine did, in detail: the time in each state, how long its cycles took, and its orders. */

import { bars } from "../bars.js";
import { h } from "../dom.js";
import { stateText } from "../states.js";
import { measured, number, percent, span, t, tn, unit } from "../texts.js";

/** Return the panels of a machine. */
export function machineDetails(row, stored) {
  if (!stored) return [h("p", { class: "muted", text: t("The store has nothing of this machine in this time.") })];
  const found = [states(stored), cycles(stored), orders(stored), doubts(stored)].filter(Boolean);
  return found.length ? found : [h("p", { class: "muted", text: t("The store has nothing of this machine in this time.") })];
}

function states({ states: found = [], transitions = 0 }) {
  const all = found.reduce((sum, [, , length]) => sum + length, 0);
  if (!all) return null;
  return h("div", {}, h("h3", { text: t("Time in each state") }),
    h("ul", { class: "shares" }, ...found.map(([state, kind, length]) => {
      const bar = h("span", { class: "share-bar", "aria-hidden": "true" }, h("span"));
      bar.firstElementChild.style.width = `${((100 * length) / all).toFixed(2)}%`;
      bar.firstElementChild.dataset.kind = kind;
      return h("li", {}, h("span", { class: "state", data: { kind } }, h("i"), h("span", { text: state === "not known" ? t("not known: no connection") : stateText(state) })),
        bar, h("span", { class: "number", text: span(length / 1e6) }), h("span", { class: "number muted", text: percent(length / all) }));
    })),
    h("p", { class: "muted small", text: tn("{count} change of state", "{count} changes of state", transitions) }));
}

function cycles({ cycles: found }) {
  if (!found) return null;
  const size = unit(found.unit);
  const picture = h("div", { class: "bars-box" });
  const edge = (at) => measured(Number((found.begin + at * found.width).toPrecision(6)));
  bars(picture, {
    values: found.counts,
    label: t("Cycle times: median {median} {unit}", { median: measured(found.median), unit: size }),
    title: (at) => `${edge(at)} – ${edge(at + 1)} ${size}: ${number(found.counts[at], 0)}`,
  });
  const outside = found.below + found.above;
  return h("div", {}, h("h3", { text: t("Cycle times") }), picture,
    h("div", { class: "row between muted small" }, h("span", { text: `${edge(0)} ${size}` }), h("span", { text: `${edge(found.counts.length)} ${size}` })),
    h("p", { class: "muted small", text: [
      tn("{count} cycle", "{count} cycles", found.number),
      t("95 % within {value} {unit}", { value: measured(found.slow), unit: size }),
      t("from {shortest} to {longest} {unit}", { shortest: measured(found.shortest), longest: measured(found.longest), unit: size }),
      outside ? tn("{count} outside of the picture", "{count} outside of the picture", outside) : "",
    ].filter(Boolean).join(" · ") }));
}

function orders({ orders: found }) {
  if (!found?.length) return null;
  return h("div", {}, h("h3", { text: t("Parts by order and recipe") }),
    h("div", { class: "scroll" }, h("table", { class: "table small-table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col", text: t("Order") }), h("th", { scope: "col", text: t("Recipe") }), h("th", { scope: "col", class: "number", text: t("Good") }), h("th", { scope: "col", class: "number", text: t("Rejects") }))),
      h("tbody", {}, ...found.map((one) => h("tr", {}, h("td", { text: one.order || t("without order") }), h("td", { text: one.recipe || "–" }), h("td", { class: "number", text: one.good === undefined ? "–" : number(one.good, 0) }), h("td", { class: "number", text: one.reject === undefined ? "–" : number(one.reject, 0) })))))));
}

const DOUBTS = {
  wrapped: (count) => tn("The counter wrapped {count} time.", "The counter wrapped {count} times.", count),
  reset: (count) => tn("The counter was reset {count} time: parts just before may be missing.", "The counter was reset {count} times: parts just before may be missing.", count),
  jumped: (count) => tn("The counter jumped {count} time: the jump is not counted.", "The counter jumped {count} times: the jumps are not counted.", count),
};

/** Return the texts of what makes a count less certain. */
export const doubtsOf = (counted) => Object.entries(counted?.events ?? {}).map(([event, count]) => DOUBTS[event](count));

function doubts({ good, reject }) {
  const texts = [...doubtsOf(good).map((text) => `${t("Good")}: ${text}`), ...doubtsOf(reject).map((text) => `${t("Rejects")}: ${text}`)];
  return texts.length ? h("div", {}, h("h3", { text: t("Counters") }), ...texts.map((text) => h("p", { class: "notice", text }))) : null;
}

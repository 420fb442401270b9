/** How states look and what they are called: the one place for it. */

import { h, set, setText } from "./dom.js";
import { mark, t, tn } from "./texts.js";

/** Texts of states; a state that is not here is shown as the machine names it. */
const NAMES = {
  execute: mark("running"), idle: mark("idle"), suspended: mark("suspended"), held: mark("held"), stopped: mark("stopped"),
  aborted: mark("aborted"), aborting: mark("aborting"), clearing: mark("clearing"), starting: mark("starting"),
  stopping: mark("stopping"), holding: mark("holding"), unholding: mark("unholding"), suspending: mark("suspending"),
  unsuspending: mark("unsuspending"), resetting: mark("resetting"), completing: mark("completing"), complete: mark("complete"),
  online: mark("online"), degraded: mark("degraded"), offline: mark("offline"), unknown: mark("unknown"),
  "no gateway": mark("no gateway"), "not known": mark("not known"),
};

/** Texts of the reasons of readings and states. */
const REASONS = {
  no_response: mark("no response"), refused: mark("refused by the device"), not_connected: mark("not connected"),
  not_a_number: mark("not a number"), out_of_range: mark("out of range"), device_fault: mark("device fault"),
  stale: mark("stale"), not_found: mark("not found"), type_mismatch: mark("wrong type"), overflow: mark("overflow"),
  driver_fault: mark("driver fault"), clock_untrusted: mark("clock not trusted"), other: mark("several reasons"),
  removed: mark("removed"), worker_failed: mark("worker failed"), stopped: mark("stopped"),
  "connection lost": mark("connection lost"),
};

/** @param {string} name */
export const stateText = (name) => (NAMES[name] ? t(NAMES[name]) : name.replaceAll("_", " "));

/** @param {string} reason */
export const reasonText = (reason) => (REASONS[reason] ? t(REASONS[reason]) : reason.replaceAll("_", " "));

/**
 * Return how a row of the overview is shown: what is wrong with the connection comes before the state of production.
 * @param {{state: string, reason?: string, kind?: string, production?: string}} row
 * @returns {{kind: string, name: string, reason: string}}
 */
export function shown(row) {
  if (row.state === "offline" || row.state === "no gateway") return { kind: "offline", name: row.state, reason: row.reason ?? "" };
  if (row.state === "unknown") return { kind: "unknown", name: "unknown", reason: "" };
  if (row.kind && row.kind !== "other" && row.production !== "unknown") {
    return { kind: row.kind, name: row.production, reason: "" };
  }
  if (row.state === "degraded") return { kind: "degraded", name: "degraded", reason: row.reason ?? "" };
  return { kind: row.kind ?? "unknown", name: row.production ?? row.state, reason: "" };
}

/** How urgent a row is: 0 for normal; higher first in lists of what needs attention. */
export function urgency(row) {
  const priority = (row.alarms ?? []).findIndex((count) => count > 0);
  const { kind } = shown(row);
  const rank = { aborted: 60, offline: 55, held: 40, degraded: 25 }[kind] ?? 0;
  return Math.max(rank, priority < 0 ? 0 : 70 - 15 * priority, row.state === "degraded" ? 20 : 0);
}

/** Return an element that shows a state: symbol and text. */
export function stateMark(row) {
  const element = h("span", { class: "state" }, h("i"), h("span"));
  updateStateMark(element, row);
  return element;
}

/** Show another state in an element of `stateMark`. */
export function updateStateMark(element, row) {
  const { kind, name, reason } = shown(row);
  set(element, { data: { kind } });
  setText(element.lastElementChild, reason ? `${stateText(name)}: ${reasonText(reason)}` : stateText(name));
}

/** Return a badge for the alarms of a row: the highest priority, and the number of all. */
export function alarmBadge(counts = []) {
  const highest = counts.findIndex((count) => count > 0);
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (highest < 0) return null;
  const label = tn("{count} alarm, with priority {priority}", "{count} alarms, the highest with priority {priority}", all, { priority: highest + 1 });
  return h("span", { class: "row alarm-badge", title: label },
    h("span", { class: "priority", data: { priority: highest + 1 }, text: highest + 1, role: "img", "aria-label": label }),
    h("span", { class: "muted", text: all > 1 ? `×${all}` : "", "aria-hidden": "true" }));
}

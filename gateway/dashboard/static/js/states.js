/** How states look and what they are called: the one place for it. */

import { h, set, setText } from "./dom.js";
import { mark, number, span, t, tn } from "./texts.js";

/** Texts of states; a state that is not here is shown as the machine names it. */
const NAMES = {
  execute: mark("running"), idle: mark("idle"), suspended: mark("suspended"), held: mark("held"), stopped: mark("stopped"),
  aborted: mark("aborted"), aborting: mark("aborting"), clearing: mark("clearing"), starting: mark("starting"),
  stopping: mark("stopping"), holding: mark("holding"), unholding: mark("unholding"), suspending: mark("suspending"),
  unsuspending: mark("unsuspending"), resetting: mark("resetting"), completing: mark("completing"), complete: mark("complete"),
  online: mark("online"), degraded: mark("degraded"), offline: mark("offline"), unknown: mark("unknown"),
  "no gateway": mark("no gateway"), "not known": mark("not known"),
  "not verified": mark("not verified"), available: mark("available"), opening: mark("opening"), unavailable: mark("unavailable"),
};

/** Texts of the reasons of readings and states. */
const REASONS = {
  no_response: mark("no response"), refused: mark("refused by the device"), not_connected: mark("not connected"),
  not_a_number: mark("not a number"), out_of_range: mark("out of range"), device_fault: mark("device fault"),
  stale: mark("stale"), not_found: mark("not found"), type_mismatch: mark("wrong type"), overflow: mark("overflow"),
  driver_fault: mark("driver fault"), clock_untrusted: mark("clock not trusted"), other: mark("several reasons"),
  removed: mark("removed"), worker_failed: mark("worker failed"), stopped: mark("stopped"),
  "connection lost": mark("connection lost"),
  spool_full: mark("spool full"), damaged: mark("damaged on disk"), disk_full: mark("disk full"),
  not_writable: mark("disk not writable"), not_encodable: mark("could not be encoded"),
  rejected_by_store: mark("rejected by the store"), too_large: mark("too large for the broker"),
  adopted: mark("taken over by another gateway"),
  unsigned: mark("not signed"), bad_signature: mark("wrong signature"), not_allowed: mark("signed by another gateway"),
  repeated: mark("an old message"),
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
  if (row.state === "not verified") return { kind: "unknown", name: row.state, reason: row.reason ?? "" };
  if (row.kind && row.kind !== "other" && row.production !== "unknown") {
    return { kind: row.kind, name: row.production, reason: "" };
  }
  if (row.state === "degraded") return { kind: "degraded", name: "degraded", reason: row.reason ?? "" };
  return { kind: row.kind ?? "unknown", name: row.production ?? row.state, reason: "" };
}

/**
 * Return what is wrong with a gateway or an ingest, as the feed `delivery` names it.
 * @param {string} code @param {Record<string, any>} more
 */
export function problemText(code, more) {
  const digests = { digest: more.config, given: more.given };
  switch (code) {
    case "offline": return t("is offline: {reason}", { reason: more.reason ? reasonText(more.reason) : t("no reason is known") });
    case "mute": return t("is online, and sends no reports");
    case "unheard": return t("is configured, and was never heard at this broker");
    case "refused": return t("messages in its name were refused: {reason}", { reason: reasonText(more.reason) });
    case "unsigned": return t("does not sign its messages");
    case "unbalanced": return t("the ledger does not balance: {count} readings are not accounted for", { count: number(Math.abs(more.missing), 0) });
    case "dropping": return t("is losing readings now: {rate} per second", { rate: number(more.rate, 1) });
    case "clock": return t("its clock can't be trusted: its readings are marked as uncertain");
    case "waiting": return t("readings wait in the spool for more than {span}", { span: span(more.seconds) });
    case "other_file": return t("runs the configuration {digest}, and this page was given {given}", digests);
    case "other_gateway": return t("runs the configuration {digest}, and its gateway runs {given}", digests);
    case "store_unavailable": return t("the store {store} is unavailable: {error}", { store: more.store, error: more.error || t("no error is known") });
    case "store_opening": return t("the store {store} is not open yet", { store: more.store });
    case "lag": return t("stores readings {span} after they were acquired", { span: span(more.seconds) });
    default: return code;
  }
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

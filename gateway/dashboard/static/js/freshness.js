/** How old a reading may be, and how its quality is called: the one place for it. */

import { moment, t } from "./texts.js";
import { reasonText } from "./states.js";

export const NONE = 0, GOOD = 1, UNCERTAIN = 2, BAD = 3;

const SLACK = 5; // seconds that a reading may take on its way

/**
 * @typedef {object} Reading
 * @property {any} value @property {number} time @property {number} quality @property {string} reason @property {string} code
 */

/** @returns {Reading} */
export const reading = ([, value, time, quality, reason = "", code = ""]) => ({ value, time, quality, reason, code });

/**
 * Return since when nothing can be heard of a machine, and why; null while it is heard.
 * @param {any} state the part `state` of the feed of a machine @param {number} serverLost milliseconds, 0 while the server is there
 */
export function silence(state, serverLost) {
  if (serverLost) return { since: serverLost * 1000, why: t("the connection to the server is lost") };
  if (state.broker && !state.broker.connected) return { since: state.broker.since, why: t("no connection to the broker") };
  if (state.state === "no gateway") return { since: state.since, why: t("the gateway is not there") };
  if (state.state === "offline") return { since: state.since, why: t("the machine is offline") };
  return null;
}

/**
 * Return since when a reading is stale, and why; null while it is fresh. `quiet` of a point is the longest time between
 * two of its readings in seconds, 0 where there is no limit.
 * @param {{quiet: number}} point @param {Reading} one @param {{since: number, why: string}|null} silent @param {number} now
 */
export function stale(point, one, silent, now) {
  if (one.quality === NONE) return null;
  if (silent) return { since: Math.max(one.time, silent.since), why: silent.why };
  const limit = point.quiet ? 2 * point.quiet + SLACK : Infinity;
  return now - one.time > limit * 1e6 ? { since: one.time, why: t("nothing heard since") } : null;
}

/** Return a timeline that ends where the machine was heard last: nobody knows the state since then. */
export function knownStates(states, silent) {
  return silent && states.length && silent.since > states.at(-1)[0] ? [...states, [silent.since, "unknown", "unknown"]] : states;
}

/** A stale reading has a clock, which the styles draw. */
const SYMBOLS = { [NONE]: "–", [GOOD]: "", [UNCERTAIN]: "?", [BAD]: "✕" };

/**
 * Return how the quality of a reading is shown: a symbol, and a text with reason, protocol code and since when it is stale.
 * @param {Reading} one @param {{since: number, why: string}|null} old
 */
export function qualityOf(one, old) {
  const reason = [one.reason && reasonText(one.reason), one.code].filter(Boolean).join(" · ");
  const names = { [NONE]: t("no reading yet"), [GOOD]: "", [UNCERTAIN]: t("uncertain"), [BAD]: t("bad") };
  const parts = [reason ? `${names[one.quality]}: ${reason}` : names[one.quality]].filter(Boolean);
  if (old) parts.unshift(t("stale since {time}: {why}", { time: moment(old.since), why: old.why }));
  const kind = old ? "stale" : { [NONE]: "none", [GOOD]: "good", [UNCERTAIN]: "uncertain", [BAD]: "bad" }[one.quality];
  return { kind, symbol: old ? "" : SYMBOLS[one.quality], text: parts.join(" · ") };
}

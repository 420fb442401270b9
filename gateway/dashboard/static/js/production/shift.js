/** Shifts of eight hours, in the time zone of the plant. */

import { Clock, DAY, HOUR, MINUTE } from "../chart/scales.js";
import { place } from "../texts.js";

const SHIFT = 8 * HOUR;

/**
 * Return when the present shift began, in microseconds since the epoch: one of the three that follow `begins` on the
 * wall clock. A shift in which the clock is changed lasts seven or nine hours.
 * @param {number} now microseconds since the epoch @param {string} begins a time of day as in 06:00 @param {Clock} [clock]
 */
export function shiftStart(now, begins, clock = new Clock(place().locale, place().timeZone)) {
  const [hour, minute] = begins.split(":").map(Number);
  const wall = now + clock.offset(now);
  const begin = wall - ((wall - hour * HOUR - minute * MINUTE) % SHIFT);
  // the clock may have been changed since: of two times that it showed, the first; of a time that it left out, the later
  const found = [clock.offset(now), clock.offset(now - DAY)].map((offset) => begin - offset).filter((time) => time <= now);
  const shown = found.filter((time) => time + clock.offset(time) === begin);
  return shown.length ? Math.min(...shown) : Math.max(...found);
}

/** Shifts of eight hours, in the time zone of the plant. */

import { place } from "../texts.js";

const SHIFT = 8 * 3600, DAY = 24 * 3600; // seconds

/**
 * Return when the present shift began, in microseconds since the epoch: one of the three that follow `begins`.
 * @param {number} now microseconds since the epoch @param {string} begins a time of day as in 06:00
 */
export function shiftStart(now, begins) {
  const parts = new Intl.DateTimeFormat("en-GB", { hour: "numeric", minute: "numeric", second: "numeric", hourCycle: "h23", timeZone: place().timeZone })
    .formatToParts(now / 1000);
  const [hour, minute, second] = ["hour", "minute", "second"].map((type) => Number(parts.find((one) => one.type === type).value));
  const [beginHour, beginMinute] = begins.split(":").map(Number);
  const elapsed = (hour * 3600 + minute * 60 + second - beginHour * 3600 - beginMinute * 60 + DAY) % SHIFT;
  return Math.floor(now / 1e6 - elapsed) * 1e6;
}

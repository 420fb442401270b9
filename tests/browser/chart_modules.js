/** The pure parts of the charts, for test_chart_modules.py: each function returns what JSON can hold. */

import { axesOf, fitAxis } from "/static/js/chart/axes.js";
import { Clock, elapsedText, elapsedTicks, HOUR, MINUTE, numberTicks, roundSpan, SECOND, timeTicks } from "/static/js/chart/scales.js";
import { Series } from "/static/js/chart/series.js";
import { shiftStart } from "/static/js/production/shift.js";
import { searchTime, traceLine } from "/static/js/chart/trace.js";

export { numberTicks, roundSpan, elapsedText };

/** @param {string} iso */
const at = (iso) => Date.parse(iso) * 1000;

/** Labels, contexts and times of a time axis. */
export function times(zone, from, to, most, locale = "en-GB") {
  return timeTicks(new Clock(locale, zone), at(from), at(to), most).map(({ time, label, context, strong }) => [
    new Date(time / 1000).toISOString(), label, context, strong,
  ]);
}

export const elapsed = (from, to, most) => elapsedTicks(from * SECOND, to * SECOND, most).map(({ label }) => label);

export const full = (zone, iso) => new Clock("en-GB", zone).full(at(iso));

/** A time that is written and read again on the wall clock of a zone. */
export function wallClock(zone, iso) {
  const clock = new Clock("en-GB", zone);
  const text = clock.write(at(iso));
  return [text, new Date(clock.parse(text) / 1000).toISOString()];
}

/** When the shift of a time began, with the time of day at which shifts begin. */
export const shift = (zone, iso, begins) => new Date(shiftStart(at(iso), begins, new Clock("en-GB", zone)) / 1000).toISOString();

/** Record the steps of a path. */
class Steps {
  constructor() { this.steps = []; }
  moveTo(x, y) { this.steps.push(["M", x, y]); }
  lineTo(x, y) { this.steps.push(["L", x, y]); }
}

const x = { origin: 0, factor: 1, offset: 0 };

/** The steps of a line; null is a bad reading. */
export function trace(times_, values, gap, factor = 1) {
  const path = new Steps();
  traceLine(path, times_, values.map((one) => one ?? NaN), 0, times_.length, { ...x, factor }, x, gap ?? Infinity);
  return path.steps;
}

/** How many steps many samples have, and the extremes of each column of pixels, before and after. */
export function traceMany(count, pixels) {
  const times_ = Float64Array.from({ length: count }, (_, n) => n);
  const values = Float64Array.from(times_, (n) => Math.sin(n / 50) * 100 + ((n * 7919) % 101));
  const path = new Steps();
  const factor = pixels / count;
  traceLine(path, times_, values, 0, count, { ...x, factor }, x);
  const columns = (points) => {
    const found = new Map();
    for (const [column, value] of points) {
      const [low, high] = found.get(column) ?? [Infinity, -Infinity];
      found.set(column, [Math.min(low, value), Math.max(high, value)]);
    }
    return [...found.values()];
  };
  const all = columns([...times_].map((n) => [Math.floor(n * factor), values[n]]));
  const drawn = columns(path.steps.filter(([step]) => step === "L").map(([, px, py]) => [Math.floor(px + 1e-9), py]));
  return { steps: path.steps.length, same: JSON.stringify(all) === JSON.stringify(drawn) };
}

export const search = (times_, time) => searchTime(times_, time, 0, times_.length);

/** What a series has at some times. */
export function samples(options, data, live, asked) {
  const series = new Series({ id: "a", label: "a", ...options });
  if (data?.kind === "buckets") series.setBuckets(data);
  else if (data) series.setReadings(data);
  if (live) series.append(live.time, live.value, live.quality);
  return asked.map((time) => {
    const one = series.at(time);
    return one && { ...one, value: Number.isNaN(one.value) ? null : one.value };
  });
}

/** Append many readings to a series, and load older ones again: what is kept. */
export function appendMany(count) {
  const series = new Series({ id: "a", label: "a", gap: 2 });
  for (let n = 0; n < count; n++) series.append([n], [n], [1]);
  const kept = series.end - series.begin;
  const newest = series.lastTime;
  const room = series.times.length;
  series.setReadings({ time: [1, 2, 3], value: [1, 2, 3], quality: null });
  return { kept, newest, room, after: series.end - series.begin, first: series.firstTime, last: series.lastTime, sorted: series.times.subarray(series.begin, series.end).every((one, n, all) => n === 0 || one > all[n - 1]) };
}

/** The axes of series by their units. */
export function axes(units) {
  return axesOf(units.map((unit, n) => new Series({ id: String(n), label: "", unit }))).map(({ unit, shown, side, place, series }) => [unit, shown, side, place, series.length]);
}

/** The ends of an axis over a series of extents. */
export function fitted(extents) {
  const series = { extent: () => extents[0], range: null };
  const axis = { unit: "", series: [series], shown: true, low: 0, high: 1, side: "left", place: 0 };
  return extents.map((_, n) => {
    series.extent = () => extents[n];
    fitAxis(axis, 0, 1, false);
    return [axis.low, axis.high];
  });
}

export { alarmBands } from "/static/js/views/trends.js";

export { HOUR, MINUTE };

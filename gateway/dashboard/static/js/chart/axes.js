/** The axes of a chart: values by unit, and the time. */

import { elapsedTicks, linear, numberTicks, pixelOf, roundSpan, timeTicks } from "./scales.js";
import { clipped } from "./surface.js";
import { theme } from "./theme.js";

/** @typedef {import("./series.js").Series} Series */
/** @typedef {import("./trace.js").Map1} Map1 */
/** @typedef {{left: number, right: number, top: number, bottom: number}} Box */

/** Axes that are drawn; the series of other units are drawn from the bottom to the top of the chart each. */
export const MOST_AXES = 4;

/** Pixels of an axis, and between two of its ticks at least. */
export const AXIS_WIDTH = 54;
const BETWEEN = 38;
const BETWEEN_TIMES = 84;

/**
 * @typedef {object} Axis
 * @property {string} unit
 * @property {Series[]} series
 * @property {boolean} shown    false: its series have no common scale
 * @property {number} low
 * @property {number} high
 * @property {"left" | "right"} side
 * @property {number} place     the number of the axis on its side, from the plot
 */

/**
 * Return an axis for each unit, in the order of the series. Beyond `MOST_AXES` each series has a hidden axis of its own.
 * @param {Series[]} series those with a line, visible
 * @returns {Axis[]}
 */
export function axesOf(series) {
  /** @type {Map<string, Series[]>} */
  const units = new Map();
  for (const one of series) units.set(one.unit, [...(units.get(one.unit) ?? []), one]);
  /** @type {Axis[]} */
  const axes = [];
  for (const [unit, members] of units) {
    if (axes.filter((one) => one.shown).length < MOST_AXES) {
      const number = axes.length;
      axes.push({ unit, series: members, shown: true, low: 0, high: 1, side: number % 2 ? "right" : "left", place: number >> 1 });
    } else {
      for (const one of members) {
        axes.push({ unit, series: [one], shown: false, low: 0, high: 1, side: "left", place: 0 });
      }
    }
  }
  return axes;
}

/**
 * Set the ends of an axis by the values in a span; whether they changed. Ends that still fit stay, so that a live chart
 * does not jump.
 * @param {Axis} axis
 * @param {number} from
 * @param {number} to
 * @param {boolean} whole whether the range of the points is shown, rather than the values
 */
export function fitAxis(axis, from, to, whole) {
  let low = Infinity;
  let high = -Infinity;
  for (const one of axis.series) {
    const [least, most] = whole && one.range ? one.range : one.extent(from, to, 1);
    if (least < low) low = least;
    if (most > high) high = most;
  }
  if (!(low <= high)) return false;
  const size = axis.high - axis.low;
  const fits = low >= axis.low && high <= axis.high && high - low > size * 0.45;
  const [bottom, top] = roundSpan(low, high);
  if (fits || (bottom === axis.low && top === axis.high)) return false;
  [axis.low, axis.high] = [bottom, top];
  return true;
}

/** @param {Axis} axis @param {Box} plot @returns {Map1} */
export const scaleOf = (axis, plot) => linear(axis.low, axis.high, plot.bottom, plot.top);

/**
 * Draw an axis beside the plot, and for the first its grid.
 * @param {CanvasRenderingContext2D} context
 * @param {Axis} axis
 * @param {Box} plot
 * @param {boolean} grid
 * @param {(value: number, digits: number) => string} text
 */
export function drawValues(context, axis, plot, grid, text) {
  const colours = theme();
  const height = plot.bottom - plot.top;
  if (height < BETWEEN) return;
  const { ticks, digits } = numberTicks(axis.low, axis.high, Math.max(2, Math.floor(height / BETWEEN)));
  const y = scaleOf(axis, plot);
  const atLeft = axis.side === "left";
  const edge = atLeft ? plot.left - axis.place * AXIS_WIDTH : plot.right + axis.place * AXIS_WIDTH;
  // one series has the colour of its axis; several share it
  const own = axis.series.length === 1 ? colours.series[axis.series[0].colour % 8] : colours.muted;
  context.font = `11px ${colours.font}`;
  context.textBaseline = "middle";
  context.textAlign = atLeft ? "right" : "left";
  for (const tick of ticks) {
    const at = Math.round(pixelOf(y, tick)) + 0.5;
    if (grid) {
      context.fillStyle = colours.grid;
      context.fillRect(plot.left, at - 0.5, plot.right - plot.left, 1);
    }
    if (at > plot.top + 4 || !axis.unit) {
      context.fillStyle = own;
      context.fillText(text(tick, digits), edge + (atLeft ? -7 : 7), at);
    }
  }
  context.fillStyle = axis.place || !grid ? own : colours.line;
  context.fillRect(atLeft ? edge - 1 : edge, plot.top, 1, height);
  context.fillStyle = own;
  context.font = `600 11px ${colours.font}`;
  context.fillText(clipped(context, axis.unit, AXIS_WIDTH - 8), edge + (atLeft ? -7 : 7), plot.top - 9);
}

/**
 * Draw the time axis below the chart, and its grid over the whole height.
 * @param {CanvasRenderingContext2D} context
 * @param {Box} area from the top of all lanes to the axis
 * @param {Map1} x
 * @param {import("./scales.js").Clock} clock
 * @param {{from: number, to: number}} span
 * @param {boolean} elapsed whether times are those since the start of a cycle
 */
export function drawTimes(context, area, x, clock, span, elapsed) {
  const colours = theme();
  const most = Math.max(2, Math.floor((area.right - area.left) / BETWEEN_TIMES));
  const ticks = elapsed ? elapsedTicks(span.from, span.to, most) : timeTicks(clock, span.from, span.to, most);
  context.textAlign = "center";
  context.textBaseline = "top";
  let free = -Infinity;
  let firstContext = true;
  for (const { time, label, context: second, strong } of ticks) {
    const at = Math.round(pixelOf(x, time)) + 0.5;
    context.fillStyle = strong ? colours.line : colours.grid;
    context.fillRect(at - 0.5, area.top, 1, area.bottom - area.top + 4);
    context.font = `11px ${colours.font}`;
    const half = context.measureText(label).width / 2;
    if (at - half < free || at + half > area.right + 40) continue;
    free = at + half + 8;
    context.fillStyle = colours.muted;
    context.fillText(label, at, area.bottom + 7);
    if (second) {
      context.font = `600 11px ${colours.font}`;
      const room = context.measureText(second).width / 2;
      // the first may begin left of its tick, so that the date is never cut
      context.fillText(second, firstContext ? Math.max(at, room + 2) : at, area.bottom + 21);
      firstContext = false;
    }
  }
  context.fillStyle = colours.line;
  context.fillRect(area.left, area.bottom, area.right - area.left, 1);
}

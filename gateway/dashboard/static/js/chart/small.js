/**
 * Small pictures for tiles, tables and headers, each with one call:
 *
 *     import { sparkline, strip, rangebar } from "./chart/small.js";
 *
 *     sparkline(canvas, { times, values, quality, band: { low: 15, high: 17 }, label: "Bladder pressure" });
 *     strip(canvas, { from, to, segments: [{ begin, end, kind: "producing", label: "execute" }], label: "State" });
 *     rangebar(element, { value: 16.02, low: 0, high: 25, normalLow: 15, normalHigh: 17, unit: "bar",
 *                         limits: [{ value: 20, kind: "alarm", label: "HH" }] });
 *
 * Call again with other data to draw again. A picture follows the size of its element and the theme of the page by
 * itself; the size comes from the page's CSS (see css/chart.css). Times are in microseconds since the epoch, as the API
 * returns them. A picture has a text for screen readers.
 */

import { measured, percent, t } from "../texts.js";
import { clipped, fit, hatch } from "./surface.js";
import { onThemeChange, theme } from "./theme.js";
import { searchTime, traceLine } from "./trace.js";

/**
 * @typedef {object} SparklineOptions
 * @property {ArrayLike<number>} times      of the readings, in order, microseconds since the epoch
 * @property {ArrayLike<number | null>} values   null or NaN for a bad reading
 * @property {ArrayLike<number>} [quality]  1 good, 2 uncertain, 3 bad, as in the feeds, for each reading; all good without it
 * @property {{low?: number | null, high?: number | null} | null} [band]   the normal range
 * @property {number} [from]    the left edge; the first reading without it
 * @property {number} [to]      the right edge; the last reading without it
 * @property {number} [gap]     microseconds without a reading that are a gap
 * @property {string} [label]   what is shown, for screen readers
 */

/**
 * @typedef {object} Segment
 * @property {number} begin   microseconds since the epoch
 * @property {number | null} end     null while it lasts
 * @property {string} kind    the kind of a state, as in states.js: `producing`, `idle`, `held`, `aborted`, `offline` ...;
 *                            its colour is the CSS variable `--state-KIND`, else `--KIND`
 * @property {string} [label] as `Execute`; shown where it fits
 */

/**
 * @typedef {object} StripOptions
 * @property {number} from    the left edge, microseconds since the epoch
 * @property {number} to      the right edge
 * @property {Segment[]} segments   in any order; where there is none the state is not known
 * @property {string} [label]   what is shown, for screen readers
 */

/**
 * @typedef {object} RangebarOptions
 * @property {number | null} value   null where there is no value
 * @property {number} low     the left end of the bar
 * @property {number} high    the right end
 * @property {number | null} [normalLow]    the normal range; one end of it may be missing
 * @property {number | null} [normalHigh]
 * @property {{value: number, kind?: "alarm" | "warning", label?: string}[]} [limits]
 * @property {number} [quality]   0 none, 1 good, 2 uncertain, 3 bad, as in the feeds
 * @property {string} [unit]
 * @property {string} [label]     what is shown, for screen readers
 */

/** @type {WeakMap<HTMLCanvasElement, () => void>} */
const drawings = new WeakMap();

/** @type {ResizeObserver | null} */
let sizes = null;

/** Draw every small picture of the page again. */
function redrawAll() {
  for (const canvas of document.querySelectorAll("canvas")) drawings.get(canvas)?.();
}

/**
 * Draw now, and again whenever the size of the canvas or the theme changes.
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} draw
 */
function keep(canvas, draw) {
  if (sizes === null) {
    sizes = new ResizeObserver((entries) => {
      for (const entry of entries) drawings.get(/** @type {HTMLCanvasElement} */ (entry.target))?.();
    });
    onThemeChange(redrawAll);
  }
  if (!drawings.has(canvas)) sizes.observe(canvas);
  drawings.set(canvas, draw);
  draw();
}

/**
 * @param {Element} element
 * @param {string} text
 */
function describe(element, text) {
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", text);
}

/**
 * Draw the course of a value without axes: the normal range as a band, bad readings as ticks below, uncertain readings
 * dashed, gaps as gaps, and a dot at the last value.
 * @param {HTMLCanvasElement} canvas
 * @param {SparklineOptions} options
 */
export function sparkline(canvas, options) {
  const values = Float64Array.from(options.values, (value) => value ?? NaN);
  const [low, high] = extent(values);
  const last = lastNumber(values);
  const name = options.label ?? t("Trend");
  const numbers = { name, value: measured(values[last]), low: measured(low), high: measured(high) };
  describe(canvas, last < 0 ? t("{name}: no value", { name }) : t("{name}: {value}, between {low} and {high}", numbers));
  keep(canvas, () => drawSparkline(canvas, { ...options, values }));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {SparklineOptions & {values: Float64Array}} options
 */
function drawSparkline(canvas, options) {
  const surface = fit(canvas);
  const { times, values, quality, band } = options;
  const count = Math.min(times.length, values.length);
  if (!surface || !count) return;
  const { context, width, height } = surface;
  const colours = theme();
  const begin = options.from ?? times[0];
  const end = options.to ?? times[count - 1];
  const [low, high] = padded(...extent(values));
  const x = { origin: begin, factor: (width - 6) / Math.max(1, end - begin), offset: 3 };
  const y = { origin: low, factor: -(height - 8) / (high - low), offset: height - 4 };
  if (band) {
    const top = band.high == null ? 0 : clamp(y.offset + (band.high - low) * y.factor, 0, height);
    const bottom = band.low == null ? height : clamp(y.offset + (band.low - low) * y.factor, 0, height);
    context.fillStyle = colours.band;
    context.fillRect(0, top, width, Math.max(0, bottom - top));
  }
  const first = Math.max(0, searchTime(times, begin, 0, count) - 1);
  const after = Math.min(count, searchTime(times, end, 0, count) + 1);
  context.lineWidth = 1.25;
  context.lineJoin = context.lineCap = "round";
  strokeByQuality(context, options, first, after, x, y);
  if (quality) {
    context.fillStyle = colours.bad;
    for (let i = first; i < after; i++) {
      if (quality[i] === 3) context.fillRect(x.offset + (times[i] - x.origin) * x.factor - 0.5, height - 3, 1.5, 3);
    }
  }
  const last = lastNumber(values);
  if (last >= first && last < after) {
    context.beginPath();
    context.arc(
      x.offset + (times[last] - x.origin) * x.factor,
      y.offset + (values[last] - y.origin) * y.factor,
      2, 0, 2 * Math.PI,
    );
    context.fillStyle = colours.text;
    context.fill();
  }
}

/**
 * Draw good readings as a line, and uncertain ones as a dashed line over it.
 * @param {CanvasRenderingContext2D} context
 * @param {SparklineOptions & {values: Float64Array}} options
 * @param {number} first
 * @param {number} after
 * @param {import("./trace.js").Map1} x
 * @param {import("./trace.js").Map1} y
 */
function strokeByQuality(context, { times, values, quality, gap }, first, after, x, y) {
  const colours = theme();
  let good = values;
  let uncertain = null;
  if (quality) {
    good = values.slice();
    for (let i = first; i < after; i++) {
      if (quality[i] !== 2) continue;
      uncertain ??= new Float64Array(values.length).fill(NaN);
      uncertain[i] = values[i];
      if (i > 0) uncertain[i - 1] = values[i - 1];
      if (i + 1 < after) uncertain[i + 1] = values[i + 1];
      good[i] = NaN;
    }
  }
  context.strokeStyle = colours.muted;
  context.beginPath();
  traceLine(context, times, good, first, after, x, y, gap);
  context.stroke();
  if (!uncertain) return;
  context.strokeStyle = colours.uncertain;
  context.setLineDash([2, 3]);
  context.beginPath();
  traceLine(context, times, uncertain, first, after, x, y, gap);
  context.stroke();
  context.setLineDash([]);
}

/**
 * Draw the states of a machine along the time: a colour and, where it fits, the label of each. States that are not
 * known, and `offline`, are hatched.
 * @param {HTMLCanvasElement} canvas
 * @param {StripOptions} options
 */
export function strip(canvas, options) {
  const { from, to, segments } = options;
  /** @type {Map<string, number>} */
  const shares = new Map();
  for (const { begin, end, kind, label } of segments) {
    const share = Math.max(0, Math.min(end ?? to, to) - Math.max(begin, from)) / Math.max(1, to - from);
    shares.set(label ?? kind, (shares.get(label ?? kind) ?? 0) + share);
  }
  const parts = [...shares].filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);
  const texts = parts.slice(0, 6).map(([name, share]) => `${name} ${percent(share)}`);
  describe(canvas, `${options.label ?? t("States")}: ${texts.join(", ") || t("nothing is known")}`);
  keep(canvas, () => {
    const surface = fit(canvas);
    if (!surface) return;
    const { context, width, height } = surface;
    hatch(context, 0, 0, width, height, theme().grid);
    const x = { origin: from, factor: width / Math.max(1, to - from), offset: 0 };
    drawSegments(context, segments, x, 0, height, { left: 0, right: width });
  });
}

/** The kinds that are hatched. */
const HATCHED = new Set(["offline", "unknown"]);

/**
 * Draw segments into a lane.
 * @param {CanvasRenderingContext2D} context
 * @param {Segment[]} segments
 * @param {import("./trace.js").Map1} x
 * @param {number} top
 * @param {number} height
 * @param {{left: number, right: number}} clip
 */
export function drawSegments(context, segments, x, top, height, clip) {
  const colours = theme();
  context.font = `${Math.min(11, height - 3)}px ${colours.font}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const { begin, end, kind, label } of segments) {
    const left = Math.max(clip.left, x.offset + (begin - x.origin) * x.factor);
    const right = end === null ? clip.right : Math.min(clip.right, x.offset + (end - x.origin) * x.factor);
    if (right < clip.left || left > clip.right || right < left) continue;
    // a short state is seen too: at least a pixel
    const width = Math.max(1, right - left);
    const colour = colours.state(kind);
    context.clearRect(left, top, width, height);
    if (HATCHED.has(kind)) hatch(context, left, top, width, height, colour);
    else {
      context.fillStyle = colour;
      context.fillRect(left, top, width, height);
      if (width > 3) {
        context.strokeStyle = colours.line;
        context.lineWidth = 1;
        context.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
      }
    }
    if (label && height >= 11 && width > 24) {
      const text = clipped(context, label, width - 10);
      if (text && HATCHED.has(kind)) context.clearRect(left + 2, top, context.measureText(text).width + 6, height);
      context.fillStyle = HATCHED.has(kind) ? colours.text : readable(colour);
      context.fillText(text, left + 5, top + height / 2 + 0.5);
    }
  }
}

/** @type {Map<string, string>} */
const readables = new Map();

/**
 * Return black or white, whichever is read better on a colour (WCAG 2.2, relative luminance).
 * @param {string} colour any CSS colour
 */
export function readable(colour) {
  const known = readables.get(colour);
  if (known) return known;
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(1, 1).getContext("2d"));
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const found = luminance > 0.179 ? "#16191c" : "#ffffff";
  readables.set(colour, found);
  return found;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Show a value in its range, as an analog indicator of ISA-101: the normal range as a zone, limits as ticks, and a
 * pointer at the value, hollow while it is uncertain. A value beyond the ends is shown at the end, with an arrow. The
 * colours are those of css/chart.css, so a theme changes them without drawing.
 * @param {Element} element filled with an SVG of its size
 * @param {RangebarOptions} options
 */
export function rangebar(element, options) {
  const { low, high, normalLow, normalHigh, limits = [] } = options;
  const bar = element.querySelector(":scope > svg.rangebar") ?? element.appendChild(make("svg", { class: "rangebar" }));
  const span = high - low;
  /** @param {number} value */
  const place = (value) => `${(clamp(span > 0 ? (value - low) / span : 0, 0, 1) * 100).toFixed(2)}%`;
  const parts = [make("rect", { class: "rangebar-track", x: "0", y: "30%", width: "100%", height: "40%" })];
  if (normalLow != null || normalHigh != null) {
    const begin = clamp(((normalLow ?? low) - low) / span, 0, 1);
    const end = clamp(((normalHigh ?? high) - low) / span, 0, 1);
    const size = `${(Math.max(0, end - begin) * 100).toFixed(2)}%`;
    parts.push(
      make("rect", { class: "rangebar-normal", x: `${(begin * 100).toFixed(2)}%`, y: "30%", width: size, height: "40%" }),
    );
  }
  for (const limit of limits) {
    if (limit.value < low || limit.value > high) continue;
    const at = place(limit.value);
    const line = make("line", {
      class: `rangebar-limit rangebar-${limit.kind ?? "alarm"}`, x1: at, x2: at, y1: "15%", y2: "85%",
    });
    if (limit.label) line.appendChild(make("title", {})).textContent = `${limit.label}: ${measured(limit.value)}`;
    parts.push(line);
  }
  const value = options.quality === 3 ? null : options.value;
  if (value !== null && Number.isFinite(value)) parts.push(pointer(value, options, place(value)));
  bar.replaceChildren(...parts);
  describeBar(element, options, value);
}

/**
 * @param {number} value
 * @param {RangebarOptions} options
 * @param {string} at
 */
function pointer(value, { low, high, quality, limits = [], normalLow, normalHigh }, at) {
  const beyond = value < low ? " M-1,2 l-5,4 l5,4 z" : value > high ? " M1,2 l5,4 l-5,4 z" : "";
  const abnormal = (normalLow != null && value < normalLow) || (normalHigh != null && value > normalHigh);
  const alarm = limits.some(({ value: limit, kind = "alarm" }) => {
    const middle = ((normalLow ?? low) + (normalHigh ?? high)) / 2;
    return kind === "alarm" && (limit > middle ? value >= limit : value <= limit);
  });
  const kind = alarm ? "alarm" : abnormal ? "abnormal" : "good";
  const holder = make("svg", { x: at, y: "0", overflow: "visible" });
  const classes = `rangebar-pointer rangebar-pointer-${kind}${quality === 2 ? " rangebar-pointer-uncertain" : ""}`;
  holder.append(make("path", { class: classes, d: beyond || "M0,7 l-4,-6 h8 z" }));
  const line = make("line", { class: `${classes} rangebar-needle`, x1: at, x2: at, y1: "20%", y2: "80%" });
  const group = make("g", {});
  group.append(line, holder);
  return group;
}

/**
 * @param {Element} element
 * @param {RangebarOptions} options
 * @param {number | null} value
 */
function describeBar(element, options, value) {
  const { low, high, normalLow, normalHigh, unit = "" } = options;
  const text = [value === null ? t("no value") : `${measured(value)} ${unit}`.trim()];
  if (options.quality === 2) text.push(t("uncertain"));
  if (normalLow != null || normalHigh != null) {
    const ends = { low: measured(normalLow ?? 0), high: measured(normalHigh ?? 0) };
    if (normalLow == null) text.push(t("normal up to {high}", ends));
    else text.push(normalHigh == null ? t("normal from {low}", ends) : t("normal {low} to {high}", ends));
  }
  element.setAttribute("role", "meter");
  element.setAttribute("aria-label", options.label ?? t("Value"));
  element.setAttribute("aria-valuemin", String(low));
  element.setAttribute("aria-valuemax", String(high));
  if (value === null) element.removeAttribute("aria-valuenow");
  else element.setAttribute("aria-valuenow", String(value));
  element.setAttribute("aria-valuetext", text.join(", "));
}

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 */
function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/**
 * Return the lowest and the highest number; NaN if there is none.
 * @param {Float64Array} values
 * @returns {[number, number]}
 */
function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [NaN, NaN] : [low, high];
}

/**
 * Widen an extent that has no height.
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
function padded(low, high) {
  if (!(low <= high)) return [0, 1];
  return low < high ? [low, high] : [low - (Math.abs(low) * 0.05 || 1), high + (Math.abs(high) * 0.05 || 1)];
}

/** @param {Float64Array} values */
function lastNumber(values) {
  let last = values.length - 1;
  while (last >= 0 && !Number.isFinite(values[last])) last--;
  return last;
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** Small pictures with invented readings, for test_small_charts.py. */

import { rangebar, sparkline, strip } from "/static/js/chart/small.js";

const SECOND = 1e6;
const START = 1764000000 * SECOND;

/** @param {string} name @param {string} kind */
function add(name, kind) {
  const one = document.createElement(name);
  one.className = one.id = kind;
  const holder = document.createElement("div");
  holder.style.inlineSize = "300px";
  holder.style.marginBlock = "12px";
  holder.append(one);
  document.querySelector("#main").append(holder);
  return one;
}

/** Draw one of each kind, and wait until they are on the screen. */
export async function draw() {
  const times = Float64Array.from({ length: 120 }, (_, i) => START + i * SECOND);
  const isBad = (i) => i > 60 && i < 70;
  const values = Array.from(times, (_, i) => (isBad(i) ? null : 16 + Math.sin(i / 9) + (i % 7) / 20));
  const quality = Uint8Array.from(times, (_, i) => (isBad(i) ? 3 : i > 90 && i < 105 ? 2 : 1));
  sparkline(add("canvas", "sparkline"), { times, values, quality, band: { low: 15.5, high: 16.5 }, label: "Pressure" });
  const segments = [
    [0, 20, "producing", "Execute"],
    [20, 32, "idle", "Idle"],
    [32, 55, "producing", "Execute"],
    [55, 60, "aborted", "Aborted"],
    [60, 75, "held", "Held"],
    [78, 90, "offline", "Offline"],
    [90, null, "stopped", "Stopped"],
  ].map(([begin, end, kind, label]) => ({ begin: minute(begin), end: end && minute(end), kind, label }));
  strip(add("canvas", "strip"), { from: START, to: minute(100), segments, label: "State" });
  const bar = {
    low: 0, high: 25, normalLow: 15, normalHigh: 17, unit: "bar", label: "Pressure",
    limits: [{ value: 12, kind: "warning", label: "L" }, { value: 20, kind: "alarm", label: "H" }],
  };
  const bars = { good: [16.2, 1], high: [18, 1], alarm: [21, 1], beyond: [30, 1], doubt: [14, 2], none: [3, 3] };
  for (const [kind, [value, q]] of Object.entries(bars)) rangebar(add("div", kind), { ...bar, value, quality: q });
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}

/** @param {number} number */
function minute(number) {
  return START + number * 60 * SECOND;
}

/** Return how many colours a canvas has. @param {string} id */
export function colours(id) {
  const canvas = document.getElementById(id);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
}

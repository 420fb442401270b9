/** Charts with invented readings, for test_chart.py. */

import { Chart } from "/static/js/chart/chart.js";
import { Clock, SECOND } from "/static/js/chart/scales.js";

export const START = 1764000000 * SECOND;
const BAD = 3;

/** A repeatable noise. @param {number} n */
const noise = (n) => (((n * 7919 + 104729) % 10007) / 10007 - 0.5) * 2;

/**
 * Make a chart that fills a box of the page.
 * @param {object} options of the chart
 */
export function makeChart(options = {}) {
  const holder = document.createElement("div");
  holder.style.blockSize = "460px";
  holder.style.inlineSize = "940px";
  document.querySelector("#main").append(holder);
  const chart = new Chart(holder, { clock: new Clock("en-GB", "Europe/Berlin"), label: "Press 01", ...options });
  window.chart = chart;
  return chart;
}

/** Return how many pixels of a box of the chart have each colour. */
export function colours(left, top, width, height) {
  const ratio = chart.canvas.width / chart.canvas.clientWidth;
  const copy = new OffscreenCanvas(Math.ceil(width * ratio), Math.ceil(height * ratio));
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(chart.canvas, -left * ratio, -top * ratio);
  const { data } = context.getImageData(0, 0, copy.width, copy.height);
  const found = {};
  for (let n = 0; n < data.length; n += 4) {
    const colour = [data[n], data[n + 1], data[n + 2]].join();
    if (data[n + 3]) found[colour] = (found[colour] ?? 0) + 1;
  }
  return found;
}

/** Wait until all is drawn. */
export async function drawn() {
  for (let n = 0; n < 3; n++) await new Promise((done) => requestAnimationFrame(done));
}

/** Readings of a minute's cycle, with a gap, bad and uncertain ones. */
function readings(count, value, pause = 1) {
  const time = [];
  const values = [];
  const quality = [];
  for (let n = 0; n < count; n++) {
    if (n > count * 0.62 && n < count * 0.68) continue;
    const bad = n > count * 0.3 && n < count * 0.33;
    const uncertain = n > count * 0.8 && n < count * 0.84;
    time.push(START + n * pause * SECOND);
    values.push(bad ? null : value(n));
    quality.push(bad ? BAD : uncertain ? 2 : 1);
  }
  return { kind: "readings", time, value: values, quality };
}

/** A press: pressures, temperatures, a force, a state, a phase, a valve. */
export async function press(count = 600) {
  const chart = makeChart();
  const gap = 2.5 * SECOND;
  chart.setSeries([
    { id: "pl", label: "press-01 · bladder_pressure_left", unit: "bar", gap, normal: [14, 18] },
    { id: "pr", label: "press-01 · bladder_pressure_right", unit: "bar", gap },
    { id: "mt", label: "press-01 · mould_temperature", unit: "°C", gap },
    { id: "cf", label: "press-01 · clamp_force", unit: "kN", gap },
    { id: "ph", label: "phase", steps: true, labels: { 1: "load", 2: "shape", 3: "steam", 4: "open" }, gap: 62 * SECOND },
    { id: "sv", label: "steam_valve", steps: true, gap: 62 * SECOND },
  ]);
  const ramp = (n) => Math.min(1, (n % 200) / 30) * (n % 200 < 160 ? 1 : 0.05);
  chart.setSpan(START, START + count * SECOND);
  chart.setData("pl", readings(count, (n) => 16 * ramp(n) + noise(n) * 0.2));
  chart.setData("pr", readings(count, (n) => 15.4 * ramp(n + 8) + noise(n + 5) * 0.2));
  chart.setData("mt", readings(count, (n) => 172 + Math.sin(n / 60) * 3 + noise(n) * 0.2));
  chart.setData("cf", readings(count, (n) => 1800 * (n % 200 < 170 ? 1 : 0.1) + noise(n) * 8));
  const steps = (value) => {
    const one = readings(count / 10, (n) => value(n * 10), 10);
    return { ...one, quality: null };
  };
  chart.setData("ph", steps((n) => (n % 200 < 20 ? 1 : n % 200 < 40 ? 2 : n % 200 < 160 ? 3 : 4)));
  chart.setData("sv", steps((n) => n % 200 > 30 && n % 200 < 150));
  const at = (n) => START + n * SECOND;
  chart.setLanes([
    { name: "state", bands: [
      { begin: at(-50), end: at(200), kind: "producing", label: "execute" }, { begin: at(200), end: at(240), kind: "held", label: "held" },
      { begin: at(240), end: at(372), kind: "producing", label: "execute" }, { begin: at(372), end: at(408), kind: "offline", label: "no_response" },
      { begin: at(408), end: null, kind: "producing", label: "execute" }] },
    { name: "alarms", bands: [{ begin: at(205), end: at(232), kind: "alarm", label: "2" }] },
  ]);
  await drawn();
}

/** The same as buckets of a long time. */
export async function buckets(days = 30) {
  const chart = makeChart();
  const width = 2700 * SECOND;
  const count = Math.round((days * 86400) / 2700);
  chart.setSeries([
    { id: "a", label: "press-01 · pressure", unit: "bar", gap: 2.5 * SECOND },
    { id: "b", label: "mixer-01 · power", unit: "kW", gap: 2.5 * SECOND },
    { id: "s", label: "state", steps: true, labels: { 4: "idle", 6: "execute", 9: "aborted" }, gap: 62 * SECOND },
  ]);
  const first = Math.floor(START / width) * width;
  chart.setSpan(first, first + count * width);
  const made = (value, spread, integer) => {
    const data = { kind: "buckets", width, start: [], min: [], max: [], first: [], last: [], mean: [], values: [], uncertain: null, bad: [] };
    for (let n = 0; n < count; n++) {
      if (n > count * 0.4 && n < count * 0.45) continue;
      const bad = n > count * 0.7 && n < count * 0.72;
      data.start.push(first + n * width);
      const [low, high] = [value(n) - spread(n), value(n) + spread(n)];
      for (const [name, one] of Object.entries({ min: low, max: high, first: low, last: high, mean: value(n) })) data[name].push(bad ? null : integer ? Math.round(one) : one);
      data.values.push(bad ? 0 : 2700);
      data.bad.push(bad ? 2700 : 0);
    }
    return data;
  };
  chart.setData("a", made((n) => 14 + Math.sin(n / 40) * 2, (n) => 1 + Math.abs(noise(n))));
  chart.setData("b", made((n) => 700 + Math.sin(n / 25 + 2) * 200 + noise(n) * 30, (n) => 60 + 80 * Math.abs(noise(n + 3))));
  chart.setData("s", made((n) => (n % 60 < 40 ? 6 : n % 60 < 55 ? 4 : 9), (n) => (n % 60 === 54 ? 2 : 0), true));
  await drawn();
}

/** Many points, live: returns how many frames were drawn. */
export async function live(points, seconds, span = 900) {
  await prepareLive(points, span);
  return runLive(seconds);
}

/** Make a chart that follows the time, with points that are read every second. */
export async function prepareLive(points, span) {
  const chart = makeChart({ now: () => START + performance.now() * 1000 });
  const units = ["bar", "°C", "kN", "mm"];
  chart.setSeries(Array.from({ length: points }, (_, n) => ({ id: `p${n}`, label: `machine · point-${n}`, unit: units[n % 4], gap: 2.5 * SECOND })));
  for (let p = 0; p < points; p++) {
    const time = Array.from({ length: span }, (_, n) => START + (n - span) * SECOND);
    chart.setData(`p${p}`, { kind: "readings", time, value: time.map((_, n) => p + Math.sin(n / 50 + p) * 5 + noise(n + p)), quality: null });
  }
  chart.follow(span * SECOND);
  await drawn();
}

/** Append readings for some seconds. */
export async function runLive(seconds) {
  const points = chart.series.length;
  chart.frames = { count: 0, spent: 0, longest: 0 };
  const began = performance.now();
  const gaps = [];
  let last = began;
  let appended = 0;
  while (performance.now() - began < seconds * 1000) {
    const now = await new Promise((done) => requestAnimationFrame(done));
    gaps.push(now - last);
    last = now;
    if (performance.now() - began > appended * 1000) {
      for (let p = 0; p < points; p++) chart.append(`p${p}`, [chart.options.now()], [p + Math.sin(appended + p) * 5], [1]);
      appended++;
    }
  }
  gaps.sort((a, b) => a - b);
  return {
    frames: chart.frames.count, script: chart.frames.spent / chart.frames.count, longest: chart.frames.longest,
    perSecond: (1000 * gaps.length) / (performance.now() - began), p50: gaps[gaps.length >> 1], p95: gaps[Math.floor(gaps.length * 0.95)],
  };
}

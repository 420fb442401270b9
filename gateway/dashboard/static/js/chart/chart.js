/**
 * A chart of time series on a canvas.
 *
 *     const chart = new Chart(element, { clock, onSpan: (from, to) => load(from, to) });
 *     chart.setSeries([{ id: "a", label: "press-01 · pressure", unit: "bar", gap: 2.5e6 }]);
 *     chart.setSpan(from, to);
 *     chart.setData("a", { kind: "readings", time, value, quality });      // as /api/trend answers
 *     chart.append("a", [time], [16.2], [GOOD]);                           // live
 *     chart.follow(900e6);                                                 // the last 15 minutes, moving
 *
 * Series of one unit share an axis. States are lanes below the lines; below them a strip marks readings that are not
 * good. Data stay where they are in time: after a zoom the old data are shown, larger, until new data come.
 */

import { GOOD, BAD, Series } from "./series.js";
import { AXIS_WIDTH, axesOf, drawTimes, drawValues, fitAxis, MOST_AXES, scaleOf } from "./axes.js";
import { Interaction } from "./interaction.js";
import { elapsedText, linear, pixelOf, SECOND, valueOf } from "./scales.js";
import { drawSegments } from "./small.js";
import { clipped, clippedMiddle, fit } from "./surface.js";
import { onThemeChange, theme } from "./theme.js";
import { h } from "../dom.js";
import { measured, number, t } from "../texts.js";

/** @typedef {import("./series.js").Sample} Sample */
/** @typedef {import("./axes.js").Box} Box */
/** @typedef {{name: string, bands: import("./small.js").Segment[]}} Lane */

/**
 * @typedef {object} ChartOptions
 * @property {import("./scales.js").Clock} clock
 * @property {(from: number, to: number, moving: boolean) => void} [onSpan]   the reader chose another span
 * @property {() => void} [onBack]      double click: the span before
 * @property {(time: number | null) => void} [onCursor]
 * @property {() => number} [now]       microseconds since the epoch
 * @property {string} [label]
 */

const LANE = 20;
const BAND_LANE = 16;
const QUALITY = 7;
const BOTTOM = 40;
const SHORTEST = SECOND;
const LONGEST = 5 * 366 * 86_400 * SECOND;

/** Dashes by the number of a series: the first colours come again with another one. */
const DASHES = [[], [9, 3], [4, 2], [12, 3, 3, 3]];

/** Series up to which each line is labelled at its end. */
const MOST_LABELS = 14;

/** Series up to which lines are dashed: dashes cost time, and of many lines nobody could tell them. */
const MOST_DASHED = 16;

/** Milliseconds between two fits of the axes while the chart moves. */
const FIT_EVERY = 400;

/** Milliseconds after which new readings are drawn, if the chart does not move sooner. */
const FRESH_EVERY = 150;

export class Chart {
  /** @param {HTMLElement} element @param {ChartOptions} options */
  constructor(element, options) {
    this.options = options;
    this.clock = options.clock;
    this.elapsed = false;
    this.whole = false;
    /** @type {Series[]} */
    this.series = [];
    /** @type {Lane[]} */
    this.lanes = [];
    this.from = 0;
    this.to = 1;
    /** @type {number | null} microseconds of a chart that follows the time */
    this.following = null;
    /** @type {number | null} */
    this.cursor = null;
    /** @type {string | null} */
    this.highlighted = null;
    /** @type {import("./axes.js").Axis[]} */
    this.axes = [];
    this.plot = { left: 0, right: 1, top: 0, bottom: 1 };
    this.area = this.plot;
    this.fitted = 0;
    this.tabled = 0;
    this.frames = { count: 0, spent: 0, longest: 0 };

    this.canvas = document.createElement("canvas");
    this.canvas.className = "chart-canvas";
    this.overlay = document.createElement("canvas");
    this.overlay.className = "chart-overlay";
    this.overlay.setAttribute("aria-hidden", "true");
    this.table = h("div", { class: "visually-hidden chart-table" });
    this.live = h("div", { class: "visually-hidden", "aria-live": "polite" });
    this.element = h("div", { class: "chart", tabindex: "0", role: "group", "aria-roledescription": t("chart") },
      this.canvas, this.overlay, this.table, this.live);
    this.canvas.setAttribute("role", "img");
    element.append(this.element);
    this.describe();

    this.interaction = new Interaction(this);
    this.unwatch = onThemeChange(() => this.redraw());
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.element);
    this.motion = matchMedia("(prefers-reduced-motion: reduce)");
    /** @type {number} */
    this.frame = 0;
    this.stepped = 0;
    this.fresh = false;
    this.dirty = true;
    /** the worst quality at each pixel of the plot */
    this.marks = new Uint8Array(0);
  }

  /** Stop to draw, and remove the chart. */
  destroy() {
    cancelAnimationFrame(this.frame);
    this.frame = -1;
    this.unwatch();
    this.sizes.disconnect();
    this.interaction.destroy();
    this.element.remove();
  }

  // -- data --

  /**
   * Show these series. Those that were there keep their data and whether they are visible.
   * @param {import("./series.js").SeriesOptions[]} wanted
   */
  setSeries(wanted) {
    const known = new Map(this.series.map((one) => [one.id, one]));
    this.series = wanted.map((options, position) => {
      const found = known.get(options.id) ?? new Series(options);
      found.colour = options.colour ?? position;
      found.label = options.label;
      found.unit = options.unit ?? "";
      return found;
    });
    this.arrange();
  }

  /** @param {string} id */
  find(id) {
    return this.series.find((one) => one.id === id);
  }

  /**
   * Show other data of a series, as `/api/trend` answers them.
   * @param {string} id
   * @param {any} data
   */
  setData(id, data) {
    const series = this.find(id);
    if (!series) return;
    if (data.kind === "buckets") series.setBuckets(data);
    else series.setReadings(data);
    this.fitted = 0;
    this.redraw();
  }

  /**
   * Append live readings of a series, in the order of their times.
   * @param {string} id
   * @param {ArrayLike<number>} times
   * @param {ArrayLike<any>} values
   * @param {ArrayLike<number>} qualities
   */
  append(id, times, values, qualities) {
    this.find(id)?.append(times, values, qualities);
    this.fresh = true;
    if (this.following === null) this.redraw();
  }

  /** Show states, phases or alarms above the lines. @param {Lane[]} lanes */
  setLanes(lanes) {
    this.lanes = lanes;
    this.redraw();
  }

  /** @param {string} id @param {boolean} visible */
  setVisible(id, visible) {
    const series = this.find(id);
    if (series) series.visible = visible;
    this.arrange();
  }

  /** Show the normal range of a series, as learned by the server. @param {string} id @param {[number, number]} ends */
  setNormal(id, ends) {
    const series = this.find(id);
    if (!series) return;
    series.normal = ends;
    this.redraw();
  }

  /** Draw one series stronger than the others. @param {string | null} id */
  highlight(id) {
    if (id === this.highlighted) return;
    this.highlighted = id;
    this.redraw();
  }

  /** Show the range of the points, or the values. @param {boolean} whole */
  showWhole(whole) {
    this.whole = whole;
    this.arrange();
  }

  arrange() {
    this.axes = axesOf(this.series.filter((one) => one.visible && !one.steps));
    this.fitted = 0;
    this.redraw();
  }

  // -- the span --

  /** @param {number} from @param {number} to */
  setSpan(from, to) {
    this.following = null;
    [this.from, this.to] = bounded(from, to);
    this.fitted = 0;
    this.redraw();
  }

  /** Show the last microseconds, and move with the time. @param {number} span */
  follow(span) {
    this.following = span;
    this.fitted = 0;
    this.redraw();
  }

  /** The reader chose a span: show it, and say so. @param {number} from @param {number} to @param {boolean} moving */
  choose(from, to, moving = false) {
    this.setSpan(from, to);
    this.options.onSpan?.(this.from, this.to, moving);
  }

  /** @param {number} factor below 1 shows less @param {number} at the time that stays where it is */
  zoom(factor, at) {
    const span = Math.min(LONGEST, Math.max(SHORTEST, (this.to - this.from) * factor));
    const part = (at - this.from) / (this.to - this.from);
    this.choose(at - part * span, at + (1 - part) * span);
  }

  /** @param {number} part of the span, to the right @param {boolean} moving */
  pan(part, moving = false) {
    const by = (this.to - this.from) * part;
    this.choose(this.from + by, this.to + by, moving);
  }

  /** The pixels of the time axis; a guess before the first drawing. */
  get width() {
    const drawn = this.plot.right - this.plot.left;
    return drawn > 1 ? drawn : Math.max(300, (this.element.clientWidth || 1200) - 200);
  }

  /** @param {number} pixel */
  timeAt(pixel) {
    return valueOf(this.x, pixel);
  }

  get x() {
    return linear(this.from, this.to, this.plot.left, this.plot.right);
  }

  /** @param {number | null} time */
  setCursor(time) {
    this.cursor = time;
    this.options.onCursor?.(time);
    this.drawOverlay();
  }

  /** Return what each series has at a time. @param {number} time @returns {(Sample | null)[]} */
  samples(time) {
    return this.series.map((one) => one.at(time));
  }

  /** @param {Series} series @param {Sample | null} sample */
  valueText(series, sample) {
    if (!sample) return "–";
    if (Number.isNaN(sample.value)) return sample.reason || (sample.quality === BAD ? t("bad") : "–");
    if (series.steps) return sample.text;
    const range = sample.bucket && sample.low < sample.high ? ` (${measured(sample.low)} … ${measured(sample.high)})` : "";
    return measured(sample.value) + range;
  }

  /** @param {number} time */
  timeText(time) {
    const fine = this.to - this.from < 120 * SECOND;
    return this.elapsed ? elapsedText(time, fine) : this.clock.full(time, fine);
  }

  /** Say the values at the cursor, for screen readers. */
  speak() {
    if (this.cursor === null) return;
    const samples = this.samples(this.cursor);
    const parts = this.series.map((one, n) => `${one.label} ${this.valueText(one, samples[n])} ${one.unit}`);
    this.live.textContent = `${this.timeText(this.cursor)}: ${parts.slice(0, 8).join(", ")}`;
  }

  // -- drawing --

  /** Draw in the next frame. */
  redraw() {
    this.dirty = true;
    if (this.frame === 0) this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  /** @param {number} now milliseconds */
  tick(now) {
    if (this.frame === -1) return;
    this.frame = 0;
    if (this.following !== null) {
      this.move(now, this.following);
      if (this.frame === 0) this.frame = requestAnimationFrame((next) => this.tick(next));
    } else this.draw(now);
  }

  /**
   * Move to the present, by whole pixels of the screen: where nothing would look different, nothing is drawn. With
   * reduced motion the chart moves once a second.
   * @param {number} now milliseconds
   * @param {number} span
   */
  move(now, span) {
    const pixel = span / Math.max(1, (this.plot.right - this.plot.left) * (globalThis.devicePixelRatio || 1));
    const to = Math.floor((this.options.now?.() ?? Date.now() * 1000) / pixel) * pixel;
    const since = now - this.stepped;
    const isDue = to !== this.to || this.from !== to - span || (this.fresh && since >= FRESH_EVERY);
    if (!this.dirty && (!isDue || (this.motion.matches && since < 1000))) return;
    this.stepped = now;
    this.fresh = false;
    [this.from, this.to] = [to - span, to];
    this.draw(now);
  }

  /** @param {number} now milliseconds */
  draw(now) {
    const began = performance.now();
    this.dirty = false;
    const surface = fit(this.canvas);
    if (!surface) return;
    if (this.following === null || now - this.fitted > FIT_EVERY || this.fitted === 0) {
      this.fitted = now || 1;
      for (const axis of this.axes) fitAxis(axis, this.from, this.to, this.whole);
    }
    this.layout(surface.width, surface.height);
    this.paint(surface.context);
    const below = this.interaction.timeBelow();
    if (below !== undefined && below !== this.cursor) this.setCursor(below);
    else this.drawOverlay();
    if (now - this.tabled > 2000 || this.following === null) {
      this.tabled = now;
      this.describe();
    }
    const spent = performance.now() - began;
    this.frames.count++;
    this.frames.spent += spent;
    this.frames.longest = Math.max(this.frames.longest, spent);
  }

  /** @param {number} width @param {number} height */
  layout(width, height) {
    const shown = this.axes.filter((one) => one.shown);
    const count = (/** @type {string} */ side) => shown.filter((one) => one.side === side).length;
    const left = Math.max(count("left") * AXIS_WIDTH, this.laneSeries.length || this.lanes.length ? 2 * AXIS_WIDTH : 12) + 4;
    const right = width - Math.max(count("right") * AXIS_WIDTH, 16) - this.labelRoom;
    const top = this.lanes.length * BAND_LANE + (this.lanes.length ? 4 : 0);
    const bottom = height - BOTTOM;
    const below = QUALITY + this.laneSeries.length * LANE;
    this.area = { left, right, top, bottom };
    this.plot = { left, right, top: top + (this.axes.length ? 20 : 0), bottom: Math.max(top + 20, bottom - below) };
  }

  get lines() {
    return this.series.filter((one) => one.visible && !one.steps);
  }

  get laneSeries() {
    return this.series.filter((one) => one.visible && one.steps);
  }

  /** Pixels for the labels at the ends of the lines. */
  get labelRoom() {
    return this.lines.length && this.lines.length <= MOST_LABELS ? 112 : 0;
  }

  /** @param {CanvasRenderingContext2D} context */
  paint(context) {
    const { plot, area, from, to } = this;
    const x = this.x;
    drawTimes(context, area, x, this.clock, { from, to }, this.elapsed);
    let first = true;
    for (const axis of this.axes) {
      if (!axis.shown) continue;
      drawValues(context, axis, plot, first, (value, digits) => number(value, digits));
      first = false;
    }
    this.paintLanes(context, x);
    context.save();
    context.beginPath();
    context.rect(plot.left, plot.top, plot.right - plot.left, plot.bottom - plot.top);
    context.clip();
    this.paintNormal(context);
    this.paintAlarms(context, x);
    this.paintLines(context, x);
    context.restore();
    this.paintQuality(context, x);
    this.paintStates(context, x);
    if (this.labelRoom) this.paintLabels(context, x);
  }

  /** The bands above the lines. @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintLanes(context, x) {
    const { area } = this;
    this.lanes.forEach(({ name, bands }, n) => {
      const top = n * BAND_LANE;
      drawSegments(context, bands, x, top, BAND_LANE - 2, area);
      this.laneName(context, name, top, BAND_LANE - 2);
    });
  }

  /** Tint the time of alarms behind the lines. @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintAlarms(context, x) {
    const { plot } = this;
    context.fillStyle = theme().state("alarm");
    context.globalAlpha = 0.1;
    for (const { bands } of this.lanes) {
      for (const { begin, end, kind } of bands) {
        if (kind !== "alarm" && !kind.startsWith("priority")) continue;
        const left = Math.max(plot.left, pixelOf(x, begin));
        const right = Math.min(plot.right, end === null ? plot.right : pixelOf(x, end));
        if (right > left) context.fillRect(left, plot.top, right - left, plot.bottom - plot.top);
      }
    }
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context @param {string} name @param {number} top @param {number} height */
  laneName(context, name, top, height) {
    const colours = theme();
    context.font = `11px ${colours.font}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillStyle = colours.muted;
    context.fillText(clipped(context, name, this.area.left - 12), this.area.left - 8, top + height / 2 + 0.5);
  }

  /** The normal range of the highlighted series, or of the only ones. @param {CanvasRenderingContext2D} context */
  paintNormal(context) {
    const { plot } = this;
    const candidates = this.lines.filter((one) => one.normal);
    const chosen = candidates.filter((one) => one.id === this.highlighted);
    for (const one of chosen.length ? chosen : candidates.length <= 2 ? candidates : []) {
      const axis = this.axes.find((each) => each.series.includes(one));
      if (!axis || !one.normal) continue;
      const y = scaleOf(axis, plot);
      const top = one.normal[1] === null ? plot.top : Math.max(plot.top, pixelOf(y, one.normal[1]));
      const bottom = one.normal[0] === null ? plot.bottom : Math.min(plot.bottom, pixelOf(y, one.normal[0]));
      context.fillStyle = theme().band;
      if (bottom > top) context.fillRect(plot.left, top, plot.right - plot.left, bottom - top);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintLines(context, x) {
    const { plot, from, to } = this;
    const colours = theme();
    const present = this.elapsed ? 0 : this.options.now?.() ?? Date.now() * 1000;
    const dashed = this.lines.length <= MOST_DASHED;
    const someone = this.highlighted !== null && this.lines.some((one) => one.id === this.highlighted);
    context.lineJoin = "round";
    context.lineCap = "butt";
    for (const axis of this.axes) {
      const y = scaleOf(axis, plot);
      for (const one of axis.series) {
        const colour = colours.series[one.colour % colours.series.length];
        const strong = one.id === this.highlighted;
        context.globalAlpha = someone && !strong ? 0.25 : 1;
        if (!someone || strong) one.drawBand(context, x, y, from, to, colour);
        context.strokeStyle = colour;
        context.lineWidth = strong ? 2.25 : this.lines.length > MOST_DASHED ? 1 : 1.5;
        context.setLineDash(dashed ? dashOf(one) : []);
        context.beginPath();
        one.line(context, x, y, from, to, present);
        context.stroke();
        context.setLineDash([]);
        context.lineWidth = 1.25;
        one.drawMarks(context, x, y, from, to, colour);
      }
    }
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintQuality(context, x) {
    const { plot, from, to } = this;
    const width = Math.max(1, Math.ceil(plot.right - plot.left));
    if (this.marks.length !== width) this.marks = new Uint8Array(width);
    const marks = this.marks.fill(0);
    for (const one of this.series) if (one.visible) one.markQuality(marks, x, from, to);
    const colours = theme();
    let begin = 0;
    for (let i = 1; i <= width; i++) {
      if (i < width && marks[i] === marks[begin]) continue;
      if (marks[begin]) {
        context.fillStyle = marks[begin] === BAD ? colours.bad : colours.uncertain;
        // told apart by height, too
        const size = marks[begin] === BAD ? QUALITY - 2 : 2;
        context.fillRect(plot.left + begin, plot.bottom + QUALITY - 1 - size, i - begin, size);
      }
      begin = i;
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintStates(context, x) {
    const { area, plot, from, to } = this;
    this.laneSeries.forEach((one, n) => {
      const top = plot.bottom + QUALITY + n * LANE;
      context.font = `11px ${theme().font}`;
      context.textAlign = "left";
      context.textBaseline = "middle";
      one.drawLane(context, x, top + 1, LANE - 3, from, to, area);
      this.laneName(context, one.label, top, LANE - 2);
    });
  }

  /** Write the name of each line at its end, none over another. @param {CanvasRenderingContext2D} context @param {import("./trace.js").Map1} x */
  paintLabels(context, x) {
    const { plot } = this;
    const colours = theme();
    context.font = `11px ${colours.font}`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    const labels = [];
    for (const axis of this.axes) {
      const y = scaleOf(axis, plot);
      for (const one of axis.series) {
        const sample = one.at(Math.min(this.to, one.lastTime)) ?? null;
        if (sample && sample.time >= this.from && !Number.isNaN(sample.value)) {
          labels.push({ one, at: pixelOf(y, sample.value), place: 0 });
        }
      }
    }
    labels.sort((a, b) => a.at - b.at);
    let free = plot.top - 6;
    for (const label of labels) {
      label.place = Math.max(label.at, free + 6.5);
      free = label.place + 6.5;
    }
    // pushed beyond the bottom: move up again
    let limit = plot.bottom;
    for (const label of labels.reverse()) {
      label.place = Math.min(label.place, limit - 6.5);
      limit = label.place - 6.5;
    }
    const right = plot.right + this.axes.filter((one) => one.shown && one.side === "right").length * AXIS_WIDTH;
    for (const { one, at, place } of labels) {
      const colour = colours.series[one.colour % colours.series.length];
      context.strokeStyle = colour;
      context.globalAlpha = 0.6;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(plot.right, Math.max(plot.top, Math.min(plot.bottom, at)));
      context.lineTo(right + 8, place);
      context.stroke();
      context.globalAlpha = 1;
      context.fillStyle = colour;
      context.fillText(clippedMiddle(context, shortName(one.label), this.labelRoom - 14), right + 11, place);
    }
  }

  /** Draw what follows the pointer: cross-hair, dots, time, and the box of a zoom. */
  drawOverlay() {
    const surface = fit(this.overlay);
    if (!surface) return;
    const { context, height } = surface;
    const { plot, area } = this;
    const colours = theme();
    const box = this.interaction.box;
    if (box) {
      context.fillStyle = colours.band;
      context.strokeStyle = colours.muted;
      context.globalAlpha = 0.6;
      context.fillRect(Math.min(box.from, box.to), area.top, Math.abs(box.to - box.from), area.bottom - area.top);
      context.globalAlpha = 1;
      context.strokeRect(Math.min(box.from, box.to) + 0.5, area.top + 0.5, Math.abs(box.to - box.from), area.bottom - area.top - 1);
    }
    if (this.cursor === null || this.cursor < this.from || this.cursor > this.to) return;
    const at = Math.round(pixelOf(this.x, this.cursor)) + 0.5;
    context.fillStyle = colours.text;
    context.globalAlpha = 0.55;
    context.fillRect(at - 0.5, area.top, 1, area.bottom - area.top);
    context.globalAlpha = 1;
    for (const axis of this.axes) {
      const y = scaleOf(axis, plot);
      for (const one of axis.series) {
        const sample = one.at(this.cursor);
        if (!sample || Number.isNaN(sample.value) || sample.time < this.from || sample.time > this.to) continue;
        context.beginPath();
        context.arc(pixelOf(this.x, sample.time), pixelOf(y, sample.value), 3.5, 0, 2 * Math.PI);
        context.fillStyle = sample.quality === GOOD ? colours.series[one.colour % colours.series.length] : colours.surface;
        context.strokeStyle = sample.quality === GOOD ? colours.surface : colours.uncertain;
        context.lineWidth = 1.5;
        context.fill();
        context.stroke();
      }
    }
    const text = this.timeText(this.cursor);
    context.font = `600 11px ${colours.font}`;
    const width = context.measureText(text).width + 12;
    const left = Math.max(2, Math.min(surface.width - width - 2, at - width / 2));
    context.fillStyle = colours.text;
    context.fillRect(left, height - BOTTOM + 3, width, 18);
    context.fillStyle = colours.surface;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(text, left + 6, height - BOTTOM + 12.5);
  }

  // -- for those who do not see it, and for paper --

  /** Write the table of what is shown, and the name of the chart. */
  describe() {
    const shown = this.series.filter((one) => one.visible);
    const span = this.to - this.from > 1 ? `${this.timeText(this.from)} – ${this.timeText(this.to)}` : "";
    const name = `${this.options.label ?? t("Trend")}, ${t("{count} series", { count: shown.length })}, ${span}`;
    if (this.canvas.getAttribute("aria-label") !== name) this.canvas.setAttribute("aria-label", name);
    this.element.setAttribute("aria-label", t("Chart: arrows move, plus and minus zoom, Home and End go to the first and the newest reading, Shift with arrows reads values"));
    const head = [t("Series"), t("Unit"), t("Lowest"), t("Highest"), t("Last"), t("Time")];
    const rows = shown.slice(0, 50).map((one) => {
      const [low, high] = one.steps ? [NaN, NaN] : one.extent(this.from, this.to);
      const last = one.at(Math.min(this.to, one.lastTime));
      return [
        one.label, one.unit, Number.isNaN(low) ? "" : measured(low), Number.isNaN(high) ? "" : measured(high),
        this.valueText(one, last), last ? this.timeText(last.time) : "",
      ];
    });
    this.table.replaceChildren(h("table", {},
      h("caption", { text: name }),
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col", text })))),
      h("tbody", {}, ...rows.map(([label, ...cells]) =>
        h("tr", {}, h("th", { scope: "row", text: label }), ...cells.map((text) => h("td", { text })))))));
  }

  /** Whether some series have no axis: there are more units than axes. */
  get isNormalised() {
    return this.axes.some((one) => !one.shown);
  }

  /** Return the picture as a PNG, with a title, and a legend with the last values. @param {string} title @returns {Promise<Blob>} */
  async toPNG(title) {
    const colours = theme();
    const ratio = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    const shown = this.series.filter((one) => one.visible);
    const columns = Math.max(1, Math.floor(width / 320));
    const legend = Math.ceil(shown.length / columns) * 18 + 12;
    const paper = document.createElement("canvas");
    paper.width = Math.round(width * ratio);
    paper.height = Math.round((height + legend + 34) * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (paper.getContext("2d"));
    context.scale(ratio, ratio);
    context.fillStyle = colours.surface;
    context.fillRect(0, 0, width, height + legend + 34);
    context.fillStyle = colours.text;
    context.font = `600 13px ${colours.font}`;
    context.textBaseline = "middle";
    context.fillText(clipped(context, `${title}   ${this.timeText(this.from)} – ${this.timeText(this.to)}`, width - 20), 10, 17);
    context.drawImage(this.canvas, 0, 34, width, height);
    context.font = `11px ${colours.font}`;
    shown.forEach((one, n) => {
      const x = 10 + (n % columns) * (width / columns);
      const y = 34 + height + 10 + Math.floor(n / columns) * 18;
      drawKey(context, one, x, y);
      context.fillStyle = colours.text;
      const last = this.valueText(one, one.at(Math.min(this.to, one.lastTime)));
      context.fillText(clipped(context, `${one.label}: ${last} ${one.unit}`, width / columns - 50), x + 32, y);
    });
    return new Promise((resolve, reject) => {
      paper.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(t("the picture is too large")))), "image/png");
    });
  }
}

/**
 * Draw the sign of a series: its colour and its dashes.
 * @param {CanvasRenderingContext2D} context
 * @param {Series} series
 * @param {number} x
 * @param {number} y
 */
export function drawKey(context, series, x, y) {
  const colours = theme();
  context.strokeStyle = series.steps ? colours.state("on") : colours.series[series.colour % colours.series.length];
  context.lineWidth = series.steps ? 8 : 2.5;
  context.setLineDash(series.steps ? [] : dashOf(series));
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + 26, y);
  context.stroke();
  context.setLineDash([]);
}

/** @param {Series} series */
function dashOf({ colour, dash }) {
  return DASHES[(dash ?? (colour % 8) + Math.floor(colour / 8)) % DASHES.length];
}

/** @param {string} label @returns {string} the last part of a name */
function shortName(label) {
  return label.split(" · ").at(-1) ?? label;
}

/** @param {number} from @param {number} to @returns {[number, number]} */
function bounded(from, to) {
  const span = Math.min(LONGEST, Math.max(SHORTEST, to - from));
  const middle = (from + to) / 2;
  return span === to - from ? [from, to] : [middle - span / 2, middle + span / 2];
}

export { MOST_AXES };

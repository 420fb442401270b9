/**
 * One series of a chart: its data in typed arrays, and how it is drawn.
 *
 * Data are readings, or buckets of readings where there are too many; live readings are appended to either. A value of a
 * state (a number with labels, a bool, a text) is kept as the position of its text.
 */

import { clipped, hatch } from "./surface.js";
import { readable } from "./small.js";
import { theme } from "./theme.js";
import { searchTime, traceLine } from "./trace.js";

/** @typedef {import("./trace.js").Map1} Map1 */

export const NONE = 0;
export const GOOD = 1;
export const UNCERTAIN = 2;
export const BAD = 3;

/**
 * @typedef {object} SeriesOptions
 * @property {string} id
 * @property {string} label      a short name, as `press-01 · pressure`
 * @property {string} [unit]     as people write it
 * @property {boolean} [steps]   whether its values are states: it is drawn as a lane
 * @property {Record<string, string>} [labels]   the texts of the numbers of a state
 * @property {number | null} [gap]   microseconds without a reading that are a gap
 * @property {[number | null, number | null] | null} [normal]
 * @property {[number, number] | null} [range]
 * @property {number} [colour]   the number of the colour, of the order of the series without it
 * @property {number} [dash]     the number of the dashes, of the colour without it
 */

/**
 * @typedef {object} Readings
 * @property {ArrayLike<number>} time
 * @property {ArrayLike<any>} value     null for a bad reading
 * @property {ArrayLike<number> | null} [quality]   1 good, 2 uncertain, 3 bad; all good without it
 * @property {Record<string, string>} [reasons]     by position
 */

/**
 * @typedef {object} Buckets
 * @property {number} width   microseconds
 * @property {number[]} start
 * @property {any[]} min
 * @property {any[]} max
 * @property {any[]} first
 * @property {any[]} last
 * @property {(number | null)[]} mean
 * @property {number[]} values
 * @property {number[] | null} uncertain
 * @property {number[] | null} bad
 */

/**
 * @typedef {object} Sample  what a series has at a time
 * @property {number} time
 * @property {number} value    NaN for none
 * @property {string} text     of a state
 * @property {number} low      of a bucket
 * @property {number} high
 * @property {number} quality
 * @property {string} reason
 * @property {boolean} bucket
 */

/** Readings that are kept; the oldest are dropped. */
const CAPACITY = 40_000;

/** Pixels between readings from which each has a mark. */
const APART = 7;

/** A gap where none is known: so many times the middle pause between readings. */
const PAUSES = 4;

/**
 * @typedef {object} Columns  buckets as typed arrays
 * @property {number} width
 * @property {number} count
 * @property {Float64Array} start
 * @property {Float64Array} centre
 * @property {Float64Array} min
 * @property {Float64Array} max
 * @property {Float64Array} mean
 * @property {Float64Array} first
 * @property {Float64Array} last
 * @property {Uint8Array} uncertain
 * @property {Uint8Array} bad
 */

export class Series {
  /** @type {Float64Array} */
  times = new Float64Array(64);
  /** @type {Float64Array} */
  values = new Float64Array(64);
  /** @type {Uint8Array} */
  quality = new Uint8Array(64);
  begin = 0;
  end = 0;
  /** @type {Map<number, string>} the reasons of readings that are not good, by their times */
  reasons = new Map();
  /** @type {Columns | null} */
  buckets = null;

  /** @param {SeriesOptions} options */
  constructor(options) {
    this.id = options.id;
    this.label = options.label;
    this.unit = options.unit ?? "";
    this.steps = options.steps ?? false;
    this.labels = options.labels ?? {};
    this.normal = options.normal ?? null;
    this.range = options.range ?? null;
    this.ownGap = options.gap ?? null;
    this.gap = options.gap ?? Infinity;
    this.visible = true;
    this.colour = options.colour ?? 0;
    this.dash = options.dash;
    this.version = 0;
    /** @type {string[]} texts of a state, by their positions */
    this.texts = [];
    /** @type {Map<string, number>} */
    this.codes = new Map();
    for (const label of Object.values(this.labels)) this.code(label);
  }

  /** Drop all data. */
  clear() {
    this.times = new Float64Array(64);
    this.values = new Float64Array(64);
    this.quality = new Uint8Array(64);
    this.begin = 0;
    this.end = 0;
    this.reasons = new Map();
    this.buckets = null;
    this.version++;
  }

  /** @param {any} value the number that is drawn; NaN for none */
  code(value) {
    if (value === null || value === undefined) return NaN;
    if (!this.steps) return Number(value);
    const text = this.labels[typeof value === "boolean" ? Number(value) : value] ?? String(value);
    let code = this.codes.get(text);
    if (code === undefined) {
      code = this.texts.push(text) - 1;
      this.codes.set(text, code);
    }
    return code;
  }

  /**
   * Show other readings. Live readings that are newer stay.
   * @param {Readings} data
   */
  setReadings(data) {
    const last = data.time.length ? data.time[data.time.length - 1] : -Infinity;
    const tail = this.newer(last);
    this.clear();
    this.reserve(data.time.length + tail.times.length);
    for (let i = 0; i < data.time.length; i++) {
      this.push(data.time[i], data.value[i], data.quality ? data.quality[i] : GOOD, data.reasons?.[String(i)] ?? "");
    }
    this.keepTail(tail);
    this.guessGap();
  }

  /**
   * Show other buckets. Live readings that are newer stay.
   * @param {Buckets} data
   */
  setBuckets(data) {
    const count = data.start.length;
    const tail = this.newer(count ? data.start[count - 1] + data.width : -Infinity);
    this.clear();
    /** @param {ArrayLike<any>} column */
    const numbers = (column) => Float64Array.from(column, (value) => this.code(value));
    this.buckets = {
      width: data.width,
      count,
      start: Float64Array.from(data.start),
      centre: Float64Array.from(data.start, (start) => start + data.width / 2),
      min: numbers(data.min),
      max: numbers(data.max),
      mean: Float64Array.from(data.mean, (value) => value ?? NaN),
      first: numbers(data.first),
      last: numbers(data.last),
      uncertain: Uint8Array.from(data.start, (_, i) => (data.uncertain?.[i] ? 1 : 0)),
      bad: Uint8Array.from(data.start, (_, i) => (data.bad?.[i] ? 1 : 0)),
    };
    this.keepTail(tail);
    this.gap = this.ownGap ?? data.width;
  }

  /** Return the readings after a time. @param {number} time */
  newer(time) {
    const from = searchTime(this.times, time + 1, this.begin, this.end);
    return {
      times: this.times.slice(from, this.end),
      values: this.values.slice(from, this.end),
      quality: this.quality.slice(from, this.end),
    };
  }

  /** @param {{times: Float64Array, values: Float64Array, quality: Uint8Array}} tail */
  keepTail(tail) {
    for (let i = 0; i < tail.times.length; i++) this.store(tail.times[i], tail.values[i], tail.quality[i]);
  }

  /**
   * Append live readings. One that is not newer than the last is left out.
   * @param {ArrayLike<number>} times
   * @param {ArrayLike<any>} values
   * @param {ArrayLike<number>} qualities
   */
  append(times, values, qualities) {
    for (let i = 0; i < times.length; i++) {
      if (times[i] > this.lastTime) this.push(times[i], values[i], qualities[i], "");
    }
    this.version++;
  }

  /** The time of the newest reading; minus infinity without one. */
  get lastTime() {
    if (this.end > this.begin) return this.times[this.end - 1];
    const buckets = this.buckets;
    return buckets?.count ? buckets.start[buckets.count - 1] : -Infinity;
  }

  /** The time of the oldest reading; infinity without one. */
  get firstTime() {
    if (this.buckets?.count) return this.buckets.start[0];
    return this.end > this.begin ? this.times[this.begin] : Infinity;
  }

  /** @param {number} time @param {any} value @param {number} quality @param {string} reason */
  push(time, value, quality, reason) {
    if (reason && this.reasons.size < CAPACITY) this.reasons.set(time, reason);
    this.store(time, quality === BAD ? NaN : this.code(value), quality);
  }

  /** @param {number} time @param {number} value @param {number} quality */
  store(time, value, quality) {
    if (this.end === this.times.length) this.reserve(1);
    this.times[this.end] = time;
    this.values[this.end] = value;
    this.quality[this.end] = quality;
    this.end++;
  }

  /**
   * Make room at the end: first by moving the newest to the beginning, else with larger arrays. The readings stay in one
   * piece, so that drawing needs no modulo; each is moved once on average.
   * @param {number} more
   */
  reserve(more) {
    const most = Math.max(CAPACITY, more);
    const kept = Math.min(this.end - this.begin, most);
    const from = this.end - kept;
    if (kept + more <= this.times.length / 2 && from > 0) {
      for (const column of [this.times, this.values, this.quality]) column.copyWithin(0, from, this.end);
    } else {
      const size = 2 * (kept + more);
      const grown = [new Float64Array(size), new Float64Array(size), new Uint8Array(size)];
      [this.times, this.values, this.quality].forEach((column, n) => grown[n].set(column.subarray(from, this.end)));
      [this.times, this.values] = /** @type {Float64Array[]} */ (grown);
      this.quality = /** @type {Uint8Array} */ (grown[2]);
    }
    this.begin = 0;
    this.end = kept;
  }

  /** Where the gap of a point is not known, it follows from the pauses between its readings. */
  guessGap() {
    if (this.ownGap !== null || this.end - this.begin < 4) return;
    const pauses = Float64Array.from({ length: this.end - this.begin - 1 }, (_, i) => this.times[this.begin + i + 1] - this.times[this.begin + i]);
    this.gap = PAUSES * pauses.sort()[pauses.length >> 1];
  }

  /**
   * Return the lowest and the highest value within a span; NaN without a value.
   * @param {number} from
   * @param {number} to
   * @param {number} beside   readings before and after the span that count too, since a line leads to them
   * @returns {[number, number]}
   */
  extent(from, to, beside = 0) {
    let low = Infinity;
    let high = -Infinity;
    const buckets = this.buckets;
    if (buckets) {
      const after = searchTime(buckets.start, to, 0, buckets.count);
      for (let i = searchTime(buckets.start, from - buckets.width, 0, buckets.count); i < after; i++) {
        if (buckets.min[i] < low) low = buckets.min[i];
        if (buckets.max[i] > high) high = buckets.max[i];
      }
    }
    const after = Math.min(this.end, searchTime(this.times, to, this.begin, this.end) + beside);
    for (let i = Math.max(this.begin, searchTime(this.times, from, this.begin, this.end) - beside); i < after; i++) {
      const value = this.values[i];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return low <= high ? [low, high] : [NaN, NaN];
  }

  /**
   * Return what the series has at a time: the reading that holds then, or the bucket; null in a gap.
   * @param {number} time
   * @returns {Sample | null}
   */
  at(time) {
    const next = searchTime(this.times, time + 1, this.begin, this.end);
    if (next > this.begin) {
      let i = next - 1;
      // of a line the nearest reading, of a state the one that holds
      if (!this.steps && next < this.end && this.times[next] - time < time - this.times[i]) i = next;
      if (Math.abs(time - this.times[i]) <= this.gap) {
        const value = this.values[i];
        return {
          time: this.times[i], value, text: this.texts[value] ?? "", low: value, high: value, quality: this.quality[i],
          reason: this.reasons.get(this.times[i]) ?? "", bucket: false,
        };
      }
    } else if (!this.steps && next < this.end && this.times[next] - time <= this.gap && !this.buckets) {
      return this.at(this.times[next]);
    }
    return this.bucketAt(time);
  }

  /** @param {number} time @returns {Sample | null} */
  bucketAt(time) {
    const buckets = this.buckets;
    if (!buckets) return null;
    const i = searchTime(buckets.start, time + 1, 0, buckets.count) - 1;
    if (i < 0 || time - buckets.start[i] > Math.max(buckets.width, this.gap)) return null;
    const value = this.steps ? buckets.last[i] : buckets.mean[i];
    const several = this.steps && !isFlat(buckets, i);
    return {
      time: buckets.centre[i], value, text: several ? "…" : this.texts[value] ?? "", low: buckets.min[i], high: buckets.max[i],
      quality: buckets.bad[i] ? BAD : buckets.uncertain[i] ? UNCERTAIN : GOOD, reason: "", bucket: true,
    };
  }

  // -- drawing --

  /**
   * Draw the span between the lowest and the highest value of each bucket.
   * @param {CanvasRenderingContext2D} context
   * @param {Map1} x
   * @param {Map1} y
   * @param {number} from
   * @param {number} to
   * @param {string} colour
   */
  drawBand(context, x, y, from, to, colour) {
    const buckets = this.buckets;
    if (!buckets) return;
    const first = Math.max(0, searchTime(buckets.start, from - buckets.width, 0, buckets.count) - 1);
    const after = Math.min(buckets.count, searchTime(buckets.start, to, 0, buckets.count) + 1);
    const { centre, min, max } = buckets;
    context.beginPath();
    let begin = first;
    for (let i = first; i <= after; i++) {
      const isOpen = i < after && min[i] - min[i] === 0 && (i === begin || !this.isGap(i));
      if (isOpen) continue;
      if (i > begin) this.bandPath(context, x, y, begin, i, centre, min, max);
      begin = i < after && min[i] - min[i] === 0 ? i : i + 1;
    }
    context.fillStyle = colour;
    context.globalAlpha = 0.2;
    context.fill();
    context.globalAlpha = 1;
  }

  /** Whether there is a gap before a bucket. @param {number} i */
  isGap(i) {
    const buckets = /** @type {Columns} */ (this.buckets);
    return buckets.start[i] - buckets.start[i - 1] - buckets.width > Math.max(this.gap, buckets.width / 2);
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {Map1} x @param {Map1} y @param {number} begin @param {number} end
   * @param {Float64Array} centre @param {Float64Array} min @param {Float64Array} max
   */
  bandPath(context, x, y, begin, end, centre, min, max) {
    const half = Math.max(0.5, ((this.buckets?.width ?? 0) * x.factor) / 2);
    const left = x.offset + (centre[begin] - x.origin) * x.factor - half;
    const right = x.offset + (centre[end - 1] - x.origin) * x.factor + half;
    context.moveTo(left, y.offset + (max[begin] - y.origin) * y.factor);
    for (let i = begin; i < end; i++) {
      context.lineTo(x.offset + (centre[i] - x.origin) * x.factor, y.offset + (max[i] - y.origin) * y.factor);
    }
    context.lineTo(right, y.offset + (max[end - 1] - y.origin) * y.factor);
    context.lineTo(right, y.offset + (min[end - 1] - y.origin) * y.factor);
    for (let i = end - 1; i >= begin; i--) {
      context.lineTo(x.offset + (centre[i] - x.origin) * x.factor, y.offset + (min[i] - y.origin) * y.factor);
    }
    context.lineTo(left, y.offset + (min[begin] - y.origin) * y.factor);
    context.closePath();
  }

  /**
   * Add the line of the series to the current path: the means of buckets, and the readings. The last reading holds until
   * the present, or until a reading would be due.
   * @param {CanvasRenderingContext2D} context
   * @param {Map1} x
   * @param {Map1} y
   * @param {number} from
   * @param {number} to
   * @param {number} present
   */
  line(context, x, y, from, to, present) {
    const buckets = this.buckets;
    if (buckets) {
      const first = Math.max(0, searchTime(buckets.start, from, 0, buckets.count) - 1);
      const after = Math.min(buckets.count, searchTime(buckets.start, to, 0, buckets.count) + 1);
      traceLine(context, buckets.centre, buckets.mean, first, after, x, y, Math.max(this.gap, buckets.width / 2) + buckets.width);
    }
    const first = Math.max(this.begin, searchTime(this.times, from, this.begin, this.end) - 1);
    const after = Math.min(this.end, searchTime(this.times, to, this.begin, this.end) + 1);
    traceLine(context, this.times, this.values, first, after, x, y, this.gap);
    const last = this.values[this.end - 1];
    if (after !== this.end || after === first || !(last - last === 0) || !Number.isFinite(this.gap)) return;
    const until = Math.min(to, present, this.times[this.end - 1] + this.gap);
    if (until <= this.times[this.end - 1]) return;
    const py = y.offset + (last - y.origin) * y.factor;
    context.moveTo(x.offset + (this.times[this.end - 1] - x.origin) * x.factor, py);
    context.lineTo(x.offset + (until - x.origin) * x.factor, py);
  }

  /**
   * Draw the marks of readings: each where they are far apart, and uncertain ones hollow.
   * @param {CanvasRenderingContext2D} context
   * @param {Map1} x
   * @param {Map1} y
   * @param {number} from
   * @param {number} to
   * @param {string} colour
   */
  drawMarks(context, x, y, from, to, colour) {
    const first = Math.max(this.begin, searchTime(this.times, from, this.begin, this.end) - 1);
    const after = Math.min(this.end, searchTime(this.times, to, this.begin, this.end) + 1);
    if (after - first < 1 || after - first > 4000) return;
    const apart = ((this.times[after - 1] - this.times[first]) * x.factor) / Math.max(1, after - first - 1);
    const all = apart >= APART || after - first === 1;
    const surface = theme().surface;
    let before = -Infinity;
    for (let i = first; i < after; i++) {
      const uncertain = this.quality[i] === UNCERTAIN;
      const value = this.values[i];
      if ((!all && !uncertain) || !(value - value === 0)) continue;
      const px = x.offset + (this.times[i] - x.origin) * x.factor;
      if (px - before < APART - 1) continue;
      before = px;
      context.beginPath();
      context.arc(px, y.offset + (value - y.origin) * y.factor, uncertain ? 3 : 2, 0, 2 * Math.PI);
      context.fillStyle = uncertain ? surface : colour;
      context.fill();
      if (uncertain) context.stroke();
    }
  }

  /**
   * Note the pixels at which a reading is not good: 2 uncertain, 3 bad.
   * @param {Uint8Array} marks one a pixel
   * @param {Map1} x its offset is the pixel 0
   * @param {number} from
   * @param {number} to
   */
  markQuality(marks, x, from, to) {
    const buckets = this.buckets;
    if (buckets) {
      const after = searchTime(buckets.start, to, 0, buckets.count);
      for (let i = searchTime(buckets.start, from - buckets.width, 0, buckets.count); i < after; i++) {
        const quality = buckets.bad[i] ? BAD : buckets.uncertain[i] ? UNCERTAIN : 0;
        if (quality) mark(marks, (buckets.start[i] - x.origin) * x.factor, buckets.width * x.factor, quality);
      }
    }
    const after = searchTime(this.times, to, this.begin, this.end);
    for (let i = searchTime(this.times, from, this.begin, this.end); i < after; i++) {
      if (this.quality[i] > GOOD) mark(marks, (this.times[i] - x.origin) * x.factor, 1.5, this.quality[i]);
    }
  }

  /**
   * Draw the states as a lane.
   * @param {CanvasRenderingContext2D} context
   * @param {Map1} x
   * @param {number} top
   * @param {number} height
   * @param {number} from
   * @param {number} to
   * @param {{left: number, right: number}} clip
   */
  drawLane(context, x, top, height, from, to, clip) {
    hatch(context, clip.left, top, clip.right - clip.left, height, theme().grid);
    const buckets = this.buckets;
    if (buckets) {
      const after = searchTime(buckets.start, to, 0, buckets.count);
      let i = Math.max(0, searchTime(buckets.start, from - buckets.width, 0, buckets.count));
      while (i < after) {
        const flat = isFlat(buckets, i);
        const value = buckets.last[i];
        let end = i + 1;
        while (end < after && !this.isGap(end) && isFlat(buckets, end) === flat && (!flat || buckets.last[end] === value)) end++;
        const until = end < buckets.count && !this.isGap(end) ? buckets.start[end] : buckets.start[end - 1] + buckets.width;
        this.drawState(context, x, top, height, buckets.start[i], until, flat ? value : NaN, clip);
        i = end;
      }
    }
    let i = Math.max(this.begin, searchTime(this.times, from, this.begin, this.end) - 1);
    const after = searchTime(this.times, to, this.begin, this.end);
    while (i < after) {
      const value = this.values[i];
      let end = i + 1;
      while (end < this.end && this.times[end] - this.times[end - 1] <= this.gap && Object.is(this.values[end], value)) end++;
      const next = end < this.end ? this.times[end] : Infinity;
      const until = Math.min(next, this.times[end - 1] + this.gap);
      if (value - value === 0) this.drawState(context, x, top, height, this.times[i], until, value, clip);
      i = end;
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {Map1} x @param {number} top @param {number} height
   * @param {number} begin @param {number} end @param {number} value NaN for several @param {{left: number, right: number}} clip
   */
  drawState(context, x, top, height, begin, end, value, clip) {
    const left = Math.max(clip.left, x.offset + (begin - x.origin) * x.factor);
    const right = Math.min(clip.right, x.offset + (end - x.origin) * x.factor);
    if (right < clip.left || left > clip.right || !(right >= left)) return;
    const width = Math.max(1, right - left);
    const colours = theme();
    const text = Number.isNaN(value) ? "" : this.texts[value];
    context.clearRect(left, top, width, height);
    if (Number.isNaN(value)) {
      context.fillStyle = colours.state("several");
      context.fillRect(left, top + height / 3, width, height / 3);
      return;
    }
    if (isOff(text)) {
      // an empty lane with a base line: off is not a colour
      context.fillStyle = colours.grid;
      context.fillRect(left, top + height - 2, width, 2);
    } else {
      context.fillStyle = colours.state(isOn(text) ? "on" : `phase-${value % 6}`);
      context.fillRect(left, top, width, height);
    }
    if (width > 3) {
      context.fillStyle = colours.surface;
      context.fillRect(left, top, 1, height);
    }
    if (width > 30) {
      context.fillStyle = isOff(text) ? colours.muted : readable(colours.state(isOn(text) ? "on" : `phase-${value % 6}`));
      context.fillText(clipped(context, text, width - 10), left + 5, top + height / 2 + 0.5);
    }
  }
}

/** @param {Columns} buckets @param {number} i whether a bucket has one value alone */
function isFlat(buckets, i) {
  return buckets.first[i] === buckets.last[i] && (buckets.min[i] === buckets.max[i] || Number.isNaN(buckets.min[i]));
}

/** @param {string} text */
const isOff = (text) => text === "false" || text === "";
/** @param {string} text */
const isOn = (text) => text === "true";

/** @param {Uint8Array} marks @param {number} left @param {number} width @param {number} quality */
function mark(marks, left, width, quality) {
  const end = Math.min(marks.length, Math.max(Math.floor(left) + 1, Math.ceil(left + width)));
  for (let i = Math.max(0, Math.floor(left)); i < end; i++) if (marks[i] < quality) marks[i] = quality;
}

/**
 * Scales: from data to pixels, and the ticks of axes. Times are in microseconds since the epoch.
 *
 * Ticks of a time axis are at round times of the plant's time zone, also over a change to or from summer time. There a
 * time of day may exist twice: labels near the change have their offset from UTC.
 */

/** @typedef {import("./trace.js").Map1} Map1 */

export const MILLISECOND = 1e3;
export const SECOND = 1e6;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/**
 * Return the map of a span of data to a span of pixels.
 * @param {number} low
 * @param {number} high
 * @param {number} from the pixel of `low`
 * @param {number} to the pixel of `high`
 * @returns {Map1}
 */
export function linear(low, high, from, to) {
  return { origin: low, factor: (to - from) / (high - low || 1), offset: from };
}

/** @param {Map1} map @param {number} value */
export const pixelOf = (map, value) => map.offset + (value - map.origin) * map.factor;

/** @param {Map1} map @param {number} pixel */
export const valueOf = (map, pixel) => map.origin + (pixel - map.offset) / map.factor;

/**
 * Return the round step (1, 2 or 5 times a power of ten) that divides a span into at most so many parts.
 * @param {number} span
 * @param {number} most
 */
export function roundStep(span, most) {
  const rough = span / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((one) => one * power >= rough * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/**
 * Return round numbers within a span, and their digits after the decimal mark.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {{ticks: number[], step: number, digits: number}}
 */
export function numberTicks(low, high, most) {
  if (!(high > low)) return { ticks: [low], step: 1, digits: 0 };
  const step = roundStep(high - low, most);
  const ticks = [];
  // counted, not added up: 0.1 + 0.2 is not 0.3
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(n * step || 0); // never -0
  return { ticks, step, digits: Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) };
}

/**
 * Return a span a little larger than that of data, with round ends.
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
export function roundSpan(low, high) {
  if (!(low <= high)) return [0, 1];
  let span = high - low;
  if (span < Math.abs(high) * 1e-9 || span === 0) {
    span = Math.abs(high) * 0.1 || 1;
    low -= span / 2;
    high += span / 2;
  }
  const step = roundStep(span, 10) / 2;
  return [Math.floor((low - span * 0.04) / step) * step, Math.ceil((high + span * 0.04) / step) * step];
}

/** @typedef {{year: number, month: number, day: number, hour: number}} Local the month counts from 1 */

/** The wall clock of a time zone, and texts of times in a locale. */
export class Clock {
  /**
   * @param {string | undefined} locale
   * @param {string | undefined} zone an IANA time zone; that of the browser without one
   */
  constructor(locale, zone) {
    this.locale = locale;
    this.zone = zone || undefined;
    /** @type {Map<number, number>} */
    this.offsets = new Map();
    /** @type {Map<string, Intl.DateTimeFormat>} */
    this.formats = new Map();
    this.fields = new Intl.DateTimeFormat("en-US", {
      timeZone: this.zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
      hour: "numeric", minute: "numeric", second: "numeric",
    });
  }

  /**
   * Return the microseconds that the wall clock is ahead of UTC.
   * @param {number} time
   */
  offset(time) {
    const slot = Math.floor(time / (15 * MINUTE));
    let found = this.offsets.get(slot);
    if (found === undefined) {
      if (this.offsets.size > 20_000) this.offsets.clear();
      const second = Math.floor((slot * 15 * MINUTE) / SECOND);
      /** @type {Record<string, number>} */
      const parts = {};
      for (const { type, value } of this.fields.formatToParts(second * 1000)) parts[type] = Number(value);
      const wall = Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second);
      found = wall * MILLISECOND - second * SECOND;
      this.offsets.set(slot, found);
    }
    return found;
  }

  /**
   * @param {number} time
   * @returns {Local}
   */
  local(time) {
    const wall = new Date((time + this.offset(time)) / MILLISECOND);
    return {
      year: wall.getUTCFullYear(), month: wall.getUTCMonth() + 1, day: wall.getUTCDate(), hour: wall.getUTCHours(),
    };
  }

  /**
   * Return the time at which the wall clock shows a date and an hour; of two the first; null if it never does.
   * @param {number} year
   * @param {number} month may be less than 1 or more than 12
   * @param {number} day may be beyond the end of the month
   * @param {number} hour
   */
  instant(year, month, day, hour = 0) {
    const wall = Date.UTC(year, month - 1, day, hour) * MILLISECOND;
    for (const offset of [this.offset(wall - DAY), this.offset(wall + DAY)]) {
      const time = wall - offset;
      if (time + this.offset(time) === wall) return time;
    }
    return null;
  }

  /**
   * Return the time at which the wall clock shows a date and time as `2026-11-24T06:00:30`; null for other text.
   * @param {string} text
   */
  parse(text) {
    const wall = Date.parse(`${text}Z`) * MILLISECOND;
    if (Number.isNaN(wall)) return null;
    const time = wall - this.offset(wall - this.offset(wall));
    return time;
  }

  /** Return the date and time of the wall clock as `2026-11-24T06:00:30`. @param {number} time */
  write(time) {
    return new Date((time + this.offset(time)) / MILLISECOND).toISOString().slice(0, 19);
  }

  /**
   * @param {number} time
   * @param {Intl.DateTimeFormatOptions} options
   */
  text(time, options) {
    const key = JSON.stringify(options);
    let format = this.formats.get(key);
    if (!format) {
      format = new Intl.DateTimeFormat(this.locale, { timeZone: this.zone, hourCycle: "h23", ...options });
      this.formats.set(key, format);
    }
    return format.format(time / MILLISECOND);
  }

  /**
   * Return the offset of the wall clock from UTC, as in `+02` or `+05:30`.
   * @param {number} time
   */
  offsetText(time) {
    const minutes = Math.round(this.offset(time) / MINUTE);
    const rest = Math.abs(minutes) % 60;
    const hours = String(Math.floor(Math.abs(minutes) / 60)).padStart(2, "0");
    return `${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
  }

  /**
   * Return date, time and offset: unambiguous. `fine` adds milliseconds.
   * @param {number} time
   * @param {boolean} fine
   */
  full(time, fine = false) {
    const date = this.text(time, { year: "numeric", month: "short", day: "numeric" });
    const clock = this.text(time, {
      hour: "2-digit", minute: "2-digit", second: "2-digit", ...(fine ? { fractionalSecondDigits: 3 } : {}),
    });
    return `${date}, ${clock} UTC${this.offsetText(time)}`;
  }
}

const FINE_STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((one) => one * MILLISECOND),
  ...[1, 2, 5, 10, 15, 30].map((one) => one * SECOND),
  ...[1, 2, 5, 10, 15, 30, 60].map((one) => one * MINUTE),
];
const HOUR_STEPS = [2, 3, 6, 12];
const DAY_STEPS = [1, 2, 7, 14];
const MONTH_STEPS = [1, 2, 3, 6, 12, 24, 60, 120];

/** @typedef {{time: number, label: string, context: string, strong: boolean}} Tick `context` is a second line */

/**
 * Return the ticks of a time axis: at most about `most`.
 * @param {Clock} clock
 * @param {number} from
 * @param {number} to
 * @param {number} most
 * @returns {Tick[]}
 */
export function timeTicks(clock, from, to, most) {
  const rough = (to - from) / Math.max(1, most);
  const fine = FINE_STEPS.find((one) => one >= rough);
  if (fine) return labelled(clock, fineTimes(clock, from, to, fine), fine, from, to);
  const hours = HOUR_STEPS.find((one) => one * HOUR >= rough);
  if (hours) return labelled(clock, hourTimes(clock, from, to, hours), hours * HOUR, from, to);
  const days = DAY_STEPS.find((one) => one * DAY >= rough);
  if (days) return labelled(clock, dayTimes(clock, from, to, days), days * DAY, from, to);
  const months = MONTH_STEPS.find((one) => one * 30 * DAY >= rough) ?? 120;
  return labelled(clock, monthTimes(clock, from, to, months), months * 30 * DAY, from, to);
}

/** @param {Clock} clock @param {number} from @param {number} to @param {number} step */
function fineTimes(clock, from, to, step) {
  const times = [];
  let time = from;
  for (;;) {
    const offset = clock.offset(time);
    time = Math.ceil((time + offset) / step) * step - offset;
    if (time > to || times.length > 200) return times;
    times.push(time);
    time += step / 2; // rounded up above, by the offset that is then
  }
}

/** @param {Clock} clock @param {number} from @param {number} to @param {number} hours */
function hourTimes(clock, from, to, hours) {
  const times = [];
  const { year, month, day } = clock.local(from);
  for (let n = 0; n < 200; n++) {
    for (let hour = 0; hour < 24; hour += hours) {
      const time = clock.instant(year, month, day + n, hour);
      if (time !== null && time > to) return times;
      if (time !== null && time >= from) times.push(time);
    }
  }
  return times;
}

/** @param {Clock} clock @param {number} from @param {number} to @param {number} days */
function dayTimes(clock, from, to, days) {
  const times = [];
  const { year, month, day } = clock.local(from);
  for (let n = 0; n < 1000; n++) {
    const number = Math.round(Date.UTC(year, month - 1, day + n) / 86_400_000);
    // weeks begin on Mondays (ISO 8601); the day 0 was a Thursday
    if ((days % 7 ? number : number + 3) % days) continue;
    const time = clock.instant(year, month, day + n) ?? clock.instant(year, month, day + n, 1);
    if (time !== null && time > to) return times;
    if (time !== null && time >= from) times.push(time);
  }
  return times;
}

/** @param {Clock} clock @param {number} from @param {number} to @param {number} months */
function monthTimes(clock, from, to, months) {
  const times = [];
  const { year, month } = clock.local(from);
  for (let n = year * 12 + month - 1; times.length < 200; n++) {
    if (n % months) continue;
    const time = clock.instant(Math.floor(n / 12), (n % 12) + 1, 1) ?? clock.instant(Math.floor(n / 12), (n % 12) + 1, 1, 1);
    if (time !== null && time > to) return times;
    if (time !== null && time >= from) times.push(time);
  }
  return times;
}

/**
 * @param {Clock} clock
 * @param {number[]} times
 * @param {number} step
 * @param {number} from
 * @param {number} to
 * @returns {Tick[]}
 */
function labelled(clock, times, step, from, to) {
  const change = step < DAY ? changeOfOffset(clock, from, to) : null;
  let before = "";
  return times.map((time) => {
    const { month, day, hour } = clock.local(time);
    let label;
    let context;
    if (step >= 360 * DAY) {
      label = clock.text(time, { year: "numeric" });
      context = "";
    } else if (step >= 28 * DAY) {
      label = clock.text(time, { month: "short" });
      context = clock.text(time, { year: "numeric" });
    } else if (step >= DAY) {
      label = clock.text(time, { day: "numeric", month: "short" });
      context = clock.text(time, { year: "numeric" });
    } else {
      label = clock.text(time, {
        hour: "2-digit", minute: "2-digit", ...(step < MINUTE ? { second: "2-digit" } : {}),
        ...(step < SECOND ? { fractionalSecondDigits: 3 } : {}),
      });
      if (change !== null && Math.abs(time - change) <= 2 * HOUR) label += ` ${clock.offsetText(time)}`;
      context = clock.text(time, { weekday: "short", day: "numeric", month: "short" });
    }
    const isNew = context !== before;
    before = context;
    const strong = step < DAY ? hour === 0 && (time + clock.offset(time)) % DAY === 0 : step >= 28 * DAY ? month === 1 : day === 1;
    return { time, label, context: isNew ? context : "", strong };
  });
}

/**
 * Return the time within a span at which the wall clock is set, null if it is not.
 * @param {Clock} clock
 * @param {number} from
 * @param {number} to
 */
export function changeOfOffset(clock, from, to) {
  const margin = 2 * HOUR;
  let low = from - margin;
  let high = to + margin;
  const first = clock.offset(low);
  if (first === clock.offset(high)) return null;
  while (high - low > MINUTE) {
    const middle = (low + high) / 2;
    if (clock.offset(middle) === first) low = middle;
    else high = middle;
  }
  return Math.ceil(low / MINUTE) * MINUTE;
}

const ELAPSED_STEPS = [...FINE_STEPS, ...[2, 3, 6, 12].map((one) => one * HOUR), ...[1, 2, 7].map((one) => one * DAY)];

/**
 * Return the ticks of an axis of the time since the start of a cycle.
 * @param {number} from
 * @param {number} to
 * @param {number} most
 * @returns {Tick[]}
 */
export function elapsedTicks(from, to, most) {
  const step = ELAPSED_STEPS.find((one) => one >= (to - from) / Math.max(1, most)) ?? 7 * DAY;
  const ticks = [];
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    ticks.push({ time, label: elapsedText(time, step < SECOND), context: "", strong: time === 0 });
  }
  return ticks;
}

/**
 * Return a length of time as `1:02:03`, or `2:03.5` with `fine`.
 * @param {number} time microseconds
 * @param {boolean} fine
 */
export function elapsedText(time, fine = false) {
  const milliseconds = Math.round(Math.abs(time) / MILLISECOND);
  const seconds = Math.floor(milliseconds / 1000);
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  /** @param {number} one */
  const two = (one) => String(one).padStart(2, "0");
  const text = hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  return `${time < 0 ? "−" : ""}${text}${fine ? `.${String(milliseconds % 1000).padStart(3, "0")}` : ""}`;
}

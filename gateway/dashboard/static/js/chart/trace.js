/**
 * Lines through samples, with as few segments as the pixels can show.
 *
 * Where several samples fall on one column of pixels, only the first, the lowest, the highest and the last are drawn
 * (M4, Jugel et al., VLDB 2014): the picture is the same as that of all samples. Columns are counted from the epoch, so
 * that a line that scrolls does not flicker.
 */

/**
 * A linear map from data to pixels: `pixel = offset + (value - origin) * factor`.
 * @typedef {object} Map1
 * @property {number} origin
 * @property {number} factor
 * @property {number} offset
 */

/** Samples a column of pixels from which columns are reduced. */
const DENSE = 2;

/**
 * Return the first position from `begin` to before `end` whose time is not before `time`; `end` if there is none.
 * @param {ArrayLike<number>} times in order
 * @param {number} time
 * @param {number} begin
 * @param {number} end
 */
export function searchTime(times, time, begin, end) {
  while (begin < end) {
    const middle = (begin + end) >> 1;
    if (times[middle] < time) begin = middle + 1;
    else end = middle;
  }
  return begin;
}

/**
 * Add the line through samples to the current path. A value that is not a number ends the line, and so does a pause
 * longer than `gap`. A line begins a pixel before its first sample, so that one between two gaps is seen.
 * @param {CanvasRenderingContext2D | Path2D} path
 * @param {ArrayLike<number>} times in order
 * @param {ArrayLike<number>} values NaN for none
 * @param {number} begin the first position
 * @param {number} end the position after the last
 * @param {Map1} x
 * @param {Map1} y
 * @param {number} gap a pause that is a gap, in the unit of the times
 */
export function traceLine(path, times, values, begin, end, x, y, gap = Infinity) {
  if (end <= begin) return;
  const pixels = (times[end - 1] - times[begin]) * x.factor;
  if (end - begin > DENSE * (pixels + 1)) traceDense(path, times, values, begin, end, x, y, gap);
  else traceAll(path, times, values, begin, end, x, y, gap);
}

/** @type {typeof traceLine} */
function traceAll(path, times, values, begin, end, x, y, gap = Infinity) {
  let open = false;
  let before = 0;
  for (let i = begin; i < end; i++) {
    const value = values[i];
    // a comparison that NaN fails
    if (!(value - value === 0)) {
      open = false;
      continue;
    }
    const time = times[i];
    const px = x.offset + (time - x.origin) * x.factor;
    const py = y.offset + (value - y.origin) * y.factor;
    if (!open || time - before > gap) path.moveTo(px - 1, py);
    path.lineTo(px, py);
    open = true;
    before = time;
  }
}

/** @type {typeof traceLine} */
function traceDense(path, times, values, begin, end, x, y, gap = Infinity) {
  let open = false;
  let before = 0;
  let column = NaN;
  let px = 0;
  let last = 0;
  let low = 0;
  let high = 0;
  const flush = () => {
    if (high !== low) {
      path.lineTo(px, y.offset + (low - y.origin) * y.factor);
      path.lineTo(px, y.offset + (high - y.origin) * y.factor);
      path.lineTo(px, y.offset + (last - y.origin) * y.factor);
    }
  };
  for (let i = begin; i < end; i++) {
    const value = values[i];
    if (!(value - value === 0)) {
      if (open) flush();
      open = false;
      continue;
    }
    const time = times[i];
    if (open && time - before > gap) {
      flush();
      open = false;
    }
    const own = Math.floor(time * x.factor);
    if (open && own === column) {
      if (value < low) low = value;
      else if (value > high) high = value;
    } else {
      if (open) flush();
      column = own;
      px = x.offset + (time - x.origin) * x.factor;
      const py = y.offset + (value - y.origin) * y.factor;
      if (!open) path.moveTo(px - 1, py);
      path.lineTo(px, py);
      low = high = value;
    }
    open = true;
    last = value;
    before = time;
  }
  if (open) flush();
}

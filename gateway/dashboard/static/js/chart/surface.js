/** A canvas as large as its place on the page, sharp on every screen. */

/** The most pixels of a side; browsers refuse larger canvases. */
const MAX_PIXELS = 8192;

/**
 * @typedef {object} Surface
 * @property {CanvasRenderingContext2D} context   with CSS pixels as its unit
 * @property {number} width    in CSS pixels
 * @property {number} height   in CSS pixels
 */

/**
 * Fit the pixels of a canvas to its size on the page, and clear it.
 * @param {HTMLCanvasElement} canvas
 * @returns {Surface | null} null while the canvas has no size, as before it is attached
 */
export function fit(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const context = canvas.getContext("2d");
  if (!width || !height || !context) return null;
  const ratio = Math.min(globalThis.devicePixelRatio || 1, MAX_PIXELS / Math.max(width, height));
  const columns = Math.max(1, Math.round(width * ratio));
  const rows = Math.max(1, Math.round(height * ratio));
  // setting the size clears the canvas, and costs a new buffer
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  context.setTransform(columns / width, 0, 0, rows / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/**
 * Fill a rectangle with stripes, which mark what is not known without a colour.
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 */
export function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.beginPath();
  // in steps from the left edge of the canvas, so that stripes of neighbours meet
  const step = 6;
  for (let at = Math.floor((x - height) / step) * step; at < x + width; at += step) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash([]);
  context.stroke();
  context.restore();
}

/**
 * Return a text that fits a width, with an ellipsis in place of its middle: names often differ at their ends.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width
 */
export function clippedMiddle(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  for (let kept = text.length - 2; kept > 3; kept--) {
    const shorter = `${text.slice(0, Math.ceil(kept / 2))}…${text.slice(text.length - Math.floor(kept / 2))}`;
    if (context.measureText(shorter).width <= width) return shorter;
  }
  return "";
}

/**
 * Return a text that fits a width, shortened with an ellipsis; empty if not even four characters fit.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width
 */
export function clipped(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low >= 4 ? `${text.slice(0, low)}…` : "";
}

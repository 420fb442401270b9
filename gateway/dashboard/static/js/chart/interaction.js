/**
 * How a reader moves in a chart: wheel and pinch zoom at the pointer, drag pans, Shift and drag zooms into a box, a
 * double click goes back; arrows, plus, minus, Home and End do the same without a pointer.
 */

/** @typedef {import("./chart.js").Chart} Chart */

const WHEEL = 0.0015;
const KEY_ZOOM = 0.7;
const KEY_PAN = 0.15;

/** Pixels from which a press is a drag. */
const DRAG = 3;

export class Interaction {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    /** @type {Map<number, PointerEvent>} */
    this.pointers = new Map();
    /** @type {{from: number, to: number} | null} pixels of the box of a zoom */
    this.box = null;
    /** @type {{x: number, from: number, to: number, moved: boolean} | null} */
    this.drag = null;
    this.pinch = 0;
    /** @type {number | null} the pixel of a pointer that rests on the chart */
    this.x = null;
    const element = chart.element;
    this.stop = new AbortController();
    const options = { signal: this.stop.signal };
    element.addEventListener("wheel", (event) => this.wheel(event), { ...options, passive: false });
    element.addEventListener("pointerdown", (event) => this.down(event), options);
    element.addEventListener("pointermove", (event) => this.move(event), options);
    element.addEventListener("pointerup", (event) => this.up(event), options);
    element.addEventListener("pointercancel", (event) => this.up(event), options);
    element.addEventListener("pointerleave", (event) => this.leave(event), options);
    element.addEventListener("dblclick", () => this.chart.options.onBack?.(), options);
    element.addEventListener("keydown", (event) => this.key(event), options);
    element.addEventListener("blur", () => this.chart.setCursor(null), options);
  }

  destroy() {
    this.stop.abort();
  }

  /** @param {MouseEvent} event */
  pixel(event) {
    return event.clientX - this.chart.canvas.getBoundingClientRect().left;
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : event.deltaMode === WheelEvent.DOM_DELTA_PAGE ? 400 : 1;
    const chart = this.chart;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      chart.pan(((event.deltaX || event.deltaY) * lines) / (chart.plot.right - chart.plot.left));
      return;
    }
    // a pinch on a touchpad comes as a wheel with Ctrl, in small steps
    const factor = Math.exp(event.deltaY * lines * WHEEL * (event.ctrlKey ? 6 : 1));
    // a chart that follows the time keeps doing so: the newest reading stays
    const at = chart.following !== null ? chart.to : this.clamped(chart.timeAt(this.pixel(event)));
    chart.zoom(factor, at);
  }

  /** @param {number} time */
  clamped(time) {
    return Math.min(this.chart.to, Math.max(this.chart.from, time));
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, event);
    this.chart.element.setPointerCapture(event.pointerId);
    if (this.pointers.size === 2) {
      this.pinch = this.distance();
      this.drag = null;
      return;
    }
    const x = this.pixel(event);
    if (event.shiftKey) this.box = { from: x, to: x };
    else this.drag = { x, from: this.chart.from, to: this.chart.to, moved: false };
  }

  /** @param {PointerEvent} event */
  move(event) {
    const chart = this.chart;
    const x = this.pixel(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      const distance = this.distance();
      const [a, b] = [...this.pointers.values()];
      if (this.pinch > 0 && distance > 0) chart.zoom(this.pinch / distance, this.clamped(chart.timeAt((this.pixel(a) + this.pixel(b)) / 2)));
      this.pinch = distance;
      return;
    }
    if (this.box) this.box.to = Math.min(chart.plot.right, Math.max(chart.plot.left, x));
    if (this.drag && (this.drag.moved || Math.abs(x - this.drag.x) >= DRAG)) {
      this.drag.moved = true;
      const by = ((this.drag.x - x) / (chart.plot.right - chart.plot.left)) * (this.drag.to - this.drag.from);
      chart.choose(this.drag.from + by, this.drag.to + by, true);
      chart.element.classList.add("chart-dragged");
    }
    const inside = x >= chart.plot.left && x <= chart.plot.right;
    this.x = inside && !this.drag?.moved ? x : null;
    chart.setCursor(this.x === null ? null : chart.timeAt(x));
  }

  /** The chart moved below the pointer: return the time there now, undefined without a pointer. */
  timeBelow() {
    return this.x === null ? undefined : this.chart.timeAt(this.x);
  }

  /** @param {PointerEvent} event */
  up(event) {
    const chart = this.chart;
    this.pointers.delete(event.pointerId);
    chart.element.classList.remove("chart-dragged");
    const { box, drag } = this;
    this.box = this.drag = null;
    if (box && Math.abs(box.to - box.from) > DRAG) {
      const [from, to] = [chart.timeAt(Math.min(box.from, box.to)), chart.timeAt(Math.max(box.from, box.to))];
      chart.choose(from, to);
    } else if (drag?.moved) chart.choose(chart.from, chart.to);
    chart.drawOverlay();
  }

  /** @param {PointerEvent} event */
  leave(event) {
    if (this.pointers.has(event.pointerId)) return;
    this.x = null;
    this.chart.setCursor(null);
  }

  distance() {
    const [a, b] = [...this.pointers.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.target !== this.chart.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const chart = this.chart;
    const middle = chart.following !== null ? chart.to : chart.cursor ?? (chart.from + chart.to) / 2;
    const sign = event.key === "ArrowLeft" ? -1 : 1;
    switch (event.key) {
      case "ArrowLeft":
      case "ArrowRight":
        if (event.shiftKey) this.step(sign);
        else chart.pan(sign * KEY_PAN);
        break;
      case "ArrowUp":
      case "+":
      case "=":
        chart.zoom(KEY_ZOOM, middle);
        break;
      case "ArrowDown":
      case "-":
        chart.zoom(1 / KEY_ZOOM, middle);
        break;
      case "Home":
        this.jump(Math.min(...chart.series.map((one) => one.firstTime)), 0);
        break;
      case "End":
        this.jump(Math.max(...chart.series.map((one) => one.lastTime)), 1);
        break;
      case "Escape":
        chart.setCursor(null);
        break;
      case "Backspace":
        chart.options.onBack?.();
        break;
      default:
        return;
    }
    event.preventDefault();
  }

  /** Move the cross-hair by a hundredth of the chart, and say the values there. @param {number} sign */
  step(sign) {
    const chart = this.chart;
    const from = chart.cursor ?? (sign > 0 ? chart.from : chart.to);
    this.x = null;
    chart.setCursor(this.clamped(from + (sign * (chart.to - chart.from)) / 100));
    chart.speak();
  }

  /** Show the span that begins, or ends, at a time. @param {number} time @param {number} part */
  jump(time, part) {
    const chart = this.chart;
    if (!Number.isFinite(time)) return;
    const span = chart.to - chart.from;
    chart.choose(time - part * span, time + (1 - part) * span);
  }
}

/**
 * Drag points from the list into the chart: with a mouse or a pen at once, with a finger after a short press, because a
 * finger that moves scrolls the list. Escape ends a drag. With the keyboard, Enter on a point does the same.
 */

import { h, setText } from "../../dom.js";
import { t } from "../../texts.js";

/** Pixels from which a press is a drag, or a finger scrolls. */
const MOVED = 6;

/** Milliseconds that a finger rests on a point before it drags it. */
const HOLD = 350;

/** Pixels at the top and the bottom of the window where a drag scrolls it, and the pixels of a frame. */
const EDGE = 56;
const SCROLL = 12;

/**
 * @typedef {object} DragOptions
 * @property {HTMLElement} list      has the points, elements with `data-point`
 * @property {HTMLElement} target    takes them
 * @property {(point: string) => string} refusal   why a point can't be taken, empty if it can
 * @property {(point: string) => void} drop
 */

export class PointDrag {
  /** @param {DragOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {{point: string, name: string, element: HTMLElement, pointer: number, x: number, y: number} | null} */
    this.press = null;
    /** @type {HTMLElement | null} the name that follows the pointer, during a drag */
    this.ghost = null;
    this.holding = 0;
    this.frame = 0;
    this.y = 0;
    this.dropped = false; // a drag has ended, and its click may come
    this.said = h("p", { class: "visually-hidden", role: "status" });
    options.list.after(this.said);
    this.stop = new AbortController();
    const { signal } = this.stop;
    const { list } = options;
    addEventListener("pointerdown", () => (this.dropped = false), { signal, capture: true });
    list.addEventListener("pointerdown", (event) => this.down(event), { signal });
    list.addEventListener("contextmenu", (event) => this.press?.element.contains(/** @type {Node} */ (event.target)) && event.preventDefault(), { signal });
    // a finger that drags must not scroll, and only this event can say so
    list.addEventListener("touchmove", (event) => this.ghost && event.preventDefault(), { signal, passive: false });
    addEventListener("pointermove", (event) => this.move(event), { signal });
    addEventListener("pointerup", (event) => this.up(event), { signal });
    addEventListener("pointercancel", (event) => this.isOurs(event) && this.end(), { signal });
    addEventListener("blur", () => this.end(), { signal });
    addEventListener("keydown", (event) => this.key(event), { signal, capture: true });
    // the click that ends a drag does not choose the point a second time
    addEventListener("click", (event) => this.click(event), { signal, capture: true });
  }

  destroy() {
    this.end();
    this.stop.abort();
    this.said.remove();
  }

  /** @param {PointerEvent} event */
  isOurs(event) {
    return this.press?.pointer === event.pointerId;
  }

  /** @param {PointerEvent} event */
  down(event) {
    const element = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-point]"));
    if (!element || event.button !== 0 || !event.isPrimary) return;
    const name = element.querySelector(".picker-name")?.textContent ?? "";
    this.press = { point: element.dataset.point ?? "", name, element, pointer: event.pointerId, x: event.clientX, y: event.clientY };
    if (event.pointerType === "touch") this.holding = setTimeout(() => this.begin(), HOLD);
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (!this.press || !this.isOurs(event)) return;
    if (!this.ghost) {
      if (Math.hypot(event.clientX - this.press.x, event.clientY - this.press.y) < MOVED) return;
      if (event.pointerType === "touch") return this.end();
      this.begin();
    }
    this.show(event.clientX, event.clientY);
  }

  begin() {
    const { press } = this;
    if (!press) return;
    press.element.setPointerCapture(press.pointer);
    this.ghost = h("div", { class: "drag-ghost", "aria-hidden": "true" });
    document.body.append(this.ghost);
    document.documentElement.classList.add("dragging");
    this.options.target.classList.add("drop-target");
    setText(this.said, t("{name}: drop it on the chart, or press Escape.", { name: press.name }));
    this.show(press.x, press.y);
    this.frame = requestAnimationFrame(() => this.scroll());
  }

  /** @param {number} x @param {number} y */
  show(x, y) {
    const { ghost, press } = this;
    if (!ghost || !press) return;
    this.y = y;
    ghost.style.translate = `${x + 12}px ${y + 12}px`;
    const refusal = this.isOver(x, y) ? this.options.refusal(press.point) : "";
    setText(ghost, refusal || press.name);
    ghost.classList.toggle("drag-refused", refusal !== "");
    this.options.target.classList.toggle("drop-here", this.isOver(x, y) && !refusal);
  }

  /** @param {number} x @param {number} y */
  isOver(x, y) {
    return this.options.target.contains(document.elementFromPoint(x, y));
  }

  /** Scroll at the edges of the window: on a small screen the chart is above the list. */
  scroll() {
    const by = this.y < EDGE ? -SCROLL : this.y > innerHeight - EDGE ? SCROLL : 0;
    if (by) scrollBy(0, by);
    this.frame = requestAnimationFrame(() => this.scroll());
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (!this.press || !this.isOurs(event)) return;
    const { point, name } = this.press;
    const isDrop = this.ghost !== null && this.isOver(event.clientX, event.clientY);
    this.dropped = this.ghost !== null;
    this.end();
    if (!isDrop) return;
    const refusal = this.options.refusal(point);
    setText(this.said, refusal || t("{name} is in the chart.", { name }));
    if (!refusal) this.options.drop(point);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "Escape" || !this.ghost) return;
    event.preventDefault();
    event.stopPropagation();
    this.dropped = true;
    this.end();
  }

  /** @param {MouseEvent} event */
  click(event) {
    if (!this.dropped || event.detail === 0) return;
    this.dropped = false;
    event.preventDefault();
    event.stopPropagation();
  }

  end() {
    clearTimeout(this.holding);
    cancelAnimationFrame(this.frame);
    if (this.ghost) setText(this.said, "");
    this.ghost?.remove();
    this.ghost = this.press = null;
    document.documentElement.classList.remove("dragging");
    this.options.target.classList.remove("drop-target", "drop-here");
  }
}

/**
 * A list of many rows of which only the visible ones exist: a grid that is scrolled, and walked through by keys.
 *
 *     const rows = new VirtualList({ label, columns: [t("Time"), ...], make, update, activate, select });
 *     parent.append(rows.element);
 *     rows.show(count, (index) => item);        // again after each change
 *
 * `make` returns the cells of a new row, `update(cells, item, index)` shows an item, or undefined while it is loaded.
 * All rows have one height. The keys are the arrows, Page Up, Page Down, Home, End, and Enter for `activate`.
 */

import { h, set } from "./dom.js";

const BEYOND = 6; // rows above and below those that are visible
let grids = 0;

/**
 * @typedef {object} VirtualOptions
 * @property {string} label
 * @property {string[]} columns   the titles; their widths are the CSS variable `--columns` of the element
 * @property {() => Node[]} make
 * @property {(cells: HTMLElement[], item: any, index: number, row: HTMLElement) => void} update
 * @property {(item: any, index: number) => void} [activate]   Enter, or a double click
 * @property {(item: any, index: number) => void} [select]     another row is the current one
 */

export class VirtualList {
  /** @param {VirtualOptions} options */
  constructor(options) {
    this.options = options;
    this.id = `grid-${++grids}`;
    this.count = 0;
    this.get = () => undefined;
    this.current = -1;
    /** @type {Map<number, HTMLElement>} */
    this.rows = new Map();
    this.spare = [];
    this.body = h("div", { class: "virtual-body", role: "rowgroup" });
    this.head = h("div", { class: "virtual-head", role: "rowgroup" }, h("div", { class: "virtual-row", role: "row", "aria-rowindex": 1 },
      ...options.columns.map((title) => h("span", { role: "columnheader", text: title }))));
    this.element = h("div", {
      class: "virtual", role: "grid", tabindex: 0, "aria-label": options.label, "aria-readonly": "true",
      on: { scroll: () => this.draw(), keydown: (event) => this.key(event), click: (event) => this.click(event), dblclick: () => this.enter() },
    }, this.head, this.body);
    this.sizes = new ResizeObserver(() => { this.height = 0; this.draw(); });
    this.sizes.observe(this.element);
  }

  destroy() {
    this.sizes.disconnect();
  }

  /** The height of a row in pixels: that of the head, which has the same style. */
  measure() {
    if (!this.height) this.height = this.head.firstElementChild.offsetHeight || 30;
    return this.height;
  }

  /**
   * Show other items. With `keepPlace`, the index that the first visible item now has, the rows stay where they are.
   * @param {number} count @param {(index: number) => any} get @param {number} [keepPlace]
   */
  show(count, get, keepPlace) {
    const height = this.measure();
    const into = this.element.scrollTop % height;
    this.count = count;
    this.get = get;
    if (this.current >= count) this.current = count - 1;
    set(this.element, { "aria-rowcount": count + 1 });
    this.body.style.blockSize = `${count * height}px`;
    if (keepPlace !== undefined && this.element.scrollTop > 0) this.element.scrollTop = keepPlace * height + into;
    this.draw(true);
  }

  /** The index of the first row that is visible. */
  get first() {
    return Math.floor(this.element.scrollTop / this.measure());
  }

  draw(all = false) {
    const height = this.measure();
    const from = Math.max(0, this.first - BEYOND);
    const to = Math.min(this.count, Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + BEYOND);
    for (const [index, row] of this.rows) {
      if (index >= from && index < to) continue;
      this.rows.delete(index);
      this.spare.push(row);
      row.hidden = true;
    }
    for (let index = from; index < to; index++) {
      const known = this.rows.get(index);
      if (known && !all) continue;
      const row = known ?? this.spare.pop() ?? this.newRow();
      this.rows.set(index, row);
      row.hidden = false;
      row.style.transform = `translateY(${index * height}px)`;
      row.id = `${this.id}-${index}`;
      set(row, { "aria-rowindex": index + 2, "aria-selected": index === this.current ? "true" : "false" });
      this.options.update(row.cells, this.get(index), index, row);
    }
    set(this.element, { "aria-activedescendant": this.rows.has(this.current) ? `${this.id}-${this.current}` : null });
  }

  newRow() {
    const cells = this.options.make().map((content) => h("span", { role: "gridcell" }, content));
    const row = h("div", { class: "virtual-row", role: "row" }, ...cells);
    row.cells = cells;
    this.body.append(row);
    return row;
  }

  /** Make a row the current one, and scroll to it. */
  go(index) {
    if (!this.count) return;
    this.current = Math.max(0, Math.min(this.count - 1, index));
    const height = this.measure();
    const top = this.current * height;
    const room = this.element.clientHeight - this.head.offsetHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + height > this.element.scrollTop + room) this.element.scrollTop = top + height - room;
    this.draw(true);
    this.options.select?.(this.get(this.current), this.current);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.measure()) - 2);
    const target = { ArrowDown: this.current + 1, ArrowUp: this.current - 1, PageDown: this.current + page, PageUp: this.current - page, Home: 0, End: this.count - 1 }[event.key];
    if (event.target !== this.element || event.altKey || event.ctrlKey || event.metaKey) return;
    if (target !== undefined) this.go(target);
    else if (event.key === "Enter") this.enter();
    else return;
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest?.(".virtual-body > .virtual-row");
    if (row) this.go(Number(row.id.slice(this.id.length + 1)));
  }

  enter() {
    const item = this.current < 0 ? undefined : this.get(this.current);
    if (item !== undefined) this.options.activate?.(item, this.current);
  }
}

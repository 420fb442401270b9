/**
 * A sum as a flow: what came in at the left parts into what became of it at the right, with widths in proportion.
 *
 *     const picture = new Flow(t("acquired"));
 *     parent.append(picture.element);
 *     picture.show({ total, note, parts: [{ key, kind, value, label, note }] });
 *
 * The numbers are HTML beside the picture, so that they are read and copied as text; the picture is only for the eye.
 * Kinds have their colours in css/delivery.css.
 */

import { h, keep, setText } from "../dom.js";
import { number, percent } from "../texts.js";

const SPACE = "http://www.w3.org/2000/svg";
const TOTAL = 260; // height of the whole, in the units of the picture
const ROW = 100; // least height of a part, so that its text has room
const THINNEST = 5; // of a part that is not nothing

/** @typedef {{key: string, kind: string, value: number, label: string, note?: string}} Part */

export class Flow {
  /** @param {string} name what the whole is */
  constructor(name) {
    this.total = h("strong", { class: "flow-number" });
    this.note = h("span", { class: "muted" });
    this.svg = document.createElementNS(SPACE, "svg");
    this.svg.setAttribute("class", "flow-picture");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.parts = h("ul", { class: "flow-parts" });
    this.element = h("div", { class: "balance-flow" },
      h("div", { class: "flow-source" }, this.total, h("span", { text: name }), this.note), this.svg, this.parts);
  }

  /** @param {{total: number, note?: string, parts: Part[]}} sum */
  show({ total, note, parts }) {
    setText(this.total, number(total, 0));
    setText(this.note, note ?? "");
    const shapes = layout(parts);
    const height = shapes.reduce((sum, shape) => sum + shape.row, 0);
    this.element.style.setProperty("--flow-rows", String(height / ROW));
    this.svg.setAttribute("viewBox", `0 0 100 ${height}`);
    keepPaths(this.svg, shapes, height);
    const whole = parts.reduce((sum, part) => sum + part.value, 0);
    keep(this.parts, shapes, (shape) => shape.part.key, () =>
      h("li", {}, h("strong", { class: "flow-number" }), h("span", { class: "flow-label" }), h("span", { class: "muted flow-share" })),
    (element, shape) => {
      const { part, row } = shape;
      element.style.flexGrow = String(row);
      element.dataset.kind = part.kind;
      element.dataset.none = part.value ? "no" : "yes";
      setText(element.children[0], number(part.value, 0));
      setText(element.children[1], part.label);
      setText(element.children[2], [part.value > whole / 2000 ? percent(part.value / whole) : "", part.note ?? ""].filter(Boolean).join(" · "));
    });
  }
}

/** Return the heights of the parts: of each ribbon, and of its row. */
function layout(parts) {
  const whole = parts.reduce((sum, part) => sum + Math.max(0, part.value), 0);
  const thick = parts.map((part) => (part.value > 0 && whole > 0 ? Math.max(THINNEST, (TOTAL * part.value) / whole) : 0));
  const scale = TOTAL / (thick.reduce((sum, one) => sum + one, 0) || TOTAL);
  return parts.map((part, at) => ({ part, height: thick[at] * scale, row: Math.max(ROW, thick[at] * scale + 12) }));
}

function keepPaths(svg, shapes, height) {
  while (svg.children.length < shapes.length) svg.append(document.createElementNS(SPACE, "path"));
  while (svg.children.length > shapes.length) svg.lastElementChild.remove();
  let left = (height - TOTAL) / 2;
  let top = 0;
  shapes.forEach((shape, at) => {
    const right = top + (shape.row - shape.height) / 2;
    const path = svg.children[at];
    path.setAttribute("class", `flow-ribbon flow-${shape.part.kind}`);
    path.setAttribute("d", shape.height ? ribbon(left, right, shape.height) : "");
    left += shape.height;
    top += shape.row;
  });
}

function ribbon(left, right, height) {
  const [a, b, c, d] = [left, right, right + height, left + height].map((one) => one.toFixed(2));
  return `M0 ${a}H12C52 ${a} 50 ${b} 88 ${b}H100V${c}H88C50 ${c} 52 ${d} 12 ${d}H0Z`;
}

/** Bars side by side, as a picture that follows the size of its element and the theme. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Draw numbers as bars into an element. `limit` is drawn as a line; bars above it are marked.
 * @param {Element} element
 * @param {{values: number[], label: string, title: (at: number) => string, limit?: number}} options
 */
export function bars(element, { values, label, title, limit }) {
  const highest = Math.max(1, ...values, limit === undefined ? 0 : limit * 1.2);
  const picture = make("svg", { class: "bars", viewBox: `0 0 ${values.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  values.forEach((value, at) => {
    const height = value ? Math.max(1.5, (value / highest) * 100) : 0;
    const bar = make("rect", { x: at + 0.08, y: 100 - height, width: 0.84, height, class: limit !== undefined && value > limit ? "bar over" : "bar" });
    bar.append(Object.assign(make("title", {}), { textContent: title(at) }));
    picture.append(bar);
  });
  if (limit !== undefined) {
    const y = 100 - (limit / highest) * 100;
    picture.append(make("line", { class: "bars-limit", x1: 0, x2: values.length, y1: y, y2: y }));
  }
  element.replaceChildren(picture);
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

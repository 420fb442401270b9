/** A choice of places of the plant: site, area, line, machine. */

import { h } from "./dom.js";
import { t } from "./texts.js";

const MAX_MACHINES = 500; // more would make the list unusable: then lines are the lowest level

/** Return the places of rows in their order, each with its path and its depth below the site. */
export function places(rows, machines = true) {
  const found = new Map();
  const lowest = machines && rows.length <= MAX_MACHINES ? 5 : 4;
  for (const row of rows) {
    const levels = row.path.split("/");
    for (let depth = 2; depth <= lowest; depth++) found.set(levels.slice(0, depth).join("/"), depth - 2);
  }
  return [...found].map(([path, depth]) => ({ path, depth }));
}

/**
 * A select of places, which follows the machines that are known.
 * @param {import("./main.js").App} app @param {string} chosen a path, empty for all @param {(path: string) => void} changed
 * @param {boolean} [machines] whether single machines can be chosen
 */
export class PlaceChoice {
  constructor(app, chosen, changed, machines = true) {
    this.app = app;
    this.chosen = chosen;
    this.machines = machines;
    this.element = h("select", { class: "field place", "aria-label": t("Place"), on: { change: () => changed((this.chosen = this.element.value)) } });
    this.shown = "";
    this.update = () => this.show();
    this.show();
    addEventListener("tick", this.update);
  }

  show() {
    const found = places(this.app.rows.all, this.machines);
    const key = found.map((one) => one.path).join("\n");
    if (key === this.shown && this.element.children.length) return;
    this.shown = key;
    if (this.chosen && !found.some((one) => one.path === this.chosen)) found.push({ path: this.chosen, depth: 0 });
    this.element.replaceChildren(
      h("option", { value: "", text: t("Whole plant") }),
      ...found.map(({ path, depth }) => h("option", { value: path, text: `${"\u00a0\u00a0".repeat(depth)}${name(path)}` })));
    this.element.value = this.chosen;
  }

  destroy() {
    removeEventListener("tick", this.update);
  }
}

const name = (path) => (path.split("/").length === 2 ? path.replace("/", " › ") : path.split("/").at(-1));

/** The way to a machine or a line: its site and area, and its line as a link. */

import { h } from "./dom.js";
import { address } from "./router.js";
import { t } from "./texts.js";

/** @param {string[]} path enterprise, site, area, and the line of a machine */
export function crumbs(path) {
  const [enterprise, site, area, line] = path;
  const link = (text, target) => h("li", {}, h("a", { href: target, text }));
  return h("nav", { "aria-label": t("Place") }, h("ol", { class: "crumbs" }, link(t("Overview"), address("overview")),
    ...[enterprise, site, area].filter(Boolean).map((text) => h("li", { text })),
    line ? link(line, address("line", path.slice(0, 4))) : null));
}

/** Return a choice of one of some values as buttons; `chosen` is called with the value. */
export function choice(label, options, value, chosen) {
  const buttons = options.map(([one, text]) => h("button", { class: "button", type: "button", text, "aria-pressed": one === value ? "true" : "false",
    on: { click: (event) => {
      for (const button of buttons) button.setAttribute("aria-pressed", button === event.currentTarget ? "true" : "false");
      chosen(one);
    } } }));
  return h("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}

/** A row of buttons of which one is pressed. */

import { h, set } from "./dom.js";

/**
 * @param {string} label what is chosen, for screen readers
 * @param {[string, string][]} choices value and text of each @param {string} chosen @param {(value: string) => void} changed
 */
export function segmented(label, choices, chosen, changed) {
  const element = h("div", { class: "segmented", role: "group", "aria-label": label });
  const show = (value) => {
    for (const button of element.children) set(button, { "aria-pressed": button.dataset.value === value ? "true" : "false" });
  };
  element.append(...choices.map(([value, text]) =>
    h("button", { class: "button", type: "button", text, data: { value }, on: { click: () => { show(value); changed(value); } } })));
  show(chosen);
  return element;
}

/** Small parts of the alarms: marks of priorities, links to machines, names of changes. */

import { h } from "../dom.js";
import { address } from "../router.js";
import { t } from "../texts.js";

/** Return the mark of a priority: colour, shape and number. */
export function priorityMark(priority) {
  const label = t("Priority {priority}", { priority });
  return h("span", { class: "priority", data: { priority }, text: priority, role: "img", "aria-label": label, title: label });
}

/** Return a link to a machine, with where it is. */
export function machineLink(path) {
  const levels = path.split("/");
  return h("a", { class: "machine-link", href: address("machine", path) }, h("strong", { text: levels.at(-1) }),
    h("span", { class: "muted", text: levels.slice(2, 4).join(" › ") }));
}

/** Return what an alarm has become. */
export function changeText({ active, acknowledged }) {
  if (active) return t("active");
  return acknowledged ? t("ended") : t("ended, not acknowledged");
}

/** Small parts of the alarms: marks of priorities, links to machines, names of changes. */

import { h } from "../dom.js";
import { address } from "../router.js";
import { mark, t } from "../texts.js";

/** The states of an alarm of a gateway in which its condition is active (ISA-18.2). */
export const ACTIVE = new Set(["unacknowledged", "acknowledged"]);

/** Its other states; there is no text for a normal one. */
export const STATES = {
  returned_unacknowledged: mark("ended, not acknowledged"), latched_unacknowledged: mark("ended, to be acknowledged and reset"),
  latched: mark("ended and acknowledged, to be reset"), shelved: mark("shelved"), suppressed: mark("suppressed by design"),
  out_of_service: mark("out of service"),
};

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
export function changeText({ active, acknowledged, state, previous }) {
  if (state in STATES) return t(STATES[state]);
  if (active) return t("active");
  if (previous && !ACTIVE.has(previous)) return t("normal");
  return acknowledged ? t("ended") : t("ended, not acknowledged");
}

/** The recorded history of a part: the work on it, with results, values and materials; and where a lot was used. */

import { h } from "../dom.js";
import { may } from "../live.js";
import { address } from "../router.js";
import { measured, moment, span, t, tn, unit } from "../texts.js";

const MARGIN = 30e6; // microseconds beside the work that its curves show

/**
 * Return the panels of the operations of a part, or of the parts of a lot.
 * @param {any} found the answer of the server
 * @param {{uses: (lot: string) => void, seen: () => void}} actions
 */
export function partOperations(found, actions) {
  const panels = problems(found);
  const serials = [...new Set(found.operations.map((one) => one.serial))];
  for (const serial of serials) {
    const own = found.operations.filter((one) => one.serial === serial);
    panels.push(h("section", { class: "panel", "aria-label": t("History of {serial}", { serial }) },
      h("div", { class: "row between" },
        h("h2", { class: "serial-title", text: serial }),
        h("div", { class: "row" }, h("span", { class: "muted", text: tn("{count} operation", "{count} operations", own.length) }),
          h("button", { class: "button", type: "button", text: t("Where used"), on: { click: () => actions.uses(serial) } }),
          h("button", { class: "button", type: "button", text: t("Where it was seen"), on: { click: actions.seen } }))),
      now(found), h("ol", { class: "visits" }, ...own.map((one) => operation(one, actions)))));
  }
  return panels;
}

/** Return the panel of the parts that a lot went into. */
export function whereUsed(found) {
  const title = t("Where {lot} was used", { lot: found.lot });
  const parts = new Set(found.uses.map((one) => one.serial)).size;
  const list = found.uses.length === 0
    ? h("p", { class: "empty", text: t("No recorded part contains it.") })
    : h("table", { class: "table uses" },
      h("thead", {}, h("tr", {}, ...[t("Part"), t("Contains"), t("Operation"), t("Machine"), t("Time")].map((text) => h("th", { scope: "col", text })))),
      h("tbody", {}, ...found.uses.map(use)));
  const count = found.cut ? t("More than {count} parts; the first are shown.", { count: parts }) : tn("{count} part", "{count} parts", parts);
  return [...problems(found), h("section", { class: "panel", "aria-label": title },
    h("div", { class: "row between" }, h("h2", { class: "serial-title", text: title }), h("span", { class: "muted", text: count })),
    h("div", { class: "scroll" }, list))];
}

function problems(found) {
  return found.problems.length ? [h("p", { class: "notice", text: found.problems.join(" ") })] : [];
}

function now(found) {
  if (!found.live.length) return null;
  const places = found.live.map(({ path, point }) => `${path.split("/").at(-1)} (${point})`).join(", ");
  return h("p", { class: "notice", text: t("Now: {places}", { places }) });
}

function use(one) {
  const part = h("span", { class: "use-level" }, h("a", { class: "serial", href: address("parts", [], { serial: one.serial }), text: one.serial }));
  part.style.setProperty("--level", one.level - 1);
  return h("tr", {}, h("td", {}, part),
    h("td", {}, `${one.material} `, h("span", { class: "serial", text: one.lot })),
    h("td", { text: one.operation }), h("td", { text: one.path.split("/").at(-1) }), h("td", { text: moment(one.time) }));
}

function operation(one, actions) {
  const levels = one.path.split("/");
  const place = one.place ? ` (${one.place})` : "";
  return h("li", { class: "visit" },
    h("div", { class: "visit-time" }, ...times(one)),
    h("div", { class: "visit-what" },
      h("div", { class: "row tight" }, h("strong", { text: one.operation }),
        one.run > 1 ? h("span", { class: "chip", text: t("run {number}", { number: one.run }) }) : null,
        one.result ? h("span", { class: "chip", text: one.result }) : null,
        h("a", { href: address("machine", one.path), text: `${levels.at(-1)}${place}` }),
        h("span", { class: "muted", text: levels.slice(1, 4).join(" › ") })),
      facts(one),
      one.values.length ? h("dl", { class: "results" }, ...one.values.flatMap(value)) : null,
      one.materials.length ? h("ul", { class: "materials" }, ...one.materials.map(({ name, lot }) => h("li", {}, h("span", { class: "muted", text: name }),
        h("button", { class: "button quiet serial", type: "button", text: lot, title: t("Where used"), on: { click: () => actions.uses(lot) } })))) : null),
    one.curves.length && may("trends") && (one.from ?? one.to) !== null ? h("a", { class: "button", href: curves(one), text: t("Curves") }) : null);
}

function times(one) {
  const begin = one.from === null ? t("begin not seen") : moment(one.from);
  const end = one.to === null ? t("end not seen") : t("until {time}", { time: moment(one.to) });
  const lasting = one.from === null || one.to === null ? [] : [h("span", { class: "muted", text: t("lasting {span}", { span: span((one.to - one.from) / 1e6) }) })];
  return [h("strong", { text: begin }), h("span", { class: "muted", text: end }), ...lasting];
}

function facts(one) {
  const names = { lot: t("lot"), recipe: t("recipe"), tool: t("tool"), operator: t("operator") };
  const text = Object.entries(one.facts).map(([name, fact]) => `${names[name]} ${fact}`).join(" · ");
  return text ? h("span", { class: "muted small", text }) : null;
}

function value({ name, value: number, text, unit: code, quality, reason }) {
  const shown = text ?? (number === null ? t("missing: {reason}", { reason }) : `${measured(number)} ${unit(code ?? "")}`.trim());
  return [h("dt", { text: name }), h("dd", { text: quality === "uncertain" ? t("{value}, uncertain", { value: shown }) : shown })];
}

function curves(one) {
  const query = new URLSearchParams();
  for (const point of one.curves) query.append("point", `${one.path}/${point}`);
  query.set("from", String((one.from ?? one.to - 10 * MARGIN) - MARGIN));
  query.set("to", String((one.to ?? one.from + 10 * MARGIN) + MARGIN));
  return `/trends?${query}`;
}

/** Where a part was seen: machines in the order of time, with the results that belong to it. */

import { h } from "../dom.js";
import { may } from "../live.js";
import { address } from "../router.js";
import { dateTime, measured, moment, span, t, tn, unit } from "../texts.js";

const MARGIN = 30e6; // microseconds beside a visit that its trends show
const TOGETHER = 5e6; // microseconds between the readings of two points that name the same part

/**
 * Return the panels of what was found.
 * @param {any} found the answer of the server
 * @param {{choose: (serial: string) => void, further: () => void}} actions
 */
export function partHistory(found, actions) {
  const panels = [];
  if (found.problems.length) panels.push(h("p", { class: "notice", text: found.problems.join(" ") }));
  panels.push(h("section", { class: "panel", "aria-label": t("History of {serial}", { serial: found.serial }) },
    h("h2", { class: "serial-title" }, found.serial),
    found.visits.length ? timeline(found) : h("p", { class: "empty", text: t("This serial number was not seen.") }),
    now(found), searched(found, actions.further)));
  if (found.suggestions.length) panels.push(suggestions(found, actions.choose));
  return panels;
}

function timeline(found) {
  return h("ol", { class: "visits" }, ...stations(found.visits).map((one) => {
    const levels = one.path.split("/");
    const end = one.to === null ? t("until now") : one.lost ? t("until {time}, then no connection", { time: moment(one.to) }) : t("until {time}", { time: moment(one.to) });
    return h("li", { class: "visit" },
      h("div", { class: "visit-time" }, h("strong", { text: moment(one.from) }), h("span", { class: "muted", text: end }),
        h("span", { class: "muted", text: t("lasting {span}", { span: span(((one.to ?? found.now) - one.from) / 1e6) }) })),
      h("div", { class: "visit-what" },
        h("div", { class: "row tight" }, h("a", { href: address("machine", one.path) }, h("strong", { text: levels.at(-1) })), h("span", { class: "muted", text: levels.slice(1, 4).join(" › ") }),
          one.result ? h("span", { class: "chip", text: t("result") }) : h("span", { class: "chip", text: t("in work") })),
        h("span", { class: "muted small", text: one.points.join(", ") }),
        one.results.length ? h("dl", { class: "results" }, ...one.results.flatMap(result)) : null),
      one.trends.length && may("trends") ? h("a", { class: "button", href: trends(one, found.now), text: t("Trends") }) : null);
  }));
}

/** Join the visits of one machine at about the same time: several of its points may name the same part. */
function stations(visits) {
  const found = [];
  for (const visit of visits) {
    const same = found.find((one) => one.path === visit.path && one.result === visit.result && near(one.from, visit.from) && near(one.to, visit.to));
    if (same) {
      same.to = same.to === null || visit.to === null ? null : Math.max(same.to, visit.to);
      same.points.push(visit.point);
      same.results.push(...visit.results);
    } else found.push({ ...visit, points: [visit.point], results: [...visit.results] });
  }
  return found;
}

/** Whether two times are those of one event, which two points report; null is a time that has not come yet. */
const near = (one, other) => one === other || (one !== null && other !== null && Math.abs(one - other) <= TOGETHER);

function result({ point, value, unit: code, label, quality }) {
  const text = label || (typeof value === "number" ? `${measured(value)} ${unit(code)}` : typeof value === "boolean" ? (value ? t("yes") : t("no")) : value);
  return [h("dt", { text: point }), h("dd", { text: quality === "uncertain" ? t("{value}, uncertain", { value: text }) : text })];
}

function trends(visit, now) {
  const query = new URLSearchParams();
  for (const point of visit.trends) query.append("point", `${visit.path}/${point}`);
  query.set("from", String(visit.from - MARGIN));
  query.set("to", String(Math.min(now, (visit.to ?? now) + MARGIN)));
  return `/trends?${query}`;
}

function now(found) {
  if (!found.live.length) return null;
  const places = found.live.map(({ path, point }) => `${path.split("/").at(-1)} (${point})`).join(", ");
  return h("p", { class: "notice", text: t("Now: {places}", { places }) });
}

function searched(found, further) {
  const text = t("Searched: {points} of {machines}, from {from} to {to}.", {
    points: tn("{count} point", "{count} points", found.points), machines: tn("{count} machine", "{count} machines", found.machines),
    from: dateTime(Math.max(found.from, found.known_since)), to: dateTime(found.to),
  });
  const short = found.known_since > found.from ? ` ${t("The time was over before all was read.")}` : "";
  return h("div", { class: "row between searched" }, h("span", { class: "muted", text: text + short }),
    h("button", { class: "button", type: "button", text: t("Search 30 days further back"), on: { click: further } }));
}

function suggestions(found, choose) {
  const title = tn("{count} serial number that contains it", "{count} serial numbers that contain it", found.suggestions.length);
  return h("section", { class: "panel", "aria-label": title }, h("h2", { text: title }),
    h("ul", { class: "suggestions" }, ...found.suggestions.map((one) => h("li", {},
      h("button", { class: "button quiet serial", type: "button", text: one.serial, on: { click: () => choose(one.serial) } }),
      h("span", { class: "muted", text: `${one.path.split("/").at(-1)}, ${moment(one.time)}` })))));
}


/** The overview: all lines as flows of machines, and what needs attention first. */

import { h, keep, set, setText } from "../dom.js";
import { strip } from "../chart/small.js";
import { address } from "../router.js";
import { Rows, segments } from "../rows.js";
import { alarmBadge, reasonText, shown, stateMark, stateText, updateStateMark, urgency } from "../states.js";
import { number, percent, span, t, tn } from "../texts.js";

const STRIP = 30 * 60; // seconds of the timelines
const MOST_URGENT = 12;

/** @param {HTMLElement} root @param {import("../main.js").App} app */
export function view(root, app) {
  const attention = h("ol", { class: "attention", "aria-label": t("Needs attention") });
  const calm = h("p", { class: "muted", text: t("Nothing needs attention.") });
  const summary = h("div", { class: "summary muted" });
  const sites = h("div", { class: "stack" });
  root.append(
    h("div", { class: "title" }, h("h1", { text: t("Overview") }), summary),
    h("section", { class: "panel", "aria-label": t("Needs attention") }, h("h2", { text: t("Needs attention") }), attention, calm),
    sites);
  /** @type {Map<string, HTMLElement>} */
  let tiles = new Map();
  /** @type {Set<Element>} */
  const visible = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) visible.add(target);
      else visible.delete(target);
      if (isIntersecting) draw(target, rows, app.live.now());
    }
  });
  const rows = new Rows(app.live, { strip: STRIP }, (_, structure, changed) => {
    if (structure) {
      watcher.disconnect();
      visible.clear();
      showSites(sites, rows);
      tiles = new Map([...sites.querySelectorAll(".tile")].map((tile) => [tile.dataset.path, tile]));
      for (const tile of tiles.values()) watcher.observe(tile);
    }
    for (const row of changed) updateMachine(tiles.get(row.path), row);
    showSummary(summary, rows);
    showAttention(attention, rows, app);
    set(calm, { hidden: attention.children.length > 0 });
  });
  const tick = (event) => {
    for (const tile of visible) draw(tile, rows, event.detail);
    showAttention(attention, rows, app);
  };
  addEventListener("tick", tick);
  return { destroy: () => { rows.close(); watcher.disconnect(); removeEventListener("tick", tick); } };
}

function showSummary(element, rows) {
  const all = rows.all;
  const counts = { producing: 0, waiting: 0, stopped: 0, wrong: 0 };
  for (const row of all) {
    const { kind } = shown(row);
    counts[{ producing: "producing", idle: "waiting", suspended: "waiting", changing: "waiting", stopped: "stopped" }[kind] ?? "wrong"]++;
  }
  const parts = [
    tn("{count} machine", "{count} machines", all.length), t("{count} running", { count: counts.producing }),
    t("{count} waiting", { count: counts.waiting }), t("{count} stopped", { count: counts.stopped }),
  ];
  if (counts.wrong) parts.push(t("{count} in trouble", { count: counts.wrong }));
  setText(element, parts.join(" · "));
}

function showAttention(list, rows, app) {
  const urgent = rows.all.filter((row) => urgency(row) > 0).sort((a, b) => urgency(b) - urgency(a) || b.since - a.since).slice(0, MOST_URGENT);
  keep(list, urgent, (row) => row.path, (row) =>
    h("li", {}, h("a", { href: address("machine", row.path) }, h("span", { class: "badge-place" }), h("strong"), h("span", { class: "why" }), h("span", { class: "muted since" }), h("span", { class: "muted where" }))),
  (element, row) => {
    const link = element.firstElementChild;
    const { kind, name, reason } = shown(row);
    const badge = alarmBadge(row.alarms) ?? h("span", { class: "state", data: { kind } }, h("i"));
    link.querySelector(".badge-place").replaceChildren(badge);
    setText(link.querySelector("strong"), row.path.split("/").at(-1));
    const state = reason ? `${stateText(name)}: ${reasonText(reason)}` : stateText(name);
    const bad = row.bad && kind !== "offline" ? ` · ${t("{bad} of {points} points are bad", { bad: row.bad, points: row.points })}${row.reason ? `: ${reasonText(row.reason)}` : ""}` : "";
    setText(link.querySelector(".why"), row.alarm ? `${row.alarm} · ${state}` : state + bad);
    const since = ["offline", "degraded"].includes(kind) ? row.since : row.production_since ?? row.since;
    setText(link.querySelector(".since"), since ? t("for {span}", { span: span((app.live.now() - since) / 1e6) }) : "");
    setText(link.querySelector(".where"), row.path.split("/").slice(1, 4).join(" › "));
  });
}

function showSites(element, rows) {
  element.replaceChildren(...[...rows.tree()].map(([site, areas]) =>
    h("section", { class: "panel", "aria-label": site }, h("h2", { text: site.replace("/", " › ") }),
      ...[...areas].flatMap(([area, lines]) => [...lines].map(([line, machines]) => lineOf(site, area, line, machines))))));
  if (rows.byPath.size === 0) {
    element.replaceChildren(h("div", { class: "panel empty", text: t("No machine is known yet: none is configured, and none has been heard at the broker.") }));
  }
}

function lineOf(site, area, line, machines) {
  const place = [...site.split("/"), area, line];
  return h("div", { class: "flow" },
    h("a", { class: "flow-name", href: address("line", place) }, h("span", { class: "muted", text: area }), h("strong", { text: line })),
    h("ol", { class: "flow-machines", "aria-label": line }, ...machines.map((row, at) =>
      // machines of one kind beside each other do the same work: no arrow between them
      h("li", { data: { next: at + 1 < machines.length && machines[at + 1].template !== row.template ? "other" : "same" } }, h("a", { class: "tile", href: address("machine", row.path), data: { path: row.path } },
        h("span", { class: "tile-head" }, h("strong", { text: row.name, title: row.template }), h("span", { class: "badge-place" })),
        stateMark(row), h("canvas", { class: "tile-strip", "aria-hidden": "true" }),
        h("span", { class: "tile-counts muted" }))))));
}

function updateMachine(tile, row) {
  updateStateMark(tile.querySelector(".state"), row);
  tile.querySelector(".badge-place").replaceChildren(alarmBadge(row.alarms) ?? (row.bad ? h("span", { class: "chip bad", text: t("{count} bad", { count: row.bad }) }) : ""));
  const counts = [];
  if (row.good !== undefined) counts.push(`${number(row.good, 0)} ✓`);
  if (row.reject) counts.push(`${number(row.reject, 0)} ✗`);
  if (row.oee !== undefined) counts.push(t("OEE {percent}", { percent: percent(row.oee / 100) }));
  setText(tile.querySelector(".tile-counts"), counts.join("  "));
  set(tile, { data: { urgent: urgency(row) > 0 ? "yes" : "no" } });
}

/** Draw the timeline of a tile; only those that are visible are drawn. */
function draw(tile, rows, now) {
  const row = rows.byPath.get(tile.dataset.path);
  const from = now - STRIP * 1e6;
  if (row) strip(tile.querySelector("canvas"), { from, to: now, segments: segments(row.strip, from, now) });
}

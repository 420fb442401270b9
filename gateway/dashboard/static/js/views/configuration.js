/** Configuration: the files that the page was given, as the gateway understands them, and the plan of all connections. */

import { h, keep, set, setText } from "../dom.js";
import { request } from "../live.js";
import { PagedRows } from "../paged.js";
import { remember } from "../router.js";
import { bytes, list, mark, milliseconds, number, percent, span, t, tn } from "../texts.js";
import { VirtualList } from "../virtual.js";

const TABS = { points: mark("Points"), connections: mark("Connections"), settings: mark("Settings and files"), warnings: mark("Warnings") };
const TYPING = 200; // milliseconds after a key until a search begins
const BUSY = 0.8; // the load from which on periods are at risk
const MODELS = { model: mark("a model of its physics"), generic: mark("values in the range of each point") };

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  const page = new Configuration(root, route);
  return { destroy: () => page.destroy() };
}

class Configuration {
  constructor(root, { query }) {
    this.number = Number(query.get("n")) || 0;
    this.tab = query.get("tab") in TABS ? query.get("tab") : "points";
    this.choice = h("div", { class: "row", role: "group", "aria-label": t("Configurations") });
    this.notes = h("div", { class: "stack", role: "status" });
    this.head = h("section", { class: "panel", "aria-label": t("Configuration") });
    this.search = h("input", { class: "field", type: "search", value: query.get("search") ?? "", autocomplete: "off", placeholder: t("Search"), "aria-label": t("Search"), on: { input: () => this.typed() } });
    this.found = h("span", { class: "muted", role: "status" });
    this.tabs = h("div", { class: "tabs", role: "tablist", "aria-label": t("Parts of the configuration") }, ...Object.entries(TABS).map(([name, title]) =>
      h("button", { class: "tab", type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "tab-panel", data: { tab: name }, text: t(title), on: { click: () => this.choose(name) } })));
    this.tabs.addEventListener("keydown", (event) => this.key(event));
    this.panel = h("div", { class: "panel tab-panel", id: "tab-panel", role: "tabpanel", tabindex: -1 });
    this.row = h("div", { class: "row tab-row" }, this.tabs, h("span", { class: "space" }), this.found, this.search);
    this.detail = h("section", { class: "panel link-detail", "aria-label": t("Details"), "aria-live": "polite", hidden: true });
    root.append(h("div", { class: "title" }, h("h1", { text: t("Configuration") }), this.choice), this.notes, this.head,
      this.row, this.panel, this.detail);
    for (const part of [this.head, this.row, this.panel]) set(part, { hidden: true }); // until it is read
    this.points = pointsList((row) => this.showPoint(row));
    this.links = linksList((row) => this.showLink(row));
    this.rows = new PagedRows((total) => this.showRows(total), (error) => this.showError(error));
    this.refresh = () => { if (!document.hidden) this.load(); };
    document.addEventListener("visibilitychange", this.refresh);
    this.load();
  }

  destroy() {
    this.gone = true;
    clearTimeout(this.timer);
    this.points.destroy();
    this.links.destroy();
    document.removeEventListener("visibilitychange", this.refresh);
  }

  async load() {
    if (!this.all) this.notes.replaceChildren(h("p", { class: "muted", text: t("The configuration is being read.") }));
    try {
      const found = await request("/api/configurations");
      if (this.gone) return;
      const before = this.all?.configurations[this.number]?.digest;
      this.all = found;
      this.number = Math.min(this.number, found.configurations.length - 1);
      this.showChoice();
      this.show();
      if (before !== found.configurations[this.number]?.digest || !this.drawn) this.choose(this.tab);
      this.drawn = true;
    } catch (error) {
      this.showError(error);
    }
  }

  showError(error) {
    if (!this.gone) this.notes.replaceChildren(h("div", { class: "panel errors", text: t("The configuration can't be shown: {error}", { error: error.message }) }));
  }

  showChoice() {
    const { configurations } = this.all;
    set(this.choice, { hidden: configurations.length < 2 });
    keep(this.choice, configurations, (one) => String(one.number), (one) =>
      h("button", { class: "button", type: "button", on: { click: () => { this.number = one.number; this.showChoice(); this.show(); this.choose(this.tab); } } }),
    (element, one) => {
      setText(element, `${one.site.replace("/", " › ")} · ${one.gateway}`);
      set(element, { "aria-pressed": String(one.number === this.number) });
    });
  }

  show() {
    for (const part of [this.head, this.row, this.panel]) set(part, { hidden: false });
    const one = this.all.configurations[this.number];
    const notes = [];
    if (this.all.everything && this.all.others.length) {
      notes.push(h("p", { class: "panel", text: t("The page shows all that the broker knows; only the configurations that it was given are here. Gateways with their files elsewhere: {names}.", { names: list(this.all.others) }) }));
    }
    if (one.errors.length) {
      notes.push(h("section", { class: "panel errors", "aria-label": t("Errors") }, h("h2", { text: t("The files can't be read as a configuration any more. Below is what the page was started with.") }), problems(one.errors, one.more[0])));
    } else if (one.digest !== one.started_with) {
      notes.push(h("p", { class: "panel", text: t("The files have changed since this page was started with {digest}: this is what they are now. Restart the page to show its machines.", { digest: one.started_with }) }));
    }
    this.notes.replaceChildren(...notes);
    this.head.replaceChildren(facts(one));
    setText(this.tabs.querySelector("[data-tab=warnings]"), one.warnings.length ? `${t(TABS.warnings)} (${number(one.warnings.length + one.more[1])})` : t(TABS.warnings));
    setText(this.tabs.querySelector("[data-tab=points]"), `${t(TABS.points)} (${number(one.points)})`);
    setText(this.tabs.querySelector("[data-tab=connections]"), `${t(TABS.connections)} (${number(one.connections)})`);
  }

  /** Show a tab. */
  choose(name) {
    const one = this.all?.configurations[this.number];
    if (!one) return;
    this.tab = name;
    this.rows.open("", {}); // of the tab before
    for (const tab of this.tabs.children) set(tab, { "aria-selected": String(tab.dataset.tab === name), tabindex: tab.dataset.tab === name ? 0 : -1 });
    set(this.panel, { "aria-labelledby": `tab-${name}`, class: `panel tab-panel ${this.list ? "tab-list" : ""} ${name === "connections" ? "link-list" : ""}` });
    set(this.search, { hidden: !this.list });
    set(this.found, { hidden: !this.list });
    set(this.detail, { hidden: true });
    if (this.list) {
      this.panel.replaceChildren(this.list.element);
      this.list.current = -1;
      this.list.element.scrollTop = 0;
      this.openRows();
    } else this.panel.replaceChildren(name === "settings" ? settings(one) : one.warnings.length ? problems(one.warnings, one.more[1]) : h("p", { class: "empty", text: t("There are no warnings.") }));
    this.remember();
  }

  get list() {
    return { points: this.points, connections: this.links }[this.tab];
  }

  openRows() {
    this.rows.open(`/api/configurations/${this.number}/${this.tab}`, { search: this.search.value });
  }

  showRows(total) {
    if (this.gone || !this.list) return;
    this.list.show(total, (index) => this.rows.get(index));
    setText(this.found, this.search.value ? t("{count} found", { count: number(total) }) : "");
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.list?.element.scrollTo(0, 0); this.openRows(); this.remember(); }, TYPING);
  }

  remember() {
    const query = { tab: this.tab };
    if (this.number) query.n = String(this.number);
    if (this.search.value) query.search = this.search.value;
    remember(query);
  }

  key(event) {
    const names = Object.keys(TABS);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = names[(names.indexOf(this.tab) + step + names.length) % names.length];
    this.choose(next);
    this.tabs.querySelector(`[data-tab=${next}]`).focus();
  }

  showPoint(row) {
    set(this.detail, { hidden: !row });
    if (!row) return;
    const names = [t("Machine"), t("Template"), t("Point"), t("Type"), t("Unit"), t("Every"), t("Source"), t("Description")];
    this.detail.replaceChildren(h("dl", { class: "fact-grid" }, ...names.map((name, at) => (row[at] ? h("div", {}, h("dt", { text: name }), h("dd", { text: row[at] })) : null))));
  }

  async showLink(row) {
    set(this.detail, { hidden: !row });
    if (!row) return;
    const number_ = this.number;
    try {
      const plan = await request(`/api/configurations/${number_}/connections/${row.index}`);
      if (this.gone || number_ !== this.number || this.tab !== "connections") return;
      this.detail.replaceChildren(...linkDetail(row, plan));
    } catch (error) {
      this.showError(error);
    }
  }
}

/** Return the numbers of a configuration, and whether the gateway runs it. */
function facts(one) {
  const running = !one.running ? t("not known: the gateway has not been heard")
    : one.running === one.digest ? t("the same ✓") : t("another: {digest}", { digest: one.running });
  const local = one.local === 0 ? t("none: all devices are in the network")
    : t("{local} of {count} connections lead to this machine", { local: number(one.local), count: number(one.connections) });
  const rows = [
    [t("File"), one.file], [t("Plant"), one.site.replace("/", " › ")], [t("Gateway"), one.gateway], [t("Digest"), one.digest],
    [t("The gateway runs"), running, one.running && one.running !== one.digest],
    [t("Machines and points"), t("{machines}, {points}", { machines: tn("{count} machine", "{count} machines", one.machines), points: tn("{count} point", "{count} points", one.points) })],
    [t("Plan"), one.kept ? t("all periods can be kept ✓") : t("some periods can't be kept"), !one.kept],
    [t("Simulated"), local],
  ];
  return h("dl", { class: "fact-grid" }, ...rows.map(([name, text, odd]) => h("div", {}, h("dt", { text: name }), h("dd", { text, data: { odd: odd ? "yes" : "no" } }))));
}

function problems(found, more) {
  return h("ul", { class: "file-problems" },
    ...found.map((one) => h("li", {}, h("span", { class: "muted", text: one.line ? `${one.file}:${one.line}:${one.column}` : one.file }), h("span", { text: one.text }))),
    more ? h("li", { class: "muted", text: t("not shown: {count}", { count: number(more) }) }) : null);
}

function settings(one) {
  return h("div", { class: "stack" }, h("p", { class: "muted", text: t("All sections with their defaults; secrets are shown by name alone.") }),
    h("div", { class: "sections" }, ...one.sections.map(([name, text]) => h("section", { "aria-label": name }, h("h3", { text: name }), h("pre", { text, tabindex: 0, "aria-label": name })))),
    h("section", { "aria-label": t("Files") }, h("h3", { text: t("Files") }), h("table", { class: "table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col", text: t("File") }), h("th", { scope: "col", text: t("Digest") }))),
      h("tbody", {}, ...one.files.map(([file, digest]) => h("tr", {}, h("td", { class: "path", text: file }), h("td", { text: digest })))))));
}

function pointsList(select) {
  return new VirtualList({
    label: t("Points"), columns: [t("Machine"), t("Point"), t("Type"), t("Unit"), t("Every"), t("Source"), t("Description")],
    make: () => [h("span", {}, h("strong"), " ", h("span", { class: "muted" })), ...Array.from({ length: 6 }, () => h("span"))],
    update: (cells, row) => {
      const [path, , name, type, unit, every, source, description] = row ?? ["", "", "…", "", "", "", "", ""];
      const levels = path.split("/");
      setText(cells[0].firstElementChild.firstElementChild, levels.at(-1));
      setText(cells[0].firstElementChild.lastElementChild, levels.slice(2, 4).join(" › "));
      set(cells[0], { title: path });
      for (const [at, text] of [name, type, unit, every, source, description].entries()) {
        setText(cells[at + 1].firstElementChild, text);
        set(cells[at + 1], { title: text });
      }
    },
    select,
  });
}

function linksList(select) {
  return new VirtualList({
    label: t("Connections"), columns: [t("Connection"), t("Machines"), t("Points"), t("Requests"), t("Traffic"), t("Load"), t("Simulated")],
    make: () => [h("span"), h("span"), h("span"), h("span"), h("span"), h("span", { class: "load" }, h("span", { class: "load-bar", "aria-hidden": "true" }, h("i")), h("span")), h("span")],
    update: (cells, row) => {
      const [connection, machines, points, requests, traffic, load, served] = cells.map((cell) => cell.firstElementChild);
      setText(connection, row?.connection ?? "…");
      set(cells[0], { title: row?.connection });
      const names = row?.machines.map((path) => path.split("/").at(-1)) ?? [];
      setText(machines, row ? `${number(row.count)}: ${names.join(", ")}` : "");
      set(cells[1], { title: row?.machines.join("\n") });
      setText(points, row ? number(row.points) : "");
      setText(requests, row ? t("{rate}/s", { rate: number(row.requests_per_second, 1) }) : "");
      setText(traffic, row ? bytes(row.bytes_per_second, true) : "");
      set(load, { data: { level: !row || row.load <= BUSY ? "normal" : row.load <= 1 ? "busy" : "beyond" }, title: row?.verdict });
      load.querySelector("i").style.inlineSize = `${Math.min(100, (row?.load ?? 0) * 100)}%`;
      setText(load.lastElementChild, row ? percent(row.load) + (row.load > 1 ? " ✗" : row.load > BUSY ? " !" : "") : "");
      setText(served, row?.served ? list(row.served.map(([template]) => template)) : row ? "–" : "");
    },
    select,
  });
}

function linkDetail(row, plan) {
  const head = [h("h2", { class: "path", text: row.connection })];
  if (plan.verdict) head.push(h("p", { class: "verdict-text", text: t("The load is {load}: {verdict}", { load: percent(plan.load), verdict: plan.verdict }) }));
  if (row.served) {
    head.push(h("p", { text: t("`lineside simulate` serves here: {served}.", { served: list(row.served.map(([template, kind, count]) => t("{count} × {template} with {kind}", { count: number(count), template, kind: t(MODELS[kind]) }))) }) }));
  }
  const groups = plan.groups.map((group) => {
    const cost = group.pushed ? t("the device sends changes by itself") : t("{seconds} expected", { seconds: milliseconds(group.seconds * 1000) });
    const title = t("{machine}: {points} points every {every}: {requests} requests, {size}, {cost}", {
      machine: group.machine.split("/").at(-1), points: number(group.points.length), every: group.every < 1 ? milliseconds(group.every * 1000) : span(group.every), requests: number(group.requests), size: bytes(group.bytes), cost,
    });
    const revised = Object.entries(group.revised).map(([name, granted]) => h("li", { text: t("{point}: the device grants only {granted}", { point: name, granted: Object.entries(granted).map(([key, value]) => `${key} ${number(value)}`).join(", ") }) }));
    return h("details", {}, h("summary", { text: title }), h("ul", { class: "requests" }, ...revised, ...group.details.map((text) => h("li", { text })), group.more ? h("li", { text: t("not shown: {count}", { count: number(group.more) }) }) : null));
  });
  return [...head, ...groups, ...(plan.more ? [h("p", { class: "muted", text: t("not shown: {count}", { count: number(plan.more) }) })] : [])];
}

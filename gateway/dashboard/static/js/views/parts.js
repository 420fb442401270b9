/** Parts: where a serial number was seen, and which parts are in work. */

import { partHistory } from "../parts/history.js";
import { partOperations, whereUsed } from "../parts/operations.js";
import { h, keep, set, setText } from "../dom.js";
import { request } from "../live.js";
import { PlaceChoice } from "../places.js";
import { address, remember } from "../router.js";
import { stateMark, updateStateMark } from "../states.js";
import { t } from "../texts.js";

const FIRST = 7 * 86400e6; // microseconds that are searched at first
const FURTHER = 30 * 86400e6;

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  return new PartsView(root, app, route.query);
}

class PartsView {
  constructor(root, app, query) {
    this.app = app;
    this.number = 0;
    this.field = h("input", { class: "field scan-field", id: "serial", type: "text", maxlength: 200, autocomplete: "off", spellcheck: "false", autocapitalize: "off", value: query.get("serial") ?? "" });
    this.found = h("div", { class: "stack", role: "status", "aria-live": "polite" });
    root.append(
      h("div", { class: "title" }, h("h1", { text: t("Parts") })),
      h("section", { class: "panel", "aria-label": t("Find a part") },
        h("form", { class: "row scan", on: { submit: (event) => { event.preventDefault(); this.search(); } } },
          h("label", { for: "serial", text: t("Serial number, barcode or lot") }), this.field,
          h("button", { class: "button primary", type: "submit", text: t("Find") }),
          h("button", { class: "button", type: "button", text: t("Where used"), on: { click: () => this.uses(this.field.value.trim()) } }),
          h("span", { class: "muted", text: t("Type it or scan it.") }))),
      this.found, this.inWork());
    this.feed = app.live.open("parts", { path: "" }, (changes) => this.receive(changes));
    this.rows = new Map();
    setTimeout(() => this.focus());
    if (query.get("lot")) this.uses(query.get("lot"));
    else if (this.field.value) this.search();
  }

  focus() {
    this.field.focus({ preventScroll: true });
    this.field.select();
  }

  /** Show the recorded operations of the part; without any, where its serial number was seen. */
  search() {
    const serial = this.field.value.trim();
    if (!serial) return;
    remember({ serial });
    this.ask(serial, async () => {
      const found = await request(`/api/parts/history?${new URLSearchParams({ serial })}`);
      if (found.operations.length === 0) return this.seen(serial);
      return partOperations(found, { uses: (lot) => this.uses(lot), seen: () => this.searchSeen(serial) });
    });
  }

  searchSeen(serial, from) {
    this.ask(serial, () => this.seen(serial, from));
  }

  async seen(serial, from = `-${FIRST / 1e6}s`) {
    const found = await request(`/api/parts?${new URLSearchParams({ serial, from })}`);
    return partHistory(found, {
      choose: (other) => { this.field.value = other; this.search(); },
      further: () => this.searchSeen(serial, String(Math.max(0, found.from - FURTHER))),
    });
  }

  /** Show the parts that a lot went into. */
  uses(lot) {
    if (!lot) return;
    this.field.value = lot;
    remember({ lot });
    this.ask(lot, async () => whereUsed(await request(`/api/parts/uses?${new URLSearchParams({ lot })}`)));
  }

  /** Show panels that are fetched, unless something else was asked meanwhile. */
  async ask(serial, panels) {
    const own = ++this.number;
    this.focus();
    this.found.replaceChildren(h("p", { class: "panel muted", text: t("Searching for {serial}…", { serial }) }));
    set(this.found, { "aria-busy": "true" });
    try {
      const found = await panels();
      if (own !== this.number) return;
      this.found.replaceChildren(...found);
    } catch (error) {
      if (own !== this.number) return;
      this.found.replaceChildren(h("p", { class: "panel problem", role: "alert", text: t("The search failed: {error}", { error: error.message }) }));
    }
    set(this.found, { "aria-busy": null });
  }

  inWork() {
    this.place = new PlaceChoice(this.app, "", (path) => this.feed.set({ path }), false);
    this.list = h("tbody");
    this.empty = h("p", { class: "empty", text: t("No machine here names the part that it works on.") });
    this.table = h("table", { class: "table" },
      h("thead", {}, h("tr", {}, ...[t("Machine"), t("In work"), t("Last result for"), t("Order"), t("State")].map((text, at) => h("th", { scope: "col", class: at > 1 && at < 4 ? "wide" : "", text })))),
      this.list);
    return h("section", { class: "panel", "aria-label": t("Parts in work") },
      h("div", { class: "row between parts-head" }, h("h2", { text: t("Parts in work") }), this.place.element),
      h("div", { class: "scroll" }, this.table), this.empty);
  }

  receive(changes) {
    if (changes.machines) this.rows = new Map(changes.machines.map((row) => [row.path, row]));
    for (const row of changes.changed ?? []) this.rows.set(row.path, row);
    keep(this.list, this.rows.values(), (row) => row.path, (row) => line(row), (element, row) => update(element, row));
    set(this.table, { hidden: this.rows.size === 0 });
    set(this.empty, { hidden: this.rows.size > 0 });
  }

  destroy() {
    this.number++;
    this.place.destroy();
    this.feed.close();
  }
}

function line(row) {
  const levels = row.path.split("/");
  return h("tr", {}, h("td", {}, h("a", { class: "machine-link", href: address("machine", row.path) }, h("strong", { text: levels.at(-1) }), h("span", { class: "muted", text: levels.slice(2, 4).join(" › ") }))),
    h("td", { class: "serials" }), h("td", { class: "serials wide" }), h("td", { class: "wide" }), h("td", {}, stateMark(row)));
}

function update(element, row) {
  showSerials(element.children[1], row.parts, t("none"));
  showSerials(element.children[2], row.results, "");
  setText(element.children[3], [row.order, row.recipe].filter(Boolean).join(" · "));
  updateStateMark(element.children[4].firstElementChild, row);
}

/** Show serial numbers as links; those that stay keep the focus. */
function showSerials(cell, serials, none) {
  if (serials.length === 0) return setText(cell, none);
  if (cell.childElementCount === 0) setText(cell, "");
  return keep(cell, serials, (one) => one, (one) => h("a", { class: "serial", href: address("parts", [], { serial: one }), text: one }));
}


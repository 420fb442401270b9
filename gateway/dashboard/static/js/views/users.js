/** Users: who may sign in, who is locked, what roles permit, and the audit log; for roles that permit it. */

import { h, keep, set, setText } from "../dom.js";
import { may, request } from "../live.js";
import { remember } from "../router.js";
import { mark, moment, number, span, t, tn } from "../texts.js";

const TYPING = 300; // milliseconds after a key until a search begins
const ROLES = { viewer: mark("viewer"), operator: mark("operator"), engineer: mark("engineer"), admin: mark("admin") };
const PERMISSIONS = {
  trends: mark("trends"), export: mark("export"), acknowledge: mark("acknowledge"), shelve: mark("shelve"), reasons: mark("reasons of stops"),
  configuration: mark("configuration"), users: mark("users"), audit: mark("audit log"),
};
const METHODS = { password: mark("password"), oidc: mark("company account") };

/** @param {HTMLElement} root @param {import("../main.js").App} app @param {import("../router.js").Route} route */
export function view(root, app, route) {
  const audit = may("audit") ? new AuditLog(route.query) : null;
  const users = may("users") ? new UserList() : null;
  const roles = users && new RoleList();
  const parts = [users, roles, audit].filter(Boolean);
  root.append(h("div", { class: "title" }, h("h1", { text: t("Users") })), ...parts.map((one) => one.element));
  if (users) users.unlocked = roles.changed = () => audit?.load();
  for (const part of parts) part.load();
  return { destroy: () => { for (const part of parts) part.gone = true; clearTimeout(audit?.timer); } };
}

// Nothing here asks again by itself: a request shows that somebody is there, and would keep the session alive.

class UserList {
  constructor() {
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.list = h("tbody");
    this.element = h("section", { class: "panel", "aria-label": t("Users") },
      h("div", { class: "row between" }, h("h2", { text: t("Users") }), h("button", { class: "button", type: "button", text: t("Look again"), on: { click: () => this.load() } })),
      this.notice,
      table("user-table", t("Users"), [t("Name"), t("Role"), t("Signs in with"), t("Last sign-in"), t("State"), ""], this.list));
  }

  async load() {
    try {
      const { users, since, problem } = await request("/api/users");
      if (this.gone) return;
      this.say(problem ?? "");
      keep(this.list, users, (one) => `${one.method} ${one.name}`, (one) => this.line(one), (element, one) => this.update(element, one, since));
    } catch (error) {
      this.say(t("The users can't be read: {error}", { error: error.message }));
    }
  }

  say(text) {
    setText(this.notice, text);
    set(this.notice, { hidden: !text });
  }

  line(one) {
    const unlock = h("button", { class: "button", type: "button", text: t("Unlock"), "aria-label": t("Unlock {name}", { name: one.name }), on: { click: () => this.unlock(one.name, unlock) } });
    return h("tr", {}, h("th", { scope: "row", text: one.name }), h("td"), h("td", { text: t(METHODS[one.method] ?? one.method) }), h("td"), h("td", { class: "user-state" }), h("td", {}, unlock));
  }

  update(element, one, since) {
    const [, role, , last, state, action] = element.children;
    setText(role, t(ROLES[one.role] ?? one.role));
    setText(last, one.last ? moment(one.last) : since ? t("before {time}, or never", { time: moment(since) }) : t("never"));
    set(state, { data: { state: one.seconds > 0 ? "locked" : "open" } });
    setText(state, stateText(one));
    set(action.firstElementChild, { hidden: one.failures === 0 });
  }

  async unlock(name, button) {
    button.disabled = true;
    try {
      await request("/api/users/unlock", { name });
      await this.load();
      this.say(t("{name} can sign in again.", { name }));
      this.unlocked();
    } catch (error) {
      this.say(t("{name} can't be unlocked: {error}", { name, error: error.message }));
    }
    button.disabled = false;
  }
}

/** What roles permit, with a box for each permission; a change counts at once. */
class RoleList {
  constructor() {
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.head = h("tr");
    this.list = h("tbody");
    this.name = h("input", { class: "field", type: "text", required: true, maxlength: 32, pattern: "[a-z][a-z0-9_\\-]*", autocomplete: "off", placeholder: t("New role"), "aria-label": t("Name of a new role"), title: t("Lowercase letters, digits, - and _") });
    this.element = h("section", { class: "panel", "aria-label": t("Roles") },
      h("h2", { text: t("Roles") }), this.notice,
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("Roles") }, h("table", { class: "table role-table" }, h("thead", {}, this.head), this.list)),
      h("form", { class: "row", on: { submit: (event) => { event.preventDefault(); this.change("/api/roles", { name: this.name.value, permissions: [] }).then((done) => { if (done) this.name.value = ""; }); } } },
        this.name, h("button", { class: "button", type: "submit", text: t("Add the role") })));
  }

  async load() {
    try {
      const { permissions, roles } = await request("/api/roles");
      if (this.gone) return;
      this.head.replaceChildren(h("th", { scope: "col", text: t("Role") }), ...permissions.map((one) => h("th", { scope: "col", text: t(PERMISSIONS[one] ?? one) })),
        h("th", { scope: "col", text: t("Users") }), h("th", { scope: "col", "aria-label": t("Action") }));
      this.list.replaceChildren(...roles.map((role) => this.line(role, permissions)));
    } catch (error) {
      this.say(t("The roles can't be read: {error}", { error: error.message }));
    }
  }

  line(role, permissions) {
    const name = t(ROLES[role.name] ?? role.name);
    const changed = role.default && role.default.join() !== role.permissions.join();
    const remove = h("button", { class: "button", type: "button", text: role.default ? t("Default") : t("Remove"), hidden: role.default ? !changed : role.users > 0,
      "aria-label": role.default ? t("Give {role} its default", { role: name }) : t("Remove {role}", { role: name }), on: { click: () => this.change("/api/roles/remove", { name: role.name }) } });
    return h("tr", {}, h("th", { scope: "row", text: name }),
      ...permissions.map((one) => h("td", {}, h("input", { type: "checkbox", checked: role.permissions.includes(one), "aria-label": t("{role}: {permission}", { role: name, permission: t(PERMISSIONS[one] ?? one) }),
        on: { change: (event) => this.change("/api/roles", { name: role.name, permissions: permissions.filter((other) => (other === one ? event.target.checked : role.permissions.includes(other))) }) } }))),
      h("td", { text: number(role.users, 0) }), h("td", {}, remove));
  }

  /** Send a change; the table shows the state of the server afterwards. Return whether it was done. */
  async change(address, content) {
    let problem = "";
    try {
      await request(address, content);
    } catch (error) {
      problem = error.message;
    }
    await this.load();
    this.say(problem);
    this.changed();
    return !problem;
  }

  say(text) {
    setText(this.notice, text);
    set(this.notice, { hidden: !text });
  }
}

function stateText(one) {
  if (one.disabled) return t("disabled");
  const failures = tn("{count} failure", "{count} failures", one.failures);
  if (one.seconds > 0) return t("locked for {span}, after {failures}", { span: span(Math.ceil(one.seconds)), failures });
  return one.failures ? failures : t("may sign in");
}

class AuditLog {
  constructor(query) {
    this.pages = []; // the numbers from which newer pages go on
    this.search = h("input", { class: "field", type: "search", value: query.get("search") ?? "", autocomplete: "off", placeholder: t("Search"), "aria-label": t("Search in the audit log"), on: { input: () => this.typed() } });
    this.outcome = h("select", { class: "field", "aria-label": t("Outcome"), on: { change: () => this.begin() } },
      h("option", { value: "", text: t("all outcomes") }), h("option", { value: "not-done", text: t("not done"), selected: query.get("outcome") === "not-done" }));
    this.notice = h("p", { class: "notice", role: "status", hidden: true });
    this.list = h("tbody");
    this.newer = h("button", { class: "button", type: "button", text: t("Newer entries"), on: { click: () => { this.pages.pop(); this.load(); } } });
    this.older = h("button", { class: "button", type: "button", text: t("Older entries"), on: { click: () => { this.pages.push(this.next); this.load(); } } });
    this.element = h("section", { class: "panel", "aria-label": t("Audit log") },
      h("div", { class: "row between" }, h("h2", { text: t("Audit log") }), h("div", { class: "row" }, this.outcome, this.search)),
      this.notice,
      table("audit-table", t("Audit log"), [t("Time"), t("User"), t("From"), t("Action"), t("Object"), t("Outcome"), t("Change")], this.list),
      h("div", { class: "row" }, this.newer, this.older));
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.begin(), TYPING);
  }

  /** Show the newest entries of another search. */
  begin() {
    this.pages = [];
    const query = { search: this.search.value, outcome: this.outcome.value };
    remember(Object.fromEntries(Object.entries(query).filter(([, value]) => value)));
    this.load();
  }

  async load() {
    const own = (this.number = (this.number ?? 0) + 1);
    const before = this.pages.at(-1);
    const query = new URLSearchParams({ search: this.search.value, outcome: this.outcome.value, ...(before ? { before } : {}) });
    try {
      const found = await request(`/api/audit?${query}`);
      if (own === this.number && !this.gone) this.show(found);
    } catch (error) {
      if (own === this.number && !this.gone) this.say([error.message]);
    }
  }

  show({ entries, next, unreadable }) {
    this.next = next;
    this.list.replaceChildren(...entries.map(line));
    set(this.newer, { disabled: this.pages.length === 0 });
    set(this.older, { disabled: next === null });
    const texts = [];
    if (unreadable) texts.push(tn("{count} line can't be read: run lineside audit verify.", "{count} lines can't be read: run lineside audit verify.", unreadable));
    if (!entries.length) texts.push(next === null ? t("No entries match.") : t("No entry matches so far; look at older entries."));
    this.say(texts);
  }

  say(texts) {
    setText(this.notice, texts.join(" "));
    set(this.notice, { hidden: texts.length === 0 });
  }
}

function line(entry) {
  const change = entry.before && entry.after ? `${entry.before} → ${entry.after}` : entry.before || entry.after;
  return h("tr", { data: { done: entry.outcome === "done" ? "yes" : "no" } },
    h("td", { text: moment(entry.time), title: t("entry {number}", { number: number(entry.n, 0) }) }), h("td", { text: entry.who }), h("td", { text: entry.from }),
    h("td", { text: entry.action }), h("td", { text: entry.object }), h("td", { class: "audit-outcome", text: entry.outcome }), h("td", { class: "audit-change", text: change }));
}

function table(kind, label, columns, body) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, h("table", { class: `table ${kind}` },
    h("thead", {}, h("tr", {}, ...columns.map((text) => h("th", { scope: "col", text, "aria-label": text ? null : t("Action") })))), body));
}

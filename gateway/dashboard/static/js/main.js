/** The shell: header, navigation, and the view that the address names. */

import { h, icon, keep, set, setText } from "./dom.js";
import { Live, may, request, session } from "./live.js";
import { follow } from "./router.js";
import { Rows } from "./rows.js";
import { urgency } from "./states.js";
import { choose, mark, moment, place, t, time, tn } from "./texts.js";

/** The views in the order of the navigation: path of an icon, title, module; with permissions, for roles that permit one of them. A view without a title is reached by links. */
const VIEWS = {
  overview: { title: mark("Overview"), icon: "M3 12l9-8 9 8M5 10v10h14V10" },
  line: { parent: "overview" },
  machine: { parent: "overview" },
  trends: { title: mark("Trends"), icon: "M3 17l5-6 4 3 5-8 4 5M3 21h18", permissions: ["trends"] },
  alarms: { title: mark("Alarms"), icon: "M12 4a6 6 0 016 6v4l2 3H4l2-3v-4a6 6 0 016-6M10 20a2 2 0 004 0" },
  production: { title: mark("Production"), icon: "M4 20V10M10 20V4M16 20v-8M21 20H3" },
  parts: { title: mark("Parts"), icon: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5" },
  delivery: { title: mark("Delivery"), icon: "M3 7h11v10H3zM14 10h4l3 3v4h-7M7 19a1.8 1.8 0 100-.1M17 19a1.8 1.8 0 100-.1" },
  events: { title: mark("Events"), icon: "M5 4h14v16H5zM9 9h6M9 13h6M9 17h3" },
  configuration: { title: mark("Configuration"), icon: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4", permissions: ["configuration"] },
  users: { title: mark("Users"), icon: "M12 12a4 4 0 100-8 4 4 0 000 8M4 21a8 8 0 0116 0", permissions: ["users", "audit"] },
};

const isFor = (view) => !view.permissions || view.permissions.some(may);

const LANGUAGES = { en: "English", de: "Deutsch", zh: "中文" };

/** What the views share. */
export class App {
  constructor(settings) {
    this.settings = settings;
    this.live = new Live(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live?language=${document.documentElement.lang}`,
      (connected) => this.noteServer(connected), () => location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`));
    this.main = h("main", { class: "main", id: "main", tabindex: "-1" });
    this.banners = h("div", { role: "status", "aria-live": "polite" });
    this.clock = h("span", { class: "clock" });
    this.links = h("nav", { class: "nav", "aria-label": t("Views") });
    document.getElementById("page").replaceChildren(
      h("a", { class: "skip", href: "#main", text: t("Skip to the content"), on: { click: (event) => { event.preventDefault(); this.main.focus(); } } }),
      this.header(), this.links, this.main);
    this.navigation();
    this.rows = new Rows(this.live, { strip: 0 }, () => this.noteRows());
    this.lost = 0;
    setInterval(() => this.tick(), 1000);
  }

  header() {
    const brand = h("a", { class: "brand", href: "/overview" }, h("img", { src: "/static/icon.svg", alt: "", width: 22, height: 22 }), "Lineside");
    const theme = h("button", { class: "button quiet", type: "button", text: t("Theme"), title: t("Light or dark"), on: { click: () => this.toggleTheme() } });
    const language = h("select", { class: "field", "aria-label": t("Language"), on: { change: () => { localStorage.setItem("language", language.value); location.reload(); } } },
      ...Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, text: name, selected: code === document.documentElement.lang })));
    const user = h("span", { class: "muted", text: session.name });
    return h("header", { class: "header-area" }, h("div", { class: "header" }, brand, h("span", { class: "space" }), this.clock, language, theme, user,
      h("button", { class: "button quiet", type: "button", text: t("Sign out"), on: { click: () => this.signOut() } })), this.banners);
  }

  async signOut() {
    const { next } = await request("/logout", {}).catch(() => ({}));
    location.assign(next ?? "/login"); // the page of the identity provider that signs out, or our own
  }

  toggleTheme() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    dispatchEvent(new Event("themechange"));
  }

  navigation() {
    for (const [name, view] of Object.entries(VIEWS)) {
      if (!view.title || !isFor(view)) continue;
      this.links.append(h("a", { href: `/${name}`, data: { view: name } }, icon(view.icon), h("span", { text: t(view.title) }), h("span", { class: "count" })));
    }
  }

  noteServer(connected) {
    this.lost = connected ? 0 : Date.now();
    document.documentElement.dataset.server = connected ? "there" : "lost";
    this.showBanners();
  }

  noteRows() {
    const urgent = this.rows.all.filter((row) => urgency(row) > 0);
    const badge = this.links.querySelector('[data-view="overview"] .count');
    setText(badge, urgent.length || "");
    set(badge, { title: urgent.length ? tn("{count} machine needs attention", "{count} machines need attention", urgent.length) : null });
    document.documentElement.dataset.broker = this.rows.brokers.every((one) => one.connected) ? "there" : "lost";
    this.showBanners();
  }

  showBanners() {
    const messages = [];
    if (this.lost) messages.push({ key: "server", text: t("The connection to the server is lost. What you see is from {time}.", { time: time(this.lost * 1000) }) });
    for (const one of this.rows?.brokers ?? []) {
      if (!one.connected && one.since) {
        messages.push({ key: one.broker, text: t("No connection to the broker {broker} since {time}: {error}", { broker: one.broker, time: moment(one.since), error: one.error }) });
      }
      for (const topic of one.denied) messages.push({ key: topic, text: t("The broker denies the subscription to {topic}.", { topic }) });
    }
    keep(this.banners, messages, (one) => one.key, () => h("div", { class: "banner severe" }), (element, one) => setText(element, one.text));
  }

  tick() {
    const now = this.live.now();
    setText(this.clock, `${time(now)} ${place().timeZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone}`);
    dispatchEvent(new CustomEvent("tick", { detail: now }));
  }

  async show(route) {
    const name = route.view in VIEWS && isFor(VIEWS[route.view]) ? route.view : "overview";
    const number = (this.showing = (this.showing ?? 0) + 1);
    const module = await import(`./views/${name}.js`);
    if (number !== this.showing) return;
    this.view?.destroy?.();
    const root = h("div", { class: `view view-${name}`, data: { view: name } });
    this.main.replaceChildren(root);
    const marked = VIEWS[name].parent ?? name;
    for (const link of this.links.children) set(link, { "aria-current": link.dataset.view === marked ? "page" : null });
    this.view = module.view(root, this, route);
    const title = root.querySelector("h1")?.textContent;
    document.title = title ? `${title} · Lineside` : "Lineside";
    this.main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function start() {
  document.documentElement.dataset.theme =
    localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const settings = await request("/api/settings");
  Object.assign(session, await request("/api/session"));
  const wanted = [localStorage.getItem("language"), settings.language, ...navigator.languages.map((one) => one.split("-")[0])];
  const language = wanted.find((one) => one && settings.languages.includes(one)) ?? "en";
  choose(language, language === "en" ? {} : await request(`/api/texts/${language}`), settings.time_zone);
  const app = new App(settings);
  follow((route) => app.show(route));
}

start();

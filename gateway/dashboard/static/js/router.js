/** Addresses of views: a path, and a query that reproduces what the view shows. */

/**
 * @typedef {{view: string, path: string[], query: URLSearchParams}} Route
 */

/** Return the route of the present address: `/machine/acme/north/...` is the view machine with a path. */
export function current() {
  const [view, ...path] = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  return { view: view ?? "overview", path, query: new URLSearchParams(location.search) };
}

/** Return the address of a view. */
export function address(view, path = [], query = {}) {
  const levels = typeof path === "string" ? path.split("/") : path;
  const search = new URLSearchParams(query).toString();
  return `/${[view, ...levels].map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Replace the query of the present address, without another entry in the history. */
export function remember(query) {
  const search = new URLSearchParams(query).toString();
  history.replaceState(null, "", `${location.pathname}${search ? `?${search}` : ""}`);
}

/** Show another address. */
export function go(target) {
  history.pushState(null, "", target);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** Call `show` for the present address and for each that follows; links within the page load nothing. */
export function follow(show) {
  addEventListener("popstate", () => show(current()));
  document.addEventListener("click", (event) => {
    const link = /** @type {Element} */ (event.target).closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const target = link.getAttribute("href");
    if (!target.startsWith("/") || target.startsWith("/api/") || target.startsWith("/log") || link.hasAttribute("download")) return;
    event.preventDefault();
    go(target);
  });
  show(current());
}

/** Rows that the server sends in pages, for a `VirtualList`: only the pages that are looked at are fetched. */

import { request } from "./live.js";

const PAGE = 100;

export class PagedRows {
  /**
   * @param {(total: number) => void} changed called when rows have come; the total is known from the first on
   * @param {(error: Error) => void} failed
   */
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
    this.open("", {});
  }

  /** Begin anew with another address or search. */
  open(path, query) {
    this.path = path;
    this.query = query;
    this.total = 0;
    /** @type {Map<number, any[] | null>} */
    this.pages = new Map();
    if (path) this.fetch(0);
  }

  /** Return a row, undefined while it is on its way. */
  get(index) {
    const page = Math.floor(index / PAGE);
    if (!this.pages.has(page)) this.fetch(page);
    return this.pages.get(page)?.[index % PAGE];
  }

  async fetch(page) {
    const { pages } = this;
    pages.set(page, null);
    const query = new URLSearchParams({ ...this.query, offset: String(page * PAGE), limit: String(PAGE) });
    try {
      const found = await request(`${this.path}?${query}`);
      if (pages !== this.pages) return; // another search has begun
      pages.set(page, found.rows);
      this.total = found.total;
      this.changed(found.total);
    } catch (error) {
      if (pages === this.pages) this.failed(error);
    }
  }
}

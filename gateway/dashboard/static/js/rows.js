/** The rows of the feed `overview`, kept up to date: shared by the overview, the lines, and the badges of the navigation. */

/** Rows of machines by path, in their order. */
export class Rows {
  /**
   * @param {import("./live.js").Live} live @param {object} args arguments of the feed
   * @param {(rows: Rows, structure: boolean, changed: any[]) => void} changed called after each message; `structure`
   *   when rows came or went, then all rows have changed
   */
  constructor(live, args, changed) {
    /** @type {Map<string, any>} */
    this.byPath = new Map();
    this.brokers = [];
    this.feed = live.open("overview", args, (changes) => {
      const structure = changes.machines !== undefined;
      if (structure) this.byPath = new Map(changes.machines.map((row) => [row.path, row]));
      for (const row of changes.changed ?? []) this.update(row);
      if (changes.brokers) this.brokers = changes.brokers;
      changed(this, structure, structure ? this.all : changes.changed ?? []);
    });
  }

  update(row) {
    const before = this.byPath.get(row.path);
    if (!before) return;
    row.strip = before.strip;
    if (row.production !== undefined && row.production !== before.production) {
      row.strip.push([row.production_since, row.production, row.kind]);
    }
    this.byPath.set(row.path, row);
  }

  /** All rows, in their order. */
  get all() {
    return [...this.byPath.values()];
  }

  /** Rows grouped by their first levels: site -> area -> line -> rows. */
  tree() {
    const sites = new Map();
    for (const row of this.byPath.values()) {
      const [enterprise, site, area, line, machine] = row.path.split("/");
      row.name = machine;
      row.line = [enterprise, site, area, line];
      const areas = level(sites, `${enterprise}/${site}`, () => new Map());
      const lines = level(areas, area, () => new Map());
      level(lines, line, () => []).push(row);
    }
    return sites;
  }

  close() {
    this.feed.close();
  }
}

function level(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

/** Return the segments of a row's timeline between two times, as `strip` of the charts draws them. */
export function segments(strip, from, to) {
  const found = [];
  for (let at = 0; at < strip.length; at++) {
    const [begin, label, kind] = strip[at];
    const end = strip[at + 1]?.[0] ?? to;
    if (end > from && begin < to) found.push({ begin: Math.max(begin, from), end: Math.min(end, to), kind, label });
  }
  return found;
}

/** Live readings of chosen points: one feed for each machine. */

/**
 * @typedef {object} Receiver
 * @property {(point: string, time: number, value: any, quality: number) => void} reading
 * @property {(point: string, info: any) => void} described   a wanted point, as its machine describes it
 * @property {(point: string, ends: [number, number]) => void} usual   the usual range of a point
 */

/** Machines that are followed; the page has a bounded number of feeds. */
const MOST_MACHINES = 30;

class Machine {
  /** @param {import("../../live.js").Live} live @param {string} path @param {Receiver} receiver */
  constructor(live, path, receiver) {
    this.path = path;
    this.receiver = receiver;
    /** @type {string[]} */
    this.wanted = [];
    /** @type {any[]} the machine's points */
    this.points = [];
    /** @type {string[]} their names, by their positions */
    this.names = [];
    this.feed = live.open("machine", { path, visible: [] }, (changes) => this.take(changes));
  }

  /** @param {string[]} names */
  want(names) {
    this.wanted = names;
    this.subscribe();
  }

  subscribe() {
    const visible = this.wanted.map((name) => this.names.indexOf(name)).filter((at) => at >= 0);
    for (const at of visible) this.receiver.described(`${this.path}/${this.names[at]}`, this.points[at]);
    this.feed.set({ visible });
  }

  /** @param {any} changes */
  take(changes) {
    if (changes.points) {
      this.points = changes.points;
      this.names = changes.points.map((/** @type {{name: string}} */ point) => point.name);
      this.subscribe();
    }
    for (const [at, ends] of Object.entries(changes.usual ?? {})) {
      const name = this.names[Number(at)];
      if (this.wanted.includes(name)) this.receiver.usual(`${this.path}/${name}`, ends);
    }
    for (const [at, value, time, quality] of changes.readings ?? []) {
      const name = this.names[at];
      if (time && this.wanted.includes(name)) this.receiver.reading(`${this.path}/${name}`, time, value, quality);
    }
  }
}

export class Follower {
  /** @param {import("../../live.js").Live} live @param {Receiver} receiver */
  constructor(live, receiver) {
    this.live = live;
    this.receiver = receiver;
    /** @type {Map<string, Machine>} */
    this.machines = new Map();
  }

  /** Follow these points, and no others. @param {string[]} points */
  set(points) {
    /** @type {Map<string, string[]>} */
    const wanted = new Map();
    for (const point of points) {
      const levels = point.split("/");
      const path = levels.slice(0, 5).join("/");
      if (wanted.has(path) || wanted.size < MOST_MACHINES) wanted.set(path, [...(wanted.get(path) ?? []), levels.slice(5).join("/")]);
    }
    for (const [path, machine] of this.machines) {
      if (wanted.has(path)) continue;
      machine.feed.close();
      this.machines.delete(path);
    }
    for (const [path, names] of wanted) {
      let machine = this.machines.get(path);
      if (!machine) this.machines.set(path, (machine = new Machine(this.live, path, this.receiver)));
      machine.want(names);
    }
  }

  close() {
    this.set([]);
  }
}

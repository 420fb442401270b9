/**
 * The connection to the server: feeds of changes over one WebSocket, which connects again by itself.
 *
 * After a new connection each feed is opened again, and its first message has everything, so a view replaces what it
 * shows. `status` tells the shell whether the server is there.
 */

import { readerHeaders } from "./texts.js";

const RETRY_FIRST = 500, RETRY_MAX = 5000;
const SILENT = 12000; // the server sends something every 5 s

/** @typedef {{set: (args: object) => void, close: () => void}} Subscription */

export class Live {
  /** @param {string} url @param {(connected: boolean) => void} status @param {() => void} signedOut */
  constructor(url, status, signedOut) {
    this.url = url;
    this.status = status;
    this.signedOut = signedOut;
    this.feeds = new Map();
    this.next = 1;
    this.offset = 0; // microseconds that the server's clock is ahead of ours
    this.retry = RETRY_FIRST;
    this.heard = 0;
    this.connected = false;
    this.connect();
    setInterval(() => this.watch(), 1000);
  }

  connect() {
    const socket = (this.socket = new WebSocket(this.url));
    socket.onopen = () => {
      this.retry = RETRY_FIRST;
      this.heard = Date.now();
      for (const [id, feed] of this.feeds) this.send({ open: id, feed: feed.name, arguments: feed.args });
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      this.note(false);
      if (event.code === 4401) this.signedOut();
      else setTimeout(() => this.connect(), this.retry);
      this.retry = Math.min(this.retry * 1.7, RETRY_MAX);
    };
  }

  /** Close a connection that is silent: a server or network that froze does not close it. */
  watch() {
    if (this.socket.readyState === WebSocket.OPEN && Date.now() - this.heard > SILENT) this.socket.close();
  }

  note(connected) {
    if (connected !== this.connected) this.status((this.connected = connected));
  }

  send(request) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(request));
  }

  receive(message) {
    this.heard = Date.now();
    if (message.now) this.offset = message.now - Date.now() * 1000;
    this.note(true);
    if (message.error !== undefined) {
      const feed = this.feeds.get(message.feed);
      this.feeds.delete(message.feed);
      if (feed) feed.receive({ error: message.error });
      return;
    }
    for (const [id, changes] of message.feeds) this.feeds.get(id)?.receive(changes);
  }

  /** The time of the server, in microseconds since the epoch. */
  now() {
    return Date.now() * 1000 + this.offset;
  }

  /**
   * Subscribe to a feed. `receive` gets all at first, then changes.
   * @param {string} name @param {object} args @param {(changes: any) => void} receive
   * @returns {Subscription}
   */
  open(name, args, receive) {
    const id = this.next++;
    const feed = { name, args, receive };
    this.feeds.set(id, feed);
    this.send({ open: id, feed: name, arguments: args });
    return {
      set: (changed) => {
        feed.args = { ...feed.args, ...changed };
        this.send({ set: id, arguments: feed.args });
      },
      close: () => {
        this.feeds.delete(id);
        this.send({ close: id });
      },
    };
  }
}

/**
 * Fetch JSON from the server. Throws an Error with the server's text.
 * @param {string} path @param {object} [body] with a body it is a POST
 */
export async function request(path, body) {
  const options = { headers: readerHeaders(), credentials: "same-origin" };
  if (body !== undefined) {
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    Object.assign(options.headers, { "Content-Type": "application/json", "X-CSRF-Token": session.csrf_token });
  }
  const response = await fetch(path, options);
  const content = await response.json().catch(() => ({}));
  if (response.status === 401 && content.login) location.assign(`${content.login}?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!response.ok) throw new Error(content.error ?? `${response.status} ${response.statusText}`);
  return content;
}

/** The session of the reader, as `/api/session` describes it. */
export const session = { name: "", role: "viewer", permissions: /** @type {string[]} */ ([]), method: "", csrf_token: "", expires: null };

/** Whether the role of the reader permits something; the server refuses all else. @param {string} permission */
export const may = (permission) => session.permissions.includes(permission);

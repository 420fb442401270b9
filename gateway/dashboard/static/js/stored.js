/** Stored readings, as the server answers them. Each function throws a `StoredError` with the server's text. */

import { readerHeaders } from "./texts.js";

/** Points of one request, and of one chart. */
export const MOST_POINTS = 50;

/** An error of the server; `kind` as `store_unavailable`, `no_store`, `bad_request`, `busy`, `timed_out`. */
export class StoredError extends Error {
  /** @param {string} message @param {string} kind */
  constructor(message, kind) {
    super(message);
    this.kind = kind;
  }
}

/** @typedef {[string, string | number][]} Query */

/**
 * @param {string} path @param {Query} query @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function get(path, query, signal) {
  const options = { headers: readerHeaders(), credentials: /** @type {const} */ ("same-origin"), signal };
  let response;
  try {
    response = await fetch(`${path}?${search(query)}`, options);
  } catch (error) {
    if (/** @type {Error} */ (error).name === "AbortError") throw error;
    throw new StoredError("", "no_server");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new StoredError(content.error ?? `${response.status} ${response.statusText}`, content.kind ?? "failed");
  return content;
}

/** @param {Query} query */
function search(query) {
  return new URLSearchParams(query.map(([name, value]) => [name, String(value)])).toString();
}

/** @param {string[]} points @param {number} from @param {number} to @returns {Query} */
const selection = (points, from, to) => [
  ...points.map((point) => /** @type {[string, string]} */ (["point", point])), ["from", Math.floor(from)], ["to", Math.ceil(to)],
];

/** @param {string[]} points @param {number} from @param {number} to @param {number} width pixels @param {AbortSignal} [signal] */
export const trend = (points, from, to, width, signal) =>
  get("/api/trend", [...selection(points, from, to), ["width", Math.min(4000, Math.max(50, Math.round(width)))]], signal);

/** @param {string} machine @param {number} from @param {number} to @param {AbortSignal} [signal] */
export const bands = (machine, from, to, signal) =>
  get("/api/bands", [["machine", machine], ["from", Math.floor(from)], ["to", Math.ceil(to)]], signal);

/** The changes of the alarms of a machine, newest first. @param {string} machine @param {number} from @param {number} to @param {AbortSignal} [signal] */
export const alarms = (machine, from, to, signal) =>
  get("/api/alarms/history", [["path", machine], ["from", Math.floor(from)], ["to", Math.ceil(to)], ["limit", 1000]], signal);

/** @param {string} point @param {number} from @param {number} to @param {AbortSignal} [signal] */
export const cycles = (point, from, to, signal) => get("/api/cycles", [...selection([point], from, to), ["limit", 100]], signal);

/** @param {string} words @param {AbortSignal} [signal] */
export const findPoints = (words, signal) => get("/api/points", [["search", words]], signal);

/** @param {string} machine */
export const pointsOf = (machine) => get("/api/points", [["machine", machine]]);

/**
 * Return the address of a CSV file.
 * @param {string[]} points @param {number} from @param {number} to
 * @param {{comma: boolean, zone: string, every?: string}} style
 */
export function exportAddress(points, from, to, { comma, zone, every }) {
  /** @type {Query} */
  const query = [...selection(points, from, to), ["decimal", comma ? "comma" : "point"], ["zone", zone]];
  if (every) query.push(["every", every]);
  query.push(["language", document.documentElement.lang]); // a link has no headers of the page
  return `/api/export.csv?${search(query)}`;
}

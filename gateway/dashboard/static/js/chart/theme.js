/**
 * The colours of charts, which come from CSS variables, and what is drawn again when they change.
 *
 * A theme changes with the preference of the system, or with an attribute (`data-theme`, `class`) of the root element.
 */

/**
 * @typedef {object} Theme
 * @property {string} text        of labels
 * @property {string} muted       of axes and of what is less important
 * @property {string} grid        of grid lines
 * @property {string} line        of borders
 * @property {string} surface     behind the chart
 * @property {string} band        of the normal range
 * @property {string} bad         of bad readings
 * @property {string} uncertain   of uncertain readings
 * @property {string[]} series    of eight series
 * @property {string} font        family of labels
 * @property {(kind: string) => string} state   the colour of a kind of state
 */

/** Values where a page does not define the variables. They are readable on light and on dark. */
const DEFAULTS = {
  "--text": "#808890",
  "--text-muted": "#808890",
  "--grid": "rgba(128, 136, 144, 0.25)",
  "--surface": "rgba(128, 136, 144, 0)",
  "--band-normal": "rgba(110, 150, 170, 0.16)",
  "--quality-bad": "#c0392b",
  "--quality-uncertain": "#b8860b",
  "--font": "system-ui, sans-serif",
};

const SERIES = ["#3b7ea1", "#b0662e", "#5d8a48", "#8a62a8", "#a8506a", "#6b7a1f", "#4d8f8b", "#7a6f66"];

/**
 * The kinds of states, calm where the machine works as it should (ISA-101: colour is for what is abnormal). Phases are
 * shades that differ from their neighbours.
 * @type {Record<string, string>}
 */
const STATES = {
  producing: "#7d8a96",
  idle: "#c9d0d6",
  changing: "#aeb8c1",
  suspended: "#b9b4a3",
  stopped: "#8a8f96",
  several: "#9aa5ae",
  on: "#8fa3b0",
  held: "#b36b00",
  aborted: "#b8002a",
  alarm: "#b8002a",
  offline: "#6a4c93",
  other: "#a3a9b5",
  unknown: "#9aa0a6",
  "phase-0": "#c3cad1",
  "phase-1": "#a9bdca",
  "phase-2": "#8fa3b0",
  "phase-3": "#bcb8a8",
  "phase-4": "#a6b5a2",
  "phase-5": "#b7a9b5",
};

/** @type {Theme | null} */
let current = null;

/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * Return the theme of the page; it is read once for each change.
 * @returns {Theme}
 */
export function theme() {
  current ??= read();
  return current;
}

/**
 * Call a function after each change of the theme, until the returned function is called.
 * @param {() => void} listener
 * @returns {() => void}
 */
export function onThemeChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Read the colours again, and have everything drawn again. */
export function refreshTheme() {
  current = null;
  for (const listener of listeners) listener();
}

/** @returns {Theme} */
function read() {
  const style = getComputedStyle(document.documentElement);
  /** @param {string} name @param {string} otherwise */
  const value = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  /** @type {Map<string, string>} */
  const states = new Map();
  /** @param {keyof typeof DEFAULTS} name */
  const own = (name) => value(name, DEFAULTS[name]);
  return {
    text: own("--text"),
    muted: own("--text-muted"),
    grid: own("--grid"),
    line: value("--line", own("--grid")),
    surface: value("--panel", own("--surface")),
    band: own("--band-normal"),
    bad: own("--quality-bad"),
    uncertain: own("--quality-uncertain"),
    series: SERIES.map((colour, index) => value(`--series-${index + 1}`, colour)),
    font: own("--font"),
    state: (kind) => {
      let colour = states.get(kind);
      if (!colour) {
        const otherwise = value(`--${kind}`, STATES[kind] ?? STATES.unknown);
        states.set(kind, (colour = value(`--state-${kind}`, kind === "alarm" ? value("--quality-bad", otherwise) : otherwise)));
      }
      return colour;
    },
  };
}

if (typeof document !== "undefined") {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refreshTheme);
  new MutationObserver(refreshTheme).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["class", "data-theme"],
  });
}

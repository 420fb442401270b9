/** Texts in the reader's language, and numbers and times in the reader's locale and the plant's time zone. */

const CATEGORIES = ["zero", "one", "two", "few", "many", "other"]; // the order of the forms in a catalogue (CLDR, gettext)

let catalogue = {};
let locale = "en";
let zone;
let plurals = new Intl.PluralRules("en");
let forms = ["one", "other"];
const formats = new Map();

/** Choose the language and the time zone; `texts` has the translations by their English texts. */
export function choose(language, texts, timeZone) {
  catalogue = texts;
  const own = navigator.languages.find((one) => one.split("-")[0] === language);
  locale = own ?? { en: "en-GB", de: "de-DE", zh: "zh-CN" }[language] ?? language;
  zone = timeZone || undefined;
  formats.clear();
  plurals = new Intl.PluralRules(language);
  const known = plurals.resolvedOptions().pluralCategories;
  forms = CATEGORIES.filter((one) => known.includes(one));
  document.documentElement.lang = language;
}

/** Return the headers of a request whose errors are for the reader: the server answers in the language of the page. */
export const readerHeaders = () => ({ Accept: "application/json", "Accept-Language": document.documentElement.lang });

/** The locale and the time zone in use, for other formats by Intl. */
export const place = () => ({ locale, timeZone: zone });

/**
 * Return a text in the reader's language; `{name}` is replaced by the value of that name.
 * @param {string} text the English text @param {Record<string, unknown>} [values]
 */
export function t(text, values) {
  const found = catalogue[text];
  return filled(typeof found === "string" && found ? found : text, values);
}

/**
 * Return a text that depends on a number, which `{count}` shows: the form of the reader's language (ngettext).
 * @param {string} one the English text for 1 @param {string} many the English text for other numbers
 * @param {number} count @param {Record<string, unknown>} [values]
 */
export function tn(one, many, count, values = {}) {
  const found = catalogue[one];
  const form = Array.isArray(found) ? found[Math.max(0, forms.indexOf(plurals.select(count)))] : undefined;
  return filled(form || (count === 1 ? one : many), { count: number(count, 0), ...values });
}

const filled = (text, values) =>
  values ? text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole)) : text;

/** Mark a text for the catalogue that is translated later, by `t`. */
export const mark = (text) => text;

function format(key, make) {
  if (!formats.has(key)) formats.set(key, make());
  return formats.get(key);
}

/** Return a number with at most so many digits after the decimal mark. */
export function number(value, digits = 3) {
  return format(`n${digits}`, () => new Intl.NumberFormat(locale, { maximumFractionDigits: digits })).format(value);
}

/** Return a number with five significant digits, for values of machines. */
export function measured(value) {
  if (Number.isInteger(value)) return number(value, 0);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return format("e", () => new Intl.NumberFormat(locale, { notation: "scientific", maximumSignificantDigits: 5 })).format(value);
  }
  return format("m", () => new Intl.NumberFormat(locale, { maximumSignificantDigits: 5 })).format(value);
}

export const percent = (part) => format("p", () => new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 })).format(part);

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];

/** Return an amount of data with three significant digits, as in `4.1kB`; with a rate it is one for each second. */
export function bytes(count, rate = false) {
  const step = Math.max(0, Math.min(Math.floor(Math.log10(Math.max(1, count)) / 3), SIZES.length - 1));
  const unit = rate ? `${SIZES[step]}-per-second` : SIZES[step];
  return format(`b${unit}`, () => new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "narrow", maximumSignificantDigits: 3 })).format(count / 1000 ** step);
}

/** Return a short length of time in milliseconds, or in seconds from one second on. */
export function milliseconds(value) {
  const unit = value < 1000 ? "millisecond" : "second";
  return format(`ms${unit}`, () => new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "narrow", maximumSignificantDigits: 3 })).format(unit === "second" ? value / 1000 : value);
}

/** Return words as a list, as in `a, b and c`. */
export const list = (words) => format("l", () => new Intl.ListFormat(locale, { type: "conjunction" })).format(words);

const UNITS = { Cel: "°C", "r/min": "1/min", "kW.h": "kWh", "m3/h": "m³/h", um: "µm", "%": "%", "N.m": "N·m", "m/min": "m/min" };

/** Return a UCUM unit as people write it. */
export const unit = (code) => UNITS[code] ?? code.replaceAll(".", "·").replace(/^\{(.*)\}$/, "$1");

/** Return the time of day of microseconds since the epoch. */
export function time(micros, seconds = true) {
  return format(`t${seconds}`, () => new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, timeZone: zone })).format(micros / 1000);
}

/** Return the date and the time of day of microseconds since the epoch. */
export function dateTime(micros) {
  return format("d", () => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium", timeZone: zone })).format(micros / 1000);
}

/** Return a time of today as a time of day, and any other with its date. */
export function moment(micros) {
  return Math.abs(Date.now() - micros / 1000) < 12 * 3600e3 ? time(micros) : dateTime(micros);
}

const STEPS = [["day", 86400, "d"], ["hour", 3600, "h"], ["minute", 60, "min"], ["second", 1, "s"]]; // with their symbols (SI)

/** Return a length of time in its two largest units, as in `3 h 12 min`. */
export function span(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [name, size, symbol] of STEPS) {
    if (left < size && !(name === "second" && parts.length === 0)) continue;
    const count = Math.floor(left / size);
    parts.push(locale.startsWith("zh")
      ? format(`u${name}`, () => new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay: "narrow" })).format(count)
      : `${number(count, 0)}\u00a0${symbol}`);
    left -= count * size;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

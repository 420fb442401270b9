/** Tables as CSV files (RFC 4180) that a spreadsheet opens without running anything in them. */

/** Texts that a spreadsheet takes for a formula begin with one of these. */
const FORMULA = /^[=+\-@\t\r\n]/;

/** Return a cell: a text that could be a formula gets an apostrophe, and quotes are doubled. */
function cell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "");
  return `"${(FORMULA.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

/**
 * Return a table as CSV.
 * @param {string[]} titles @param {Iterable<unknown[]>} rows
 */
export const csv = (titles, rows) => [titles, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");

/**
 * Let the browser save a table as a file; a spreadsheet knows its encoding by the byte order mark.
 * @param {string} name @param {string[]} titles @param {Iterable<unknown[]>} rows
 */
export function saveCsv(name, titles, rows) {
  const address = URL.createObjectURL(new Blob(["\ufeff", csv(titles, rows)], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

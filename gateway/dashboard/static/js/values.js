/** Values of machines as people read them. */

import { measured, t, unit } from "./texts.js";

/** Whether a point has numbers that can be drawn. */
export const isNumeric = (point) => (point.type === "int" || point.type === "float") && !point.labels;

/** Whether a point has states that can be drawn: it has labels, or is on or off. */
export const isState = (point) => point.type === "bool" || (point.type === "int" && Boolean(point.labels));

/**
 * Return the text of a value, and its unit: labels name numbers, and a bool without labels is on or off.
 * @param {{type: string, unit: string, labels?: Record<string, string>}} point @param {any} value
 */
export function written(point, value) {
  if (value === null || value === undefined) return { text: "", unit: "" };
  const label = point.labels?.[String(value)];
  if (label !== undefined) return { text: label, unit: "" };
  if (typeof value === "boolean") return { text: value ? t("on") : t("off"), unit: "" };
  if (value === "") return { text: t("(empty)"), unit: "" };
  if (typeof value === "number") return { text: measured(value), unit: point.unit ? unit(point.unit) : "" };
  return { text: String(value), unit: "" };
}

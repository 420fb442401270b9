/** What became of a command to a gateway, in the language of the reader. */

import { mark, number, t } from "./texts.js";

const OUTCOMES = {
  refused: mark("The gateway refuses it: {text}"), failed: mark("The gateway can't do it: {text}"),
  not_sent: mark("It was not sent: {text}"),
};

/** @param {{outcome: string, text: string, seconds: number}} answer */
export function outcomeText({ outcome, text, seconds }) {
  if (outcome === "done") return t("done");
  if (outcome === "no_answer") return t("The gateway does not answer within {seconds} s. Look again later whether it is done.", { seconds: number(seconds, 0) });
  return t(OUTCOMES[outcome], { text });
}

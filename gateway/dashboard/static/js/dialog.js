/** A dialog that sends something: it stays open, with what is wrong, until the server has taken it. */

import { h, set, setText } from "./dom.js";
import { t } from "./texts.js";

/**
 * Ask a person, and send the answer.
 * @param {string} title @param {(HTMLElement | null)[]} content what is between the title and the buttons
 * @param {string} action the text of the button that sends
 * @param {(close: () => void) => Promise<void>} send closes the dialog when all is done; the message of an `Error` is shown in it
 */
export function sendDialog(title, content, action, send) {
  const id = "dialog-title";
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const apply = h("button", { class: "button primary", type: "submit", text: action });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": id },
    h("form", { method: "dialog", class: "stack", on: { submit: (event) => { event.preventDefault(); submit(); } } },
      h("h2", { id, text: title }), ...content, problem,
      h("div", { class: "row" }, apply, h("button", { class: "button", type: "button", text: t("Cancel"), on: { click: () => dialog.close() } }))));

  async function submit() {
    apply.disabled = true;
    set(problem, { hidden: true });
    try {
      await send(() => dialog.close());
    } catch (error) {
      setText(problem, error.message);
      set(problem, { hidden: false });
      apply.disabled = false;
    }
  }

  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

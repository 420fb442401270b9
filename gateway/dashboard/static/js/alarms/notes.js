/** Note alarms on the page: acknowledged, or shelved for a time. */

import { h, set, setText } from "../dom.js";
import { request, session } from "../live.js";
import { span, t, tn } from "../texts.js";

const SHELVES = [15, 60, 480, 1440, 10080]; // minutes

/** Whether the reader may note something: an operator, or everybody where nobody signs in. */
export const mayAct = () => !session.name || session.role !== "viewer";

const titles = {
  acknowledge: (count) => tn("Acknowledge {count} alarm on this page", "Acknowledge {count} alarms on this page", count),
  shelve: (count) => tn("Shelve {count} alarm", "Shelve {count} alarms", count),
  remove: (count) => tn("Remove the note of {count} alarm", "Remove the notes of {count} alarms", count),
};

/**
 * Ask for a comment, and note what was chosen.
 * @param {"acknowledge"|"shelve"|"remove"} action @param {{path: string, key: string, name: string}[]} alarms
 * @param {() => void} done called when it is noted
 */
export function noteDialog(action, alarms, done) {
  const comment = h("textarea", { class: "field", rows: 3, maxlength: 500, required: action === "shelve" });
  const minutes = h("select", { class: "field" }, ...SHELVES.map((value) => h("option", { value, text: span(value * 60), selected: value === 60 })));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const apply = h("button", { class: "button primary", type: "submit", text: titles[action](alarms.length) });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "note-title" },
    h("form", { method: "dialog", class: "stack", on: { submit: (event) => { event.preventDefault(); send(); } } },
      h("h2", { id: "note-title", text: titles[action](alarms.length) }),
      h("ul", { class: "muted note-alarms" }, ...alarms.slice(0, 5).map((one) => h("li", { text: `${one.path.split("/").at(-1)}: ${one.name}` })),
        alarms.length > 5 ? h("li", { text: t("and {count} more", { count: alarms.length - 5 }) }) : null),
      action === "shelve" ? h("label", { class: "stack tight" }, t("For how long"), minutes) : null,
      action === "remove" ? null : h("label", { class: "stack tight" }, t("Comment"), comment),
      h("p", { class: "notice", text: t("The machine is not changed: it goes on to report this alarm. The note is seen by all readers of this page, and it is recorded who made it.") }),
      problem,
      h("div", { class: "row" }, apply, h("button", { class: "button", type: "button", text: t("Cancel"), on: { click: () => dialog.close() } }))));

  async function send() {
    apply.disabled = true;
    try {
      const answer = await request("/api/alarms/notes", {
        action, comment: comment.value, minutes: Number(minutes.value), alarms: alarms.map(({ path, key }) => ({ path, key })),
      });
      if (!answer.saved) throw new Error(t("The note is shown, but could not be saved: it is lost when the page's service is restarted."));
      dialog.close();
      done();
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

/** Acknowledge, shelve and reset alarms: at the gateway that follows them, or else as a note on the page. */

import { outcomeText } from "../commands.js";
import { sendDialog } from "../dialog.js";
import { h } from "../dom.js";
import { request } from "../live.js";
import { span, t, tn } from "../texts.js";

const SHELVES = [15, 60, 480, 1440, 10080]; // minutes

/** Whether an alarm of a gateway can be reset: it is latched, and waits for nothing else. */
export const mayReset = (row) => Boolean(row?.command) && row.gateway?.state === "latched";

const titles = {
  acknowledge: (count) => tn("Acknowledge {count} alarm on this page", "Acknowledge {count} alarms on this page", count),
  shelve: (count) => tn("Shelve {count} alarm", "Shelve {count} alarms", count),
  remove: (count) => tn("Remove the note of {count} alarm", "Remove the notes of {count} alarms", count),
};

const commandTitles = {
  acknowledge: (count) => tn("Acknowledge {count} alarm", "Acknowledge {count} alarms", count),
  shelve: titles.shelve,
  remove: (count) => tn("Return {count} alarm to the list", "Return {count} alarms to the list", count),
  reset: (count) => tn("Reset {count} alarm", "Reset {count} alarms", count),
};

/**
 * Ask for a comment, and note what was chosen.
 * @param {"acknowledge"|"shelve"|"remove"|"reset"} action @param {{path: string, key: string, name: string, command?: boolean}[]} alarms
 * @param {() => void} done called when it is noted
 */
export function noteDialog(action, alarms, done) {
  const commanded = alarms.filter((one) => one.command).length, noted = alarms.length - commanded;
  const title = (commanded ? commandTitles : titles)[action](alarms.length);
  const comment = h("textarea", { class: "field", rows: 3, maxlength: 500, required: action === "shelve" });
  const minutes = h("select", { class: "field" }, ...SHELVES.map((value) => h("option", { value, text: span(value * 60), selected: value === 60 })));
  const content = [
    h("ul", { class: "muted note-alarms" }, ...alarms.slice(0, 5).map((one) => h("li", { text: `${one.path.split("/").at(-1)}: ${one.name}` })),
      alarms.length > 5 ? h("li", { text: t("and {count} more", { count: alarms.length - 5 }) }) : null),
    action === "shelve" ? h("label", { class: "stack tight" }, t("For how long"), minutes) : null,
    action === "remove" && !commanded ? null : h("label", { class: "stack tight" }, t("Comment"), comment),
    commanded ? h("p", { class: "notice", text: tn("{count} alarm is changed at its gateway, for everybody, and it is recorded who did it.", "{count} alarms are changed at their gateway, for everybody, and it is recorded who did it.", commanded) }) : null,
    commanded && noted ? h("p", { class: "notice", text: tn("{count} alarm gets a note on this page alone: no gateway takes a command for it.", "{count} alarms get a note on this page alone: no gateway takes a command for them.", noted) }) : null,
    noted ? h("p", { class: "notice", text: t("The machine is not changed: it goes on to report this alarm. The note is seen by all readers of this page, and it is recorded who made it.") }) : null,
  ];
  sendDialog(title, content, title, async (close) => {
    const answer = await request("/api/alarms/notes", {
      action, comment: comment.value, minutes: Number(minutes.value), alarms: alarms.map(({ path, key }) => ({ path, key })),
    });
    if (!answer.saved) throw new Error(t("The note is shown, but could not be saved: it is lost when the page's service is restarted."));
    const others = answer.commands.filter((one) => one.outcome !== "done");
    if (others.length) throw new Error(others.slice(0, 5).map((one) => `${one.name}: ${outcomeText(one)}`).join(" "));
    close();
    done();
  });
}

// The results: a card each, with everything that can be done with it; and the ticks for comparing and downloading.

import { $, ask, attempt, el, when } from "/viewer/js/dom.js";
import * as api from "./api.js";
import { openPerson } from "./person.js";
import { tell } from "./words.js";

export class Results {
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    this.ticked = new Set();
    this.rows = [];
    this.shown = new Map();
    $("#all").addEventListener("change", ({ target }) => {
      this.ticked = new Set(target.checked ? this.rows.map((row) => row.name) : []);
      for (const box of document.querySelectorAll("#list input[type=checkbox]")) box.checked = target.checked;
      this.count();
    });
    $("#download").addEventListener("click", () => {
      location.assign(api.download([...this.ticked]));
      tell("The zip is being made; your browser saves it among the downloads.");
    });
    $("#compare").addEventListener("click", () => this.compare());
  }

  show({ results, cohorts }) {
    this.rows = results;
    const names = new Set(results.map((row) => row.name));
    this.ticked = new Set([...this.ticked].filter((name) => names.has(name)));
    $("#bar").hidden = results.length === 0;
    $("#empty").hidden = results.length > 0;
    keep(this.shown, $("#list"), results, (row) => this.card(row));
    this.cohortsShown ??= new Map();
    $("#cohorts").hidden = cohorts.length === 0;
    keep(this.cohortsShown, $("#cohort-list"), cohorts, cohortCard);
    this.count();
  }

  count() {
    const n = this.ticked.size;
    $("#chosen").textContent = n === 0 ? "Tick all" : `${n} ticked`;
    $("#all").checked = n > 0 && n === this.rows.length;
    $("#all").indeterminate = n > 0 && n < this.rows.length;
    $("#compare").disabled = n < 2;
    $("#download").textContent = n === 0 ? "Download all" : `Download ${n}`;
  }

  card(row) {
    const tick = el("input", { type: "checkbox", "aria-label": `Tick ${row.name}`, checked: this.ticked.has(row.name) });
    tick.addEventListener("change", () => {
      this.ticked[tick.checked ? "add" : "delete"](row.name);
      this.count();
    });
    const press = (does) => async (event) => {
      await attempt(does, event.currentTarget);
      this.changed();
    };
    const named = (text) => `${text}: ${row.name}`; // begins with what is written on the button
    return el("li", { class: "card", "data-name": row.name },
      el("div", { class: "top" },
        tick, el("span", { class: "name" }, row.name), row.label ? el("span", { class: "tag", "data-stage": row.stage }, row.label) : null,
        row.labels ? el("span", { class: "tag" }, row.labels) : null,
        el("span", { class: "space" }), el("span", { class: "soft" }, `${row.found} muscles and bones, ${when(row.made)}`)),
      row.alarms.map((text) => el("p", { class: "alarm" }, el("strong", {}, "Stop."), ` ${text}`)),
      row.warnings.length === 0 ? null : el("details", {}, el("summary", {}, row.warnings.length === 1 ? "Please check 1 thing" : `Please check ${row.warnings.length} things`), el("ul", {}, row.warnings.map((text) => el("li", {}, text)))),
      row.corrected ? el("p", { class: "soft" }, "You corrected the labels. The numbers here are from before.") : null,
      el("div", { class: "row" },
        el("a", { class: "button main", href: api.resultPage(row.name), target: "_blank", rel: "noopener", "aria-label": named("Open") }, "Open"),
        el("button", { type: "button", "aria-label": named("Person and sarcopenia"), onclick: press(() => openPerson(row.name, this.form, this.changed)) }, "Person and sarcopenia"),
        el("button", { type: "button", "aria-label": named("Correct"), onclick: press(() => correct(row.name)) }, "Correct"),
        row.corrected ? el("button", { type: "button", class: "main", "aria-label": named("Measure again"), onclick: press(() => api.measureAgain(row.name)) }, "Measure again") : null,
        el("span", { class: "space" }),
        el("button", { type: "button", "aria-label": named("Remove"), onclick: press(() => remove(row.name)) }, "Remove")));
  }

  async compare() {
    const names = [...this.ticked];
    const criteria = el("select", { id: "compare-criteria" }, this.form.criteria.map(({ key, name }) => el("option", { value: key, selected: key === this.form.default }, name)));
    const table = el("input", { type: "file", id: "compare-table", accept: ".xlsx,.csv,.tsv,.txt" });
    const answer = await ask(`Compare ${names.length} people`, [
      el("p", {}, "Relates the muscles to sarcopenia: who has it, which muscles are smaller, with statistics. It needs sex and clinical values of most people, and some with and without sarcopenia."),
      el("label", { class: "field", htmlFor: "compare-criteria" }, "Criteria", criteria),
      el("label", { class: "field", htmlFor: "compare-table" }, "Table of the clinical values (Excel or CSV; its column “subject” holds the names of the results). Leave it empty to use what you entered here.", table),
    ], [{ value: "no", label: "Cancel" }, { value: "yes", label: "Compare", kind: "main" }]);
    if (answer !== "yes") return;
    await attempt(() => api.compare(names, criteria.value, table.files[0]), $("#compare"));
    this.changed();
  }
}

async function correct(name) {
  // Opened before the program answers: later a browser would take it for an advertisement.
  const tab = window.open("about:blank");
  try {
    const { case: id } = await api.correct(name);
    const address = `/?${new URLSearchParams({ case: id })}`;
    if (tab) tab.location = address;
    else location.assign(address);
  } catch (error) {
    tab?.close();
    throw error;
  }
}

async function remove(name) {
  const answer = await ask(`Remove ${name}?`, [el("p", {}, "The result is deleted, and the copy of the scan that you dropped in. A scan that you gave by its path stays.")], [
    { value: "yes", label: "Remove" }, { value: "no", label: "Keep", kind: "main" }]);
  if (answer === "yes") await api.remove(name);
}

function cohortCard(row) {
  return el("li", { class: "card" }, el("div", { class: "top" }, el("span", { class: "name" }, row.name), el("span", { class: "space" }),
    el("a", { class: "button main", href: api.cohortPage(row.name), target: "_blank", rel: "noopener", "aria-label": `Open ${row.name}` }, "Open")));
}

/** Puts a card for each row in order; one whose row has not changed stays, with its focus and what is unfolded. */
function keep(shown, list, rows, make) {
  const known = new Map(shown);
  shown.clear();
  const nodes = rows.map((row) => {
    const text = JSON.stringify(row);
    const before = known.get(row.name);
    const node = before?.text === text ? before.node : make(row);
    shown.set(row.name, { text, node });
    return node;
  });
  const same = nodes.length === list.children.length && nodes.every((node, i) => node === list.children[i]);
  if (same) return;
  const focused = document.activeElement?.closest?.("[data-name]")?.dataset.name;
  const label = document.activeElement?.getAttribute?.("aria-label");
  list.replaceChildren(...nodes);
  if (focused && label) [...list.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === label)?.focus();
}

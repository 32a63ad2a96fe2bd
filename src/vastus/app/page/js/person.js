// One person: clinical values in, stage with its reasons and volumes by body size out.

import { el } from "/viewer/js/dom.js";
import * as api from "./api.js";

const PARTS = [
  ["The person", ["age_years", "height_cm", "weight_kg"]],
  ["Strength and performance", ["grip_kg", "gait_m_s", "chair_stand_s", "sppb", "tug_s"]],
  ["Muscle mass by DXA or bioimpedance (BIA)", ["asm_kg", "smi_kg_m2"]],
  ["Screening", ["calf_cm", "sarc_f", "sarc_calf"]],
];
const FINDINGS = { low: "low", normal: "normal", unknown: "not decided" };

export async function openPerson(name, form, changed) {
  const given = await api.details(name);
  const error = el("p", { class: "error", role: "alert" });
  const out = el("div", { class: "sheet", "aria-live": "polite" });
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const sheet = el("form", { method: "dialog", noValidate: true },
    el("div", { class: "sheet-head" }, el("h2", { id: "person-title" }, name), close),
    ...PARTS.map(([title, fields], n) => part(title, fields, n, form, given.person)),
    el("div", { class: "row" },
      el("label", { class: "field" }, "Criteria", el("select", { name: "criteria" }, form.criteria.map(({ key, name: words }) => el("option", { value: key, selected: key === (given.person.criteria ?? form.default) }, words)))),
      el("span", { class: "space" }), el("button", { type: "submit", class: "main" }, "Save and work out")),
    error);
  const dialog = el("dialog", { "aria-labelledby": "person-title" }, sheet, out);
  sheet.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    try {
      show(out, await api.savePerson(name, Object.fromEntries(new FormData(sheet))));
      changed();
      out.scrollIntoView({ block: "nearest" });
    } catch (problem) {
      error.textContent = problem.message;
    }
  });
  show(out, given);
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  dialog.remove();
}

function part(title, fields, number, form, person) {
  const inputs = fields.map((name) => {
    const { label, unit, low, high } = form.fields.find((field) => field.name === name);
    return el("label", { class: "field" }, `${label} (${unit})`,
      el("input", { type: "text", name, inputMode: "decimal", autocomplete: "off", value: person[name] ?? "", title: `${low} to ${high}` }));
  });
  const radios = number === 0 ? choice("sex", "Sex", [["F", "Woman"], ["M", "Man"]], person.sex)
    : number === 2 ? choice("mass_method", "Measured by", [["dxa", "DXA"], ["bia", "BIA"]], person.mass_method) : null;
  return el("fieldset", {}, el("legend", {}, title), radios, el("div", { class: "fields" }, inputs));
}

function choice(name, words, options, chosen) {
  return el("div", { class: "radios", role: "group", "aria-label": words },
    options.map(([value, text]) => el("label", { class: "check" }, el("input", { type: "radio", name, value, checked: value === chosen }), text)));
}

function show(out, { diagnosis, volumes, person }) {
  out.replaceChildren(...(diagnosis ? [said(diagnosis)] : [el("p", { class: "soft" }, "Enter what you know; what is not known stays empty. The result says what is missing.")]), table(volumes, person));
}

function said(found) {
  const test = ({ name, text, unit, finding }) => el("li", {}, `${name}: ${text} ${unit} — ${FINDINGS[finding]}`);
  return el("div", { class: "said", "data-stage": found.stage },
    el("p", { class: "large" }, found.label),
    el("p", {}, `By ${found.criteria}. `, found.domains.map(({ name, finding }) => `${name}: ${FINDINGS[finding]}`).join(", "), "."),
    found.tests.length > 0 ? el("ul", {}, found.tests.map(test)) : null,
    found.missing.length > 0 ? el("p", {}, `Still open${found.at_most ? `, up to ${found.at_most}` : ""}. It would help to know: ${found.missing.join(", ")}.`) : null,
    found.note ? el("p", { class: "soft" }, found.note) : null,
    el("p", { class: "soft" }, found.source));
}

const number = (value) => (value === null || value === undefined ? "–" : String(value));
const side = (row, name) => `${number(row[`${name}_ml`])}${row[`${name}_cut`] ? " *" : ""}`;

function table(rows, person) {
  const sized = person.height_cm || person.weight_kg;
  const expected = person.height_cm && person.weight_kg;
  const heads = ["", "Right, mL", "Left, mL", "Both, mL", ...(sized ? ["Both / height², cm³/m²", "Both / weight, cm³/kg"] : []), ...(expected ? ["Right, % of expected", "Left, % of expected"] : [])];
  const body = rows.map((row) => el("tr", { class: row.group ? "group" : "" }, el("th", { scope: "row" }, row.name),
    [row.group ? "" : side(row, "right"), row.group ? "" : side(row, "left"), number(row.both_ml), ...(sized ? [number(row.per_height2), number(row.per_kg)] : []),
      ...(expected ? [number(row.right_expected), number(row.left_expected)] : [])].map((text) => el("td", {}, text))));
  return el("div", {}, el("h3", {}, "Volumes"),
    el("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": "Volumes" }, el("table", {}, el("thead", {}, el("tr", {}, heads.map((text) => (text ? el("th", { scope: "col" }, text) : el("td", {}))))), el("tbody", {}, body))),
    el("p", { class: "soft" }, "* cut by the edge of the scan: only a part is measured, so it is not added up or compared. – not found, or not known.",
      expected ? " Expected: what healthy young adults of that height and weight have (Handsfield 2014); older people have less. No diagnosis reads it." : ""));
}

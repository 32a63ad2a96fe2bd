// The list of structures: colour, on and off, volume and density per side, search, solo, opacity.

import { $, el, swatch } from "./dom.js";
import { GAINED, LOST } from "./proposals.js";
import { BACKGROUND_SEED, UNLABELLED } from "./workspace.js";

const SIDES = ["right", "left", "unknown"]; // the last column is shown only where a label map needs it
/** The column of a structure: the number of what lies in the midline has the room of both sides. */
const columnOf = (structure) => (structure.side === "midline" ? "right" : structure.side);

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);
const plainName = (structure) => sentence(structure.name.replace(/[ _,(]*(right|left)\)?$/i, "").replaceAll("_", " "));

export class Structures {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.hidden = new Set();
    this.beforeSolo = null;
    this.uncertain = new Map();
    workspace.on("structures", () => this.build());
    workspace.on("volumes version edited second", () => this.fill());
    workspace.on("selected", () => this.mark());
    $("#find").addEventListener("input", () => this.filter());
    $("#show-all").addEventListener("click", () => this.showOnly(null));
    $("#show-none").addEventListener("click", () => this.showOnly([]));
    $("#solo").addEventListener("click", () => this.solo());
    $("#go-to").addEventListener("click", () => this.goTo());
    for (const side of ["right", "left"]) $(`#side-${side}`).addEventListener("change", () => this.setSide(side));
  }

  /** One row a structure; both sides in it. */
  build() {
    const { structures } = this.workspace;
    for (const s of structures) {
      s.plain = plainName(s);
      s.label = s.side === "midline" ? s.plain : s.side === "unknown" ? `${s.plain}, side unknown` : `${s.plain}, ${s.side}`;
    }
    const table = $("#structures");
    table.querySelectorAll("tbody").forEach((body) => body.remove());
    this.rows = [];
    for (const [group, title] of new Map(structures.map((s) => [s.group, s.group_title]))) {
      const members = structures.filter((s) => s.group === group);
      if (members.length === 0) continue;
      const keys = [...new Set(members.map((s) => s.key.replace(/_(right|left)$/, "")))];
      const head = el("tr", { class: "group" },
        el("th", { scope: "rowgroup", colSpan: 1 }, title),
        ...SIDES.map((side) => el("td", { class: side }, this.groupToggle(title, side, members.filter((s) => columnOf(s) === side)))));
      const body = el("tbody", { "data-group": group }, head);
      for (const key of keys) body.append(this.row(key, members.filter((s) => s.key.replace(/_(right|left)$/, "") === key)));
      table.append(body);
    }
    const seed = el("tbody", { "data-group": "seeds" }, el("tr", { class: "group" }, el("th", { scope: "rowgroup", colSpan: 3 }, "For growing from seeds")), this.row(BACKGROUND_SEED.key, [BACKGROUND_SEED]));
    const unlabelled = el("tbody", { "data-group": "unlabelled" }, el("tr", { class: "group" }, el("th", { scope: "rowgroup", colSpan: 3 }, "No verdict")), this.row(UNLABELLED.key, [UNLABELLED]));
    table.append(seed, unlabelled);
    $("#structures-empty").hidden = this.rows.length > 0;
    this.paint();
  }

  groupToggle(title, side, members) {
    const box = el("input", { type: "checkbox", checked: true, "aria-label": `${title}, ${side}` });
    box.addEventListener("change", () => this.toggle(members.map((s) => s.value), box.checked));
    box.members = members.map((s) => s.value);
    return box;
  }

  row(key, members) {
    const first = members[0];
    const button = el("button", { type: "button", class: "name", title: first.abbreviation ?? "" }, swatch(first.colour), first.plain);
    button.addEventListener("click", () => this.choose(key));
    button.addEventListener("dblclick", () => this.goTo());
    const single = first.side === "midline";
    const cells = SIDES.filter((side) => !single || side !== "left").map((side) => {
      const s = members.find((m) => columnOf(m) === side);
      const cell = el("td", { class: side, colSpan: single && side === "right" ? 2 : 1 });
      if (!s) return { cell };
      const box = el("input", { type: "checkbox", checked: true, "aria-label": `Show ${s.label}` });
      box.addEventListener("change", () => this.toggle([s.value], box.checked));
      const ml = el("span", { class: "ml" });
      const hu = el("span", { class: "hu" });
      cell.append(box, ml, hu);
      return { cell, box, ml, hu, value: s.value, side: s.side };
    });
    const line = el("tr", { "data-key": key }, el("th", { scope: "row" }, button), ...cells.map((c) => c.cell));
    this.rows.push({ key, line, button, members, plain: first.plain, cells: cells.filter((c) => c.value) });
    return line;
  }

  // ---- which are shown ----

  toggle(values, on) {
    this.beforeSolo = null;
    for (const value of values) {
      if (on) this.hidden.delete(value);
      else this.hidden.add(value);
    }
    this.paint();
  }

  /** @param {number[] | null} values null shows all */
  showOnly(values) {
    this.beforeSolo = null;
    this.hidden = new Set(values === null ? [] : this.workspace.structures.map((s) => s.value).filter((v) => !values.includes(v)));
    this.paint();
  }

  /** Shows the selected structure (both sides) alone, or all that was shown before. */
  solo() {
    if (this.beforeSolo) {
      this.hidden = this.beforeSolo;
      this.beforeSolo = null;
    } else {
      const row = this.selectedRow;
      if (!row || row.cells.length === 0) return;
      const before = this.hidden;
      this.showOnly(row.cells.map((c) => c.value));
      this.beforeSolo = before;
    }
    this.paint();
  }

  paint() {
    const lut = new Uint8ClampedArray(1024);
    for (const s of [...this.workspace.structures, BACKGROUND_SEED, GAINED, LOST, UNLABELLED]) {
      const number = parseInt(s.colour.slice(1), 16);
      lut.set([number >> 16, (number >> 8) & 255, number & 255, this.hidden.has(s.value) ? 0 : 255], 4 * s.value);
    }
    this.workspace.scene.setPalette(lut);
    for (const row of this.rows ?? []) for (const c of row.cells) c.box.checked = !this.hidden.has(c.value);
    for (const box of document.querySelectorAll("#structures .group input")) {
      const shown = box.members.filter((v) => !this.hidden.has(v)).length;
      box.checked = shown > 0;
      box.indeterminate = shown > 0 && shown < box.members.length;
    }
    $("#solo").setAttribute("aria-pressed", String(this.beforeSolo !== null));
  }

  // ---- numbers ----

  /** Volumes come from the server; those changed since are counted here and set in italics. */
  fill() {
    const { workspace } = this;
    const map = workspace.scene.map;
    const from = new Map(workspace.volumes.map((v) => [v.value, v]));
    $("#structures").classList.toggle("with-unknown", map !== null && workspace.structures.some((s) => s.side === "unknown" && map.counts[s.value] > 0));
    const comparing = workspace.dice !== null;
    $("#structures").dataset.shows = comparing ? "dice" : this.uncertain.size > 0 ? "uncertainty" : "hu";
    $("#column-kind").textContent = comparing ? "mL · Dice" : this.uncertain.size > 0 ? "mL · doubt" : "mL · HU";
    for (const row of this.rows ?? []) {
      for (const c of row.cells) {
        const saved = from.get(c.value);
        const changed = map !== null && workspace.unsaved && map.touched.has(c.value);
        const ml = changed || (!saved && map) ? map.counts[c.value] * map.voxelMl : saved?.volume_ml;
        c.ml.textContent = ml > 0 ? ml.toFixed(ml < 10 ? 1 : 0) : "–";
        c.ml.classList.toggle("changed", changed);
        c.ml.title = changed ? "counted here; not saved yet" : "";
        if (comparing) c.hu.textContent = Number.isNaN(workspace.dice[c.value]) ? "" : (Math.floor(100 * workspace.dice[c.value]) / 100).toFixed(2); // 1.00 only for equal ones
        else if (this.uncertain.size > 0) c.hu.textContent = this.uncertain.has(c.value) ? this.uncertain.get(c.value).uncertainty.toFixed(2) : "";
        else c.hu.textContent = saved && Number.isFinite(saved.mean_hu) && !changed ? saved.mean_hu.toFixed(0) : "";
      }
      for (const c of row.cells) {
        const judged = comparing ? undefined : this.uncertain.get(c.value);
        const told = judged?.expected !== undefined;
        c.hu.title = told ? `expected agreement ${judged.expected.toFixed(2)} (${judged.low.toFixed(2)} to ${judged.high.toFixed(2)}); chance of being wrong ${Math.round(100 * judged.wrong)} %` : "";
        c.hu.classList.toggle("wrong", told && judged.wrong >= 0.5);
      }
      row.line.classList.toggle("absent", row.cells.length > 0 && row.cells.every((c) => c.ml.textContent === "–"));
    }
  }

  /** @param {{value: number, uncertainty: number, expected?: number, low?: number, high?: number, wrong?: number}[]} rows empty: the column shows densities again */
  setUncertainty(rows) {
    this.uncertain = new Map(rows.map((r) => [r.value, r]));
    this.fill();
  }

  filter() {
    const words = $("#find").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of this.rows) {
      const text = `${row.plain} ${row.members[0].abbreviation ?? ""} ${row.members[0].group_title ?? ""} ${row.members[0].group_also ?? ""}`.toLowerCase();
      row.line.hidden = !words.every((word) => text.includes(word));
      shown += row.line.hidden ? 0 : 1;
    }
    for (const body of document.querySelectorAll("#structures tbody")) body.hidden = !body.querySelector("tr[data-key]:not([hidden])");
    $("#structures-empty").textContent = "No structure has this name.";
    $("#structures-empty").hidden = shown > 0;
  }

  // ---- the selected one: the pen's value ----

  get selectedRow() {
    return this.rows?.find((row) => row.members.some((s) => s.value === this.workspace.selected));
  }

  choose(key) {
    const row = this.rows.find((r) => r.key === key);
    const before = this.workspace.byValue.get(this.workspace.selected)?.side;
    const side = (before === "midline" ? "" : before) || this.workspace.sideInScan || "right";
    const cell = row.cells.find((c) => c.side === side) ?? row.cells[0];
    this.workspace.select(cell?.value ?? row.members[0].value);
  }

  setSide(side) {
    const cell = this.selectedRow?.cells.find((c) => c.side === side);
    if (cell) this.workspace.select(cell.value);
  }

  mark() {
    const s = this.workspace.byValue.get(this.workspace.selected);
    const row = this.selectedRow;
    for (const other of this.rows) {
      other.line.classList.toggle("selected", other === row);
      other.button.setAttribute("aria-pressed", String(other === row));
    }
    const strip = $("#selected");
    strip.querySelector(".swatch").style.setProperty("--colour", s?.colour ?? "transparent");
    strip.querySelector("strong").textContent = s?.plain ?? "No structure selected";
    for (const side of ["right", "left"]) {
      $(`#side-${side}`).checked = s?.side === side;
      $(`#side-${side}`).disabled = !s || s === BACKGROUND_SEED || s === UNLABELLED || s.side === "midline";
    }
    for (const id of ["solo", "go-to"]) $(`#${id}`).disabled = !s;
  }

  goTo() {
    const { scene, selected } = this.workspace;
    const voxel = scene.map?.middleOf(selected);
    if (voxel) scene.goTo(voxel);
  }
}

// The editing bar: pen, size, rules, undo, the server's tools, saving.

import { $, attempt, ask, el, say } from "./dom.js";
import { PLANES, Rule } from "./labels.js";
import { BACKGROUND_SEED, UNLABELLED } from "./workspace.js";

const SIZES_MM = [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30];

export class Editing {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.tool = "move";
    this.size = 6;
    for (const radio of document.querySelectorAll("[name=tool]")) radio.addEventListener("change", () => this.setTool(radio.value));
    $("#size").max = SIZES_MM.length - 1;
    $("#size").addEventListener("input", () => this.setSize(SIZES_MM[$("#size").value]));
    for (const id of ["ball", "keep-others", "limit-hu", "hu-min", "hu-max"]) $(`#${id}`).addEventListener("change", () => this.apply());
    $("#undo").addEventListener("click", () => this.undo());
    $("#redo").addEventListener("click", () => this.redo());
    $("#save").addEventListener("click", () => this.save());
    for (const button of document.querySelectorAll("[data-server-tool]")) {
      button.addEventListener("click", () => this.serverTool(button.dataset.serverTool, button));
    }
    workspace.on("selected version versions cases case proposal held", () => this.apply());
    workspace.on("edited version unsaved", () => this.showUndo());
    workspace.scene.addEventListener("place", ({ detail }) => this.picked(detail));
    this.setSize(this.size);
    this.showUndo();
  }

  get canEdit() {
    const { workspace } = this;
    return workspace.case !== null && !workspace.overview && !workspace.isHeld && !workspace.proposals?.open && !workspace.lockedByOther && !workspace.showsOldVersion && workspace.scene.map !== null;
  }

  /** What drawing with the current tool needs and lacks, or "". */
  get missing() {
    if (!this.workspace.case) return "Open a case first.";
    if (this.workspace.overview) return "This is an overview. Labels can be changed once the whole scan is here.";
    if (this.workspace.isHeld) return "Wait: the labels on screen are being worked on.";
    if (this.workspace.lockedByOther) return `${this.workspace.lockedByOther} is working on this case; it can be looked at, not changed.`;
    if (this.workspace.showsOldVersion) return "This is an older version. Restore it to change it.";
    const needsStructure = ["brush", "outline", "pour"].includes(this.tool) || (this.tool === "erase" && $("#keep-others").checked);
    if (needsStructure && this.workspace.selected === 0) return "Select a structure in the list first, or pick one in the image.";
    return "";
  }

  /** Undo and redo belong to the lines while outlines are drawn, else to the brush. */
  get undoer() {
    const { outlining, scene } = this.workspace;
    return this.tool === "strokes" && outlining ? outlining : scene;
  }

  undo() {
    if (this.canEdit) this.undoer.undo();
  }

  redo() {
    if (this.canEdit) this.undoer.redo();
  }

  setTool(tool) {
    this.tool = tool;
    const radio = document.querySelector(`[name=tool][value=${tool}]`);
    radio.checked = true;
    this.apply();
    if (tool !== "move" && tool !== "pick" && this.missing) say(this.missing);
  }

  setSize(mm) {
    this.size = mm;
    $("#size").value = SIZES_MM.indexOf(mm);
    $("#size").setAttribute("aria-valuetext", `${mm} mm`);
    $("#size-text").textContent = `${mm} mm`;
    this.apply();
  }

  changeSize(steps) {
    const here = SIZES_MM.indexOf(this.size);
    this.setSize(SIZES_MM[Math.max(0, Math.min(SIZES_MM.length - 1, here + steps))]);
  }

  rule() {
    const { scene, selected } = this.workspace;
    const hu = $("#limit-hu").checked
      ? { min: Number($("#hu-min").value), max: Number($("#hu-max").value), at: (index) => scene.huAt(index) }
      : null;
    return new Rule(this.tool === "erase" ? 0 : selected, { keepOthers: $("#keep-others").checked, erases: selected, hu });
  }

  /** Hands the pen that the bar describes to the scene. */
  apply() {
    const kinds = { brush: "brush", erase: "brush", outline: "outline", pour: "pour" };
    const kind = this.canEdit && this.missing === "" ? kinds[this.tool] : undefined;
    this.workspace.scene.setPen(kind ? { kind, radiusMm: this.size / 2, ball: $("#ball").checked, rule: () => this.rule() } : null);
    $("#canvases").dataset.tool = this.tool;
    $("#edit-bar").classList.toggle("disabled", !this.canEdit);
    $("#save").disabled = !this.canEdit;
    this.workspace.outlining?.apply();
    const holder = this.workspace.lockedByOther;
    const why = holder ? `Locked by ${holder}` : this.workspace.showsOldVersion ? "Older version" : "";
    $("#locked").hidden = why === "";
    $("#locked").textContent = why;
    for (const button of document.querySelectorAll("[data-server-tool]")) {
      const structure = this.workspace.selected !== 0 && ![BACKGROUND_SEED.value, UNLABELLED.value].includes(this.workspace.selected);
      button.disabled = !this.canEdit || (button.dataset.needs === "structure" && !structure);
    }
  }

  picked({ value }) {
    if (this.tool !== "pick" || value === 0) return;
    this.workspace.select(value);
  }

  /** Space: what a click with the pen does, at the crosshair. */
  useHere() {
    const { scene } = this.workspace;
    if (this.tool === "strokes") {
      if (this.missing) say(this.missing);
      else this.workspace.outlining.pointHere();
      return;
    }
    if (this.tool === "pick" || this.tool === "move") {
      const value = scene.map?.at(scene.crosshair) ?? 0;
      if (value > 0) this.workspace.select(value);
      return;
    }
    if (this.missing) say(this.missing);
    else scene.paintHere();
  }

  showUndo() {
    const from = this.undoer === this.workspace.scene ? this.workspace.scene.map : this.undoer;
    $("#undo").disabled = !from || from.done.length === 0;
    $("#redo").disabled = !from || from.undone.length === 0;
  }

  async save() {
    if (!this.canEdit) {
      say(this.missing || "Open a case first.");
      return;
    }
    const { workspace } = this;
    if (workspace.saving) {
      say("The save before this one is still on its way.");
      return;
    }
    const note = el("input", { type: "text", maxLength: 2000, autofocus: true, autocomplete: "off", "aria-label": "Note" });
    const final = el("input", { type: "checkbox", checked: workspace.version?.tag === "final" });
    const answer = await ask("Save as a new version", [
      el("p", { class: "details" }, workspace.unsaved ? "The versions before stay as they are." : "Nothing has changed since this version; saving marks it as reviewed."),
      this.changes(),
      el("label", { class: "field" }, "Note", note),
      el("label", { class: "check" }, final, " Final: may be used for training"),
    ], [{ value: "", label: "Cancel", kind: "quiet" }, { value: "save", label: "Save" }]);
    if (answer !== "save") return;
    await attempt(async () => {
      await workspace.save({ note: note.value, final: final.checked });
    }, $("#save"));
  }

  /** What has changed since the version was loaded, in mL a structure; the largest changes first. */
  changes() {
    const { map } = this.workspace.scene;
    const ml = (n) => n * map.voxelMl;
    const rows = [...map.counts].map((n, value) => ({ value, now: n, change: n - map.before[value] }))
      .filter(({ value, change }) => change !== 0 && value !== 0 && value !== BACKGROUND_SEED.value)
      .sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
    if (rows.length === 0) return null;
    const shown = rows.slice(0, 12);
    const line = ({ value, now, change }) => el("tr", {}, ...[this.workspace.nameOf(value), ml(now - change).toFixed(1), ml(now).toFixed(1), `${change > 0 ? "+" : "−"}${ml(Math.abs(change)).toFixed(1)}`].map((text) => el("td", {}, text)));
    const head = el("tr", {}, ...["Structure", "before (mL)", "now (mL)", "change"].map((title) => el("th", { scope: "col" }, title)));
    const more = rows.length > shown.length ? el("caption", {}, `and ${rows.length - shown.length} more with smaller changes`) : null;
    return el("table", { class: "changes" }, more, el("thead", {}, head), el("tbody", {}, ...shown.map(line)));
  }

  /** Runs a tool on what is on screen, strokes not yet saved included. It shows what would change; accepted, it is a new version. */
  async serverTool(name, button) {
    const { workspace } = this;
    const made = await attempt(() => workspace.holding(async () => {
      await workspace.saved();
      const { id } = workspace.case;
      const { map } = workspace.scene;
      const value = button.dataset.needs === "structure" ? workspace.selected : undefined;
      const parameters = { parent: workspace.version?.version, value, plane: PLANES[workspace.scene.plane].name.toLowerCase() };
      const body = await workspace.labelGz({ seeds: name === "grow" });
      const preview = await workspace.api.tool(id, name, { ...parameters, preview: true }, body);
      if (map !== workspace.scene.map) return null; // another case is open now: the change is none of its
      if (!(await workspace.proposals.agreed(button.textContent, preview))) return null;
      const answer = await workspace.api.tool(id, name, parameters, body);
      if (map === workspace.scene.map) await workspace.forgetDraft();
      await workspace.arrive(answer, id);
      return answer;
    }), button);
    this.apply();
    if (made) say(`Version ${made.version}: ${made.note || button.textContent}.`);
  }
}

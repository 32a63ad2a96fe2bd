// Outlines of an axial slice: strokes, cuts, areas and a window drawn over the image; the server makes the mask of them.

import { $, attempt, el, say } from "./dom.js";

const FORMAT = "vastus-outline-1";
const SVG = "http://www.w3.org/2000/svg";
const TOLERANCE = 0.35; // voxels: points of a line that lie nearer than this to it are left out
const FINE_MM = 0.6; // voxels below this are fine enough by themselves
const NEAR_PIXELS = 9;
const USUAL_HU = -25; // the server's own floor of a muscle's mask

const shape = (tag, attributes) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const copy = (value) => JSON.parse(JSON.stringify(value));
const round = (p) => p.map((c) => Math.round(10 * c) / 10);
const plainKey = (structure) => structure.key.replace(/_(right|left)$/, "");

/** Leaves out points that a straight line passes nearly through (Douglas and Peucker). */
export function simplified(points, tolerance = TOLERANCE) {
  if (points.length < 3) return points;
  const [a, b] = [points[0], points.at(-1)];
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  let far = 0;
  let at = 0;
  points.forEach((p, i) => {
    const off = length > 0
      ? Math.abs((b[0] - a[0]) * (a[1] - p[1]) - (a[0] - p[0]) * (b[1] - a[1])) / length
      : Math.hypot(p[0] - a[0], p[1] - a[1]);
    if (off > far) [far, at] = [off, i];
  });
  if (far <= tolerance) return [a, b];
  return [...simplified(points.slice(0, at + 1), tolerance).slice(0, -1), ...simplified(points.slice(at), tolerance)];
}

export const emptyOutline = (spacing) => ({
  format: FORMAT, start: "", window: null, strokes: {}, background: [], cuts: [], undecided: [], polygons: [], dropped: [],
  settings: spacing < FINE_MM ? { grid_factor: 1 } : {},
});

export const isEmpty = (spec) =>
  Object.keys(spec.strokes).length + spec.background.length + spec.cuts.length + spec.polygons.length === 0;

/** All drawn lines of an outline, each with what it is and how to take it away or put another in its place. */
export function linesOf(spec) {
  const of = (list, kind, key = "") => list.map((points, i) => ({ kind, key, list, i, points }));
  const strokes = Object.entries(spec.strokes).flatMap(([key, lines]) => of(lines, "stroke", key));
  const polygons = spec.polygons.map((p, i) => ({ kind: "area", key: p.as, list: spec.polygons, i, points: p.points, closed: true }));
  return [...strokes, ...of(spec.background, "none"), ...of(spec.cuts, "cut"), ...polygons];
}

/** Takes a line out of an outline; a structure without strokes loses what was said about it. */
export function removeLine(spec, line) {
  line.list.splice(line.i, 1);
  if (line.kind !== "stroke" || line.list.length > 0) return;
  for (const part of ["strokes", "confidence", "opening_voxels"]) delete spec[part]?.[line.key];
  spec.undecided = spec.undecided.filter((pair) => !pair.includes(line.key));
}

export class Outlining {
  /** @param {import("./workspace.js").Workspace} workspace @param {import("./editing.js").Editing} editing */
  constructor(workspace, editing) {
    this.workspace = workspace;
    this.editing = editing;
    this.pen = "stroke";
    this.hu = USUAL_HU;
    this.chosen = null; // index in linesOf(spec)
    this.svg = $("#strokes");
    this.done = [];
    this.undone = [];
    workspace.outlining = this;
    workspace.scene.addEventListener("drawn", () => this.place());
    workspace.scene.addEventListener("place", () => this.turnTo());
    workspace.on("version case", () => this.turnTo(true));
    workspace.on("selected structures", () => this.showBar());
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.svg.addEventListener(name, (event) => this.release(event));
    this.svg.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.svg.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const radio of document.querySelectorAll("[name=outline-pen]")) radio.addEventListener("change", () => this.setPen(radio.value));
    $("#outline-side").addEventListener("change", () => {
      this.lastSide = $("#outline-side").value;
      if (this.spec) this.change((spec) => this.setSide(spec, this.lastSide));
    });
    $("#mask-hu").addEventListener("change", () => {
      this.hu = Number($("#mask-hu").value);
      if (this.spec) this.change((spec) => this.setHu(spec));
    });
    $("#band-with").addEventListener("change", () => this.setBand($("#band-with").value));
    $("#delete-line").addEventListener("click", () => this.deleteChosen());
    $("#clear-outline").addEventListener("click", () => this.change((spec) => Object.assign(spec, emptyOutline(1), { settings: spec.settings })));
  }

  get active() {
    return this.editing.tool === "strokes" && this.editing.canEdit && this.editing.missing === "";
  }

  get slice() {
    return this.workspace.scene.crosshair[2];
  }

  /** The outlines of the version on screen, with what was drawn since: slice -> outline. */
  get specs() {
    return this.workspace.outlines;
  }

  get spec() {
    return this.specs.get(this.slice) ?? null;
  }

  setPen(pen) {
    this.pen = pen;
    document.querySelector(`[name=outline-pen][value=${pen}]`).checked = true;
    this.svg.dataset.pen = pen;
    this.choose(null);
  }

  nextPen() {
    const pens = ["stroke", "none", "cut", "area", "edit"];
    if (this.editing.tool === "strokes") this.setPen(pens[(pens.indexOf(this.pen) + 1) % pens.length]);
  }

  /** Called when the tool is taken up or laid down. */
  apply() {
    const on = this.editing.tool === "strokes";
    $("#outline-bar").hidden = !on;
    if (on && !["axial", "four"].includes(this.workspace.scene.view)) this.workspace.scene.setView("axial");
    this.svg.classList.toggle("active", this.active);
    this.svg.dataset.pen = this.pen;
    this.turnTo(true);
  }

  /** Shows the lines of the slice that is on screen. */
  turnTo(always = false) {
    if (!this.workspace.scene.ct) return;
    const { slice } = this;
    if (!always && slice === this.shownSlice) return;
    if (slice !== this.shownSlice) {
      this.done = [];
      this.undone = [];
      this.chosen = null;
      this.draft = null;
    }
    this.shownSlice = slice;
    this.draw();
    this.showBar();
  }

  // ---- on screen ----

  /** Lays the lines exactly over the axial plane; called after every drawing of the image. */
  place() {
    const at = this.workspace.scene.ct ? this.workspace.scene.axialPlace() : null;
    this.svg.toggleAttribute("data-off", at === null);
    if (!at) return;
    Object.assign(this.svg.style, { left: `${at.left}px`, top: `${at.top}px`, width: `${at.width}px`, height: `${at.height}px` });
    this.matrix = at.matrix;
    this.svg.firstElementChild?.setAttribute("transform", `matrix(${at.matrix.join(" ")})`);
    this.placeHandles();
  }

  toScreen([i, j]) {
    const [a, b, c, d, e, f] = this.matrix;
    return [a * i + c * j + e, b * i + d * j + f];
  }

  toVoxel(event) {
    const box = this.svg.getBoundingClientRect();
    const [a, b, c, d, e, f] = this.matrix;
    const [x, y] = [event.clientX - box.left - e, event.clientY - box.top - f];
    const det = a * d - b * c;
    return round([(d * x - c * y) / det, (a * y - b * x) / det]);
  }

  colourOf(line) {
    if (line.kind !== "stroke") return "";
    return this.workspace.structures.find((s) => plainKey(s) === line.key)?.colour ?? "#fff";
  }

  draw() {
    const group = shape("g", {});
    const shown = this.workspace.scene.view === "axial" || this.workspace.scene.view === "four";
    const spec = shown ? this.spec : null;
    const path = (line, more) => {
      const points = line.points.length === 1 ? [line.points[0], line.points[0]] : line.points;
      const node = shape("path", { d: `M${points.map((p) => p.join(" ")).join("L")}${line.closed ? "Z" : ""}`, class: `${line.kind} ${more}`, "vector-effect": "non-scaling-stroke" });
      if (line.kind === "stroke") node.style.setProperty("--colour", this.colourOf(line));
      if (line.kind === "area") node.dataset.as = line.key;
      return node;
    };
    if (spec?.window) {
      const [i0, i1, j0, j1] = spec.window;
      group.append(path({ kind: "window", closed: true, points: [[i0, j0], [i1, j0], [i1, j1], [i0, j1]].map(([i, j]) => [i - 0.5, j - 0.5]) }, ""));
    }
    if (spec?.middle !== undefined && spec?.middle !== null) group.append(path({ kind: "middle", points: [[spec.middle, -0.5], [spec.middle, this.workspace.scene.dims[1] - 0.5]] }, ""));
    if (spec) linesOf(spec).forEach((line, n) => group.append(path(line, "halo"), path(line, n === this.chosen ? "chosen" : "")));
    if (this.draft) group.append(path(this.draft, "halo"), path(this.draft, "draft"));
    this.handles = shape("g", { class: "handles" });
    this.svg.replaceChildren(group, this.handles);
    this.place();
  }

  placeHandles() {
    const line = this.spec && this.chosen !== null ? linesOf(this.spec)[this.chosen] : null;
    this.handles?.replaceChildren(...(line ? line.points : []).map((p) => {
      const [cx, cy] = this.toScreen(p);
      return shape("circle", { cx, cy, r: 4 });
    }));
  }

  showBar() {
    const { workspace, spec } = this;
    if (!workspace.scene.ct) return;
    const structure = workspace.byValue.get(workspace.selected);
    const key = structure && structure.group !== "seeds" ? plainKey(structure) : "";
    $("#outline-side").value = this.sideOf(spec);
    $("#mask-hu").value = spec ? (spec.settings.mask_hu ?? USUAL_HU) : this.hu;
    const keys = Object.keys(spec?.strokes ?? {});
    const plain = (k) => workspace.structures.find((s) => plainKey(s) === k)?.plain ?? k;
    const others = keys.includes(key) ? keys.filter((k) => k !== key) : [];
    $("#band-with").replaceChildren(el("option", { value: "" }, "255 band …"), ...others.map((k) =>
      el("option", { value: k }, `${spec.undecided.some((pair) => pair.includes(k) && pair.includes(key)) ? "✓ " : ""}to ${plain(k)}`)));
    $("#band-with").disabled = others.length === 0;
    $("#delete-line").disabled = this.chosen === null;
    $("#clear-outline").disabled = !spec || isEmpty(spec);
    const count = spec ? linesOf(spec).length : 0;
    if (!this.said || this.said.slice !== this.slice) $("#outline-state").textContent = count > 0 ? `slice ${this.slice + 1}: ${count} lines` : `slice ${this.slice + 1}: nothing drawn`;
  }

  sideOf(spec) {
    if (spec) return spec.middle !== undefined && spec.middle !== null ? "both" : (spec.side ?? "unknown");
    const selected = this.workspace.byValue.get(this.workspace.selected)?.side;
    return this.lastSide || (selected === "midline" ? "" : selected) || this.workspace.sideInScan || "unknown";
  }

  setHu(spec) {
    if (this.hu === USUAL_HU) delete spec.settings.mask_hu;
    else spec.settings.mask_hu = this.hu;
  }

  setSide(spec, side) {
    delete spec.side;
    delete spec.middle;
    if (side === "both") spec.middle = Math.round(this.workspace.scene.dims[0] / 2);
    else if (side !== "unknown") spec.side = side;
  }

  setBand(other) {
    const structure = this.workspace.byValue.get(this.workspace.selected);
    $("#band-with").value = "";
    if (!other || !structure) return;
    const key = plainKey(structure);
    const both = (pair) => pair.includes(key) && pair.includes(other);
    this.change((spec) => {
      spec.undecided = spec.undecided.some(both) ? spec.undecided.filter((pair) => !both(pair)) : [...spec.undecided, [key, other]];
    });
  }

  // ---- the hand ----

  press(event) {
    if (event.button !== 0 || !this.active) return;
    event.preventDefault();
    $("#planes").focus({ preventScroll: true });
    this.svg.setPointerCapture(event.pointerId);
    const p = this.toVoxel(event);
    if (this.pen === "edit") {
      this.grab(event, p);
      return;
    }
    if (this.begin(p)) this.pressed = true;
  }

  /** Begins a line of the pen. @returns whether it may */
  begin(p) {
    const structure = this.workspace.byValue.get(this.workspace.selected);
    const key = this.pen === "stroke" ? plainKey(structure ?? { key: "" }) : this.pen === "area" ? "unlabelled" : "";
    if (this.pen === "stroke" && (!structure || structure.group === "seeds")) {
      say("Select a structure in the list first: the stroke belongs to it.");
      return false;
    }
    this.draft = { kind: this.pen, key, points: [p], closed: this.pen === "area" || this.pen === "window" };
    this.draw();
    return true;
  }

  grab(event, p) {
    const lines = this.spec ? linesOf(this.spec) : [];
    const box = this.svg.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const far = (q) => { const [x, y] = this.toScreen(q); return Math.hypot(x - at[0], y - at[1]); };
    if (this.chosen !== null && lines[this.chosen]) {
      const point = lines[this.chosen].points.findIndex((q) => far(q) < NEAR_PIXELS);
      if (point >= 0) {
        this.held = { spec: this.spec, before: copy(this.spec), from: p, point };
        return;
      }
    }
    const middle = this.spec?.middle;
    if (middle !== undefined && middle !== null && Math.abs(this.toScreen([middle, p[1]])[0] - at[0]) < NEAR_PIXELS) {
      this.held = { spec: this.spec, before: copy(this.spec), from: p, middle: true };
      return;
    }
    let best = NEAR_PIXELS;
    let found = null;
    lines.forEach((line, n) => {
      const points = line.closed ? [...line.points, line.points[0]] : line.points;
      points.forEach((q, i) => {
        const r = points[i + 1] ?? q;
        for (let s = 0; s <= 10; s++) {
          const d = far([q[0] + ((r[0] - q[0]) * s) / 10, q[1] + ((r[1] - q[1]) * s) / 10]);
          if (d < best) [best, found] = [d, n];
        }
      });
    });
    this.choose(found);
    if (found !== null) this.held = { spec: this.spec, before: copy(this.spec), from: p, original: copy(lines[found].points) };
  }

  choose(n) {
    this.chosen = n;
    this.draw();
    this.showBar();
  }

  /** Space: a point of the pen's line at the crosshair. A cut or an area ends with a second one at its last place. */
  pointHere() {
    if (!this.active || this.pen === "edit") return;
    const p = this.workspace.scene.crosshair.slice(0, 2);
    if (!this.draft && !this.begin(p)) return;
    const last = this.draft.points.at(-1);
    const again = this.draft.points.length > 1 && last[0] === p[0] && last[1] === p[1];
    if (last[0] !== p[0] || last[1] !== p[1]) this.draft.points.push(p);
    if (again || ["stroke", "none"].includes(this.pen) || (this.pen === "window" && this.draft.points.length > 1)) this.release();
    else this.draw();
  }

  drag(event) {
    if (!this.matrix) return;
    if (this.held && this.held.spec !== this.spec) this.held = null; // another version is on screen now
    const p = this.toVoxel(event);
    if (this.draft && this.pressed) {
      if (this.draft.kind === "window") {
        const [a] = this.draft.points;
        this.draft.points = [a, [p[0], a[1]], p, [a[0], p[1]]];
      } else this.draft.points.push(p);
      this.draw();
    } else if (this.held) {
      const line = linesOf(this.spec)[this.chosen];
      if (this.held.middle) this.spec.middle = p[0];
      else if (this.held.point !== undefined) line.points[this.held.point] = p;
      else line.points.forEach((q, i) => { line.points[i] = round([0, 1].map((a) => this.held.original[i][a] + p[a] - this.held.from[a])); });
      this.held.moved = true;
      this.draw();
    }
  }

  release() {
    const { draft, held } = this;
    this.pressed = false;
    this.draft = null;
    this.held = null;
    if (held?.moved && held.spec === this.spec) this.changed(held.before);
    if (!draft) return;
    if (draft.kind === "window") {
      const [x, y] = [0, 1].map((a) => draft.points.map((q) => q[a]).sort((m, n) => m - n));
      const { dims } = this.workspace.scene;
      const inside = (c, a) => Math.max(0, Math.min(dims[a], Math.round(c)));
      const frame = [inside(x[0], 0), inside(x.at(-1), 0) + 1, inside(y[0], 1), inside(y.at(-1), 1) + 1];
      const tiny = frame[1] - frame[0] < 4 || frame[3] - frame[2] < 4;
      this.change((spec) => { spec.window = tiny ? null : frame; });
      return;
    }
    const points = simplified(draft.points);
    if (draft.kind === "area" && points.length < 3) {
      this.draw();
      return;
    }
    if (draft.kind === "cut" && points.length < 2) {
      this.draw();
      return;
    }
    this.change((spec) => {
      if (draft.kind === "stroke") (spec.strokes[draft.key] ??= []).push(points);
      else if (draft.kind === "none") spec.background.push(points);
      else if (draft.kind === "cut") spec.cuts.push(points);
      else spec.polygons.push({ as: draft.key, points });
    });
  }

  wheel(event) {
    event.preventDefault();
    const { scene } = this.workspace;
    if (event.ctrlKey || event.metaKey) scene.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
    else {
      const [i, j, k] = scene.crosshair;
      scene.goTo([i, j, k + (event.deltaY < 0 ? 1 : -1)]);
    }
  }

  deleteChosen() {
    if (this.chosen === null || !this.spec) return;
    const n = this.chosen;
    this.chosen = null;
    this.change((spec) => removeLine(spec, linesOf(spec)[n]));
  }

  // ---- changes ----

  change(how) {
    if (!this.active) return;
    const { scene } = this.workspace;
    const before = this.spec ? copy(this.spec) : null;
    if (!this.spec) {
      const fresh = emptyOutline(Math.min(scene.spacing[0], scene.spacing[1]));
      this.setSide(fresh, this.sideOf(null));
      this.setHu(fresh);
      this.specs.set(this.slice, fresh);
    }
    how(this.spec);
    this.changed(before);
  }

  changed(before) {
    this.done.push(before);
    this.undone = [];
    this.redraw();
  }

  undo() {
    if (this.done.length === 0) return;
    this.undone.push(this.spec ? copy(this.spec) : null);
    this.put(this.done.pop());
  }

  redo() {
    if (this.undone.length === 0) return;
    this.done.push(this.spec ? copy(this.spec) : null);
    this.put(this.undone.pop());
  }

  put(spec) {
    this.chosen = null;
    if (spec) this.specs.set(this.slice, spec);
    else this.specs.delete(this.slice);
    this.redraw();
  }

  /** Has the mask of the slice made again. A second change waits for the first answer: only the last one counts. */
  redraw() {
    this.draw();
    this.showBar();
    this.workspace.edited(); // unsaved from now on, also while the answer is on its way
    this.waiting = { slice: this.slice, map: this.workspace.scene.map };
    this.asking ??= this.askAll().finally(() => { this.asking = null; });
  }

  async askAll() {
    while (this.waiting !== null) {
      const { slice, map } = this.waiting;
      this.waiting = null;
      await attempt(() => this.ask(slice, map));
    }
  }

  async ask(slice, map) {
    const { workspace } = this;
    if (map !== workspace.scene.map) return; // drawn on labels that are not on screen any more
    const spec = this.specs.get(slice);
    workspace.drawnBefore(slice);
    const began = performance.now();
    if (!spec || isEmpty(spec)) {
      this.specs.delete(slice);
      workspace.putDrawn(slice, null);
      this.tell(slice, "nothing drawn");
      return;
    }
    const answer = await workspace.api.outlinePreview(workspace.case.id, slice, spec);
    const bytes = await unpacked(answer.labels);
    if (map !== workspace.scene.map) return;
    workspace.putDrawn(slice, bytes);
    this.milliseconds = Math.round(performance.now() - began);
    const first = answer.remarks[0];
    const name = first && workspace.structures.find((s) => plainKey(s) === first.structure)?.plain;
    this.tell(slice, first ? `${name}: ${first.text}` : `${linesOf(spec).length} lines, ${this.milliseconds} ms`, Boolean(first));
  }

  tell(slice, text, warns = false) {
    this.said = { slice };
    $("#outline-state").textContent = `slice ${slice + 1}: ${text}`;
    $("#outline-state").classList.toggle("warn", warns);
  }
}

export async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

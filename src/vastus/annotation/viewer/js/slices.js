// The rail beside the image: a slider through the axial slices, with a mark at every slice that somebody has drawn.

import { $, debounce, say } from "./dom.js";
import { UNLABELLED } from "./workspace.js";

export class Slices {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.drawn = [];
    const later = debounce(() => this.mark(), 400);
    workspace.on("version case", () => this.mark());
    workspace.on("edited", later);
    workspace.scene.addEventListener("place", ({ detail }) => this.show(detail.voxel[2]));
    $("#slice").addEventListener("input", () => this.go(Number($("#slice").value)));
    $("#next-drawn").addEventListener("click", () => this.jump(1));
    $("#previous-drawn").addEventListener("click", () => this.jump(-1));
    new ResizeObserver(() => this.paint()).observe($("#marks"));
  }

  show(slice) {
    $("#slice").value = slice;
    $("#slice").setAttribute("aria-valuetext", `axial slice ${slice + 1}${this.drawn.includes(slice) ? ", drawn" : ""}`);
  }

  go(slice) {
    const [i, j] = this.workspace.scene.crosshair;
    this.workspace.scene.goTo([i, j, slice]);
  }

  /** Finds the slices with a verdict in a map that is unlabelled elsewhere, those with an outline, those painted. */
  mark() {
    const { scene, outlines } = this.workspace;
    const open = this.workspace.case !== null && scene.map !== null;
    $("#rail").hidden = !open;
    if (!open) return;
    $("#slice").max = scene.dims[2] - 1;
    const sparse = scene.map.counts[UNLABELLED.value] > 0 ? slicesWithVerdict(scene.map) : [];
    const partly = sparse.length < scene.dims[2] ? sparse : [];
    const painted = [...scene.map.kept, ...scene.map.ops].flatMap((op) => op.slices);
    this.drawn = [...new Set([...partly, ...outlines.keys(), ...painted])].sort((a, b) => a - b);
    for (const id of ["next-drawn", "previous-drawn"]) $(`#${id}`).disabled = this.drawn.length === 0;
    this.paint();
    this.show(scene.crosshair[2]);
  }

  paint() {
    const { scene, outlines } = this.workspace;
    const canvas = $("#marks");
    const ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    if (!scene.dims || canvas.height === 0) return;
    const pen = canvas.getContext("2d");
    const half = 7 * ratio; // the slider's knob stays inside its track by this
    const room = canvas.height - 2 * half;
    for (const k of this.drawn) {
      const y = canvas.height - half - (room * k) / Math.max(1, scene.dims[2] - 1);
      pen.fillStyle = outlines.has(k) ? "#66c3c9" : "#e0b45c";
      pen.fillRect(0, y - ratio, canvas.width, 2 * ratio);
    }
  }

  jump(direction) {
    const here = this.workspace.scene.crosshair[2];
    const next = direction > 0 ? this.drawn.find((k) => k > here) : this.drawn.findLast((k) => k < here);
    if (next === undefined) say(direction > 0 ? "No drawn slice lies above this one." : "No drawn slice lies below this one.");
    else this.go(next);
  }
}

function slicesWithVerdict(map) {
  const size = map.step[2];
  const found = [];
  for (let k = 0; k < map.dims[2]; k++) {
    for (let i = k * size, end = i + size; i < end; i++) {
      if (map.voxels[i] !== UNLABELLED.value) {
        found.push(k);
        break;
      }
    }
  }
  return found;
}

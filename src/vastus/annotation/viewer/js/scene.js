// What is drawn: the CT and the labels in three planes, the same of a second version beside them, and the structures in
// 3D. This module and grey.js alone know NiiVue.

import { $, debounce } from "./dom.js";
import { dropTextures, greyImage, sendAhead, showGrey, windowedShader } from "./grey.js";
import { LabelMap, PLANES } from "./labels.js";
import { niftiOf, thinned } from "./nifti.js";

const { Niivue, NVImage } = globalThis.niivue;
const RENDER = 4;
const DRAG = { none: 0, pan: 3, crosshair: 8, windowing: 9 };
const LABEL_TEXTURE = 7;
const CROSSHAIR_PIXELS = 1;
const BACKGROUND = [0.05, 0.055, 0.06, 1];
const VOXELS_3D = 200; // longest side of the thinned labels for 3D

export const VIEWS = ["four", "axial", "coronal", "sagittal", "3d"];
const PLANES_TOGETHER = [
  { sliceType: 0, position: [0, 0, 1, 0.5] },
  { sliceType: 1, position: [0, 0.5, 0.5, 0.5] },
  { sliceType: 2, position: [0.5, 0.5, 0.5, 0.5] },
];

/**
 * How some label values are drawn, beside their colour: 255, where nobody has a verdict, is hatched, and what a tool would
 * change (252 and 253) has a rim. NiiVue colours by value alone, so its shader gets these lines when it is made.
 */
const SPECIAL_VALUES = `vec4 dcolor = drawColor(drawV, drawOpacity);
	float drawN = floor(drawV * 255.0 + 0.5);
	if (drawN > 254.5 && dcolor.a > 0.0) dcolor.a = mod(gl_FragCoord.x + gl_FragCoord.y, 9.0) < 1.5 ? max(drawOpacity, 0.5) : 0.0;
	if (drawN > 251.5 && drawN < 253.5) {
		vec3 sideX = 1.5 * dFdx(texPos);
		vec3 sideY = 1.5 * dFdy(texPos);
		bool rim = texture(drawing, texPos - sideX).r != drawV || texture(drawing, texPos + sideX).r != drawV
			|| texture(drawing, texPos - sideY).r != drawV || texture(drawing, texPos + sideY).r != drawV;
		dcolor.rgb = drawColor(drawV, 1.0).rgb;
		dcolor.a = rim ? 1.0 : 0.35;
	}`;

function drawSpecialValues() {
  const plain = WebGL2RenderingContext.prototype.shaderSource;
  WebGL2RenderingContext.prototype.shaderSource = function shaderSource(shader, source) {
    plain.call(this, shader, windowedShader(source.replace("vec4 dcolor = drawColor(drawV, drawOpacity);", SPECIAL_VALUES)));
  };
}

/** Lets NiiVue draw once a frame however often it is asked to. */
function drawOncePerFrame(nv, after) {
  const draw = nv.drawScene.bind(nv);
  let waiting = false;
  nv.drawScene = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
      if (thinCrosshair(nv)) draw();
      after();
    });
  };
}

/** Keeps the crosshair as thin on screen at every zoom; NiiVue counts in mm. @returns whether it changed */
function thinCrosshair(nv) {
  const planes = nv.screenSlices.filter((tile) => tile.axCorSag < RENDER);
  if (planes.length === 0) return false;
  const pixelsPerMm = Math.min(...planes.map((tile) => Math.abs(tile.leftTopWidthHeight[2] / tile.fovMM[0])));
  const width = (CROSSHAIR_PIXELS * (nv.uiData.dpr || 1)) / pixelsPerMm;
  if (!Number.isFinite(width) || Math.abs(width / nv.opts.crosshairWidth - 1) < 0.1) return false;
  nv.opts.crosshairWidth = width;
  if (nv.crosshairs3D) nv.crosshairs3D.mm[0] = NaN; // else the old lines stay until the crosshair moves
  return true;
}

async function newNiivue(canvas, options, after = () => {}) {
  const nv = new Niivue({
    backColor: BACKGROUND,
    crosshairColor: [0.56, 0.83, 0.85, 0.75],
    crosshairWidth: 2,
    crosshairWidthUnit: "mm",
    fontColor: [0.72, 0.75, 0.78, 1],
    dragAndDropEnabled: false, // files come from the server only
    isRadiologicalConvention: true,
    isForceMouseClickToVoxelCenters: true,
    logLevel: "error",
    loadingText: "",
    fontMinPx: 12,
    fontSizeScaling: 0.25,
    ...options,
  });
  // The keys are the page's own: one table of shortcuts, and none works behind its back.
  nv.keyDownListener = () => {};
  nv.keyUpListener = () => {};
  nv.resetBriCon = () => {};
  nv.setMouseEventConfig?.({
    leftButton: { primary: DRAG.crosshair, withCtrl: DRAG.pan, withShift: DRAG.pan },
    rightButton: DRAG.windowing,
    centerButton: DRAG.pan,
  });
  drawOncePerFrame(nv, after);
  showGrey(nv);
  await nv.attachToCanvas(canvas, false);
  return nv;
}

export class Scene extends EventTarget {
  constructor() {
    super();
    this.view = "four";
    this.plane = 0;
    this.pen = null;
    this.map = null;
    this.ct = null;
    this.overlay = null;
    this.window = [-160, 240];
    this.solidStays = false; // while a finer grid of the same scan and labels takes the place of a coarser one
    const drawRender = debounce(() => this.drawRender(), 350);
    this.updateRender = () => this.solidStays || drawRender();
    this.updateRenderCrosshair = debounce(() => this.linkRender(), 120);
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async start() {
    drawSpecialValues();
    this.nv = await newNiivue($("#planes"), {}, () => this.emit("drawn"));
    this.nv.onLocationChange = (where) => this.moved(this.nv, where);
    this.nv.onIntensityChange = () => this.windowChanged();
    this.takeOverDrawing();
    $("#planes").addEventListener("mousemove", (event) => this.showPen(event));
    $("#planes").addEventListener("mouseleave", () => ($("#pen").hidden = true));
    $("#planes").addEventListener("wheel", (event) => this.zoomByWheel(event), { capture: true, passive: false });
    $("#planes").addEventListener("mouseup", (event) => event.button === 2 && this.windowChanged());
    for (const name of ["mouseup", "touchend"]) addEventListener(name, () => this.endStroke());
    new ResizeObserver(() => this.layOut()).observe($("#canvases"));
  }

  /** The second version's view, made when it is first wanted: a drawing context costs memory. */
  async second() {
    if (!this.nv2) {
      this.nv2 = await newNiivue($("#planes-second"), {});
      this.nv2.onLocationChange = (where) => this.moved(this.nv2, where);
    }
    return this.nv2;
  }

  async render() {
    if (!this.nv3) {
      this.nv3 = await newNiivue($("#solid"), { show3Dcrosshair: true, smoothDrawing: 1, sliceType: RENDER });
      this.nv3.setSliceType(RENDER);
    }
    return this.nv3;
  }

  // ---- the case ----

  /**
   * Shows a CT.
   * @param {import("./voxels.js").Voxels} image in HU
   * @param {() => boolean} wanted whether it still is, when it has reached the graphics card
   * @returns {Promise<boolean>} whether it is shown
   */
  async showCase(image, wanted = () => true) {
    const ct = await greyImage(NVImage, image, this.window);
    await sendAhead(this.nv, ct);
    if (!wanted()) {
      this.nv.gl.deleteTexture(ct.grey.sent.texture);
      return false;
    }
    this.clear();
    this.ct = ct;
    this.image = image;
    this.nv.addVolume(this.ct);
    this.nv.scene.pan2Dxyzmm = Float32Array.of(0, 0, 0, 1);
    this.dims = image.dims;
    this.spacing = image.spacing;
    this.nv.scene.crosshairPos = this.nv.vox2frac(this.dims.map((n) => Math.floor(n / 2)));
    return true;
  }

  clear() {
    for (const nv of [this.nv, this.nv2, this.solidStays ? null : this.nv3]) {
      if (!nv) continue;
      while (nv.volumes.length > 0) nv.removeVolume(nv.volumes.at(-1));
      nv.drawBitmap = null;
    }
    for (const nv of [this.nv, this.nv2]) if (nv) dropTextures(nv);
    this.overlay = null;
    this.ct = null;
    this.image = null;
    this.map = null;
    if (!this.solidStays) this.shape3d = null;
  }

  /** Gives a view the labels to draw (null: none). @returns {Uint8Array} their voxels */
  bitmapOf(nv, labels) {
    const [nx, ny, nz] = this.dims;
    if (labels && labels.dims.join() !== this.dims.join()) throw new Error("These labels are not on the grid of the CT.");
    const { gl } = nv;
    nv.drawBitmap = labels?.array ?? new Uint8Array(nx * ny * nz);
    nv.drawTexture = nv.r8Tex(nv.drawTexture, gl.TEXTURE0 + LABEL_TEXTURE, [3, nx, ny, nz]);
    if (labels) gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, nx, ny, nz, gl.RED, gl.UNSIGNED_BYTE, nv.drawBitmap);
    nv.drawScene();
    return nv.drawBitmap;
  }

  /** Shows labels for looking and editing. @param {import("./voxels.js").Voxels | null} labels null: none yet @returns {LabelMap} */
  showLabels(labels) {
    this.map = new LabelMap(this.bitmapOf(this.nv, labels), this.dims, this.spacing);
    this.applyPalette();
    this.updateRender();
    return this.map;
  }

  /** Shows another version beside the first; null closes it. @returns its voxels */
  async showSecond(labels) {
    const on = labels !== undefined;
    $("#canvases").classList.toggle("compare", on);
    if (!on) {
      if (this.nv2) dropTextures(this.nv2);
      this.layOut();
      return null;
    }
    const nv = await this.second();
    nv.resizeListener();
    while (nv.volumes.length > 0) nv.removeVolume(nv.volumes[0]);
    nv.addVolume(this.ct);
    const voxels = this.bitmapOf(nv, labels);
    this.setOpacity(this.look.opacity, this.look.outline);
    this.applyPalette();
    this.layOut();
    this.link(this.nv, nv);
    return voxels;
  }

  get comparing() {
    return $("#canvases").classList.contains("compare");
  }

  /** The edited labels as the bytes of a .nii, in RAS order. */
  labelBytes(voxels = this.map.voxels) {
    return new Uint8Array(niftiOf({ voxels, dims: this.dims, strides: [1, 1, 1] }, this.image.affine));
  }

  huAt(index) {
    return this.image.array[index] * this.image.slope + this.image.inter;
  }

  // ---- looks ----

  /** @param {Uint8ClampedArray} lut 256 RGBA entries; alpha 0 hides */
  setPalette(lut) {
    this.lut = lut;
    this.applyPalette();
    this.updateRender();
  }

  applyPalette() {
    if (!this.lut) return;
    for (const nv of [this.nv, this.nv2, this.nv3]) {
      if (!nv || nv.volumes.length === 0) continue;
      nv.drawLut = { lut: this.lut, labels: Array.from({ length: 256 }, String) };
      nv.refreshColormaps();
      nv.drawScene();
    }
  }

  /** @param {number} opacity 0..1 of the filled labels @param {boolean} outline draw edges only */
  setOpacity(opacity, outline) {
    this.look = { opacity, outline };
    for (const nv of [this.nv, this.nv2]) {
      if (!nv) continue;
      nv.drawRimOpacity = outline ? Math.max(opacity, 0.9) : -1;
      nv.setDrawOpacity(outline ? 0.004 : opacity);
    }
  }

  /** Grey values (HU) shown from black to white. */
  setWindow(low, high) {
    this.window = [low, high];
    if (!this.ct) return;
    this.ct.cal_min = low;
    this.ct.cal_max = high;
    for (const nv of [this.nv, this.comparing ? this.nv2 : null]) {
      nv?.refreshLayers(this.ct, 0);
      nv?.drawScene();
    }
  }

  windowChanged() {
    if (!this.ct) return;
    const now = [Math.round(this.ct.cal_min), Math.round(this.ct.cal_max)];
    if (now[0] === this.window[0] && now[1] === this.window[1]) return;
    this.window = now;
    this.emit("window", now);
  }

  /** Shows a second image over the CT (the uncertainty, 0..1), or takes it away with null. */
  async setOverlay(buffer) {
    if (this.overlay) this.nv.removeVolume(this.overlay);
    this.overlay = null;
    if (buffer) {
      this.overlay = await NVImage.loadFromUrl({
        url: buffer, name: "uncertainty.nii.gz", colormap: "inferno", opacity: 0.75, trustCalMinMax: false,
      });
      const top = Math.max(this.overlay.global_max, 1e-6);
      this.overlay.cal_min = 0.15 * top;
      this.overlay.cal_max = top;
      this.nv.addVolume(this.overlay);
      this.nv.setVolume(this.overlay, 1);
    }
    this.applyPalette();
  }

  setView(view) {
    this.view = view;
    const plane = VIEWS.indexOf(view) - 1;
    if (plane >= 0 && plane < 3) this.plane = plane;
    this.layOut();
    this.updateRender();
    this.emit("view", view);
  }

  /** Gives each view its place; called on every change of size. */
  layOut() {
    const box = $("#canvases");
    box.dataset.view = this.view;
    const narrow = this.comparing || box.clientWidth < 640; // no room for 3D beside the planes
    box.classList.toggle("narrow", narrow);
    for (const nv of [this.nv, this.comparing ? this.nv2 : null]) {
      if (!nv) continue;
      if (this.view === "four" || this.view === "3d") {
        nv.setCustomLayout(PLANES_TOGETHER);
      } else {
        nv.clearCustomLayout();
        nv.setSliceType(Math.min(VIEWS.indexOf(this.view) - 1, 2));
      }
      nv.resizeListener();
    }
    this.nv3?.resizeListener();
  }

  get showsRender() {
    return this.view === "3d" || (this.view === "four" && !$("#canvases").classList.contains("narrow"));
  }

  // ---- 3D ----

  /** Puts the visible structures, thinned to a small grid, into the 3D view. */
  async drawRender() {
    if (!this.showsRender || !this.map || !this.lut) return;
    const nv = await this.render();
    const map = this.map;
    if (!map) return;
    const visible = Uint8Array.from({ length: 256 }, (_, value) => (value > 0 && this.lut[4 * value + 3] > 0 ? value : 0));
    const small = thinned(map.voxels, map.dims, map.spacing, VOXELS_3D, visible);
    const shape = small.dims.join();
    if (this.shape3d !== shape || nv.volumes.length === 0) {
      while (nv.volumes.length > 0) nv.removeVolume(nv.volumes[0]);
      const image = await NVImage.loadFromUrl({ url: niftiOf(small, this.image.affine), name: "solid.nii" });
      image.opacity = 0;
      nv.addVolume(image);
      nv.drawAddUndoBitmap = () => {};
      nv.createEmptyDrawing();
      nv.drawOpacity = 1;
      nv.scene.renderAzimuth = 160;
      nv.scene.renderElevation = 8;
      nv.scene.volScaleMultiplier = 1.3;
      this.shape3d = shape;
      this.applyPalette();
    }
    nv.drawBitmap.set(small.voxels);
    nv.refreshDrawing(true);
    this.linkRender();
    this.emit("rendered");
  }

  linkRender() {
    if (!this.showsRender || !this.nv3 || this.nv3.volumes.length === 0 || !this.ct) return;
    this.nv3.scene.crosshairPos = this.nv3.mm2frac(this.nv.frac2mm(this.nv.scene.crosshairPos));
    this.nv3.drawScene();
  }

  turn(azimuth, elevation) {
    if (!this.nv3) return;
    const { renderAzimuth, renderElevation } = this.nv3.scene;
    this.nv3.setRenderAzimuthElevation(renderAzimuth + azimuth, Math.max(-90, Math.min(90, renderElevation + elevation)));
  }

  // ---- place ----

  /** Where the crosshair is and how the planes are zoomed: the same for another grid of the same scan. */
  get camera() {
    return { mm: this.nv.frac2mm(this.nv.scene.crosshairPos), pan: Float32Array.from(this.nv.scene.pan2Dxyzmm) };
  }

  set camera({ mm, pan }) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm);
    this.nv.scene.pan2Dxyzmm = pan;
  }

  get crosshair() {
    return [...this.nv.frac2vox(this.nv.scene.crosshairPos)];
  }

  moved(nv, where) {
    if (where.axCorSag >= 0 && where.axCorSag < 3) this.plane = where.axCorSag;
    const other = nv === this.nv ? this.nv2 : this.nv;
    if (this.comparing && other) this.link(nv, other);
    this.report();
    this.updateRenderCrosshair();
  }

  link(from, to) {
    to.scene.crosshairPos = to.mm2frac(from.frac2mm(from.scene.crosshairPos));
    to.scene.pan2Dxyzmm = Float32Array.from(from.scene.pan2Dxyzmm);
    to.drawScene();
  }

  /** Tells where the crosshair is. */
  report() {
    if (!this.map) return;
    const voxel = this.crosshair;
    const index = this.map.index(voxel);
    this.emit("place", {
      voxel, plane: this.plane, value: this.map.at(voxel), hu: this.huAt(index),
      mm: [...this.nv.frac2mm(this.nv.scene.crosshairPos)].slice(0, 3),
      second: this.comparing ? this.nv2.drawBitmap[index] : null,
    });
  }

  goTo(voxel) {
    if (!this.ct) return;
    this.nv.scene.crosshairPos = this.nv.vox2frac(voxel.map((c, a) => Math.max(0, Math.min(this.dims[a] - 1, Math.round(c)))));
    this.nv.drawScene();
    this.moved(this.nv, { axCorSag: NaN });
  }

  /** @param {number[]} mm RAS */
  goToMm(mm) {
    this.goTo([...this.nv.frac2vox(this.nv.mm2frac([...mm, 1]))]);
  }

  /** Moves the crosshair on screen: right, up (in the active plane) and through the slices. */
  step(right, up, through) {
    if (!this.ct) return;
    const voxel = this.crosshair;
    const axes = PLANES[this.plane];
    voxel[axes.across] += this.plane === 2 ? right : -right; // the patient's right is on the left of the screen
    voxel[axes.up] += up;
    voxel[axes.through] += through;
    this.goTo(voxel);
  }

  nextPlane() {
    this.plane = (this.plane + 1) % 3;
    if (this.view !== "four" && this.view !== "3d") this.setView(VIEWS[this.plane + 1]);
    this.report();
  }

  zoom(factor) {
    const { scene } = this.nv;
    const old = scene.pan2Dxyzmm[3];
    const now = Math.max(1, Math.min(20, old * factor));
    const mm = this.nv.frac2mm(scene.crosshairPos);
    for (let a = 0; a < 3; a++) scene.pan2Dxyzmm[a] = now === 1 ? 0 : scene.pan2Dxyzmm[a] + (old - now) * mm[a];
    scene.pan2Dxyzmm[3] = now;
    this.nv.drawScene();
    if (this.comparing) this.link(this.nv, this.nv2);
  }

  zoomByWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }

  // ---- editing ----

  /**
   * NiiVue finds out where and in which plane the pointer draws; what a stroke writes is decided by the label map.
   * NiiVue's own pen is square, its undo copies the whole volume, and it uploads all voxels at every move.
   */
  takeOverDrawing() {
    const { nv } = this;
    nv.drawAddUndoBitmap = () => {};
    nv.drawPt = (x, y, z) => this.beginStroke([x, y, z], nv.drawPenAxCorSag);
    nv.drawPenLine = (to, from) => this.extendStroke([...from], [...to]);
    nv.drawPenFilled = () => {
      this.outline = nv.drawPenFillPts.map((p) => [...p]);
      nv.drawPenFillPts = [];
    };
    const whole = nv.refreshDrawing.bind(nv);
    nv.refreshDrawing = (...values) => (this.map?.stroke ? this.upload() : whole(...values));
  }

  /** @param {null | {kind: "brush"|"outline"|"pour", radiusMm: number, ball: boolean, rule: () => import("./labels.js").Rule}} pen */
  setPen(pen) {
    if (!pen) this.endStroke();
    this.pen = pen;
    this.nv.opts.drawingEnabled = pen !== null && this.map !== null;
    this.nv.opts.penValue = 1;
    this.nv.opts.isFilledPen = pen?.kind === "outline";
    $("#canvases").dataset.pen = pen?.kind ?? "";
    if (!pen) $("#pen").hidden = true;
  }

  beginStroke(p, plane) {
    if (!this.pen || !this.map || this.change) return;
    if (this.map.stroke) this.endStroke();
    this.plane = plane;
    const rule = this.pen.rule();
    this.map.begin(rule, {
      kind: this.pen.kind === "outline" ? "fill" : this.pen.kind, plane, points: [[...p]], radius_mm: this.pen.radiusMm, ball: this.pen.ball,
      value: rule.value, keep_others: rule.keepOthers, erases: rule.erases, hu: rule.hu ? [rule.hu.min, rule.hu.max] : null,
    });
    if (this.pen.kind === "pour") this.map.pour(p, plane);
    else this.map.dab(p, plane, this.pen.kind === "outline" ? 0 : this.pen.radiusMm, this.pen.ball);
  }

  extendStroke(from, to) {
    if (!this.map?.stroke || this.pen?.kind === "pour") return;
    this.map.stroke.op.points.push([...to]);
    this.map.line(from, to, this.plane, this.pen.kind === "outline" ? 0 : this.pen.radiusMm, this.pen.ball);
  }

  endStroke() {
    if (!this.map?.stroke) return;
    if (this.outline) {
      this.map.stroke.op.points = this.outline;
      this.map.fill(this.outline, this.plane);
    }
    this.outline = null;
    const changed = this.map.end();
    this.upload();
    if (changed) this.edited();
  }

  /** One dab (or one pour) at the crosshair: the keyboard's stroke. */
  paintHere() {
    if (!this.pen || !this.map) return;
    this.beginStroke(this.crosshair, this.plane);
    this.endStroke();
  }

  /** Draws what would change over the labels: a box of values (x fastest), not yet part of the map. */
  showChange([x0, y0, z0, x1, y1, z1], after, gained, lost) {
    const { map } = this;
    const indices = [];
    const before = [];
    let i = 0;
    for (let z = z0; z <= z1; z++) {
      for (let y = y0; y <= y1; y++) {
        for (let x = x0; x <= x1; x++) {
          const index = map.index([x, y, z]);
          const value = after[i++];
          if (map.voxels[index] === value) continue;
          indices.push(index);
          before.push(map.voxels[index]);
          map.voxels[index] = value === 0 || value === 255 ? lost : gained;
        }
      }
    }
    this.change = { map, indices, before, box: [x0, y0, z0, x1, y1, z1] };
    map.grow(x0, y0, z0);
    map.grow(x1, y1, z1);
    this.upload();
    this.showWhere(indices);
  }

  /** Goes to a slice where something would change, unless the one on screen shows it already. */
  showWhere(indices) {
    const { map } = this;
    const here = this.crosshair;
    const inSlice = (index) => Math.floor(index / map.step[2]);
    if (indices.length === 0 || indices.some((index) => inSlice(index) === here[2])) return;
    const index = indices[indices.length >> 1];
    const z = inSlice(index);
    const y = Math.floor((index - z * map.step[2]) / map.step[1]);
    this.goTo([index - z * map.step[2] - y * map.step[1], y, z]);
  }

  hideChange() {
    const { change, map } = this;
    this.change = null;
    if (!change || change.map !== map) return;
    change.indices.forEach((index, i) => { map.voxels[index] = change.before[i]; });
    map.grow(...change.box.slice(0, 3));
    map.grow(...change.box.slice(3));
    this.upload();
  }

  /** Puts a whole axial slice in place. */
  putSlice(k, values) {
    this.map.putSlice(k, values);
    this.edited(false);
  }

  /** Where the axial plane is on screen (pixels of the page, in the image), and voxel i, j to pixels in it. */
  axialPlace() {
    const tile = this.nv.screenSlices.find((one) => one.axCorSag === 0);
    if (!tile) return null;
    const dpr = this.nv.uiData.dpr || 1;
    let [left, top, width, height] = tile.leftTopWidthHeight;
    const mirrored = width < 0;
    if (mirrored) [left, width] = [left + width, -width];
    const k = this.crosshair[2];
    const at = (i, j) => {
      const mm = this.nv.frac2mm(this.nv.vox2frac([i, j, k]), 0, this.nv.opts.isSliceMM);
      const x = (mm[0] - tile.leftTopMM[0]) / tile.fovMM[0];
      const y = (mm[1] - tile.leftTopMM[1]) / tile.fovMM[1];
      return [((mirrored ? 1 - x : x) * width) / dpr, ((1 - y) * height) / dpr];
    };
    const [o, i, j] = [at(0, 0), at(1, 0), at(0, 1)];
    const matrix = [i[0] - o[0], i[1] - o[1], j[0] - o[0], j[1] - o[1], o[0], o[1]];
    return { left: left / dpr, top: top / dpr, width: width / dpr, height: height / dpr, matrix };
  }

  undo() {
    if (this.map?.undo()) this.edited();
  }

  redo() {
    if (this.map?.redo()) this.edited();
  }

  edited(byHand = true) {
    this.upload();
    this.updateRender();
    this.report();
    this.emit("edited", { byHand });
  }

  /** Sends only the changed box of the labels to the graphics card. */
  upload() {
    const box = this.map?.takeBox();
    if (!box) return;
    const { gl } = this.nv;
    const [nx, ny] = this.dims;
    const [x, y, z] = box;
    const size = [0, 1, 2].map((a) => box[3 + a] - box[a] + 1);
    gl.activeTexture(gl.TEXTURE0 + LABEL_TEXTURE);
    gl.bindTexture(gl.TEXTURE_3D, this.nv.drawTexture);
    const layout = { ALIGNMENT: 1, ROW_LENGTH: nx, IMAGE_HEIGHT: ny, SKIP_PIXELS: x, SKIP_ROWS: y, SKIP_IMAGES: z };
    for (const [name, value] of Object.entries(layout)) gl.pixelStorei(gl[`UNPACK_${name}`], value);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, x, y, z, ...size, gl.RED, gl.UNSIGNED_BYTE, this.map.voxels);
    for (const name of Object.keys(layout)) if (name !== "ALIGNMENT") gl.pixelStorei(gl[`UNPACK_${name}`], 0);
    this.nv.drawScene();
  }

  /** Draws the brush's outline, in its true size, under the pointer. */
  showPen(event) {
    const ring = $("#pen");
    const tile = this.tileAt(event.offsetX, event.offsetY);
    ring.hidden = !this.pen || this.pen.kind !== "brush" || !tile;
    if (ring.hidden) return;
    const dpr = this.nv.uiData.dpr || 1;
    // The field of view counts negative where the patient's right is on the left.
    const pixels = (2 * this.pen.radiusMm * tile.leftTopWidthHeight[2]) / Math.abs(tile.fovMM[0]) / dpr;
    const diameter = Math.max(4, pixels);
    Object.assign(ring.style, {
      width: `${diameter}px`, height: `${diameter}px`,
      left: `${event.offsetX - diameter / 2}px`, top: `${event.offsetY - diameter / 2}px`,
    });
  }

  tileAt(x, y) {
    const dpr = this.nv.uiData.dpr || 1;
    return this.nv.screenSlices[this.nv.tileIndex(x * dpr, y * dpr)] ?? null;
  }
}

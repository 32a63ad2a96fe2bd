// The state of the page: which case and version are open, what has been changed, who holds the lock. Panels listen.

import { ask, attempt, debounce, el, gzip, say, when } from "./dom.js";
import { Drafts } from "./drafts.js";
import { diceOfEach } from "./labels.js";

/** Nobody labelled it, or nobody can tell: kept in the label map, left out of training and scores. */
export const UNLABELLED = { value: 255, key: "unlabelled", name: "Unlabelled", plain: "Unlabelled", label: "Unlabelled: nobody looked, or nobody can tell", side: "", colour: "#b9bdc2", group: "seeds" };
/** What "grow from seeds" takes for no structure at all; never saved. */
export const BACKGROUND_SEED = { value: 254, key: "background_seed", name: "Background", plain: "Background", label: "Background seed", side: "", colour: "#8b9096", group: "seeds" };
const CONFLICT = 409;
const LARGE_VOXELS = 48e6; // above it a case opens as an overview on a coarser grid, and the whole follows
const WHOLE_VOXELS = 250e6; // above it the whole is loaded only when somebody asks for it: three bytes a voxel in the page
const voxelsOf = ({ shape }) => (shape ?? []).reduce((n, m) => n * m, 1);

export class Workspace extends EventTarget {
  /** @param {import("./api.js").Api} api @param {import("./scene.js").Scene} scene */
  constructor(api, scene) {
    super();
    this.api = api;
    this.scene = scene;
    this.me = { name: "" };
    this.structures = [];
    this.byValue = new Map();
    this.cases = [];
    this.case = null;
    this.versions = [];
    this.version = null;
    this.volumes = [];
    this.dice = null;
    this.secondVersion = null;
    this.outlines = new Map(); // slice -> what was drawn in it
    this.savedOutlines = "{}";
    this.slicesBefore = new Map(); // slice -> its labels before it was drawn
    this.restoring = false;
    this.unsaved = false;
    this.locked = false;
    this.keepDraft = debounce(() => this.writeDraft(), 800);
    this.selected = 0;
    this.largeVoxels = LARGE_VOXELS;
    this.following = null; // the case whose whole scan is on its way
    scene.addEventListener("edited", () => this.edited());
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  on(names, listener) {
    for (const name of names.split(" ")) this.addEventListener(name, (event) => listener(event.detail));
  }

  async start() {
    this.structures = await this.api.structures();
    this.byValue = new Map([...this.structures, BACKGROUND_SEED, UNLABELLED].map((s) => [s.value, s]));
    this.me = (await this.api.me().catch(() => null)) ?? { name: "" };
    this.emit("structures");
    await this.refreshCases();
  }

  async refreshCases() {
    this.cases = await this.api.cases();
    if (this.case) this.case = this.cases.find((c) => c.id === this.case.id) ?? this.case;
    this.emit("cases");
  }

  nameOf(value) {
    return value === 0 ? "Background" : (this.byValue.get(value)?.label ?? `Label ${value}, not in the table`);
  }

  get myName() {
    return this.me.name;
  }

  /** Whether an older version is on screen: it can be looked at, brought back, but not built upon. */
  get showsOldVersion() {
    return this.version !== null && this.version !== this.versions.at(-1) && !this.restoring;
  }

  /** Who else holds the lock of the open case, or "". */
  get lockedByOther() {
    const holder = this.case?.locked_by;
    return holder && !this.locked && holder !== this.myName ? holder : "";
  }

  // ---- opening ----

  /** Opens a case at its newest version. Asks first when changes would be lost. @returns {Promise<boolean>} */
  async open(id) {
    if (!(await this.mayLeave())) return false;
    const target = this.cases.find((c) => c.id === id);
    if (!target) throw new Error(`There is no case ${id} any more.`);
    this.emit("loading", target);
    try {
      await this.release();
      await this.closeSecond();
      this.case = null;
      this.following = null;
      this.overview = voxelsOf(target) > this.largeVoxels;
      const told = (share) => (this.emit("progress", share), true);
      const [image, versions] = await Promise.all([this.overview ? this.api.overview(id) : this.api.image(id, told), this.api.versions(id)]);
      await this.scene.showCase(image);
      this.case = this.cases.find((c) => c.id === id) ?? target;
      this.versions = versions;
      await this.show(versions.at(-1)?.version ?? null);
    } finally {
      this.emit("loaded");
    }
    this.emit("case");
    if (!this.overview) await this.offerDraft();
    else if (voxelsOf(target) <= WHOLE_VOXELS) attempt(() => this.loadWhole());
    return true;
  }

  /** Puts the whole scan in the place of its overview. The overview can be looked at meanwhile. */
  async loadWhole() {
    const { id } = this.case;
    if (this.following === id) return;
    this.following = id;
    this.emit("following", 0);
    try {
      const wanted = () => this.following === id;
      const image = await this.api.image(id, (share) => wanted() && (this.emit("following", share), true));
      let camera = null;
      const take = () => wanted() && (camera = this.scene.camera) && (this.scene.solidStays = true);
      if (!image || !(await this.scene.showCase(image, take))) return;
      this.overview = false;
      this.scene.camera = camera;
      await this.show(this.version?.version ?? null);
    } finally {
      this.scene.solidStays = false;
      if (this.following === id) {
        this.following = null;
        this.emit("case");
      }
    }
    await this.offerDraft();
  }

  /** Shows one version of the open case (null: no labels yet). */
  async show(version) {
    const known = this.versions.find((v) => v.version === version) ?? null;
    const [labels, outlines, strokes] = known
      ? await Promise.all([this.labelsOf(version), this.api.outlines(this.case.id, version), this.api.strokes(this.case.id, version)])
      : [null, {}, []];
    this.scene.showLabels(labels);
    this.scene.map.kept = this.overview ? [] : strokes; // their places are those of the whole scan
    this.takeOutlines(this.overview ? {} : outlines);
    this.slicesBefore = new Map();
    this.warnedOfSide = false;
    this.restoring = false;
    this.version = known;
    if (this.secondVersion !== null && this.secondVersion === version) await this.closeSecond();
    this.volumes = [];
    this.setUnsaved(false);
    this.emit("version");
    this.scene.report();
    this.compareDice();
    this.refreshVolumes(); // the server counts a large scan for seconds: nobody waits for it to look
  }

  labelsOf(version) {
    return this.overview ? this.api.overviewOf(this.case.id, version) : this.api.labelVoxels(this.case.id, version);
  }

  /** Another version of the open case, after the question about unsaved changes. */
  async change(version) {
    if (await this.mayLeave()) await this.show(version);
  }

  async refreshVolumes() {
    if (!this.version) {
      this.emit("volumes");
      return;
    }
    const { id } = this.case;
    const shown = this.version;
    const over = () => this.version !== shown || this.case?.id !== id;
    this.emit("volumes");
    try {
      const volumes = await this.api.volumes(id, shown.version);
      if (over()) return;
      this.volumes = volumes;
    } catch (error) {
      if (over()) return;
      say(`The volumes could not be computed: ${error.message}`, "error");
    }
    this.emit("volumes");
  }

  async refreshVersions() {
    this.versions = await this.api.versions(this.case.id);
    await this.refreshCases();
    this.emit("versions");
  }

  /** Goes to a version the server has just made. */
  async arrive({ version }) {
    await this.refreshVersions();
    await this.show(version);
  }

  // ---- changes ----

  takeOutlines(outlines) {
    this.outlines = new Map(Object.entries(outlines).map(([k, spec]) => [Number(k), spec]));
    this.savedOutlines = Object.fromEntries([...this.outlines].map(([k, spec]) => [k, JSON.stringify(spec)]));
  }

  /** The outlines that differ from those of the version; null where one was taken away. */
  get changedOutlines() {
    const changed = {};
    for (const [k, spec] of this.outlines) if (JSON.stringify(spec) !== this.savedOutlines[k]) changed[k] = spec;
    for (const k of Object.keys(this.savedOutlines)) if (!this.outlines.has(Number(k))) changed[k] = null;
    return changed;
  }

  /** Remembers a slice as it is, before it is drawn for the first time. */
  drawnBefore(k) {
    const { map } = this.scene;
    if (this.version === null && this.outlines.size > 0 && map.counts[UNLABELLED.value] === 0) {
      // The first outline of an empty case: nobody has a verdict on the other slices.
      for (let other = 0; other < map.dims[2]; other++) {
        if (!map.slices.has(other)) map.putSlice(other, new Uint8Array(map.step[2]).fill(UNLABELLED.value));
      }
    }
    if (!this.slicesBefore.has(k)) this.slicesBefore.set(k, this.scene.map.slice(k));
  }

  /** Puts the mask of a drawn slice in place (null: what was there before), then the brush's strokes in it. */
  putDrawn(k, values) {
    const { map } = this.scene;
    const strokes = values ? [...map.kept, ...map.ops].filter((op) => op.slices.includes(k)) : [];
    this.scene.putSlice(k, values ?? this.slicesBefore.get(k));
    for (const op of strokes) map.replay(op, k, (index) => this.scene.huAt(index));
    if (strokes.length > 0) this.scene.edited(false);
  }

  /** The side that is in the labels ("right" or "left"), or "" with both or none. */
  get sideInScan() {
    const counts = this.scene.map?.before;
    if (!counts) return "";
    const has = (side) => this.structures.some((s) => s.side === side && counts[s.value] > 0);
    return has("right") === has("left") ? "" : has("right") ? "right" : "left";
  }

  warnOfSide() {
    const { sideInScan, scene } = this;
    if (!sideInScan || this.warnedOfSide) return;
    const other = this.structures.some((s) => ["right", "left"].includes(s.side) && s.side !== sideInScan && scene.map.counts[s.value] > 0);
    if (!other) return;
    this.warnedOfSide = true;
    say(`All labels of this scan are on the ${sideInScan}; this stroke is on the other side. Ctrl Z takes it back.`, "error");
  }

  /** What was drawn is in a version now. */
  forgetDraft() {
    this.setUnsaved(false);
    return Drafts.drop(this.draftKey);
  }

  get draftKey() {
    return `${this.myName}/${this.case.id}`;
  }

  /** Keeps what is not saved in this browser. */
  async writeDraft() {
    if (!this.unsaved || !this.case || this.scene.change) return;
    const { map } = this.scene;
    const slices = await Promise.all([...map.slices].map(async (k) => [k, await gzip(map.slice(k))]));
    if (!this.unsaved || map !== this.scene.map) return; // saved meanwhile
    await Drafts.put(this.draftKey, {
      version: this.version?.version ?? null, when: new Date().toISOString(), slices, outlines: this.changedOutlines, strokes: map.ops,
    });
    this.emit("kept");
  }

  /** Offers what was drawn before a reload or a crash. */
  async offerDraft() {
    const draft = await Drafts.get(this.draftKey);
    if (!draft) return;
    const from = draft.version === null ? "an empty case" : `version ${draft.version}`;
    const answer = await ask("Strokes that were not saved", [
      el("p", {}, `On ${when(draft.when)} you changed ${draft.slices.length} ${draft.slices.length === 1 ? "slice" : "slices"} of this case, starting from ${from}, and did not save.`),
    ], [{ value: "drop", label: "Throw away", kind: "quiet" }, { value: "", label: "Later", kind: "quiet" }, { value: "take", label: "Bring back" }]);
    if (answer === "drop") await Drafts.drop(this.draftKey);
    if (answer === "take") await this.takeDraft(draft);
  }

  async takeDraft(draft) {
    if ((this.version?.version ?? null) !== draft.version) await this.show(draft.version);
    const unpack = async (gz) => new Uint8Array(await new Response(new Blob([gz]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
    const slices = await Promise.all(draft.slices.map(async ([k, gz]) => [k, await unpack(gz)]));
    for (const [k, values] of slices) {
      this.drawnBefore(k);
      this.scene.map.putSlice(k, values);
    }
    for (const [k, spec] of Object.entries(draft.outlines)) {
      if (spec) this.outlines.set(Number(k), spec);
      else this.outlines.delete(Number(k));
    }
    this.scene.map.older = draft.strokes;
    this.restoring = true; // somebody may have saved since: saving joins both
    this.scene.edited();
    this.emit("version");
  }

  edited() {
    if (!this.unsaved) this.setUnsaved(true);
    this.warnOfSide();
    this.keepDraft();
    this.emit("edited");
    if (!this.locked && !this.lockedByOther) this.takeLock();
  }

  setUnsaved(unsaved) {
    this.unsaved = unsaved;
    this.emit("unsaved", unsaved);
  }

  async takeLock() {
    this.locked = true;
    try {
      await this.api.lock(this.case.id);
      this.keepLock ??= setInterval(() => this.locked && this.api.lock(this.case.id).catch(() => {}), 60_000);
      await this.refreshCases();
    } catch (error) {
      this.locked = false;
      await this.refreshCases().catch(() => {});
      say(`Somebody else is working on this case: ${error.message}`, "error");
    }
  }

  async release() {
    if (!this.locked || !this.case) return;
    this.locked = false;
    await this.api.unlock(this.case.id).catch(() => {});
  }

  async mayLeave() {
    if (!this.unsaved) return true;
    const answer = await ask(
      "Leave without saving?",
      [el("p", {}, `The changes to ${this.case.name ?? this.case.id} have not been saved as a version.`)],
      [{ value: "discard", label: "Discard changes" }, { value: "", label: "Stay" }],
    );
    if (answer === "discard") {
      this.setUnsaved(false);
      await Drafts.drop(this.draftKey);
    }
    return answer === "discard";
  }

  /** The labels on screen as a .nii.gz. */
  async labelGz({ seeds = false } = {}) {
    const bytes = await this.scene.labelBytes();
    if (!seeds && this.scene.map.counts[BACKGROUND_SEED.value] > 0) {
      const start = new DataView(bytes.buffer, bytes.byteOffset).getFloat32(108, true); // vox_offset
      for (let i = start; i < bytes.length; i++) if (bytes[i] === BACKGROUND_SEED.value) bytes[i] = 0;
    }
    return gzip(bytes);
  }

  /** Saves the labels on screen as a new version, with what was drawn. @param {{note: string, final: boolean}} how */
  async save({ note, final }) {
    const body = await this.labelGz();
    const about = {
      parent: this.version?.version, note, tag: final ? "final" : "", merge: true, outlines: this.changedOutlines, strokes: this.scene.map.ops,
    };
    const made = await this.api.saveDrawn(this.case.id, body, about).catch((error) => this.saveOver(error, body, about));
    if (!made) return null;
    const joined = made.parent !== null && made.parent !== (this.version?.version ?? null);
    await this.forgetDraft();
    await this.release();
    await this.refreshVersions();
    if (joined) await this.show(made.version);
    else this.settle(made);
    this.emit("version");
    await this.refreshVolumes();
    const whose = joined ? `, joined with version ${made.parent} by ${this.versions.find((v) => v.version === made.parent)?.author}` : "";
    say(`Saved as version ${made.version}${final ? ", final" : ""}${whose}.`);
    return made;
  }

  /** What is on screen is now the version that was made of it. */
  settle(made) {
    const { map } = this.scene;
    map.kept = [...map.kept, ...map.ops];
    map.older = [];
    map.done = [];
    map.undone = [];
    map.slices.clear();
    map.before = map.counts.slice();
    this.takeOutlines(Object.fromEntries(this.outlines));
    this.restoring = false;
    this.version = this.versions.find((v) => v.version === made.version) ?? this.versions.at(-1);
  }

  /** Somebody changed the same voxels meanwhile: show where, and ask. Every version stays, so nothing is lost. */
  async saveOver(error, body, about) {
    if (error.status !== CONFLICT) throw error;
    await this.refreshVersions();
    const newest = this.versions.at(-1);
    const place = /around voxel (\d+), (\d+), (\d+)/.exec(error.message)?.slice(1).map(Number);
    if (place) this.scene.goTo(place);
    const answer = await ask(
      "Both changed the same place",
      [el("p", {}, error.message)],
      [{ value: "", label: "Not now", kind: "quiet" }, { value: "look", label: "Show theirs beside", kind: "quiet" }, { value: "save", label: "Save mine there" }],
    );
    if (answer === "look") await this.openSecond(newest.version);
    return answer === "save" ? this.api.saveDrawn(this.case.id, body, { ...about, overwrite: true }) : null;
  }

  async undoVersion() {
    if (!(await this.mayLeave())) return;
    await this.arrive(await this.api.undo(this.case.id));
    say("The version before is the newest again.");
  }

  /** Makes an old version the newest by saving its labels once more. */
  async restore(version) {
    if (!(await this.mayLeave())) return;
    const labels = await this.api.labels(this.case.id, version);
    await this.arrive(await this.api.save(this.case.id, labels, { parent: version, note: `Restored version ${version}` }));
    say(`Version ${version} is the newest again.`);
  }

  // ---- side by side ----

  async openSecond(version) {
    const voxels = await this.scene.showSecond(await this.labelsOf(version));
    this.secondVersion = version;
    this.secondVoxels = voxels;
    this.compareDice();
    this.emit("second");
  }

  async closeSecond() {
    if (this.secondVersion === null) return;
    this.secondVersion = null;
    this.secondVoxels = null;
    this.dice = null;
    await this.scene.showSecond(undefined);
    this.emit("second");
    this.emit("volumes");
  }

  compareDice() {
    this.dice = this.secondVoxels && this.scene.map ? diceOfEach(this.scene.map.voxels, this.secondVoxels) : null;
    this.emit("volumes");
  }

  select(value) {
    this.selected = value;
    this.emit("selected", value);
  }
}

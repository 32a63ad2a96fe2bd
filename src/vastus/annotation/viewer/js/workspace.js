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
const textsOf = (outlines) => Object.fromEntries([...outlines].map(([k, spec]) => [k, JSON.stringify(spec)]));
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
    this.savedOutlines = {}; // slice -> what the version holds of it, as text
    this.slicesBefore = new Map(); // slice -> its labels before it was drawn
    this.restoring = false;
    this.unsaved = false;
    this.locked = false;
    this.held = null; // the label map that nothing may be drawn on
    this.saving = null; // the save that is on its way
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

  /** Whether something works on the labels on screen, or is about to take their place. */
  get isHeld() {
    return this.held !== null && this.held === this.scene.map;
  }

  /** Does something that starts from the labels on screen, or puts others there. Nothing can be drawn on them meanwhile. */
  async holding(work) {
    const { map } = this.scene;
    this.held = map;
    this.emit("held");
    try {
      return await work();
    } finally {
      if (this.held === map) this.held = null;
      this.emit("held");
    }
  }

  // ---- opening ----

  /** Opens a case at its newest version. Asks first when changes would be lost. @returns {Promise<boolean>} */
  async open(id) {
    if (!(await this.mayLeave())) return false;
    const target = this.cases.find((c) => c.id === id);
    if (!target) throw new Error(`There is no case ${id} any more.`);
    const opening = {};
    this.opening = opening;
    const wanted = () => this.opening === opening; // else another case was asked for meanwhile
    this.emit("loading", target);
    try {
      if (!(await this.holding(() => this.load(target, wanted)))) return false;
    } finally {
      if (wanted()) this.emit("loaded");
    }
    this.emit("case");
    if (!this.overview) await this.offerDraft();
    else if (voxelsOf(target) <= WHOLE_VOXELS) attempt(() => this.loadWhole());
    return true;
  }

  /** Puts a case in the place of the one on screen. @returns {Promise<boolean>} false: it was not wanted any more */
  async load(target, wanted) {
    const { id } = target;
    await this.release();
    await this.closeSecond();
    if (!wanted()) return false;
    this.case = null;
    this.following = null;
    this.overview = voxelsOf(target) > this.largeVoxels;
    const told = (share) => wanted() && (this.emit("progress", share), true);
    const [image, versions] = await Promise.all([this.overview ? this.api.overview(id) : this.api.image(id, told), this.api.versions(id)]);
    if (!image || !wanted() || !(await this.scene.showCase(image, wanted))) return false;
    this.case = this.cases.find((c) => c.id === id) ?? target;
    this.versions = versions;
    await this.show(versions.at(-1)?.version ?? null);
    return wanted();
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

  /** Shows one version of the open case (null: no labels yet), unless another one is asked for meanwhile. */
  async show(version) {
    const { id } = this.case;
    const showing = {};
    this.showing = showing;
    const drawn = await this.holding(() => this.drawnIn(version));
    if (this.showing === showing && this.case?.id === id) await this.put(version, drawn);
  }

  /** Labels, outlines and strokes of a version of the open case. */
  async drawnIn(version) {
    if (!this.versions.some((v) => v.version === version)) return [null, {}, []];
    const { id } = this.case;
    return Promise.all([this.labelsOf(version), this.api.outlines(id, version), this.api.strokes(id, version)]);
  }

  /** Puts what is drawn in a version on screen. */
  put(version, [labels, outlines, strokes]) {
    const known = this.versions.find((v) => v.version === version) ?? null;
    this.scene.showLabels(labels);
    this.scene.map.kept = this.overview ? [] : strokes; // their places are those of the whole scan
    this.takeOutlines(this.overview ? {} : outlines);
    this.slicesBefore = new Map();
    this.warnedOfSide = false;
    this.restoring = false;
    this.version = known;
    const closed = this.secondVersion !== null && this.secondVersion === version ? this.closeSecond() : null;
    this.volumes = [];
    this.setUnsaved(false);
    this.emit("version");
    this.scene.report();
    this.compareDice();
    this.refreshVolumes(); // the server counts a large scan for seconds: nobody waits for it to look
    return closed;
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
    const { id } = this.case;
    const versions = await this.api.versions(id);
    if (this.case?.id === id) this.versions = versions;
    await this.refreshCases();
    this.emit("versions");
  }

  /** Goes to a version the server has just made of a case. */
  arrive({ version }, id) {
    return this.arriveAt(id, () => version);
  }

  arriveAtNewest(id) {
    return this.arriveAt(id, () => this.versions.at(-1)?.version ?? null);
  }

  /** Shows another version of a case, unless another case is open by now. What was drawn meanwhile stays, to be saved. */
  async arriveAt(id, versionOf) {
    await this.saved();
    if (this.case?.id !== id) {
      await this.refreshCases();
      return;
    }
    await this.holding(async () => {
      await this.refreshVersions();
      if (this.case?.id !== id) return;
      if (!this.unsaved) {
        await this.show(versionOf());
        return;
      }
      this.restoring = true; // saving joins both
      this.emit("version");
    });
  }

  // ---- changes ----

  takeOutlines(outlines) {
    this.outlines = new Map(Object.entries(outlines).map(([k, spec]) => [Number(k), spec]));
    this.savedOutlines = textsOf(this.outlines);
  }

  /** The outlines that differ from those of the version; null where one was taken away. */
  get changedOutlines() {
    return this.outlinesSince(this.savedOutlines);
  }

  outlinesSince(saved) {
    const changed = {};
    for (const [k, spec] of this.outlines) if (JSON.stringify(spec) !== saved[k]) changed[k] = spec;
    for (const k of Object.keys(saved)) if (!this.outlines.has(Number(k))) changed[k] = null;
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
    if (!this.unsaved || !this.case) return;
    if (this.scene.change) {
      this.keepDraft(); // a change that is only shown is none of it: once it is over
      return;
    }
    const { map } = this.scene;
    const { version } = this;
    const about = { version: version?.version ?? null, when: new Date().toISOString(), outlines: this.changedOutlines, strokes: map.ops };
    const slices = await Promise.all([...map.slices].map(async (k) => [k, await gzip(map.slice(k))]));
    if (!this.unsaved || map !== this.scene.map || version !== this.version) return; // saved meanwhile
    await Drafts.put(this.draftKey, { ...about, slices });
    this.emit("kept");
  }

  /** Offers what was drawn before a reload or a crash. */
  async offerDraft() {
    const draft = await Drafts.get(this.draftKey);
    if (!draft) return;
    const from = draft.version === null ? "an empty case" : `version ${draft.version}`;
    const answer = await ask("Strokes that were not saved", [
      el("p", {}, `On ${when(draft.when)} you changed ${draft.slices.length} ${draft.slices.length === 1 ? "slice" : "slices"} of this case, starting from ${from}, and did not save. They are kept until you change something else in this case.`),
    ], [{ value: "drop", label: "Throw away", kind: "quiet" }, { value: "", label: "Later", kind: "quiet" }, { value: "take", label: "Bring back" }]);
    if (answer === "drop") await Drafts.drop(this.draftKey);
    if (answer === "take") await this.takeDraft(draft);
  }

  async takeDraft(draft) {
    if ((this.version?.version ?? null) !== draft.version) await this.show(draft.version);
    const unpack = async (gz) => new Uint8Array(await new Response(new Blob([gz]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
    const slices = await Promise.all(draft.slices.map(async ([k, gz]) => [k, await unpack(gz)]));
    this.putBack({ ...draft, slices });
    this.restoring = true; // somebody may have saved since: saving joins both
    this.emit("version");
  }

  /** Draws once more what is not saved. @param {{slices: [number, Uint8Array][], outlines: object, strokes: object[]}} drawn */
  putBack({ slices, outlines, strokes }) {
    for (const [k, values] of slices) {
      this.drawnBefore(k);
      this.scene.map.putSlice(k, values);
    }
    for (const [k, spec] of Object.entries(outlines)) {
      if (spec) this.outlines.set(Number(k), spec);
      else this.outlines.delete(Number(k));
    }
    this.scene.map.older = strokes;
    this.scene.edited();
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
    const { id } = this.case;
    this.locked = true;
    try {
      await this.unlocking; // else the lock given back could be the new one
      await this.api.lock(id);
      this.keepLock ??= setInterval(() => this.locked && this.api.lock(this.case.id).catch(() => {}), 60_000);
      await this.refreshCases();
    } catch (error) {
      if (this.case?.id !== id) return;
      this.locked = false;
      await this.refreshCases().catch(() => {});
      say(`Somebody else is working on this case: ${error.message}`, "error");
    }
  }

  async release() {
    if (!this.locked || !this.case) return;
    this.locked = false;
    this.unlocking = this.api.unlock(this.case.id).catch(() => {});
    await this.unlocking;
  }

  /** Asks before changes are lost. A save on its way is waited for, a change that is only shown is cancelled. */
  async mayLeave() {
    await this.saved();
    this.proposals?.cancel();
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
  async labelGz({ seeds = false, voxels = this.scene.map.voxels, counts = this.scene.map.counts } = {}) {
    const bytes = this.scene.labelBytes(voxels);
    if (!seeds && counts[BACKGROUND_SEED.value] > 0) {
      const start = new DataView(bytes.buffer, bytes.byteOffset).getFloat32(108, true); // vox_offset
      for (let i = start; i < bytes.length; i++) if (bytes[i] === BACKGROUND_SEED.value) bytes[i] = 0;
    }
    return gzip(bytes);
  }

  /** Saves the labels on screen as a new version, with what was drawn. @param {{note: string, final: boolean}} how */
  save(how) {
    this.saving = this.saveNow(how).finally(() => { this.saving = null; });
    return this.saving;
  }

  /** Waits for the save that is on its way, whatever comes of it. */
  saved() {
    return this.saving?.catch(() => {});
  }

  async saveNow({ note, final }) {
    await this.outlining?.asking; // the mask of a line belongs to its version
    const { draftKey } = this;
    const sent = { ...this.scene.map.send(), outlines: textsOf(this.outlines) };
    const about = structuredClone({
      parent: this.version?.version, note, tag: final ? "final" : "", merge: true, outlines: this.changedOutlines, strokes: sent.ops,
    });
    this.emit("unsaved", this.unsaved); // there is nothing to undo from here on
    const made = await this.sendDrawn(sent, about);
    if (!made) return null;
    const joined = made.parent !== null && made.parent !== (this.version?.version ?? null);
    if (!this.drawnSince(sent)) await this.release();
    this.restoring = true; // drawing goes on until what was made is on screen
    await this.refreshVersions();
    if (joined) await this.join(made, sent);
    else this.settle(made, sent);
    if (this.unsaved) this.keepDraft();
    else await Drafts.drop(draftKey);
    this.emit("version");
    await this.refreshVolumes();
    const whose = joined ? `, joined with version ${made.parent} by ${this.versions.find((v) => v.version === made.parent)?.author}` : "";
    say(`Saved as version ${made.version}${final ? ", final" : ""}${whose}.`);
    return made;
  }

  /** Sends what was on screen. @returns the version made of it; null: none, by the wish of the person */
  async sendDrawn(sent, about) {
    const { map } = this.scene;
    let made = null;
    try {
      const body = await this.labelGz(sent);
      made = await this.api.saveDrawn(this.case.id, body, about).catch((error) => this.saveOver(error, body, about));
    } finally {
      if (!made) {
        map.takeBack(sent);
        this.emit("unsaved", this.unsaved);
      }
    }
    return made;
  }

  /** What was drawn since the labels on screen were sent, or null. */
  drawnSince({ voxels, ops, outlines }) {
    const { map } = this.scene;
    const since = { slices: [...map.slicesSince(voxels)], outlines: this.outlinesSince(outlines), strokes: map.ops.slice(ops.length) };
    return since.slices.length + Object.keys(since.outlines).length + since.strokes.length > 0 ? since : null;
  }

  /** What was sent is now the version that was made of it; what was drawn since is not saved. */
  settle(made, sent) {
    this.setUnsaved(this.drawnSince(sent) !== null);
    this.scene.map.settle(sent);
    this.savedOutlines = sent.outlines;
    this.restoring = false;
    this.version = this.versions.find((v) => v.version === made.version) ?? this.versions.at(-1);
  }

  /** Shows the version in which what was sent was joined with somebody else's, and over it what was drawn since. */
  async join(made, sent) {
    const drawn = await this.drawnIn(made.version);
    await this.outlining?.asking;
    const { map } = this.scene;
    const since = this.drawnSince(sent);
    const closed = this.put(made.version, drawn);
    if (since) {
      const slices = since.slices.map((k) => [k, this.scene.map.sliceWith(k, map.voxels, sent.voxels)]);
      this.putBack({ ...since, slices });
    }
    await closed;
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
    const { id } = this.case;
    await this.arrive(await this.api.undo(id), id);
    say("The version before is the newest again.");
  }

  /** Makes an old version the newest by saving its labels once more. */
  async restore(version) {
    if (!(await this.mayLeave())) return;
    const { id } = this.case;
    const labels = await this.api.labels(id, version);
    await this.arrive(await this.api.save(id, labels, { parent: version, note: `Restored version ${version}` }), id);
    say(`Version ${version} is the newest again.`);
  }

  // ---- side by side ----

  async openSecond(version) {
    const { id } = this.case;
    const labels = await this.labelsOf(version);
    if (this.case?.id !== id) return;
    const voxels = await this.scene.showSecond(labels);
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

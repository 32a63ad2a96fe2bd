// The state of the page: which case and version are open, what has been changed, who holds the lock. Panels listen.

import { ask, el, gzip, say } from "./dom.js";
import { diceOfEach } from "./labels.js";

/** Nobody labelled it, or nobody can tell: kept in the label map, left out of training and scores. */
export const UNLABELLED = { value: 255, key: "unlabelled", name: "Unlabelled", plain: "Unlabelled", label: "Unlabelled: nobody looked, or nobody can tell", side: "", colour: "#5b4b8a", group: "seeds" };
/** What "grow from seeds" takes for no structure at all; never saved. */
export const BACKGROUND_SEED = { value: 254, key: "background_seed", name: "Background", plain: "Background", label: "Background seed", side: "", colour: "#8b9096", group: "seeds" };
const CONFLICT = 409;

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
    this.unsaved = false;
    this.locked = false;
    this.selected = 0;
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
    return this.version !== null && this.version !== this.versions.at(-1);
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
      const [image, versions] = await Promise.all([this.api.image(id), this.api.versions(id)]);
      await this.scene.showCase(image);
      this.case = this.cases.find((c) => c.id === id) ?? target;
      this.versions = versions;
      await this.show(versions.at(-1)?.version ?? null);
    } finally {
      this.emit("loaded");
    }
    this.emit("case");
    return true;
  }

  /** Shows one version of the open case (null: no labels yet). */
  async show(version) {
    const known = this.versions.find((v) => v.version === version) ?? null;
    const buffer = known ? await this.api.labels(this.case.id, version) : null;
    await this.scene.showLabels(buffer);
    this.version = known;
    this.volumes = [];
    this.setUnsaved(false);
    this.emit("version");
    this.scene.report();
    await this.refreshVolumes();
    this.compareDice();
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
    const { version } = this.version;
    this.emit("volumes");
    try {
      const volumes = await this.api.volumes(this.case.id, version);
      if (this.version?.version !== version) return;
      this.volumes = volumes;
    } catch (error) {
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

  edited() {
    if (!this.unsaved) this.setUnsaved(true);
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
    if (answer === "discard") this.setUnsaved(false);
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

  /** Saves the labels on screen as a new version. @param {{note: string, final: boolean}} how */
  async save({ note, final }) {
    const body = await this.labelGz();
    const about = { parent: this.version?.version, note, tag: final ? "final" : undefined };
    const made = await this.api.save(this.case.id, body, about).catch((error) => this.saveAfter(error, body, about));
    if (!made) return null;
    this.setUnsaved(false);
    await this.release();
    await this.refreshVersions();
    this.version = this.versions.find((v) => v.version === made.version) ?? this.versions.at(-1);
    this.emit("version");
    await this.refreshVolumes();
    say(`Saved as version ${made.version}${final ? ", final" : ""}.`);
    return made;
  }

  /** Somebody saved in the meantime: ask whether to save after them. Every version stays, so nothing is lost. */
  async saveAfter(error, body, about) {
    if (error.status !== CONFLICT) throw error;
    await this.refreshVersions();
    const newest = this.versions.at(-1);
    const answer = await ask(
      "Saved by someone else meanwhile",
      [el("p", {}, `Version ${newest.version} by ${newest.author} is newer than what you started from. Yours can become the version after it; theirs stays in the history.`)],
      [{ value: "", label: "Not now", kind: "quiet" }, { value: "save", label: "Save after it" }],
    );
    return answer === "save" ? this.api.save(this.case.id, body, { ...about, parent: newest.version }) : null;
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
    const voxels = await this.scene.showSecond(await this.api.labels(this.case.id, version));
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

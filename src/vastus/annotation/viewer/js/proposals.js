// What a tool would change: outlined in the planes, in mL for each structure, until it is accepted or cancelled.

import { $, el } from "./dom.js";
import { unpacked } from "./outlining.js";

/** Shown instead of the labels where something would be gained or lost; never saved. */
export const GAINED = { value: 252, name: "Gained", label: "would be gained", colour: "#7ef29d" };
export const LOST = { value: 253, name: "Lost", label: "would be lost", colour: "#ff7a70" };

export class Proposals {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    workspace.proposals = this;
  }

  get open() {
    return Boolean(this.answer);
  }

  /**
   * Shows a change and waits for the answer.
   * @param {string} title
   * @param {{note: string, changes: object[], box: number[], labels: string, changed: string}} preview the server's answer
   * @returns {Promise<boolean>} whether it was accepted
   */
  async agreed(title, preview) {
    const { scene } = this.workspace;
    if (preview.changes.length === 0) {
      $("#proposal-title").textContent = `${title}: nothing would change`;
    } else $("#proposal-title").textContent = `${title}: nothing is saved yet`;
    const cells = (row) => [row.name, row.before_ml.toFixed(1), row.after_ml.toFixed(1), `+${row.gained_ml.toFixed(1)}`, `−${row.lost_ml.toFixed(1)}`];
    $("#proposal tbody").replaceChildren(...preview.changes.map((row) => el("tr", {}, ...cells(row).map((text) => el("td", {}, text)))));
    $("#proposal table").hidden = preview.changes.length === 0;
    $("#proposal-note").textContent = preview.note;
    $("#accept-proposal").disabled = preview.changes.length === 0;
    const after = preview.box ? await unpacked(preview.labels) : null;
    if (after) scene.showChange(preview.box, after, GAINED.value, LOST.value);
    $("#proposal").hidden = false;
    const accepted = await new Promise((resolve) => {
      this.answer = resolve;
      this.workspace.emit("proposal");
      const button = preview.changes.length === 0 ? $("#cancel-proposal") : $("#accept-proposal");
      $("#accept-proposal").onclick = () => resolve(true);
      $("#cancel-proposal").onclick = () => resolve(false);
      button.focus();
    });
    this.answer = null;
    $("#proposal").hidden = true;
    scene.hideChange();
    this.workspace.emit("proposal");
    return accepted;
  }

  cancel() {
    this.answer?.(false);
  }
}

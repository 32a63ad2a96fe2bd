// Labels that look wrong: a ranked list with pictures; a person accepts or rejects each proposal.

import { $, attempt, el, say } from "./dom.js";

const STATES = {
  running: "Labels have changed; they are being checked …",
  stale: "Labels have changed since this check.",
  failed: "The last check failed; the server's log says why.",
  "left out": "The check knows the built-in structures only. Structures of your own are not checked.",
};

const sentence = (text) => (text ? text.charAt(0).toUpperCase() + text.slice(1).replaceAll(/[_-]/g, " ") : "");

export class Findings {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.loaded = false;
    this.pictures = [];
    $("#tab-findings").addEventListener("chosen", () => this.loaded || this.load());
    $("#refresh-findings").addEventListener("click", (event) => attempt(async () => {
      await workspace.api.checkLabels();
      await this.load();
    }, event.currentTarget));
    $("#show-judged").addEventListener("change", () => this.fill());
  }

  async load() {
    clearTimeout(this.timer);
    $("#findings-state").textContent = "Checking the labels …";
    const found = await attempt(() => this.workspace.api.findings(), $("#findings"));
    $("#findings-state").textContent = found ? STATES[found.state] ?? "" : "";
    if (!found) return;
    this.rows = found.rows;
    this.loaded = true;
    if (found.state === "running") this.timer = setTimeout(() => $("#panel-findings").hidden || this.load(), 5000);
    this.fill();
  }

  fill() {
    this.pictures.forEach((url) => URL.revokeObjectURL(url));
    this.pictures = [];
    const judged = $("#show-judged").checked;
    const rows = (this.rows ?? []).filter((row) => judged || this.stateOf(row) === "open");
    $("#findings").replaceChildren(...rows.map((row) => this.card(row)));
    $("#findings-empty").hidden = rows.length > 0;
    const open = (this.rows ?? []).filter((row) => this.stateOf(row) === "open").length;
    $("#findings-count").textContent = open > 0 ? String(open) : "";
  }

  stateOf(row) {
    return ["accepted", "rejected"].includes(row.state) ? row.state : "open";
  }

  card(row) {
    const state = this.stateOf(row);
    const structure = row.value ? this.workspace.nameOf(row.value) : "";
    const title = [structure, sentence(row.kind)].filter(Boolean).join(": ");
    const where = row.case ?? "";
    const picture = el("img", { alt: `Picture of the finding: ${title}`, loading: "lazy", hidden: true });
    this.showPicture(row.id, picture);
    const judge = (verdict, label) => el("button", {
      type: "button", class: verdict === "accept" ? "" : "quiet", "aria-label": `${label}: ${title}, ${where}`,
      onclick: (event) => this.judge(row, verdict, event.currentTarget),
    }, label);
    return el("li", { class: "finding", "data-id": row.id, "data-state": state },
      picture,
      el("h3", {}, title || `Finding ${row.id}`),
      el("div", { class: "details" }, [where, Number.isFinite(row.score) ? `score ${row.score.toFixed(2)}` : ""].filter(Boolean).join(" · ")),
      row.text ? el("p", {}, row.text) : null,
      el("div", { class: "row" },
        state === "open"
          ? [judge("accept", row.has_proposal ? "Accept correction" : "Accept"), judge("reject", "Reject")]
          : el("span", { class: "tag" }, state),
        where ? el("button", { type: "button", class: "quiet", "aria-label": `Open ${where} at this finding`, onclick: (e) => this.open(row, where, e.currentTarget) }, "Open") : null));
  }

  async showPicture(id, picture) {
    try {
      const url = URL.createObjectURL(await this.workspace.api.picture(id));
      this.pictures.push(url);
      picture.src = url;
      picture.hidden = false;
    } catch {
      picture.remove();
    }
  }

  async judge(row, verdict, button) {
    const { workspace } = this;
    if (verdict === "accept" && row.has_proposal && !(await attempt(() => this.agreed(row), button))) return;
    const done = await attempt(async () => {
      const answer = await workspace.api.judge(row.id, verdict);
      row.state = verdict === "accept" ? "accepted" : "rejected";
      return answer ?? {};
    }, button);
    if (!done) return;
    const cards = [...document.querySelectorAll("#findings .finding")];
    const place = cards.findIndex((card) => card.dataset.id === String(row.id));
    this.fill();
    const next = document.querySelectorAll("#findings .finding")[place] ?? $("#tab-findings");
    (next.querySelector?.("button") ?? next).focus();
    say(verdict === "accept" ? "Accepted. The correction is a new version of the case." : "Rejected. The label stays as it is.");
    await attempt(() => workspace.arriveAtNewest(row.case));
  }

  /** Opens the case and shows what the correction would change. */
  async agreed(row) {
    const { workspace } = this;
    if (workspace.isHeld) throw new Error("Another change is on its way or on screen: wait, or cancel it first.");
    if (workspace.case?.id !== row.case && !(await workspace.open(row.case))) return false;
    if (workspace.unsaved) throw new Error("Save your own changes first: the correction starts from the newest version.");
    await workspace.refreshVersions();
    if (workspace.showsOldVersion) await workspace.show(workspace.versions.at(-1).version);
    if (row.value) workspace.select(row.value);
    return workspace.holding(async () => {
      const { map } = workspace.scene;
      const preview = await workspace.api.proposal(row.id);
      if (map !== workspace.scene.map) return false;
      if (row.point_mm) workspace.scene.goToMm(row.point_mm);
      return workspace.proposals.agreed("Accept correction", preview);
    });
  }

  async open(row, id, button) {
    await attempt(async () => {
      const { workspace } = this;
      if (workspace.case?.id !== id && !(await workspace.open(id))) return;
      if (row.value) workspace.select(row.value);
      workspace.scene.goToMm(row.point_mm);
    }, button);
  }
}

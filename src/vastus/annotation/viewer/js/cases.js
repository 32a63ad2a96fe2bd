// The list of cases with their states and locks, the ranking for the next one, and the history of the open case.

import { $, attempt, el, say, when } from "./dom.js";

const STATES = { unlabelled: "No labels", model: "Model", corrected: "Corrected", final: "Final" };
const KINDS = { model: "Model", human: "Person", tool: "Tool", undo: "Undo" };

const titleOf = (v) => `${v.version} · ${KINDS[v.kind] ?? v.kind}, ${v.author}`;

export class Cases {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.scores = new Map();
    this.first = new Map();
    workspace.on("cases case", () => this.fill());
    $("#find-case").addEventListener("input", () => this.fill());
    $("#strategy").addEventListener("change", () => this.rank());
    $("#next").addEventListener("click", (event) => this.next(event.currentTarget));
    $("#refresh-cases").addEventListener("click", (event) => attempt(() => workspace.refreshCases(), event.currentTarget));
  }

  fill() {
    const { workspace } = this;
    const words = $("#find-case").value.trim().toLowerCase();
    const cases = workspace.cases.filter((c) => `${c.name ?? ""} ${c.id} ${STATES[c.state] ?? ""}`.toLowerCase().includes(words));
    if (this.scores.size > 0) cases.sort((a, b) => (this.scores.get(b.id) ?? -Infinity) - (this.scores.get(a.id) ?? -Infinity));
    const list = $("#cases");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    list.replaceChildren(...cases.map((c) => el("li", {}, this.button(c))));
    if (focused) list.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    const done = workspace.cases.filter((c) => c.state === "final").length;
    $("#progress-text").textContent = workspace.cases.length > 0 ? `${done} of ${workspace.cases.length} final` : "";
    $("#progress").max = Math.max(workspace.cases.length, 1);
    $("#progress").value = done;
    const empty = $("#cases-empty");
    empty.hidden = cases.length > 0;
    empty.textContent = workspace.cases.length > 0 ? "No case has this name or state." : "No scans yet. Put CT scans into the folder that vastus annotate serves, then reload the list.";
  }

  button(c) {
    const { workspace } = this;
    const score = this.scores.get(c.id) ?? c.score;
    const locked = c.locked_by && c.locked_by !== workspace.myName ? `, locked by ${c.locked_by}` : "";
    const open = c.id === workspace.case?.id;
    const details = [STATES[c.state] ?? c.state];
    if (c.problem) details.push(`can't be read: ${c.problem}`);
    if (c.locked_by) details.push(c.locked_by === workspace.myName ? "locked by you" : `locked by ${c.locked_by}`);
    if (this.first.has(c.id)) details.push(`look first at ${this.first.get(c.id)}`);
    return el("button", {
      type: "button", class: "case", "data-id": c.id, "data-state": c.state, "aria-current": open ? "true" : undefined,
      "aria-label": `${c.name ?? c.id}, ${STATES[c.state] ?? c.state}${locked}`,
      onclick: (event) => attempt(() => workspace.open(c.id), event.currentTarget),
    },
    el("span", { class: "case-name" }, c.name ?? c.id),
    el("span", { class: "score", title: "Score of the ranking: higher is more useful to correct" }, Number.isFinite(score) ? score.toFixed(3) : ""),
    el("span", { class: "details" }, el("span", { class: "state" }), details.join(" · ")));
  }

  async rank() {
    const strategy = $("#strategy").value;
    const ranking = await attempt(() => this.workspace.api.ranking(strategy), $("#strategy"));
    if (!ranking) return null;
    const { rows, pending } = ranking;
    this.scores = new Map(rows.map((r) => [r.id, r.score]));
    this.first = new Map(rows.filter((r) => r.structures?.length > 0).map((r) => [r.id, r.structures.map((s) => s.name).join(", ")]));
    $("#pending").textContent = pending > 0 ? `The network has yet to look at ${pending} ${pending === 1 ? "case" : "cases"}; they come last until then.` : "";
    this.fill();
    return rows;
  }

  /** Opens the case that the chosen strategy asks for first and that nobody else holds. */
  async next(button = $("#next")) {
    await attempt(async () => {
      await this.workspace.refreshCases();
      const rows = (await this.rank()) ?? [];
      const free = rows.find(({ id }) => {
        const c = this.workspace.cases.find((other) => other.id === id);
        return c && c.state !== "final" && id !== this.workspace.case?.id && (!c.locked_by || c.locked_by === this.workspace.myName);
      });
      if (!free) say("Nothing is left to correct: every other case is final or taken.");
      else await this.workspace.open(free.id);
    }, button);
  }
}

export class History {
  constructor(workspace) {
    this.workspace = workspace;
    workspace.on("versions version case second unsaved", () => this.fill());
    $("#undo-version").addEventListener("click", (event) => attempt(() => workspace.undoVersion(), event.currentTarget));
    $("#compare").addEventListener("change", (event) => this.compare(event.target.value));
  }

  fill() {
    const { workspace } = this;
    const { versions } = workspace;
    const list = $("#history");
    list.replaceChildren(...[...versions].reverse().map((v) => this.row(v, v === versions.at(-1))));
    $("#history-empty").hidden = versions.length > 0 || !workspace.case;
    $("#history-none").hidden = workspace.case !== null;
    $("#undo-version").disabled = versions.length < 2;
    const choice = $("#compare");
    choice.replaceChildren(el("option", { value: "" }, "Off"),
      ...[...versions].reverse().filter((v) => v.version !== workspace.version?.version).map((v) => el("option", { value: String(v.version) }, titleOf(v))));
    choice.value = workspace.secondVersion === null ? "" : String(workspace.secondVersion);
    choice.disabled = versions.length < (workspace.version ? 2 : 1);
    const other = versions.find((v) => v.version === workspace.secondVersion);
    $("#first-caption").textContent = workspace.version ? titleOf(workspace.version) : "No labels";
    $("#second-caption").textContent = other ? titleOf(other) : "";
  }

  row(v, newest) {
    const { workspace } = this;
    const shown = v.version === workspace.version?.version;
    const title = titleOf(v);
    const actions = [];
    if (!shown) actions.push(el("button", { type: "button", class: "quiet", onclick: (e) => attempt(() => workspace.change(v.version), e.currentTarget) }, "Show"));
    if (!newest) {
      actions.push(el("button", {
        type: "button", class: "quiet", title: "Makes these labels the newest version; nothing is lost",
        onclick: (e) => attempt(() => workspace.restore(v.version), e.currentTarget),
      }, "Restore"));
    }
    if (!shown) actions.push(el("button", {
      type: "button", class: "quiet", "aria-pressed": String(workspace.secondVersion === v.version),
      onclick: () => this.compare(workspace.secondVersion === v.version ? "" : String(v.version)),
    }, "Beside"));
    for (const button of actions) button.setAttribute("aria-label", `${button.textContent} version ${title}`);
    return el("li", { "data-kind": v.kind, "aria-current": shown ? "true" : undefined },
      el("div", { class: "version-title" }, el("span", {}, title), v.tag ? el("span", { class: "tag" }, v.tag) : null),
      el("div", { class: "details" }, [when(v.created), v.parent ? `from ${v.parent}` : ""].filter(Boolean).join(" · ")),
      v.note ? el("div", { class: "note" }, v.note) : null,
      el("div", { class: "row" }, ...actions));
  }

  /** @param {string} version "" closes the second view */
  compare(version) {
    const { workspace } = this;
    return attempt(() => (version === "" ? workspace.closeSecond() : workspace.openSecond(Number(version))), $("#canvases"));
  }

  /** On and off: beside the newest version that the model made, else beside the one before. */
  toggle() {
    const { versions, version, secondVersion } = this.workspace;
    if (secondVersion !== null) return this.compare("");
    const others = versions.filter((v) => v.version !== version?.version);
    const other = others.findLast((v) => v.kind === "model") ?? others.at(-1);
    return other ? this.compare(String(other.version)) : say("There is no other version to show beside this one.");
  }
}

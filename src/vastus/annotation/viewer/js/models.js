// The models the server knows, pre-labelling of the open case, and the training in the background.

import { $, attempt, el, say, when } from "./dom.js";
import { followQueue } from "./queue.js";

const STATES = { RUNNING: "Running", DONE: "Done", ERROR: "Failed", STOPPED: "Stopped" };

/** Up to three numbers about a model, e.g. "mean dice 0.91". */
const metrics = (values) => Object.entries(values ?? {}).filter(([, n]) => Number.isFinite(n)).slice(0, 3).map(([name, n]) => `${name.replaceAll("_", " ")} ${n.toPrecision(3)}`);

export class Models {
  /** @param {import("./workspace.js").Workspace} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    this.wasRunning = false;
    $("#tab-models").addEventListener("chosen", () => this.load());
    $("#infer").addEventListener("click", (event) => this.infer(event.currentTarget));
    $("#infer-here").addEventListener("click", (event) => this.infer(event.currentTarget));
    $("#load-whole").addEventListener("click", (event) => attempt(() => workspace.loadWhole(), event.currentTarget));
    workspace.on("case version", () => ($("#overview").hidden = workspace.case === null || !workspace.overview));
    workspace.on("following case", (share) => {
      $("#load-whole").hidden = workspace.following !== null;
      $("#overview-text").textContent = workspace.following === null ? "Overview on a coarser grid." : `Overview. The whole scan follows: ${Math.floor(100 * (share ?? 0))} %`;
    });
    workspace.on("loading", () => ($("#overview").hidden = true));
    const offer = () => ($("#no-labels").hidden = workspace.case === null || workspace.version !== null || workspace.unsaved || workspace.lockedByOther !== "");
    workspace.on("case version unsaved cases loaded", offer);
    workspace.on("loading", () => ($("#no-labels").hidden = true));
    $("#train").addEventListener("click", (event) => this.train(event.currentTarget));
    $("#stop-training").addEventListener("click", (event) => attempt(async () => {
      await workspace.api.stopTraining();
      await this.poll();
    }, event.currentTarget));
    workspace.on("case cases", () => ($("#infer").disabled = workspace.case === null || workspace.lockedByOther !== ""));
    $("#model").addEventListener("change", (event) => attempt(async () => {
      await workspace.api.selectModel(event.target.value);
      say(`${event.target.value} is used from now on, also for the ranking.`);
      await this.load();
    }, event.target));
  }

  async load() {
    const models = await attempt(() => this.workspace.api.models(), $("#models"));
    if (models) {
      const choice = $("#model");
      choice.replaceChildren(...models.map((m) => el("option", { value: m.name }, m.name)));
      choice.value = models.find((m) => m.selected)?.name ?? "";
      $("#models").replaceChildren(...models.map((m) => el("li", { "aria-current": m.selected ? "true" : undefined },
        el("strong", {}, m.name), m.selected ? el("span", { class: "tag" }, "in use") : null,
        el("div", { class: "details" }, [when(m.created), ...metrics(m.metrics)].filter(Boolean).join(" · ")),
        m.description ? el("div", { class: "note" }, m.description) : null)));
      $("#models-empty").hidden = models.length > 0;
    }
    await this.poll();
  }

  async infer(button) {
    const { workspace } = this;
    if (!(await workspace.mayLeave())) return;
    const { id } = workspace.case;
    const made = await attempt(async () => {
      say("The network is labelling this case …");
      const answered = followQueue(workspace.api, id, button);
      const answer = await workspace.api.infer(id, $("#model").value || undefined).finally(answered);
      await workspace.arrive(answer, id);
      return answer;
    }, button);
    if (made) say(`The network's labels are version ${made.version}.`);
  }

  async train(button) {
    const started = await attempt(() => this.workspace.api.train(Number($("#minutes").value) || undefined), button);
    if (started !== undefined) await this.poll();
  }

  /** Asks how far the training is, and again in two seconds while it runs. */
  async poll() {
    clearTimeout(this.timer);
    let task;
    try {
      task = await this.workspace.api.training();
    } catch (error) {
      $("#training").textContent = error.message;
      return;
    }
    const running = task?.running === true;
    const bar = $("#training-bar");
    bar.hidden = !running;
    if (Number.isFinite(task?.progress)) bar.value = task.progress;
    else bar.removeAttribute("value");
    const facts = [
      STATES[task?.status] ?? "No training so far.", Number.isFinite(task?.step) ? `step ${task.step}` : "",
      Number.isFinite(task?.loss) ? `loss ${task.loss.toFixed(3)}` : "", Number.isFinite(task?.mean_dice) ? `Dice ${task.mean_dice.toFixed(3)}` : "",
    ];
    $("#training").textContent = facts.filter(Boolean).join(" · ");
    $("#training-log").textContent = task?.status === "ERROR" ? (task.details ?? []).slice(-3).join("\n") : "";
    $("#train").disabled = running;
    $("#stop-training").hidden = !running;
    if (this.wasRunning && !running) {
      this.wasRunning = false;
      say("The training has ended. New weights, if it made any, can be chosen now.");
      await this.load();
      return;
    }
    this.wasRunning = running;
    if (running) this.timer = setTimeout(() => this.poll(), 2000);
  }
}

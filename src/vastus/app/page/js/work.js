// What is in progress: one card a task, changed in place so that the keyboard's focus stays where it is.

import { $, attempt, el } from "/viewer/js/dom.js";
import * as api from "./api.js";

const STAGES = {
  start: "Starting", read: "Reading the scan", preprocess: "Preparing the scan", network: "Finding the muscles", clean: "Finding left and right",
  restore: "Measuring and drawing the page", measure: "Measuring again", cohort: "Computing the comparison",
};

/** A time as one says it. */
export function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 90) return `about ${Math.round(seconds / 10) * 10} seconds`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} minutes`;
  return `about ${Math.round(seconds / 3600)} hours`;
}

class Card {
  constructor(task, changed) {
    this.says = el("span", { class: "soft" });
    this.bar = el("progress", { max: 1, "aria-label": `Progress of ${task.name}` });
    this.problem = el("p", { class: "problem" });
    this.remedy = el("p", {});
    const press = (does) => async (event) => {
      await attempt(does, event.currentTarget);
      changed();
    };
    this.again = el("button", { type: "button", "aria-label": `Try ${task.name} again`, onclick: press(() => api.retry(task.id)) }, "Try again");
    this.stop = el("button", { type: "button", onclick: press(() => api.cancel(task.id)) }, "Cancel");
    this.node = el("li", { class: "card" }, el("div", { class: "top" }, el("span", { class: "name" }, task.name), this.says, el("span", { class: "space" }), this.again, this.stop), this.bar, this.problem, this.remedy);
  }

  show(task) {
    const failed = task.state === "failed";
    const running = task.state === "running";
    this.node.classList.toggle("failed", failed);
    this.node.dataset.state = task.state;
    this.says.textContent = failed ? "could not be measured" : running ? running_words(task) : waiting_words(task);
    this.bar.hidden = !running;
    if (task.total > 0) this.bar.value = 0.05 + 0.75 * (task.done / task.total) + (task.stage === "restore" ? 0.1 : 0);
    else if (task.stage === "restore" || task.stage === "clean") this.bar.value = 0.9;
    else this.bar.removeAttribute("value");
    this.problem.textContent = task.problem;
    this.remedy.textContent = task.remedy;
    this.problem.hidden = this.remedy.hidden = !failed;
    this.again.hidden = !failed;
    this.stop.textContent = failed ? "Take out of the list" : "Cancel";
    this.stop.setAttribute("aria-label", failed ? `Take ${task.name} out of the list` : `Cancel ${task.name}`);
  }
}

function running_words(task) {
  const left = Number.isFinite(task.seconds_left) ? `, ${about(task.seconds_left)} left` : "";
  return `${STAGES[task.stage] ?? "Working"}${left}`;
}

const waiting_words = (task) => (task.before > 1 ? `Waits, number ${task.before} in the queue` : "Is next");

export class Work {
  constructor(changed) {
    this.changed = changed;
    this.cards = new Map();
  }

  /** @param {object} state what the program says */
  show({ tasks, mean_seconds: mean }) {
    $("#work").hidden = tasks.length === 0;
    const here = new Set(tasks.map((task) => task.id));
    for (const [id, card] of this.cards) {
      if (here.has(id)) continue;
      card.node.remove();
      this.cards.delete(id);
    }
    for (const task of tasks) {
      if (!this.cards.has(task.id)) this.cards.set(task.id, new Card(task, this.changed));
      const card = this.cards.get(task.id);
      card.show(task);
      if (!card.node.isConnected) $("#tasks").append(card.node);
    }
    const waiting = tasks.filter((task) => task.state === "waiting").length;
    const left = (tasks.find((task) => task.state === "running")?.seconds_left ?? mean) + waiting * mean;
    $("#work-left").hidden = !(waiting > 0 && mean > 0 && Number.isFinite(left));
    $("#work-left").textContent = `All of it: ${about(left)}.`;
  }
}

// While a person waits for the network: the place in the queue, how far it is, and a button to stop it.

import { attempt, el } from "./dom.js";

const ASK_MS = 700;

function words(row, queue) {
  if (row.state === "waiting") {
    const people = queue.filter((other) => other.who !== "" && other.position < row.position).length;
    return people > 1 ? `Number ${row.position} in the queue` : "Next in the queue";
  }
  const left = Number.isFinite(row.seconds_left) ? `, about ${Math.max(1, Math.round(row.seconds_left))} s left` : "";
  return row.total > 0 ? `Window ${row.done} of ${row.total}${left}` : "Begins";
}

/**
 * Shows below a button how a request of this case stands.
 * @returns {() => void} to be called when the answer is there
 */
export function followQueue(api, caseId, button) {
  const text = el("span", {});
  const bar = el("progress", { max: 1, "aria-label": "Progress of the network" });
  let id = null;
  const stop = el("button", { type: "button", class: "quiet", onclick: () => attempt(async () => id && (await api.leaveQueue(id)), stop) }, "Stop");
  const box = el("div", { class: "row queue", role: "status" }, text, bar, stop);
  let timer = 0;
  let over = false;
  async function ask() {
    const queue = await api.queue().catch(() => []);
    if (over) return;
    const row = queue.find((one) => one.case === caseId && one.kind === "label");
    id = row?.id ?? null;
    stop.disabled = id === null;
    text.textContent = row ? words(row, queue) : "";
    if (row?.total > 0) bar.value = row.done / row.total;
    else bar.removeAttribute("value");
    timer = setTimeout(ask, ASK_MS);
  }
  button.after(box);
  ask();
  return () => {
    over = true;
    clearTimeout(timer);
    box.remove();
  };
}

// The page of the app: asks the program how things stand, and shows it.

import { $, attempt, say } from "/viewer/js/dom.js";
import * as api from "./api.js";
import { takeScans } from "./drop.js";
import { Results } from "./results.js";
import { tell } from "./words.js";
import { Work } from "./work.js";

const BUSY_MS = 1000;
const QUIET_MS = 4000;

const form = await attempt(() => api.form());
let timer = 0;
let asked = 0;
let known = null;
let silent = false;

const refresh = () => poll();
const work = new Work(refresh);
const results = new Results(form, refresh);
takeScans(refresh);
$("#message button").addEventListener("click", () => ($("#message").hidden = true));
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

async function poll() {
  clearTimeout(timer);
  const turn = ++asked;
  let state = null;
  try {
    state = await api.state();
    silent = false;
  } catch (error) {
    if (!silent) say(error.message, "error");
    silent = true;
  }
  if (turn !== asked) return; // a later question is on its way
  if (state) show(state);
  const busy = state?.tasks.some((task) => task.state !== "failed");
  timer = setTimeout(poll, document.hidden || !busy ? QUIET_MS : BUSY_MS);
}

function show(state) {
  const names = new Set([...state.results, ...state.cohorts].map((row) => row.name));
  const arrived = known === null ? [] : [...names].filter((name) => !known.has(name));
  if (arrived.length > 0) tell(`${arrived.join(", ")}: done.`);
  known = names;
  $("#where").textContent = state.folder;
  work.show(state);
  results.show(state);
}

await poll();
document.body.dataset.ready = "";

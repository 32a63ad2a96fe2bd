// Puts the page together.

import { Api } from "./api.js";
import { Cases, History } from "./cases.js";
import { $, ask, attempt, debounce, el, say, tabs } from "./dom.js";
import { Editing } from "./editing.js";
import { Keys } from "./keys.js";
import { PLANES } from "./labels.js";
import { Models } from "./models.js";
import { Outlining } from "./outlining.js";
import { Proposals } from "./proposals.js";
import { Findings } from "./review.js";
import { Scene, VIEWS } from "./scene.js";
import { Slices } from "./slices.js";
import { Structures } from "./structures.js";
import { Workspace } from "./workspace.js";

// Grey values in HU, black and white.
const WINDOWS = {
  soft: { name: "Soft tissue", range: [-160, 240] },
  muscle: { name: "Muscle", range: [-50, 150] },
  fat: { name: "Fat", range: [-200, 0] },
  bone: { name: "Bone", range: [-300, 1300] },
};

async function askForLogin(problem) {
  const name = el("input", { type: "text", name: "username", autocomplete: "username", autofocus: true });
  const password = el("input", { type: "password", name: "password", autocomplete: "current-password" });
  const content = [
    el("label", { class: "field" }, "Name", name),
    el("label", { class: "field" }, "Password", password),
    problem ? el("p", { class: "problem", role: "alert" }, problem) : null,
  ].filter(Boolean);
  for (let answer = ""; answer !== "in"; ) answer = await ask("Sign in", content, [{ value: "in", label: "Sign in" }]);
  return { username: name.value, password: password.value };
}

function setUpWindow(scene) {
  const choice = $("#window");
  choice.append(...Object.entries(WINDOWS).map(([value, { name }]) => el("option", { value }, name)), el("option", { value: "manual" }, "Manual"));
  const show = ([low, high]) => {
    $("#low").value = low;
    $("#high").value = high;
    const preset = Object.entries(WINDOWS).find(([, { range }]) => range[0] === low && range[1] === high);
    choice.value = preset?.[0] ?? "manual";
  };
  const set = (range) => {
    scene.setWindow(...range);
    show(range);
  };
  choice.addEventListener("change", () => (choice.value === "manual" ? $("#low").focus() : set(WINDOWS[choice.value].range)));
  for (const id of ["low", "high"]) {
    $(`#${id}`).addEventListener("change", () => {
      const range = [Number($("#low").value), Number($("#high").value)];
      if (range[0] < range[1]) set(range);
      else say("The lower grey value must lie below the upper one.", "error");
    });
  }
  scene.addEventListener("window", ({ detail }) => show(detail));
  set(WINDOWS.soft.range);
  return () => {
    const names = Object.keys(WINDOWS);
    set(WINDOWS[names[(names.indexOf(choice.value) + 1) % names.length]].range);
    say(`Window: ${WINDOWS[choice.value].name}`);
  };
}

function setUpLooks(scene) {
  const apply = () => {
    $("#opacity-text").textContent = `${$("#opacity").value} %`;
    scene.setOpacity($("#opacity").value / 100, $("#outline").checked);
  };
  $("#opacity").addEventListener("input", apply);
  $("#outline").addEventListener("change", apply);
  let before = 45;
  apply();
  return {
    apply,
    outline: () => $("#outline").click(),
    hide: () => {
      const now = Number($("#opacity").value);
      if (now > 0) before = now;
      $("#opacity").value = now > 0 ? 0 : before;
      if (now > 0) $("#outline").checked = false;
      apply();
    },
  };
}

function setUpUncertainty(workspace, structures, looks) {
  const box = $("#uncertainty");
  let outlineBefore = false;
  box.addEventListener("change", async () => {
    const done = await attempt(async () => {
      if (!box.checked) {
        await workspace.scene.setOverlay(null);
        structures.setUncertainty([]);
        return true;
      }
      $("#busy-text").textContent = "Asking the network how sure it is …";
      $("#busy").hidden = false;
      const { id } = workspace.case;
      const [image, rows] = await Promise.all([workspace.api.uncertaintyImage(workspace.case.id), workspace.api.uncertainty(workspace.case.id)]);
      if (workspace.case?.id !== id) return false; // another case was opened meanwhile
      await workspace.scene.setOverlay(image);
      structures.setUncertainty(rows);
      return true;
    }, $("#canvases"));
    $("#busy").hidden = true;
    if (!done) {
      box.checked = false;
      return;
    }
    if (box.checked) outlineBefore = $("#outline").checked;
    $("#outline").checked = box.checked ? true : outlineBefore;
    $("#legend").hidden = !box.checked;
    looks.apply();
  });
  workspace.on("loading", () => {
    if (box.checked) structures.setUncertainty([]);
    box.checked = false;
    $("#legend").hidden = true;
  });
  workspace.on("case", () => (box.disabled = workspace.case === null));
}

function setUpViews(scene) {
  for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", () => scene.setView(radio.value));
  scene.addEventListener("view", ({ detail }) => (document.querySelector(`[name=view][value="${detail}"]`).checked = true));
  $("#solid").addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
    if (!turns[event.key]) return;
    event.preventDefault();
    scene.turn(...turns[event.key]);
  });
}

function setUpPlace(workspace) {
  const speak = debounce((text) => ($("#spoken").textContent = text), 500);
  workspace.scene.addEventListener("place", ({ detail }) => {
    const { voxel, plane, value, hu, mm, second } = detail;
    const name = workspace.nameOf(value);
    $("#here .swatch").style.setProperty("--colour", workspace.byValue.get(value)?.colour ?? "transparent");
    $("#here-name").textContent = second === null || second === value ? name : `${name}  |  ${workspace.nameOf(second)}`;
    const { through } = PLANES[plane];
    const slice = `${PLANES[plane].name} ${voxel[through] + 1}/${workspace.scene.dims[through]}`;
    $("#here-hu").textContent = `${Math.round(hu)} HU`;
    $("#here-slice").textContent = slice;
    $("#here-mm").textContent = `R ${mm[0].toFixed(0)}  A ${mm[1].toFixed(0)}  S ${mm[2].toFixed(0)} mm`;
    $("#here").dataset.value = value;
    $("#here").dataset.voxel = voxel.join();
    speak(`${name}, ${Math.round(hu)} HU, ${slice}`);
  });
}

function setUpTitle(workspace) {
  const show = () => {
    const { case: open, version, unsaved } = workspace;
    $("#case-title").textContent = open ? (open.name ?? open.id) : "No case open";
    const state = !open ? "" : version ? `version ${version.version}${version.tag ? `, ${version.tag}` : ""}` : "no labels yet";
    $("#version-title").textContent = state;
    $("#unsaved").hidden = !unsaved;
    document.title = `${unsaved ? "• " : ""}${open ? `${open.name ?? open.id} · ` : ""}Vastus`;
    $("#welcome").hidden = open !== null;
    $("#canvases").toggleAttribute("data-empty", open === null);
  };
  workspace.on("case version unsaved cases versions", show);
  workspace.on("structures", () => ($("#user").textContent = workspace.myName));
  workspace.on("loading", (target) => {
    $("#busy-text").textContent = `Loading ${target.name ?? target.id} …`;
    $("#busy").hidden = false;
  });
  workspace.on("progress", (share) => ($("#busy-text").textContent = $("#busy-text").textContent.replace(/…( \d+ %)?$/, `… ${Math.floor(100 * share)} %`)));
  workspace.on("loaded", () => ($("#busy").hidden = true));
  addEventListener("beforeunload", (event) => {
    if (workspace.unsaved) event.preventDefault();
  });
  addEventListener("pagehide", () => workspace.release());
}

function setUpKeys({ workspace, scene, structures, editing, outlining, slices, cases, history, looks, nextWindow }) {
  const click = (id) => () => $(id).disabled || $(id).click();
  const view = (index) => () => scene.setView(VIEWS[index]);
  const tool = (name) => () => editing.setTool(name);
  const step = (right, up, through) => (event) => scene.step(...[right, up, through].map((n) => n * (event.shiftKey ? 10 : 1)));
  const at = (key) => [key, `Shift+${key}`];
  return new Keys([
    { group: "Move", keys: at("ArrowLeft"), does: "Crosshair left (Shift: 10 voxels)", run: step(-1, 0, 0), where: "image" },
    { group: "Move", keys: at("ArrowRight"), does: "Crosshair right", run: step(1, 0, 0), where: "image" },
    { group: "Move", keys: at("ArrowUp"), does: "Crosshair up", run: step(0, 1, 0), where: "image" },
    { group: "Move", keys: at("ArrowDown"), does: "Crosshair down", run: step(0, -1, 0), where: "image" },
    { group: "Move", keys: [...at("PageUp"), "."], does: "Next slice (Shift: 10)", run: step(0, 0, 1) },
    { group: "Move", keys: [...at("PageDown"), ","], does: "Slice before", run: step(0, 0, -1) },
    { group: "Move", keys: ["m"], does: "Next drawn slice", run: () => slices.jump(1) },
    { group: "Move", keys: ["k"], does: "Drawn slice before", run: () => slices.jump(-1) },
    { group: "Move", keys: ["a"], does: "Arrow keys act in the next plane", run: () => scene.nextPlane() },
    { group: "Move", keys: ["j"], does: "Jump to the selected structure", run: () => structures.goTo() },
    { group: "Move", keys: ["=", "+"], does: "Zoom in", run: () => scene.zoom(1.25) },
    { group: "Move", keys: ["-"], does: "Zoom out", run: () => scene.zoom(1 / 1.25) },
    { group: "Look", keys: ["1"], does: "Three planes and 3D", run: view(0) },
    { group: "Look", keys: ["2"], does: "Axial", run: view(1) },
    { group: "Look", keys: ["3"], does: "Coronal", run: view(2) },
    { group: "Look", keys: ["4"], does: "Sagittal", run: view(3) },
    { group: "Look", keys: ["5"], does: "3D (arrow keys turn it)", run: (event) => { view(4)(event); $("#solid").focus(); } },
    { group: "Look", keys: ["w"], does: "Next window", run: nextWindow },
    { group: "Look", keys: ["o"], does: "Outlines", run: looks.outline },
    { group: "Look", keys: ["h"], does: "Hide and show all labels", run: looks.hide },
    { group: "Look", keys: ["s"], does: "Selected structure alone", run: () => structures.solo() },
    { group: "Look", keys: ["u"], does: "Uncertainty", run: click("#uncertainty") },
    { group: "Look", keys: ["c"], does: "Two versions side by side", run: () => history.toggle() },
    { group: "Edit", keys: ["v", "Escape"], does: "Move only; cancel a change", run: () => (workspace.proposals.open ? workspace.proposals.cancel() : editing.setTool("move")) },
    { group: "Edit", keys: ["b"], does: "Brush", run: tool("brush") },
    { group: "Edit", keys: ["e"], does: "Eraser", run: tool("erase") },
    { group: "Edit", keys: ["f"], does: "Fill an outline", run: tool("outline") },
    { group: "Edit", keys: ["r"], does: "Relabel an island", run: tool("pour") },
    { group: "Edit", keys: ["p"], does: "Pick a structure from the image", run: tool("pick") },
    { group: "Edit", keys: ["d"], does: "Draw outlines in axial slices", run: tool("strokes") },
    { group: "Edit", keys: ["x"], does: "Next pen for outlines", run: () => outlining.nextPen() },
    { group: "Edit", keys: ["Delete", "Backspace"], does: "Delete the chosen line of an outline", run: () => outlining.deleteChosen() },
    { group: "Edit", keys: [" "], does: "Use the tool at the crosshair", run: () => editing.useHere(), where: "image" },
    { group: "Edit", keys: ["["], does: "Smaller brush", run: () => editing.changeSize(-1) },
    { group: "Edit", keys: ["]"], does: "Larger brush", run: () => editing.changeSize(1) },
    { group: "Edit", keys: ["l"], does: "Other side of the selected structure", run: () => structures.setSide(workspace.byValue.get(workspace.selected)?.side === "left" ? "right" : "left") },
    { group: "Edit", keys: ["z"], ctrl: true, does: "Undo", run: () => editing.undo() },
    { group: "Edit", keys: ["y", "Shift+z"], ctrl: true, does: "Redo", run: () => editing.redo() },
    { group: "Work", keys: ["s"], ctrl: true, does: "Save as a new version", run: () => editing.save() },
    { group: "Work", keys: ["n"], does: "Next case to correct", run: () => cases.next() },
    { group: "Work", keys: ["g"], does: "Go to the list of cases", run: () => { $("#tab-cases").click(); ($("#cases button[aria-current]") ?? $("#cases button") ?? $("#find-case")).focus(); } },
    { group: "Work", keys: ["/"], does: "Find a structure", run: () => $("#find").focus() },
    { group: "Work", keys: ["i"], does: "Go to the image", run: () => $("#planes").focus() },
    { group: "Work", keys: ["?"], does: "This help", run: () => $("#help").click() },
  ]);
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    $("#welcome p").textContent = "This browser can't draw volumes: WebGL 2 is switched off or missing.";
    return;
  }
  const scene = new Scene();
  await scene.start();
  const workspace = new Workspace(new Api(askForLogin), scene);
  const structures = new Structures(workspace);
  const editing = new Editing(workspace);
  const outlining = new Outlining(workspace, editing);
  const slices = new Slices(workspace);
  new Proposals(workspace);
  const cases = new Cases(workspace);
  const history = new History(workspace);
  new Findings(workspace);
  new Models(workspace);
  const choose = tabs($("#tabs"));
  choose("tab-cases");
  const nextWindow = setUpWindow(scene);
  const looks = setUpLooks(scene);
  setUpViews(scene);
  setUpUncertainty(workspace, structures, looks);
  setUpPlace(workspace);
  setUpTitle(workspace);
  setUpKeys({ workspace, scene, structures, editing, outlining, slices, cases, history, looks, nextWindow });
  $("#close-message").addEventListener("click", () => ($("#message").hidden = true));
  await attempt(() => workspace.start(), $("#left"));
  structures.mark();
  editing.apply();
  const address = new URLSearchParams(location.search);
  if (VIEWS.includes(address.get("view"))) scene.setView(address.get("view"));
  const wanted = address.get("case");
  if (wanted && workspace.cases.some((c) => c.id === wanted)) await attempt(() => workspace.open(wanted));
  const remember = () => window.history.replaceState(null, "", `?${new URLSearchParams({ ...(workspace.case && { case: workspace.case.id }), view: scene.view })}`);
  workspace.on("case", remember);
  scene.addEventListener("view", remember);
  globalThis.vastus = { workspace, scene }; // for the browser's console
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  console.error(error);
  say(`The viewer could not start: ${error.message}`, "error");
});

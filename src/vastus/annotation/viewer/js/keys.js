// The one table of shortcuts: what the keys do and what the help shows.

import { $, ask, el } from "./dom.js";

const OFF = "vastus-single-keys-off";
const WIDGETS = "input:not([type=checkbox]):not([type=radio]):not([type=range]), select, textarea, [contenteditable]";

export class Keys {
  /** @param {{keys: string[], does: string, run: (event: KeyboardEvent) => void, where?: "image"|"anywhere", group: string, ctrl?: boolean}[]} table */
  constructor(table) {
    this.table = table;
    this.off = localStorage.getItem(OFF) === "yes";
    addEventListener("keydown", (event) => this.pressed(event));
    $("#help").addEventListener("click", () => this.help());
  }

  pressed(event) {
    if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
    const ctrl = event.ctrlKey || event.metaKey;
    const inImage = event.target.closest?.("#canvases") !== null && event.target.closest?.("#canvases") !== undefined;
    if (!ctrl && event.target.matches?.(WIDGETS)) return;
    if (!ctrl && this.off && !inImage) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const name = event.shiftKey && (ctrl || key.length > 1) ? `Shift+${key}` : key;
    const found = this.table.find((entry) => entry.keys.includes(name) && Boolean(entry.ctrl) === ctrl && (entry.where !== "image" || inImage));
    if (!found) return;
    event.preventDefault();
    found.run(event, name);
  }

  async help() {
    const shown = (entry) => entry.keys.filter((key) => key !== "+" && (entry.ctrl || !key.startsWith("Shift+"))).map((key) => {
      const names = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", PageUp: "Page ↑", PageDown: "Page ↓", "=": "+" };
      const bare = names[key] ?? (key.length === 1 ? key.toUpperCase() : key.replace("Shift+z", "Shift Z"));
      return el("kbd", {}, `${entry.ctrl ? "Ctrl " : ""}${bare}`);
    });
    const groups = [...new Set(this.table.map((entry) => entry.group))];
    const off = el("input", { type: "checkbox", checked: !this.off });
    off.addEventListener("change", () => {
      this.off = !off.checked;
      localStorage.setItem(OFF, this.off ? "yes" : "no");
    });
    const columns = groups.map((group) => el("section", {}, el("h3", {}, group),
      el("dl", {}, ...this.table.filter((entry) => entry.group === group).map((entry) =>
        el("div", {}, el("dt", {}, ...shown(entry)), el("dd", {}, entry.does))))));
    await ask("Keyboard", [
      el("div", { class: "shortcuts" }, ...columns),
      el("p", { class: "details" }, "Mouse: left button sets the crosshair or draws, right button drags the window, the wheel goes through slices, with Ctrl it zooms; Shift and drag moves the image."),
      el("label", { class: "check" }, off, " Single keys work everywhere; without this only while the image has the focus"),
    ], [{ value: "", label: "Close" }]);
  }
}

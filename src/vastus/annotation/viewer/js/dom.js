// Small helpers for the page: elements, messages, questions.

/** Makes an element. Properties that start with "on" are listeners, "class", "data-*" and "aria-*" are attributes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.includes("-") && name !== "list") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const $ = (selector) => document.querySelector(selector);

/** A small square in the structure's colour. */
export function swatch(colour) {
  const node = el("span", { class: "swatch", "aria-hidden": "true" });
  node.style.setProperty("--colour", colour);
  return node;
}

let hideMessage = 0;

/** Says something at the bottom of the page; errors stay until closed. */
export function say(text, kind = "info") {
  const box = $("#message");
  box.querySelector("p").textContent = text;
  box.dataset.kind = kind;
  box.setAttribute("role", kind === "error" ? "alert" : "status");
  box.hidden = false;
  clearTimeout(hideMessage);
  if (kind !== "error") hideMessage = setTimeout(() => (box.hidden = true), 4000);
}

/** Runs a task while the element is marked busy; a refusal is shown, not thrown. @returns its result or undefined */
export async function attempt(task, busy = null) {
  const button = busy instanceof HTMLButtonElement ? busy : null;
  busy?.setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  try {
    return await task();
  } catch (error) {
    console.warn(error);
    say(error.message || String(error), "error");
    return undefined;
  } finally {
    busy?.removeAttribute("aria-busy");
    if (button) button.disabled = false;
  }
}

/**
 * Asks with a dialog of the page.
 * @param {string} title
 * @param {Node[]} content
 * @param {{value: string, label: string, kind?: string}[]} answers the last one is the main one
 * @returns {Promise<string>} the answer's value; "" when dismissed
 */
export function ask(title, content, answers) {
  return new Promise((resolve) => {
    const heading = el("h2", { id: "ask-title" }, title);
    const buttons = answers.map(({ value, label, kind = "" }) => el("button", { value, class: kind, type: "submit" }, label));
    const form = el("form", { method: "dialog" }, heading, ...content, el("div", { class: "answers" }, ...buttons));
    const dialog = el("dialog", { "aria-labelledby": "ask-title" }, form);
    const main = buttons.at(-1);
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input, select")) {
        event.preventDefault();
        main.click();
      }
    });
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    (form.querySelector("[autofocus]") ?? main)?.focus();
  });
}

/** Makes a row of tabs work: click, arrow keys, Home and End. */
export function tabs(list) {
  const buttons = [...list.querySelectorAll("[role=tab]")];
  const choose = (button) => {
    for (const other of buttons) {
      const on = other === button;
      other.setAttribute("aria-selected", String(on));
      other.tabIndex = on ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
    }
    button.dispatchEvent(new CustomEvent("chosen", { bubbles: true }));
  };
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[role=tab]");
    if (button) choose(button);
  });
  list.addEventListener("keydown", (event) => {
    const here = buttons.indexOf(document.activeElement);
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (next === undefined || here < 0) return;
    event.preventDefault();
    const button = buttons.at(next % buttons.length);
    button.focus();
    choose(button);
  });
  return (id) => choose(document.getElementById(id));
}

/** A time as the reader's own place and language write it. */
export function when(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? (text ?? "") : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export function debounce(task, ms) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => task(...values), ms);
  };
}

export const gzip = async (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();

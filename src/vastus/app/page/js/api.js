// Everything that is said to the program. All addresses are on the server that served this page.

const segment = encodeURIComponent;

async function reason(response) {
  try {
    const { detail, remedy } = await response.json();
    return [detail, remedy].filter((part) => typeof part === "string").join(" ") || `Refused (${response.status}).`;
  } catch {
    return `Refused (${response.status}).`;
  }
}

async function send(method, path, { json, body } = {}) {
  const headers = {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (body !== undefined) headers["Content-Type"] = "application/octet-stream";
  let response;
  try {
    response = await fetch(`/app/${path}`, { method, headers, body: json === undefined ? body : JSON.stringify(json), cache: "no-store" });
  } catch {
    throw new Error("Vastus does not answer. Is its window still open? Start it again; nothing is lost.");
  }
  if (!response.ok) throw new Error(await reason(response));
  return response.status === 204 ? null : response.json();
}

export const state = () => send("GET", "state");
export const form = () => send("GET", "form");
export const addPath = (path) => send("POST", "scans", { json: { path } });
export const openUpload = async () => (await send("POST", "uploads")).id;
export const putFile = (upload, name, file) => send("PUT", `uploads/${segment(upload)}?name=${segment(name)}`, { body: file });
export const closeUpload = (upload) => send("POST", `uploads/${segment(upload)}`);
export const dropUpload = (upload) => send("DELETE", `uploads/${segment(upload)}`);
export const cancel = (task) => send("DELETE", `tasks/${segment(task)}`);
export const retry = (task) => send("POST", `tasks/${segment(task)}`);
export const details = (name) => send("GET", `results/${segment(name)}`);
export const remove = (name) => send("DELETE", `results/${segment(name)}`);
export const savePerson = (name, values) => send("PUT", `results/${segment(name)}/person`, { json: values });
export const correct = (name) => send("POST", `results/${segment(name)}/correction`);
export const measureAgain = (name) => send("POST", `results/${segment(name)}/measures`);
export const resultPage = (name) => `/app/results/${segment(name)}/page`;
export const cohortPage = (name) => `/app/cohorts/${segment(name)}/page`;
export const download = (names) => `/app/download${names.length ? `?${new URLSearchParams(names.map((name) => ["names", name]))}` : ""}`;
export function compare(names, criteria, table) {
  const query = new URLSearchParams([...names.map((name) => ["names", name]), ["criteria", criteria], ...(table ? [["table", table.name]] : [])]);
  return send("POST", `cohorts?${query}`, table ? { body: table } : {});
}

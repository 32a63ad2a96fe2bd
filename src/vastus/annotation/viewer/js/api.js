// Everything that is said to the server. All addresses are on the server that served this page.

import { readVoxels } from "./voxels.js";

const TOKEN = "vastus-token";

/** A refusal by the server: its words, and the HTTP status. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function reason(response) {
  const text = await response.text();
  try {
    const { detail, remedy, error } = JSON.parse(text);
    const words = typeof detail === "string" ? detail : (detail?.[0]?.msg ?? error ?? `The server answered ${response.status}`);
    return remedy ? `${words} ${remedy}` : words;
  } catch {
    return text.length > 0 && text.length < 300 && !text.includes("<") ? text : `The server answered ${response.status}`;
  }
}

const segment = encodeURIComponent;

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length > 0 ? `?${new URLSearchParams(given)}` : "";
}

export class Api {
  /** @param {() => Promise<{username: string, password: string}>} askForLogin */
  constructor(askForLogin) {
    this.askForLogin = askForLogin;
    this.login = null;
  }

  async send(method, path, { body, type, retry = true } = {}) {
    const headers = {};
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (type) headers["Content-Type"] = type;
    let response;
    try {
      // A lock is given back even when the page is closing.
      response = await fetch(path, { method, headers, body, cache: "no-store", keepalive: method === "DELETE" });
    } catch {
      throw new Refused(0, "The server does not answer. Is vastus annotate still running?");
    }
    if (response.status === 401 && retry) {
      await this.signIn();
      return this.send(method, path, { body, type });
    }
    if (!response.ok) throw new Refused(response.status, await reason(response));
    return response;
  }

  /** Asks until the server takes the password; several requests share one dialog. */
  signIn() {
    this.login ??= this.askUntilTaken().finally(() => {
      this.login = null;
    });
    return this.login;
  }

  async askUntilTaken() {
    sessionStorage.removeItem(TOKEN);
    for (let problem = ""; ; ) {
      const { username, password } = await this.askForLogin(problem);
      const form = new URLSearchParams({ grant_type: "password", username, password });
      const response = await fetch("/auth/token", { method: "POST", body: form });
      if (response.ok) {
        sessionStorage.setItem(TOKEN, (await response.json()).access_token);
        return;
      }
      problem = response.status === 429 ? await reason(response) : "Name and password do not match.";
    }
  }

  async json(method, path, options) {
    const response = await this.send(method, path, options);
    return response.status === 204 ? null : response.json();
  }

  async bytes(path) {
    return (await this.send("GET", path)).arrayBuffer();
  }

  /** @param {(share: number) => boolean} told see readVoxels */
  async voxels(path, told) {
    return readVoxels(await this.send("GET", path), told);
  }

  async blob(path) {
    return (await this.send("GET", path)).blob();
  }

  me = () => this.json("GET", "/api/me");
  structures = () => this.json("GET", "/api/structures");
  cases = () => this.json("GET", "/api/cases");
  versions = (id) => this.json("GET", `/api/cases/${segment(id)}/versions`);
  image = (id, told) => this.voxels(`/api/cases/${segment(id)}/image.nii`, told);
  labelVoxels = (id, version) => this.voxels(`/api/cases/${segment(id)}/versions/${segment(version)}/labels.nii`);
  labels = (id, version) => this.bytes(`/api/cases/${segment(id)}/versions/${segment(version)}/labels.nii.gz`);
  volumes = (id, version) => this.json("GET", `/api/cases/${segment(id)}/versions/${segment(version)}/volumes`);
  save = (id, gz, { parent, note, tag }) =>
    this.json("POST", `/api/cases/${segment(id)}/versions${query({ parent, note, tag })}`, { body: gz, type: "application/gzip" });
  overview = (id) => this.voxels(`/api/cases/${segment(id)}/overview.nii`);
  overviewOf = (id, version) => this.voxels(`/api/cases/${segment(id)}/versions/${segment(version)}/overview.nii`);
  outlines = (id, version) => this.json("GET", `/api/cases/${segment(id)}/versions/${segment(version)}/outlines`);
  strokes = (id, version) => this.json("GET", `/api/cases/${segment(id)}/versions/${segment(version)}/strokes`);
  outlinePreview = (id, slice, outline) =>
    this.json("POST", `/api/cases/${segment(id)}/outlines/${segment(slice)}?preview=true`, { body: JSON.stringify(outline), type: "application/json" });
  saveDrawn = (id, gz, about) => {
    const form = new FormData();
    form.append("labels", new Blob([gz], { type: "application/gzip" }), "labels.nii.gz");
    form.append("about", JSON.stringify(about));
    return this.json("POST", `/api/cases/${segment(id)}/drawn`, { body: form });
  };
  proposal = (id) => this.json("GET", `/api/findings/${segment(id)}/proposal`);
  undo = (id) => this.json("POST", `/api/cases/${segment(id)}/undo`);
  lock = (id) => this.json("POST", `/api/cases/${segment(id)}/lock`);
  unlock = (id) => this.json("DELETE", `/api/cases/${segment(id)}/lock`);
  infer = (id, model) => this.json("POST", `/api/cases/${segment(id)}/infer${query({ model })}`);
  queue = () => this.json("GET", "/api/queue");
  leaveQueue = (id) => this.json("DELETE", `/api/queue/${segment(id)}`);
  uncertaintyImage = (id) => this.bytes(`/api/cases/${segment(id)}/uncertainty.nii.gz`);
  uncertainty = (id) => this.json("GET", `/api/cases/${segment(id)}/uncertainty`);
  tool = (id, name, parameters, body) =>
    this.json("POST", `/api/cases/${segment(id)}/tools/${name}${query(parameters)}`, body ? { body, type: "application/gzip" } : {});
  /** The order, and how many cases still wait to be looked at by the network. */
  async ranking(strategy) {
    const response = await this.send("GET", `/api/ranking${query({ strategy })}`);
    return { rows: await response.json(), pending: Number(response.headers.get("x-vastus-pending") ?? 0) };
  }

  /** The findings, and whether they belong to the labels as they are: none, running, stale, current, failed, left out. */
  async findings() {
    const response = await this.send("GET", "/api/findings");
    return { rows: await response.json(), state: response.headers.get("x-vastus-check") ?? "current" };
  }

  checkLabels = () => this.json("POST", "/api/findings");
  picture = (id) => this.blob(`/api/findings/${segment(id)}/picture.png`);
  judge = (id, verdict) => this.json("POST", `/api/findings/${segment(id)}/${verdict}`);
  models = () => this.json("GET", "/api/models");
  training = () => this.json("GET", "/api/train");
  selectModel = (name) => this.json("POST", `/api/models/${segment(name)}/select`);
  train = (minutes) => this.json("POST", "/api/train", { body: JSON.stringify({ minutes }), type: "application/json" });
  stopTraining = () => this.json("DELETE", "/api/train");
}

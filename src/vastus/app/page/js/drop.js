// Scans in: dropped, chosen, or typed as a path. What is dropped together in one folder is one upload.

import { $, attempt } from "/viewer/js/dom.js";
import * as api from "./api.js";
import { tell } from "./words.js";

const AT_ONCE = 4;
const ALONE = /\.(nii|nii\.gz|nrrd|mha|zip)$/i; // a file that is a whole scan

/** @typedef {{name: string, file: File}} Named */

/** Files of a dropped folder, with the folder's names before theirs. */
async function filesIn(entry, before = "") {
  const name = before + entry.name;
  if (entry.isFile) return [{ name, file: await new Promise((done, failed) => entry.file(done, failed)) }];
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    // A reader gives a hundred at a time.
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) break;
    for (const child of some) inside.push(...(await filesIn(child, `${name}/`)));
  }
  return inside;
}

/** Loose files: whole scans by themselves, all others (slices) together. */
function groups(files) {
  const alone = files.filter(({ name }) => ALONE.test(name)).map((one) => [one]);
  const together = files.filter(({ name }) => !ALONE.test(name));
  return together.length > 0 ? [...alone, together] : alone;
}

/** @param {() => void} added is called when the list has changed */
export function takeScans(added) {
  const drop = $("#drop");
  const over = (event) => {
    event.preventDefault();
    drop.classList.toggle("over", event.type === "dragover");
  };
  for (const kind of ["dragover", "dragleave"]) document.addEventListener(kind, over);
  document.addEventListener("drop", async (event) => {
    over(event);
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    const entries = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    // What does not lie in a folder of this computer (a mail's attachment) has no entry, but is a file all the same.
    const loose = items.filter((item) => !item.webkitGetAsEntry?.()).map((item) => item.getAsFile()).filter(Boolean)
      .map((file) => ({ name: file.name, file }));
    await attempt(async () => {
      const folders = [];
      for (const entry of entries.filter((e) => e.isDirectory)) folders.push(await filesIn(entry));
      for (const entry of entries.filter((e) => e.isFile)) loose.push(...(await filesIn(entry)));
      await send([...folders, ...groups(loose)], added);
    });
  });
  for (const [button, input] of [["#choose-files", "#files"], ["#choose-folder", "#folder"]]) {
    $(button).addEventListener("click", () => $(input).click());
  }
  $("#files").addEventListener("change", async ({ target }) => {
    const files = [...target.files].map((file) => ({ name: file.name, file }));
    target.value = "";
    await attempt(() => send(groups(files), added));
  });
  $("#folder").addEventListener("change", async ({ target }) => {
    const files = [...target.files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
    target.value = "";
    await attempt(() => send([files], added));
  });
  $("#path-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const done = await attempt(() => api.addPath($("#path").value), event.submitter);
    if (!done) return;
    $("#path").value = "";
    told(done.names);
    added();
  });
}

/** @param {Named[][]} uploads */
async function send(uploads, added) {
  const full = uploads.map((files) => files.filter(({ name, file }) => file.size > 0 && !name.split("/").at(-1).startsWith("."))).filter((files) => files.length > 0);
  if (full.length === 0) throw new Error("There is no file in it. Drop a scan: a DICOM folder, a zip, or a .nii.gz.");
  const box = $("#sending");
  const total = full.flat().reduce((sum, { file }) => sum + file.size, 0);
  let sent = 0;
  const failures = [];
  box.hidden = false;
  try {
    for (const files of full) {
      const upload = await api.openUpload();
      const left = [...files];
      const one = async () => {
        for (let next = left.shift(); next; next = left.shift()) {
          await api.putFile(upload, next.name, next.file);
          sent += next.file.size;
          box.querySelector("span").textContent = `Copying ${next.name} …`;
          box.querySelector("progress").value = sent / total;
        }
      };
      try {
        await Promise.all(Array.from({ length: AT_ONCE }, one));
        told((await api.closeUpload(upload)).names);
      } catch (error) {
        await api.dropUpload(upload).catch(() => {});
        failures.push(`${files[0].name.split("/")[0]}: ${error.message}`);
      }
      added();
    }
  } finally {
    box.hidden = true;
  }
  if (failures.length > 0) throw new Error(failures.join(" "));
}

function told(names) {
  tell(names.length === 1 ? `${names[0]} was added.` : `${names.length} scans were added.`);
}

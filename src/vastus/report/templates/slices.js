"use strict";
// All slices of the scan, sortable tables, and buttons that lead to a place. Without this script the page is whole too.
(() => {
  const byId = (id) => document.getElementById(id);
  const about = JSON.parse(byId("slices-about").textContent);
  const [slices, rows, columns] = about.shape;
  const [sliceMm, rowMm, columnMm] = about.spacing;
  const area = rows * columns;
  const stage = byId("slice-stage"), section = byId("slices"), index = byId("slice-index");
  const ctCanvas = byId("slice-ct"), overCanvas = byId("slice-overlay");
  const planes = {
    axial: { across: columns, down: rows, acrossMm: columnMm, downMm: rowMm, count: slices, marks: ["R", "L"] },
    coronal: { across: columns, down: slices, acrossMm: columnMm, downMm: sliceMm, count: rows, marks: ["R", "L"] },
    sagittal: { across: rows, down: slices, acrossMm: rowMm, downMm: sliceMm, count: columns, marks: ["A", "P"] },
  };
  const at = { axial: slices >> 1, coronal: rows >> 1, sagittal: columns >> 1 };
  const grey = new Uint8Array(slices * area), known = new Uint8Array(slices);
  const ctText = byId("slices-ct-text").textContent.split("\n");
  let labels = null, plane = "axial", layer = "filled", opacity = 0.42, zoom = 1, centre = [0.5, 0.5], lit = 0, asked = false, doubt = null;

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  async function unpack(text, [slices, rows, columns]) {
    const found = new Uint8Array(slices * rows * columns);
    if (!text) return found;
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = new Uint8Array(await new Response(stream).arrayBuffer());
    const lines = slices * rows;
    let count = 0;
    for (let line = 0; line < lines; line++) count += raw[2 * line] | (raw[2 * line + 1] << 8);
    let low = 2 * lines, high = low + count, bits = high + count, column = 0;
    for (let line = 0; line < lines; line++) {
      const from = line * columns;
      if (line % rows) found.copyWithin(from, from - columns, from);
      for (let left = raw[2 * line] | (raw[2 * line + 1] << 8); left; left--) {
        column = (column + (raw[low++] | (raw[high++] << 8))) & 65535;
        found[from + column] ^= raw[bits++];
      }
    }
    return found;
  }

  // Slices are decoded near the one that is looked at first, then outwards, two at a time.
  const scratch = document.createElement("canvas");
  scratch.width = columns;
  scratch.height = rows;
  const reader = scratch.getContext("2d", { willReadFrequently: true });
  let busy = 0, open = slices, heart = at.axial, drawnAt = 0;
  function nextSlice() {
    for (let away = 0; away < slices; away++) {
      if (heart - away >= 0 && !known[heart - away]) return heart - away;
      if (heart + away < slices && !known[heart + away]) return heart + away;
    }
    return -1;
  }
  async function decode() {
    busy++;
    for (let k = nextSlice(); k >= 0; k = nextSlice()) {
      known[k] = 1;
      const image = await createImageBitmap(new Blob([bytesOf(ctText[k])], { type: "image/jpeg" }), { colorSpaceConversion: "none" });
      reader.drawImage(image, 0, 0);
      const pixels = reader.getImageData(0, 0, columns, rows).data;
      for (let i = 0, j = k * area; i < pixels.length; i += 4, j++) grey[j] = pixels[i];
      known[k] = 2;
      ctText[k] = "";
      open--;
      const now = performance.now();
      if (k === at[plane] || (plane !== "axial" && now - drawnAt > 250)) { drawnAt = now; draw(); }
    }
    if (!--busy) { section.dataset.whole = "yes"; draw(); }
  }

  function steps() {
    if (plane === "axial") return [at.axial * area, 1, columns];
    return plane === "coronal" ? [at.coronal * columns, 1, area] : [at.sagittal, columns, area];
  }
  function layout() {
    const shown = planes[plane], width = ctCanvas.width, height = ctCanvas.height;
    const fit = Math.min(width / (shown.across * shown.acrossMm), height / (shown.down * shown.downMm));
    const scaleX = fit * zoom * shown.acrossMm, scaleY = fit * zoom * shown.downMm;
    return { scaleX, scaleY, left: width / 2 - centre[0] * shown.across * scaleX, top: height / 2 - centre[1] * shown.down * scaleY };
  }
  function windowTable() {
    const chosen = document.querySelector("input[name=window]:checked").dataset, table = new Uint8ClampedArray(256);
    const [low, high] = about.window;
    for (let i = 0; i < 256; i++) {
      const hu = low + (i / 255) * (high - low);
      table[i] = (255 * (hu - chosen.low)) / (chosen.high - chosen.low);
    }
    return table;
  }
  function paint() {
    const colours = new Uint32Array(256), safe = byId("colours-safe").checked;
    for (const [value, one] of Object.entries(about.values)) {
      const [red, green, blue] = safe ? one.safe : one.colour;
      colours[value] = (blue << 16) | (green << 8) | red;
    }
    return colours;
  }
  const slicePicture = document.createElement("canvas");
  function drawCt(place) {
    const shown = planes[plane], [from, right, below] = steps(), table = windowTable();
    slicePicture.width = shown.across;
    slicePicture.height = shown.down;
    const context = slicePicture.getContext("2d"), image = context.createImageData(shown.across, shown.down);
    const out = new Uint32Array(image.data.buffer);
    for (let v = 0, i = 0; v < shown.down; v++) {
      for (let u = 0, j = from + v * below; u < shown.across; u++, i++, j += right) out[i] = 0xff000000 | (table[grey[j]] * 0x10101);
    }
    context.putImageData(image, 0, 0);
    const target = ctCanvas.getContext("2d");
    target.fillStyle = "#000";
    target.fillRect(0, 0, ctCanvas.width, ctCanvas.height);
    // From three screen pixels a voxel on the voxels themselves are shown.
    target.imageSmoothingEnabled = Math.min(place.scaleX, place.scaleY) < 3 * devicePixelRatio;
    target.drawImage(slicePicture, place.left, place.top, shown.across * place.scaleX, shown.down * place.scaleY);
  }
  function drawLabels(place) {
    const width = overCanvas.width, height = overCanvas.height, context = overCanvas.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, width, height);
    if (!labels || layer === "none") return;
    const shown = planes[plane], [from, right, below] = steps(), colours = paint();
    const seen = new Uint8Array(width * height), place_x = new Int32Array(width);
    for (let x = 0; x < width; x++) {
      const u = Math.floor((x + 0.5 - place.left) / place.scaleX);
      place_x[x] = u < 0 || u >= shown.across ? -1 : u * right;
    }
    for (let y = 0; y < height; y++) {
      const v = Math.floor((y + 0.5 - place.top) / place.scaleY);
      if (v < 0 || v >= shown.down) continue;
      for (let x = 0, i = y * width, start = from + v * below; x < width; x++, i++) if (place_x[x] >= 0) seen[i] = labels[start + place_x[x]];
    }
    const image = context.createImageData(width, height), out = new Uint32Array(image.data.buffer);
    const line = Math.max(1, Math.round(devicePixelRatio)), area_alpha = layer === "filled" ? Math.round(255 * opacity) : 0;
    const strong = Math.min(255, area_alpha + 90);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const value = seen[i];
        if (!value) continue;
        const edge = x < line || x >= width - line || y < line || y >= height - line
          ? false
          : seen[i - line] !== value || seen[i + line] !== value || seen[i - line * width] !== value || seen[i + line * width] !== value;
        const alpha = edge ? 255 : value === lit ? strong : area_alpha;
        if (alpha) out[i] = ((alpha << 24) | colours[value]) >>> 0;
      }
    }
    context.putImageData(image, 0, 0);
  }
  // Levels of doubt lie on a coarser grid: of each axis a scale and an offset lead there.
  function drawDoubt(place) {
    if (!doubt || !byId("slice-doubt").checked) return;
    const width = overCanvas.width, height = overCanvas.height, context = overCanvas.getContext("2d");
    const [deep, high, wide] = about.doubt.shape, strides = [high * wide, wide, 1], sizes = [deep, high, wide];
    const [across, down, fixed] = { axial: [2, 1, 0], coronal: [2, 0, 1], sagittal: [1, 0, 2] }[plane];
    const there = (axis, voxel) => {
      const [scale, offset] = about.doubt.places[axis], to = Math.round(scale * voxel + offset);
      return to < 0 || to >= sizes[axis] ? -1 : to * strides[axis];
    };
    const from = there(fixed, at[plane]);
    if (from < 0) return;
    const along = (count, start, scale, axis, voxels) => Int32Array.from({ length: count }, (_, i) => {
      const voxel = (i + 0.5 - start) / scale - 0.5;
      return voxel < -0.5 || voxel >= voxels - 0.5 ? -1 : there(axis, voxel);
    });
    const xs = along(width, place.left, place.scaleX, across, planes[plane].across);
    const ys = along(height, place.top, place.scaleY, down, planes[plane].down);
    const image = context.getImageData(0, 0, width, height), out = new Uint32Array(image.data.buffer);
    const unit = Math.max(1, Math.round(devicePixelRatio));
    for (let y = 0, i = 0; y < height; y++) {
      if (ys[y] < 0) { i += width; continue; }
      for (let x = 0; x < width; x++, i++) {
        const level = xs[x] < 0 ? 0 : doubt[from + ys[y] + xs[x]];
        if (!level) continue;
        const stripe = Math.floor((x + y) / unit) % (level === 2 ? 4 : 8);
        if (stripe < 2) out[i] = 0xff00f0ff; // yellow, with a black line beside it: seen over every colour
        else if (stripe === 2) out[i] = 0xff000000;
      }
    }
    context.putImageData(image, 0, 0);
  }
  function draw() {
    if (asked || section.hidden) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const place = layout();
      drawCt(place);
      drawLabels(place);
      drawDoubt(place);
    });
  }

  const number = (value) => (Math.round(value) === 0 ? "0" : Math.round(value).toString().replace("-", "−"));
  function where() {
    const k = at[plane], [x, y, z] = about.origin;
    const words = [`${plane[0].toUpperCase()}${plane.slice(1)} slice ${k + 1} of ${planes[plane].count}`];
    if (plane === "axial") {
      words.push(`z ${number(z - k * sliceMm)} mm`);
      if (about.femur) words.push(`${number((100 * (about.femur[0] - k)) / (about.femur[0] - about.femur[1]))} % of the visible femur`);
    } else words.push(plane === "coronal" ? `y ${number(y - k * rowMm)} mm` : `x ${number(x - k * columnMm)} mm`);
    if (open && plane !== "axial") words.push(`loading, ${Math.floor((100 * (slices - open)) / slices)} %`);
    byId("slice-where").textContent = words.join(" · ");
  }
  function present() {
    const list = byId("slice-present"), found = new Set();
    if (labels) {
      const shown = planes[plane], [from, right, below] = steps();
      for (let v = 0; v < shown.down; v++) for (let u = 0, j = from + v * below; u < shown.across; u++, j += right) found.add(labels[j]);
    }
    list.replaceChildren();
    for (const value of [...found].filter((v) => about.values[v]).sort((a, b) => (a % 100) - (b % 100) || a - b)) {
      const one = about.values[value], item = document.createElement("li"), button = document.createElement("button");
      const swatch = document.createElement("span");
      swatch.className = `swatch s${one.class}`;
      button.type = "button";
      button.append(swatch, one.name);
      button.setAttribute("aria-pressed", String(value === lit));
      button.addEventListener("click", () => { tell(lit === value ? 0 : value); });
      button.dataset.value = value;
      item.append(button);
      list.append(item);
    }
  }
  function tell(value) {
    lit = value;
    const one = about.values[value];
    byId("slice-what").textContent = one ? `${one.name}${one.said ? `: ${one.said}` : ""}` : "";
    for (const button of byId("slice-present").querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.value) === value));
    draw();
  }
  function go(to) {
    at[plane] = Math.max(0, Math.min(planes[plane].count - 1, to));
    if (plane === "axial") heart = at.axial;
    index.value = String(at[plane]);
    where();
    index.setAttribute("aria-valuetext", byId("slice-where").textContent);
    present();
    draw();
  }
  function choosePlane(name) {
    plane = name;
    document.querySelector(`input[name=plane][value=${name}]`).checked = true;
    index.max = String(planes[name].count - 1);
    stage.querySelector(".at-left").textContent = planes[name].marks[0];
    stage.querySelector(".at-right").textContent = planes[name].marks[1];
    setZoom(1);
    resize();
    go(at[name]);
  }
  function setZoom(wanted, x = ctCanvas.width / 2, y = ctCanvas.height / 2) {
    const before = layout(), shown = planes[plane];
    const u = (x - before.left) / before.scaleX, v = (y - before.top) / before.scaleY;
    zoom = Math.max(1, Math.min(40, wanted));
    const after = layout();
    centre = [
      (ctCanvas.width / 2 + u * after.scaleX - x) / (shown.across * after.scaleX),
      (ctCanvas.height / 2 + v * after.scaleY - y) / (shown.down * after.scaleY),
    ];
    hold();
  }
  function hold() {
    const half = 0.5 / zoom;
    centre = centre.map((c) => (zoom === 1 ? 0.5 : Math.max(half * 0.5, Math.min(1 - half * 0.5, c))));
    stage.classList.toggle("zoomed", zoom > 1);
    draw();
  }
  function resize() {
    const shown = planes[plane], width = stage.clientWidth;
    const height = Math.min((width * shown.down * shown.downMm) / (shown.across * shown.acrossMm), Math.max(260, innerHeight * 0.72));
    stage.style.height = `${Math.round(height)}px`;
    for (const canvas of [ctCanvas, overCanvas]) {
      canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
      canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    }
    draw();
  }
  function valueAt(event) {
    const box = stage.getBoundingClientRect(), place = layout(), shown = planes[plane];
    const u = Math.floor(((event.clientX - box.left) * devicePixelRatio - place.left) / place.scaleX);
    const v = Math.floor(((event.clientY - box.top) * devicePixelRatio - place.top) / place.scaleY);
    if (!labels || u < 0 || v < 0 || u >= shown.across || v >= shown.down) return 0;
    const [from, right, below] = steps();
    return labels[from + u * right + v * below];
  }
  // The axial slice in which a structure is largest.
  function largest(value) {
    let best = -1, most = 0;
    for (let k = 0; k < slices; k++) {
      let count = 0;
      for (let j = k * area, end = j + area; j < end; j++) if (labels[j] === value) count++;
      if (count > most) { most = count; best = k; }
    }
    return best;
  }
  function show(value) {
    const k = largest(value);
    if (k < 0) return;
    choosePlane("axial");
    if (layer === "none") chooseLayer("filled");
    go(k);
    tell(value);
    section.scrollIntoView({ block: "start" });
    stage.focus({ preventScroll: true });
  }
  function chooseLayer(name) {
    layer = name;
    document.querySelector(`input[name=layer][value=${name}]`).checked = true;
    draw();
  }

  function listen() {
    index.addEventListener("input", () => go(Number(index.value)));
    byId("slice-opacity").addEventListener("input", (event) => { opacity = event.target.value / 100; chooseLayer("filled"); });
    for (const input of document.querySelectorAll("input[name=plane]")) input.addEventListener("change", () => choosePlane(input.value));
    for (const input of document.querySelectorAll("input[name=layer]")) input.addEventListener("change", () => chooseLayer(input.value));
    for (const input of document.querySelectorAll("input[name=window], input[name=colours]")) input.addEventListener("change", draw);
    if (doubt) byId("slice-doubt").addEventListener("change", draw);
    byId("slice-in").addEventListener("click", () => setZoom(zoom * 1.5));
    byId("slice-out").addEventListener("click", () => setZoom(zoom / 1.5));
    byId("slice-fit").addEventListener("click", () => setZoom(1));
    // One voxel becomes at least six pixels: its border can be seen.
    byId("slice-pixels").addEventListener("click", () => { const place = layout(); setZoom((zoom * 6 * devicePixelRatio) / Math.min(place.scaleX, place.scaleY)); });
    stage.addEventListener("wheel", (event) => {
      const to = at[plane] + Math.sign(event.deltaY);
      if (event.ctrlKey) {
        const box = stage.getBoundingClientRect();
        setZoom(zoom * (event.deltaY < 0 ? 1.25 : 0.8), (event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio);
      } else if (to >= 0 && to < planes[plane].count) go(to);
      else return; // at the end the page scrolls on
      event.preventDefault();
    }, { passive: false });
    const held = new Map();
    let spread = 0;
    stage.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); if (held.size === 2) spread = 0; tell(valueAt(event)); });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) stage.addEventListener(end, (event) => { held.delete(event.pointerId); spread = 0; });
    stage.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      // A page that scrolls under a still mouse is no pointing.
      if (!before && !event.movementX && !event.movementY) return;
      if (!before) { const value = valueAt(event); if (value !== lit) tell(value); return; }
      held.set(event.pointerId, event);
      if (held.size === 2) {
        const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), box = stage.getBoundingClientRect();
        if (spread) setZoom((zoom * now) / spread, ((a.clientX + b.clientX) / 2 - box.left) * devicePixelRatio, ((a.clientY + b.clientY) / 2 - box.top) * devicePixelRatio);
        spread = now;
      } else if (zoom > 1) {
        const place = layout(), shown = planes[plane];
        centre[0] -= ((event.clientX - before.clientX) * devicePixelRatio) / (shown.across * place.scaleX);
        centre[1] -= ((event.clientY - before.clientY) * devicePixelRatio) / (shown.down * place.scaleY);
        hold();
      }
    });
    const keys = {
      ArrowUp: () => go(at[plane] - 1), ArrowLeft: () => go(at[plane] - 1), ArrowDown: () => go(at[plane] + 1), ArrowRight: () => go(at[plane] + 1),
      PageUp: () => go(at[plane] - 10), PageDown: () => go(at[plane] + 10), Home: () => go(0), End: () => go(planes[plane].count - 1),
      "+": () => setZoom(zoom * 1.5), "-": () => setZoom(zoom / 1.5), 0: () => setZoom(1),
      o: () => chooseLayer(layer === "outline" ? "filled" : "outline"), l: () => chooseLayer(layer === "none" ? "filled" : "none"),
      d: () => { if (doubt) byId("slice-doubt").click(); },
      w: () => { const all = [...document.querySelectorAll("input[name=window]")]; all[(all.findIndex((one) => one.checked) + 1) % all.length].checked = true; draw(); },
    };
    stage.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      keys[event.key]();
      event.preventDefault();
    });
    addEventListener("resize", resize);
    for (const button of document.querySelectorAll("button.go")) {
      button.hidden = false;
      button.addEventListener("click", () => show(Number(button.dataset.value)));
    }
    for (const name of document.querySelectorAll("tr[data-class] > th")) {
      const own = Number(name.parentElement.dataset.class);
      const values = [100 + own, 200 + own, own].filter((value) => about.values[value]);
      if (!values.length) continue;
      const words = name.querySelector("span:last-child"), button = document.createElement("button");
      let turn = 0;
      button.type = "button";
      button.className = "to-slice";
      button.title = "Show it in the slices; again: the other side";
      button.textContent = words.textContent;
      button.addEventListener("click", () => show(values[turn++ % values.length]));
      words.replaceWith(button);
    }
  }

  // Tables: a click on a heading sorts, a third one brings the order of the anatomy back.
  function sortable(table) {
    const bodies = [...table.tBodies], groups = bodies.map((body) => [...body.rows]);
    const cellOf = (row, column) => row.cells[column];
    const sort = (head, column, order) => {
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      if (!order) { bodies.forEach((body, n) => body.append(...groups[n])); table.classList.remove("sorted"); return; }
      head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      const lines = groups.flat().filter((row) => !row.classList.contains("group"));
      const key = (row) => { const cell = cellOf(row, column); return column === 0 ? cell.textContent.trim() : cell.dataset.value === undefined ? null : Number(cell.dataset.value); };
      lines.sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === null || q === null) return (p === null) - (q === null); // what is absent comes last
        return order * (column === 0 ? p.localeCompare(q) : p - q);
      });
      table.classList.add("sorted");
      bodies[0].append(...lines);
    };
    for (const head of table.querySelectorAll("th[data-column]")) {
      const column = Number(head.dataset.column), button = document.createElement("button");
      button.type = "button";
      button.className = "sorter";
      button.textContent = head.textContent;
      let order = 0;
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = column === 0 ? 1 : -1;
        order = !now ? first : order === first ? -first : 0;
        sort(head, column, order);
      });
      head.replaceChildren(button);
    }
  }
  function asText(table, comma) {
    const heads = [...table.querySelectorAll("th[data-column]")].sort((a, b) => a.dataset.column - b.dataset.column);
    const lines = [[...heads.map((head) => head.dataset.name || head.textContent.trim()), "Remarks"]];
    for (const row of table.querySelectorAll("tbody tr:not(.group)")) {
      const cells = [...row.cells];
      const numbers = cells.slice(1).map((cell) => {
        if (cell.dataset.value === undefined) return cell.querySelector(".absent") || cell.dataset.remark ? "" : cell.textContent.trim();
        const text = String(Number(Number(cell.dataset.value).toPrecision(7)));
        return comma ? text.replace(".", ",") : text;
      });
      const remarks = cells.slice(1).map((cell, n) => (cell.dataset.remark ? `${(heads[n + 1].dataset.name || "").split(": ").pop()}: ${cell.dataset.remark}` : "")).filter(Boolean);
      lines.push([cells[0].textContent.trim(), ...numbers, remarks.join("; ")]);
    }
    return lines.map((cells) => cells.map((cell) => cell.replace(/\s+/g, " ")).join("\t")).join("\n") + "\n";
  }
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page opened from a file has no clipboard in some browsers
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  }
  function copyable(table) {
    const bar = document.createElement("p"), button = document.createElement("button"), label = document.createElement("label"), comma = document.createElement("input");
    bar.className = "copy";
    button.type = "button";
    button.textContent = "Copy for a spreadsheet";
    comma.type = "checkbox";
    comma.checked = (1.5).toLocaleString().includes(",");
    label.append(comma, " decimal comma");
    const said = document.createElement("span");
    said.setAttribute("role", "status");
    button.addEventListener("click", async () => { await copy(asText(table, comma.checked)); said.textContent = "Copied."; });
    bar.append(button, label, said);
    table.closest(".scroll").before(bar);
  }
  for (const table of document.querySelectorAll("main table")) { sortable(table); copyable(table); }

  async function start() {
    if (!slices || !window.DecompressionStream || !window.createImageBitmap) return;
    labels = await unpack(byId("slices-labels").textContent, about.shape);
    if (about.doubt) doubt = await unpack(byId("slices-doubt").textContent, about.doubt.shape);
    section.hidden = false;
    section.querySelector(".controls").append(...document.querySelector(".shared").children);
    listen();
    choosePlane("axial");
    document.body.dataset.ready = "yes";
    await Promise.all([decode(), decode()]);
    where();
  }
  start().catch((problem) => { section.hidden = true; console.warn(problem); });
})();

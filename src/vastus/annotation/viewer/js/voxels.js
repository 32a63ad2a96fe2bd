// The voxels of a NIfTI from the server: one array in RAS order, filled while the bytes arrive. No DOM.

const HEADER = 352;
const TYPES = new Map([[2, Uint8Array], [4, Int16Array], [16, Float32Array]]); // all that the server writes

/**
 * @typedef {object} Voxels
 * @property {Uint8Array | Int16Array | Float32Array} array x fastest, towards the patient's right, front and head
 * @property {number[]} dims [nx, ny, nz]
 * @property {number[]} spacing mm
 * @property {number[]} affine voxel to mm (RAS), row-major 4 x 4
 * @property {number} slope what a stored value is multiplied with
 * @property {number} inter what is added then
 */

/**
 * Reads a NIfTI-1 that the browser has unpacked. Nothing is kept twice, unless the file's axes are exchanged.
 * @param {Response} response @param {(share: number) => boolean} told how much is there, 0..1; answers whether it is wanted
 * @returns {Promise<Voxels | null>} null: it was not wanted any more
 */
export async function readVoxels(response, told = () => true) {
  const reader = response.body.getReader();
  let start = new Uint8Array(0);
  let header = null;
  let array = null;
  let bytes = null;
  let filled = 0;
  let skip = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    let part = value;
    if (!header) {
      start = joined(start, part);
      if (start.length < HEADER) continue;
      header = headerOf(new DataView(start.buffer));
      array = new header.Type(header.dims[0] * header.dims[1] * header.dims[2]);
      bytes = new Uint8Array(array.buffer);
      skip = header.offset;
      part = start;
    }
    const from = Math.min(skip, part.length);
    skip -= from;
    if (filled + part.length - from > bytes.length) throw new Error("The image is longer than its header says.");
    bytes.set(part.subarray(from), filled);
    filled += part.length - from;
    if (!told(filled / bytes.length)) {
      await reader.cancel();
      return null;
    }
  }
  if (!header || filled < bytes.length) throw new Error("The image broke off. Load it again.");
  return inRas(array, header);
}

function joined(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function headerOf(view) {
  const Type = TYPES.get(view.getInt16(70, true));
  if (view.getInt32(0, true) !== 348 || !Type) throw new Error("This is no image that the viewer can read.");
  const number = (at, otherwise) => (Number.isFinite(view.getFloat32(at, true)) ? view.getFloat32(at, true) : otherwise);
  const rows = [0, 1, 2].map((r) => [0, 1, 2, 3].map((c) => view.getFloat32(280 + 16 * r + 4 * c, true)));
  return {
    Type, rows,
    dims: [42, 44, 46].map((at) => view.getInt16(at, true)),
    offset: view.getFloat32(108, true),
    slope: number(112, 1) || 1,
    inter: number(116, 0),
  };
}

/** Which array axis runs along each world axis, and whether against it; the same choice as the server's. */
function axisOrder(rows) {
  const length = [0, 1, 2].map((c) => Math.hypot(...rows.map((row) => row[c])));
  const along = (w, c) => rows[w][c] / length[c];
  const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
  const fit = (order) => order.reduce((sum, c, w) => sum + Math.abs(along(w, c)), 0);
  const source = orders.reduce((best, order) => (fit(order) > fit(best) ? order : best));
  return { source, flipped: source.map((c, w) => along(w, c) < 0) };
}

function inRas(array, { rows, dims, slope, inter }) {
  const { source, flipped } = axisOrder(rows);
  const turned = source.map((c) => dims[c]);
  const columns = source.map((c) => rows.map((row) => row[c]));
  const origin = rows.map((row) => row[3]);
  flipped.forEach((is, w) => {
    if (!is) return;
    columns[w].forEach((mm, r) => { origin[r] += mm * (turned[w] - 1); });
    columns[w] = columns[w].map((mm) => -mm);
  });
  const inPlace = source.every((c, w) => c === w);
  if (inPlace) flipInPlace(array, dims, flipped);
  const affine = [0, 1, 2].flatMap((r) => [...columns.map((column) => column[r]), origin[r]]).concat([0, 0, 0, 1]);
  return {
    array: inPlace ? array : transposed(array, dims, source, flipped),
    dims: turned, spacing: columns.map((column) => Math.hypot(...column)), affine, slope, inter,
  };
}

function flipInPlace(array, [nx, ny, nz], [flipX, flipY, flipZ]) {
  const size = nx * ny;
  const slice = (z) => array.subarray(z * size, (z + 1) * size);
  for (let z = 0; z < nz; z++) {
    if (flipY) slice(z).reverse(); // turns the rows, too
    if (flipX !== flipY) for (let y = 0; y < ny; y++) slice(z).subarray(y * nx, (y + 1) * nx).reverse();
  }
  for (let z = 0; flipZ && z < nz >> 1; z++) {
    const lower = slice(z).slice();
    slice(z).set(slice(nz - 1 - z));
    slice(nz - 1 - z).set(lower);
  }
}

function transposed(array, dims, source, flipped) {
  const out = new array.constructor(array.length);
  const steps = [1, dims[0], dims[0] * dims[1]];
  const [nx, ny, nz] = source.map((c) => dims[c]);
  const step = source.map((c, w) => (flipped[w] ? -steps[c] : steps[c]));
  const first = source.reduce((sum, c, w) => sum + (flipped[w] ? steps[c] * (dims[c] - 1) : 0), 0);
  let i = 0;
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      let from = first + z * step[2] + y * step[1];
      for (let x = 0; x < nx; x++, from += step[0]) out[i++] = array[from];
    }
  }
  return out;
}

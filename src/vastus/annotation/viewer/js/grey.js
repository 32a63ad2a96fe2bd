// The CT on the graphics card: one texture of half floats in HU, that is windowed when it is drawn.
// NiiVue would keep it as colours (four bytes a voxel, twice more for a gradient that no plane needs), made anew by the
// processor for every other window: a minute and a gigabyte for a large scan without a graphics card.

import { niftiOf } from "./nifti.js";

const SLAB = 1 << 22; // voxels that are sent at a time
const MOST_OVERLAY_VOXELS = 8e6;
const BACKGROUND = "vec4 background = texture(volume, texPos);";
const WINDOWED = `vec4 background = texture(volume, texPos);
	if (greyWindow.z > 0.5) background = vec4(vec3(clamp((background.r - greyWindow.x) / greyWindow.y, 0.0, 1.0)), 1.0);`;

/** NiiVue's shader of the planes, with a window in HU: lowest value, width, and whether there is one. */
export const windowedShader = (source) =>
  source.includes(BACKGROUND) && source.includes("drawRimOpacity")
    ? source.replace("void main() {", "uniform vec3 greyWindow;\nvoid main() {").replace(BACKGROUND, WINDOWED)
    : source;

const bits = new DataView(new ArrayBuffer(4));

/** The bits of a half float: exact for whole numbers up to 2048, the largest finite one beyond its range. */
export function half(value) {
  bits.setFloat32(0, value);
  const all = bits.getUint32(0) + 0x1000; // rounds
  const exponent = ((all >>> 23) & 255) - 112;
  const sign = (all >>> 16) & 0x8000;
  if (exponent <= 0) return sign;
  return exponent > 30 ? sign | 0x7bff : sign | (exponent << 10) | ((all >>> 13) & 1023);
}

/** Turns stored values into half floats. @param {import("./voxels.js").Voxels} image */
function halvesOf({ array, slope, inter }) {
  if (array instanceof Float32Array) return (from, to, out) => { for (let i = from; i < to; i++) out[i - from] = half(array[i] * slope + inter); };
  const lowest = array instanceof Int16Array ? -32768 : 0;
  const table = Uint16Array.from({ length: array instanceof Int16Array ? 65536 : 256 }, (_, n) => half((n + lowest) * slope + inter));
  return (from, to, out) => { for (let i = from; i < to; i++) out[i - from] = table[array[i] - lowest]; };
}

/** Makes the texture step by step: after each one the page may do something else. */
function* textureOf(gl, image) {
  const [nx, ny, nz] = image.dims;
  const texture = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_3D, texture);
  for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, filter, gl.LINEAR);
  for (const wrap of [gl.TEXTURE_WRAP_R, gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_3D, wrap, gl.CLAMP_TO_EDGE);
  gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R16F, nx, ny, nz);
  const size = nx * ny;
  const slices = Math.max(1, Math.floor(SLAB / size));
  const buffer = new Uint16Array(size * Math.min(slices, nz));
  const convert = halvesOf(image);
  for (let z = 0; z < nz; z += slices) {
    const count = Math.min(slices, nz - z);
    convert(z * size, (z + count) * size, buffer);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, z, nx, ny, count, gl.RED, gl.HALF_FLOAT, buffer.subarray(0, count * size));
    yield;
  }
  return texture;
}

/** Sends an image to the graphics card ahead, while the page still shows another and answers. */
export async function sendAhead(nv, ct) {
  const steps = textureOf(nv.gl, ct.grey.image);
  let step = steps.next();
  for (; !step.done; step = steps.next()) await new Promise((done) => setTimeout(done));
  ct.grey.sent = { nv, texture: step.value };
}

/** The texture that was sent ahead, or one made at once. */
function takeTexture(nv, { image, sent }) {
  if (sent?.nv === nv && nv.gl.isTexture(sent.texture)) return sent.texture;
  const steps = textureOf(nv.gl, image);
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}

/**
 * An image for NiiVue whose voxels it never touches.
 * @param {typeof globalThis.niivue.NVImage} NVImage @param {import("./voxels.js").Voxels} image @param {number[]} window HU
 */
export async function greyImage(NVImage, image, [low, high]) {
  const { dims, affine } = image;
  const one = (rows, strides) => NVImage.loadFromUrl({ url: niftiOf({ voxels: new Uint8Array(1), dims: [1, 1, 1], strides }, rows), name: "one.nii" });
  const ct = await one(affine, [1, 1, 1]);
  ct.hdr.dims = [3, ...dims, 1, 1, 1, 1];
  ct.nVox3D = dims[0] * dims[1] * dims[2];
  ct.calculateRAS();
  ct.img = image.array;
  // One voxel with the same edges: NiiVue sets up from it what does not depend on voxels.
  const middle = affine.slice();
  for (const r of [0, 1, 2]) for (const c of [0, 1, 2]) middle[4 * r + 3] += (affine[4 * r + c] * (dims[c] - 1)) / 2;
  ct.grey = { image, box: await one(middle, dims) };
  [ct.cal_min, ct.cal_max] = [low, high];
  return ct;
}

/** Teaches a NiiVue to show such images. */
export function showGrey(nv) {
  const refresh = nv.refreshLayers.bind(nv);
  nv.refreshLayers = (item, layer) => {
    if (layer > 0) return onCoarserGrid(nv, () => refresh(item, layer));
    if (!item.grey) {
      nv.shownGrey = null;
      setWindow(nv, null);
      return refresh(item, layer);
    }
    if (nv.shownGrey !== item) {
      const { matRAS, dimsRAS, pixDimsRAS } = item;
      refresh(item.grey.box, 0);
      Object.assign(nv.back, { matRAS, dims: dimsRAS, pixDims: pixDimsRAS });
      Object.assign(nv, nv.sliceScale(true)); // volScale and vox
      nv.volumeObject3D.scale = Array.from(nv.volScale);
      nv.gl.deleteTexture(nv.volumeTexture);
      nv.volumeTexture = takeTexture(nv, item.grey);
      nv.shownGrey = item;
    }
    nv.gl.activeTexture(nv.gl.TEXTURE0);
    nv.gl.bindTexture(nv.gl.TEXTURE_3D, nv.volumeTexture);
    setWindow(nv, item);
  };
}

/** Gives the memory of the graphics card back. */
export function dropTextures(nv) {
  for (const name of ["volumeTexture", "drawTexture"]) {
    nv.gl.deleteTexture(nv[name]);
    nv[name] = null;
  }
  nv.shownGrey = null;
}

function setWindow(nv, item) {
  const { gl, sliceMMShader: { program } } = nv;
  gl.useProgram(program);
  const width = item ? Math.max(item.cal_max - item.cal_min, 1e-3) : 1;
  gl.uniform3f(gl.getUniformLocation(program, "greyWindow"), item ? item.cal_min : 0, width, item ? 1 : 0);
}

/** What lies over the CT is drawn onto a grid of its own: it need not be as fine. */
function onCoarserGrid(nv, work) {
  const { dims } = nv.back;
  const voxels = dims[1] * dims[2] * dims[3];
  const factor = Math.max(1, Math.ceil(Math.cbrt(voxels / MOST_OVERLAY_VOXELS)));
  nv.back.dims = [dims[0], ...dims.slice(1, 4).map((n) => Math.max(1, Math.ceil(n / factor))), ...dims.slice(4)];
  try {
    return work();
  } finally {
    nv.back.dims = dims;
  }
}

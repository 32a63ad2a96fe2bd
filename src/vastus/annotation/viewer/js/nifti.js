// The smallest NIfTI-1 writer the 3D view needs, and the thinning of a label map for it.

/**
 * Every n-th voxel, so that no side is longer than `longest`.
 * @param {Uint8Array} keep 256 entries: what each value becomes
 * @returns {{voxels: Uint8Array, dims: number[], strides: number[]}}
 */
export function thinned(voxels, dims, spacing, longest, keep) {
  const side = Math.max(...dims.map((n, a) => n * spacing[a])) / longest; // mm between kept voxels
  const strides = spacing.map((mm) => Math.max(1, Math.round(side / mm)));
  const small = dims.map((n, a) => Math.ceil(n / strides[a]));
  const out = new Uint8Array(small[0] * small[1] * small[2]);
  let i = 0;
  for (let z = 0; z < small[2]; z++) {
    for (let y = 0; y < small[1]; y++) {
      const row = z * strides[2] * dims[0] * dims[1] + y * strides[1] * dims[0];
      for (let x = 0; x < small[0]; x++) out[i++] = keep[voxels[row + x * strides[0]]];
    }
  }
  return { voxels: out, dims: small, strides };
}

/**
 * A NIfTI-1 file of uint8 voxels.
 * @param {{voxels: Uint8Array, dims: number[], strides: number[]}} image
 * @param {Float32Array} affine voxel to mm of the image it was thinned from, row-major 4 x 4
 */
export function niftiOf({ voxels, dims, strides }, affine) {
  const HEADER = 352;
  const bytes = new Uint8Array(HEADER + voxels.length);
  const view = new DataView(bytes.buffer);
  const rows = [0, 1, 2].map((r) => [0, 1, 2].map((c) => affine[4 * r + c] * strides[c]).concat(affine[4 * r + 3]));
  view.setInt32(0, 348, true);
  [3, ...dims, 1, 1, 1, 1].forEach((n, i) => view.setInt16(40 + 2 * i, n, true));
  view.setInt16(70, 2, true); // uint8
  view.setInt16(72, 8, true);
  const size = [0, 1, 2].map((c) => Math.hypot(...rows.map((row) => row[c])));
  [1, ...size].forEach((mm, i) => view.setFloat32(76 + 4 * i, mm, true));
  view.setFloat32(108, HEADER, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2); // mm
  view.setInt16(254, 2, true); // the affine below maps to a world aligned to something
  rows.flat().forEach((number, i) => view.setFloat32(280 + 4 * i, number, true));
  bytes.set([110, 43, 49, 0], 344); // "n+1"
  bytes.set(voxels, HEADER);
  return bytes.buffer;
}

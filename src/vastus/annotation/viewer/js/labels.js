// The label map being edited: voxels, brush, fill, undo and redo. No drawing on screen, no network.
// Voxels are in RAS order (x fastest); a label value is 0..255.

export const PLANES = [
  { name: "Axial", across: 0, up: 1, through: 2 },
  { name: "Coronal", across: 0, up: 2, through: 1 },
  { name: "Sagittal", across: 1, up: 2, through: 0 },
];

const UNDO_LIMIT = 60;

/** What may be overwritten while a stroke is drawn. */
export class Rule {
  /**
   * @param {number} value label value the stroke writes; 0 erases
   * @param {{keepOthers?: boolean, erases?: number, hu?: {min: number, max: number, at: (index: number) => number}}} options
   *   keepOthers: other structures stay as they are; erases: with value 0, the one structure that may be erased.
   */
  constructor(value, { keepOthers = false, erases = 0, hu = null } = {}) {
    Object.assign(this, { value, keepOthers, erases, hu });
  }

  allows(old, index) {
    if (old === this.value) return false;
    if (this.keepOthers && old !== 0 && (this.value !== 0 || old !== this.erases)) return false;
    if (this.hu && this.value !== 0) {
      const hu = this.hu.at(index);
      if (hu < this.hu.min || hu > this.hu.max) return false;
    }
    return true;
  }
}

export class LabelMap {
  /** @param {Uint8Array} voxels @param {number[]} dims [nx, ny, nz] @param {number[]} spacing mm */
  constructor(voxels, dims, spacing) {
    this.dims = dims;
    this.spacing = spacing;
    this.step = [1, dims[0], dims[0] * dims[1]];
    this.replace(voxels);
  }

  /** Takes other voxels; forgets undo and redo. */
  replace(voxels) {
    this.voxels = voxels;
    this.counts = new Uint32Array(256);
    for (let i = 0; i < voxels.length; i++) this.counts[voxels[i]]++;
    this.before = this.counts.slice(); // as loaded
    this.forget();
    this.touched = new Set();
    this.slices = new Set(); // axial slices changed since loading
    this.kept = []; // the brush's strokes that led to the version, as the server keeps them
    this.older = []; // strokes since then that can't be undone any more
    this.stroke = null;
    this.box = null;
  }

  /** Forgets undo and redo; what was drawn stays drawn. */
  forget() {
    this.sending = null;
    this.older = [...(this.older ?? []), ...(this.done ?? []).map((stroke) => stroke.op)];
    this.done = [];
    this.undone = [];
  }

  /** The brush's strokes since the version was loaded. */
  get ops() {
    return [...this.older, ...this.done.map((stroke) => stroke.op)];
  }

  /**
   * What is on screen, to become a version. What is drawn from now on is apart from it, and undo does not reach behind it.
   * @returns {{ops: object[], voxels: Uint8Array, counts: Uint32Array}}
   */
  send() {
    const { done } = this;
    this.forget();
    this.sending = done;
    return { ops: [...this.older], voxels: this.voxels.slice(), counts: this.counts.slice() };
  }

  /** No version was made of what was sent: its strokes can be undone again, unless a whole slice was put in place since. */
  takeBack({ ops }) {
    if (this.sending === null || this.older.length !== ops.length) return;
    this.older = this.older.slice(0, ops.length - this.sending.length);
    this.done = [...this.sending, ...this.done];
    this.sending = null;
  }

  /** A version was made of what was sent: only what was drawn since is new. */
  settle({ ops, voxels, counts }) {
    this.slices = this.slicesSince(voxels);
    this.kept = [...this.kept, ...ops];
    this.older = this.older.slice(ops.length);
    this.before = counts;
    this.sending = null;
  }

  /** The axial slices in which these voxels, of an earlier moment, were others. @returns {Set<number>} */
  slicesSince(voxels) {
    const size = this.step[2];
    const same = (k) => {
      for (let i = k * size; i < (k + 1) * size; i++) if (this.voxels[i] !== voxels[i]) return false;
      return true;
    };
    return new Set([...this.slices].filter((k) => !same(k)));
  }

  /** An axial slice, and in it what has changed on another map of the same scan since a moment. */
  sliceWith(k, now, then) {
    const values = this.slice(k);
    const from = k * this.step[2];
    for (let i = 0; i < values.length; i++) if (now[from + i] !== then[from + i]) values[i] = now[from + i];
    return values;
  }

  get voxelMl() {
    return (this.spacing[0] * this.spacing[1] * this.spacing[2]) / 1000;
  }

  index(p) {
    return p[0] + p[1] * this.step[1] + p[2] * this.step[2];
  }

  at(p) {
    return this.inside(p) ? this.voxels[this.index(p)] : 0;
  }

  inside(p) {
    return p.every((c, a) => c >= 0 && c < this.dims[a]);
  }

  /** @param {Rule} rule @param {object} op what the stroke is, to be kept with the version @param {number|null} only one axial slice */
  begin(rule, op = {}, only = null) {
    this.stroke = { rule, op, only, indices: [], before: [] };
  }

  /** Puts an axial slice in place as a whole, nx * ny values. Strokes before can't be undone after this. */
  putSlice(k, values) {
    this.forget();
    const from = k * this.step[2];
    for (let i = 0; i < values.length; i++) if (this.voxels[from + i] !== values[i]) this.set(from + i, values[i]);
    this.slices.add(k);
    this.grow(0, 0, k);
    this.grow(this.dims[0] - 1, this.dims[1] - 1, k);
  }

  slice(k) {
    return this.voxels.slice(k * this.step[2], (k + 1) * this.step[2]);
  }

  /** Paints a kept stroke once more, in one axial slice. @param {(index: number) => number} huAt */
  replay(op, k, huAt) {
    const hu = op.hu ? { min: op.hu[0], max: op.hu[1], at: huAt } : null;
    this.begin(new Rule(op.value, { keepOthers: op.keep_others, erases: op.erases, hu }), op, k);
    this.paint(op);
    const { indices } = this.stroke;
    this.stroke = null;
    return indices.length;
  }

  /** What a kept stroke does, given a stroke that has begun. */
  paint({ kind, plane, points, radius_mm: radius, ball }) {
    if (kind === "pour") this.pour(points[0], plane);
    else {
      this.dab(points[0], plane, kind === "fill" ? 0 : radius, ball);
      for (let i = 1; i < points.length; i++) this.line(points[i - 1], points[i], plane, kind === "fill" ? 0 : radius, ball);
      if (kind === "fill") this.fill(points, plane);
    }
  }

  put(x, y, z) {
    const index = x + y * this.step[1] + z * this.step[2];
    const old = this.voxels[index];
    const { rule, only } = this.stroke;
    if ((only !== null && only !== z) || !rule.allows(old, index)) return;
    this.stroke.indices.push(index);
    this.stroke.before.push(old);
    this.set(index, rule.value);
    this.slices.add(z);
    this.grow(x, y, z);
  }

  set(index, value) {
    const old = this.voxels[index];
    this.counts[old]--;
    this.counts[value]++;
    this.touched.add(old).add(value);
    this.voxels[index] = value;
  }

  grow(x, y, z) {
    const b = this.box;
    if (!b) {
      this.box = [x, y, z, x, y, z];
      return;
    }
    if (x < b[0]) b[0] = x;
    if (y < b[1]) b[1] = y;
    if (z < b[2]) b[2] = z;
    if (x > b[3]) b[3] = x;
    if (y > b[4]) b[4] = y;
    if (z > b[5]) b[5] = z;
  }

  /** The box of voxels changed since the last call, [x0, y0, z0, x1, y1, z1], or null. */
  takeBox() {
    const { box } = this;
    this.box = null;
    return box;
  }

  /** A round dab of the radius (mm) in one plane, or a ball with `ball`. */
  dab(p, plane, radiusMm, ball = false) {
    const reach = this.spacing.map((mm) => Math.floor(radiusMm / mm));
    if (!ball) reach[PLANES[plane].through] = 0;
    const [nx, ny, nz] = this.dims;
    const limit = radiusMm * radiusMm + 1e-6;
    for (let dz = -reach[2]; dz <= reach[2]; dz++) {
      const z = p[2] + dz;
      if (z < 0 || z >= nz) continue;
      for (let dy = -reach[1]; dy <= reach[1]; dy++) {
        const y = p[1] + dy;
        if (y < 0 || y >= ny) continue;
        for (let dx = -reach[0]; dx <= reach[0]; dx++) {
          const x = p[0] + dx;
          if (x < 0 || x >= nx) continue;
          const mm = (dx * this.spacing[0]) ** 2 + (dy * this.spacing[1]) ** 2 + (dz * this.spacing[2]) ** 2;
          if (mm <= limit) this.put(x, y, z);
        }
      }
    }
  }

  /** Dabs along the straight line from a to b, both ends included. */
  line(a, b, plane, radiusMm, ball = false) {
    const steps = Math.max(1, ...a.map((c, i) => Math.abs(b[i] - c)));
    for (let s = 0; s <= steps; s++) {
      this.dab(a.map((c, i) => Math.round(c + ((b[i] - c) * s) / steps)), plane, radiusMm, ball);
    }
  }

  /** Fills the closed outline through the points in one plane (even-odd rule over voxel centres). */
  fill(points, plane) {
    const { across, up, through } = PLANES[plane];
    const rows = points.map((p) => p[up]);
    for (let row = Math.min(...rows); row <= Math.max(...rows); row++) {
      const cuts = [];
      points.forEach((p, i) => {
        const q = points[(i + 1) % points.length];
        if (p[up] <= row !== q[up] <= row) {
          cuts.push(p[across] + ((row - p[up]) / (q[up] - p[up])) * (q[across] - p[across]));
        }
      });
      cuts.sort((a, b) => a - b);
      for (let c = 0; c + 1 < cuts.length; c += 2) {
        for (let column = Math.ceil(cuts[c]); column <= Math.floor(cuts[c + 1]); column++) {
          const p = [0, 0, 0];
          p[across] = column;
          p[up] = row;
          p[through] = points[0][through];
          if (this.inside(p)) this.put(...p);
        }
      }
    }
  }

  /** Relabels the connected island under p within one plane: the bucket. */
  pour(p, plane) {
    const { across, up } = PLANES[plane];
    const from = this.at(p);
    if (from === this.stroke.rule.value) return;
    const queue = [[...p]];
    while (queue.length > 0) {
      const q = queue.pop();
      if (!this.inside(q) || this.at(q) !== from) continue;
      const size = this.stroke.indices.length;
      this.put(...q);
      if (this.stroke.indices.length === size) continue;
      for (const [axis, step] of [[across, 1], [across, -1], [up, 1], [up, -1]]) {
        const next = [...q];
        next[axis] += step;
        queue.push(next);
      }
    }
  }

  /** Ends the stroke. @returns {boolean} whether any voxel changed */
  end() {
    const { stroke } = this;
    this.stroke = null;
    if (!stroke || stroke.indices.length === 0) return false;
    stroke.op.slices = [...new Set(stroke.indices.map((index) => Math.floor(index / this.step[2])))].sort((a, b) => a - b);
    this.done.push({ op: stroke.op, value: stroke.rule.value, indices: Uint32Array.from(stroke.indices), before: Uint8Array.from(stroke.before) });
    if (this.done.length > UNDO_LIMIT) this.older.push(this.done.shift().op);
    this.undone = [];
    return true;
  }

  undo() {
    const stroke = this.done.pop();
    if (!stroke) return false;
    stroke.indices.forEach((index, i) => this.restore(index, stroke.before[i]));
    this.undone.push(stroke);
    return true;
  }

  redo() {
    const stroke = this.undone.pop();
    if (!stroke) return false;
    stroke.indices.forEach((index) => this.restore(index, stroke.value));
    this.done.push(stroke);
    return true;
  }

  restore(index, value) {
    this.set(index, value);
    const z = Math.floor(index / this.step[2]);
    const y = Math.floor((index - z * this.step[2]) / this.step[1]);
    this.slices.add(z);
    this.grow(index - z * this.step[2] - y * this.step[1], y, z);
  }

  /** A voxel well inside the structure: in its largest axial slice, the one nearest to the slice's centre. */
  middleOf(value) {
    const [nx, ny, nz] = this.dims;
    let best = { size: 0 };
    for (let z = 0; z < nz; z++) {
      let size = 0;
      let sx = 0;
      let sy = 0;
      for (let y = 0; y < ny; y++) {
        const row = y * nx + z * this.step[2];
        for (let x = 0; x < nx; x++) {
          if (this.voxels[row + x] === value) {
            size++;
            sx += x;
            sy += y;
          }
        }
      }
      if (size > best.size) best = { size, x: sx / size, y: sy / size, z };
    }
    if (best.size === 0) return null;
    let nearest = null;
    let distance = Infinity;
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) {
        if (this.voxels[x + y * nx + best.z * this.step[2]] !== value) continue;
        const d = (x - best.x) ** 2 + (y - best.y) ** 2;
        if (d < distance) {
          distance = d;
          nearest = [x, y, best.z];
        }
      }
    }
    return nearest;
  }
}

/** Dice of every label value in two label maps of one size; NaN where neither holds it. */
export function diceOfEach(a, b) {
  const both = new Uint32Array(256);
  const sum = new Uint32Array(256);
  for (let i = 0; i < a.length; i++) {
    sum[a[i]]++;
    sum[b[i]]++;
    if (a[i] === b[i]) both[a[i]]++;
  }
  return Array.from(both, (n, value) => (2 * n) / sum[value]);
}

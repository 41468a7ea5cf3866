// Runs in a worker: which Gaussians exist at a time, and in which order they are painted (far to near).

function makeSorter({ centers, motion, end }) {
  const count = centers.length / 4;
  const depths = new Float32Array(count), bits = new Uint32Array(depths.buffer);
  const alive = new Uint32Array(count), halfway = new Uint32Array(count);
  const low = new Uint32Array(65536), high = new Uint32Array(65536);

  // forward: unit viewing direction; eye: camera centre; buffer: an order that is no longer needed, or null.
  return function sort({ forward: [fx, fy, fz], eye, time, buffer }) {
    time = Math.fround(time);  // as the lifetimes are stored, so that a frame begins exactly at its time
    const offset = fx * eye[0] + fy * eye[1] + fz * eye[2];
    low.fill(0);
    high.fill(0);
    let n = 0;
    for (let i = 0; i < count; i++) {
      const j = 4 * i;
      if (motion && !(motion[j + 3] <= time && time < end[i])) continue;
      let depth = fx * centers[j] + fy * centers[j + 1] + fz * centers[j + 2] - offset;
      if (motion) depth += (fx * motion[j] + fy * motion[j + 1] + fz * motion[j + 2]) * (time - motion[j + 3]);
      if (!(depth > 0)) continue;
      depths[n] = depth;
      low[bits[n] & 65535]++;
      high[bits[n] >>> 16]++;
      alive[n++] = i;
    }
    // Positive floats sort like their bits: two stable counting passes of 16 bits, the second from the far end.
    let fromLow = 0, fromHigh = n;
    for (let digit = 0; digit < 65536; digit++) {
      const here = low[digit];
      low[digit] = fromLow;
      fromLow += here;
      const above = high[digit];
      high[digit] = fromHigh;
      fromHigh -= above;
    }
    for (let i = 0; i < n; i++) halfway[low[bits[i] & 65535]++] = i;
    const order = buffer ? new Uint32Array(buffer) : new Uint32Array(count);
    for (let i = 0; i < n; i++) {
      const k = halfway[i];
      order[--high[bits[k] >>> 16]] = alive[k];
    }
    return { order, n };
  };
}

function serveSorting() {
  let sort;
  onmessage = ({ data }) => {
    if (data.centers) {
      sort = makeSorter(data);
      return;
    }
    const begun = performance.now(), { order, n } = sort(data);
    const answer = { order, n, time: data.time, ticket: data.ticket, ms: performance.now() - begun };
    postMessage(answer, [order.buffer]);
  };
}

class Sorter {
  // Keeps one request under way; of the requests made meanwhile only the latest counts.
  constructor(scene, onOrder) {
    const source = `"use strict";${makeSorter};${serveSorting};serveSorting();`;
    this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const { centers, motion, end } = scene;
    this.worker.postMessage({ centers, motion, end });
    this.busy = false;
    this.next = null;
    this.spare = null;
    this.worker.onmessage = ({ data }) => {
      this.busy = false;
      onOrder(data);
      this.spare = data.order.buffer;
      if (this.next) this.ask(this.next);
    };
  }

  ask(request) {
    if (this.busy) {
      this.next = request;
      return;
    }
    this.busy = true;
    this.next = null;
    const buffer = this.spare;
    this.spare = null;
    this.worker.postMessage({ ...request, buffer }, buffer ? [buffer] : []);
  }
}

// Reads the `.lyra4d` container (docs/formats.md) into arrays that go to the graphics card as they are.

class Sentence extends Error {}  // a message for the person who looks at the page

const damaged = () => new Sentence("This scene's data is damaged or cut short; export it again.");

async function loadScene(source, element) {
  if (typeof DecompressionStream === "undefined") {
    throw new Sentence("This browser is too old to unpack the scene; please update it.");
  }
  const bytes = source ? await download(source) : await decodeBase64(element);
  return readContainer(bytes);
}

async function download(source) {
  const lost = () => new Sentence("The scene could not be fetched; is lyra view still running?");
  const response = await fetch(source).catch(() => { throw lost(); });
  if (!response.ok) throw lost();
  const total = Number(response.headers.get("Content-Length")), bytes = new Uint8Array(total);
  const reader = response.body.getReader();
  for (let at = 0; ;) {
    const { done, value } = await reader.read().catch(() => { throw lost(); });
    if (done) return bytes.subarray(0, at);
    if (at + value.length > total) throw damaged();
    bytes.set(value, at);
    at += value.length;
    showProgress("Loading", (0.5 * at) / total);
  }
}

async function decodeBase64(element) {
  const text = element.textContent.trim(), step = 1 << 22, parts = [];
  element.remove();
  for (let at = 0; at < text.length; at += step) {
    let binary;
    try {
      binary = atob(text.slice(at, at + step));
    } catch {
      throw damaged();
    }
    const part = new Uint8Array(binary.length);
    for (let i = 0; i < part.length; i++) part[i] = binary.charCodeAt(i);
    parts.push(part);
    showProgress("Loading", (0.5 * at) / text.length);
    await new Promise((resolve) => setTimeout(resolve));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function readContainer(bytes) {
  const { header, begin } = readHeader(bytes), { count, chunks } = header, terms = (header.sh_degree + 1) ** 2;
  if (!count) throw new Sentence("This scene is empty: it holds no splats.");
  const moves = header.duration !== null;
  const scene = {
    count, terms, duration: header.duration, fps: header.fps, gravity: header.gravity,
    centers: new Float32Array(4 * count), shapes: new Uint32Array(4 * count),
    colors: new Uint16Array(4 * terms * count),
    motion: moves ? new Float32Array(4 * count) : null, end: moves ? new Float32Array(count) : null,
  };
  let first = 0;
  for (const chunk of chunks) {
    const blob = bytes.subarray(begin + chunk.offset, begin + chunk.offset + chunk.bytes);
    const stream = new Blob([blob]).stream().pipeThrough(new DecompressionStream("gzip"));
    const raw = await new Response(stream).arrayBuffer().catch(() => { throw damaged(); });
    if (first + chunk.count > count) throw damaged();
    readChunk(new Uint8Array(raw), chunk, header, scene, first);
    first += chunk.count;
    showProgress("Unpacking", 0.5 + (0.5 * first) / count);
  }
  if (first !== count) throw damaged();
  return scene;
}

function readHeader(bytes) {
  try {
    const text = new TextDecoder(), length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
    const header = JSON.parse(text.decode(bytes.subarray(12, 12 + length)));
    if (text.decode(bytes.subarray(0, 8)) === "LYRA4D01" && header.count <= 1e8) return { header, begin: 12 + length };
  } catch {}
  throw damaged();
}

function readChunk(raw, chunk, header, scene, first) {
  const n = chunk.count, rest = scene.terms - 1;
  const widths = { means: 9, scale: 6, rotation: 6, color: 6, opacity: 1, sh: 6 * rest, seen: header.seen ? 1 : 0 };
  Object.assign(widths, { velocity: chunk.velocity ? 12 : 0, lifetimes: chunk.lifetimes ? 8 : 0 });
  const begin = {};
  let size = 0;
  for (const name in widths) {
    begin[name] = size;
    size += widths[name] * n;
  }
  if (raw.length !== size) throw damaged();
  // Byte planes, lowest first: component `c` of `width` bytes of Gaussian i.
  const bytesAt = (at, i, width) => {
    let value = 0;
    for (let b = width - 1; b >= 0; b--) value = (value << 8) | raw[at + b * n + i];
    return value;
  };
  const u16 = (name, c, i) => bytesAt(begin[name] + c * 2 * n, i, 2);
  const word = new Int32Array(1), float = new Float32Array(word.buffer);
  const f32 = (name, c, i) => ((word[0] = bytesAt(begin[name] + c * 4 * n, i, 4)), float[0]);
  const { centers, shapes, colors, motion, end, terms } = scene, forever = 1e30;
  for (let i = 0; i < n; i++) {
    const j = 4 * (first + i);
    for (let c = 0; c < 3; c++) centers[j + c] = chunk.origin[c] + chunk.step * bytesAt(begin.means + c * 3 * n, i, 3);
    centers[j + 3] = raw[begin.opacity + i] / 255;
    shapes[j] = u16("scale", 0, i) | (u16("scale", 1, i) << 16);
    shapes[j + 1] = u16("scale", 2, i) | (u16("rotation", 0, i) << 16);
    shapes[j + 2] = u16("rotation", 1, i) | (u16("rotation", 2, i) << 16);
    for (let c = 0; c < 3; c++) colors[j * terms + c] = u16("color", c, i);
    for (let c = 0; c < 3 * rest; c++) colors[j * terms + 4 * (1 + Math.floor(c / 3)) + (c % 3)] = u16("sh", c, i);
    if (!motion) continue;
    for (let c = 0; chunk.velocity && c < 3; c++) motion[j + c] = f32("velocity", c, i);
    const start = chunk.lifetimes ? f32("lifetimes", 0, i) : chunk.start ?? -forever;
    motion[j + 3] = Math.max(start, -forever);  // finite, so that a velocity of 0 keeps its splat in place
    end[first + i] = chunk.lifetimes ? f32("lifetimes", 1, i) : chunk.end ?? Infinity;
    if (end[first + i] >= Math.fround(header.duration)) end[first + i] = Infinity;  // still there at the very end
  }
}

// Camera poses in OpenCV axes (+x right, +y down, +z forward): quaternion [w, x, y, z] to the world, and centre.

const add = (a, b, s = 1) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const unit = (v) => v.map((x) => x / (Math.hypot(...v) || 1));

function multiply([aw, ax, ay, az], [bw, bx, by, bz]) {
  return [
    aw * bw - ax * bx - ay * by - az * bz,
    aw * bx + ax * bw + ay * bz - az * by,
    aw * by - ax * bz + ay * bw + az * bx,
    aw * bz + ax * by - ay * bx + az * bw,
  ];
}

function axisAngle(axis, angle) {
  const s = Math.sin(angle / 2);
  return [Math.cos(angle / 2), axis[0] * s, axis[1] * s, axis[2] * s];
}

// Camera axes in the world: [right, down, forward].
function axesOf([w, x, y, z]) {
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}

function quaternionOf([[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]]) {
  const squares = [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz];
  const w = [squares[0], yz - zy, zx - xz, xy - yx], x = [w[1], squares[1], xy + yx, zx + xz];
  const y = [w[2], x[2], squares[2], yz + zy], z = [w[3], x[3], y[3], squares[3]];
  const q = [w, x, y, z][squares.indexOf(Math.max(...squares))];
  return q.map((value) => value / Math.hypot(...q));
}

// Rows of a 4x4 camera-to-world matrix to a pose.
function poseOf(c2w) {
  const column = (j) => [c2w[0][j], c2w[1][j], c2w[2][j]];
  return { q: quaternionOf([column(0), column(1), column(2)]), p: column(3) };
}

function lensOf(K, width, height) {
  return { fx: K[0][0], fy: K[1][1], cx: K[0][2], cy: K[1][2], width, height };
}

// The lens for a canvas of another size. A canvas of the same shape shows the same image; for other shapes the image
// is scaled halfway (geometrically) between showing all of it and filling the canvas.
function fitLens(lens, width, height) {
  const s = Math.sqrt((width / lens.width) * (height / lens.height));
  return {
    fx: lens.fx * s, fy: lens.fy * s, width, height,
    cx: width / 2 + (lens.cx - lens.width / 2) * s,
    cy: height / 2 + (lens.cy - lens.height / 2) * s,
  };
}

function blend(a, b, t) {
  let cos = a.q[0] * b.q[0] + a.q[1] * b.q[1] + a.q[2] * b.q[2] + a.q[3] * b.q[3];
  const sign = Math.sign(cos) || 1;
  cos = Math.min(Math.abs(cos), 1);
  const angle = Math.acos(cos), sine = Math.sin(angle);
  const s = angle < 1e-4 ? 1 - t : Math.sin((1 - t) * angle) / sine;
  const r = sign * (angle < 1e-4 ? t : Math.sin(t * angle) / sine);
  const lens = {};
  for (const key in a.lens) lens[key] = a.lens[key] + t * (b.lens[key] - a.lens[key]);
  return { q: a.q.map((x, i) => s * x + r * b.q[i]), p: a.p.map((x, i) => x + t * (b.p[i] - x)), lens };
}

class Camera {
  // A view and the pivot `distance` ahead of it; `up` is the world direction that orbits turn around.
  constructor(view, up, distance) {
    this.up = up;
    this.distance = distance;
    this.place(view);
  }

  place({ q, p, lens }) {
    Object.assign(this, { q, p, lens });
  }

  get axes() {
    return axesOf(this.q);
  }

  get pivot() {
    return add(this.p, this.axes[2], this.distance);
  }

  // Turn by angles in radians: around `up` to the right, and upwards; never over the poles.
  turn(yaw, rise) {
    const [right, , forward] = this.axes, level = cross(forward, this.up);
    const elevation = Math.asin(clamp(dot(forward, this.up), -1, 1)), limit = Math.max(1.5, Math.abs(elevation));
    const axis = Math.hypot(...level) > 1e-3 ? unit(level) : right;
    rise = clamp(elevation + rise, -limit, limit) - elevation;
    const q = multiply(axisAngle(this.up, -yaw), multiply(axisAngle(axis, rise), this.q));
    this.q = q.map((x) => x / Math.hypot(...q));
  }

  // The same as seen on the screen, also where the camera is held upside down.
  look(yaw, pitch) {
    const side = dot(this.axes[1], this.up) > 0 ? -1 : 1;
    this.turn(side * yaw, side * pitch);
  }

  orbit(yaw, pitch) {
    const pivot = this.pivot;
    this.look(yaw, pitch);
    this.p = add(pivot, this.axes[2], -this.distance);
  }

  // Move in camera axes, world units; the pivot moves along.
  move([x, y, z]) {
    const [right, down, forward] = this.axes;
    this.p = add(add(add(this.p, right, x), down, y), forward, z);
  }

  zoom(factor) {
    const pivot = this.pivot;
    this.distance = clamp(this.distance * factor, 0.02, 1e6);
    this.p = add(pivot, this.axes[2], -this.distance);
  }
}

// The page itself: loads the scene, draws when something changed, and offers window.lyra to scripts.

const SPEEDS = [0.25, 0.5, 1, 2];

class Player {
  constructor(canvas, scene, config) {
    this.canvas = canvas;
    this.scene = scene;
    this.renderer = new Renderer(canvas);
    this.renderer.load(scene);
    scene.shapes = scene.colors = null;  // on the graphics card now
    this.path = config.cameras.map(([c2w, K, width, height, time]) => {
      return { view: { ...poseOf(c2w), lens: lensOf(K, width, height) }, time };
    });
    this.extent = config.distance;  // to the middle of the scene: first distance to orbit at, scale of flying speed
    this.camera = new Camera(this.path[0].view, this.upwards(), this.extent);
    this.anchored = false;  // whether the pivot lies on what is seen
    this.flying = false;
    this.station = 0;
    this.clock = scene.motion && { time: 0, playing: true, speed: 1, loop: true, duration: scene.duration };
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.clock && this.calm) this.clock.playing = false;
    this.ticket = 0;
    this.waiting = [];
    this.frameMs = 0;
    this.sorter = new Sorter(scene, (order) => this.receive(order));
    this.panel = new Panel(this);
    this.input = new Input(canvas, this);
    this.setBackground(config.background);
    canvas.addEventListener("webglcontextlost", () => {
      showFailure("The graphics driver stopped this page; reload it to go on.");
    });
    new ResizeObserver(() => this.refresh(false)).observe(canvas);
    this.refresh(true);
  }

  // Against gravity where the scene tells it, else the mean upward direction of the path's cameras.
  upwards() {
    if (this.scene.gravity) return unit(this.scene.gravity.map((x) => -x));
    const sum = this.path.reduce((total, { view }) => add(total, axesOf(view.q)[1], -1), [0, 0, 0]);
    return Math.hypot(...sum) > 0.1 * this.path.length ? unit(sum) : [0, -1, 0];
  }

  // Ask for a frame; `moved` says that the Gaussians need a new order. A scene at rest asks for none.
  refresh(moved) {
    this.changed ||= moved;
    this.frame ||= requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    const dt = this.running ? Math.min((now - this.last) / 1000, 0.25) : 0;
    this.last = now;
    this.frame = 0;
    this.advanceClock(dt);
    this.advanceView(now, dt);
    const { clientWidth, clientHeight } = this.canvas, ratio = Math.min(devicePixelRatio || 1, 2);
    this.renderer.resize(Math.max(1, Math.round(clientWidth * ratio)), Math.max(1, Math.round(clientHeight * ratio)));
    if (this.changed) {
      this.changed = false;
      const { axes, p } = this.camera, time = this.clock ? this.clock.time : 0;
      this.sorter.ask({ forward: axes[2], eye: p, time, ticket: ++this.ticket });
    }
    this.draw(now);
    this.running = Boolean((this.clock && this.clock.playing) || this.tween || this.input.push.some(Boolean));
    if (this.running) this.refresh(false);
  }

  advanceClock(dt) {
    const { clock } = this;
    if (!clock || !clock.playing) return;
    const time = clock.time + dt * clock.speed;
    if (time >= clock.duration && !clock.loop) clock.playing = false;
    clock.time = clock.loop ? time % clock.duration : Math.min(time, clock.duration);
    this.changed = true;
  }

  advanceView(now, dt) {
    if (this.tween) {
      const { from, to, begun, ms } = this.tween, share = clamp((now - begun) / ms, 0, 1);
      const eased = share * share * (3 - 2 * share);
      this.camera.place(share < 1 ? blend(from, to, eased) : to);
      this.camera.distance = from.distance + eased * (to.distance - from.distance);
      if (share === 1) this.tween = null;
      this.changed = true;
    }
    const push = this.input.push;
    if (push.some(Boolean)) {
      this.camera.move(push.map((x) => x * dt * 0.6 * this.extent));
      this.anchored = false;
      this.changed = true;
    }
  }

  receive(order) {
    this.renderer.setOrder(order);
    this.order = order;
    this.refresh(false);
  }

  draw(now) {
    this.renderer.draw(this.camera, this.pixelLens());
    const passed = now - this.drawnAt;
    if (passed < 1000) this.frameMs += (passed - this.frameMs) * (this.frameMs ? 0.1 : 1);  // else it was at rest
    this.drawnAt = now;
    this.panel.update();
    if (!this.order) return;
    if (!$("cover").classList.contains("gone")) this.panel.wake();
    $("cover").classList.add("gone");
    this.waiting = this.waiting.filter(({ ticket, resolve }) => ticket > this.order.ticket || resolve());
  }

  pixelLens() {
    return fitLens(this.camera.lens, this.canvas.width, this.canvas.height);
  }

  // Resolves when what is asked for now is on the screen.
  settle() {
    if (this.tween) this.tween.begun = -Infinity;
    const ticket = this.ticket + 1;
    this.refresh(true);
    return new Promise((resolve) => this.waiting.push({ ticket, resolve }));
  }

  // The user moves: stop travelling, and let the pivot lie on what is at the centre of the image.
  takeOver() {
    this.tween = null;
    if (this.anchored || this.flying || !this.order) return;
    const { width, height } = this.canvas;
    const depth = this.renderer.depthAt(this.camera, this.pixelLens(), width >> 1, height >> 1);
    if (depth) this.camera.distance = depth;
    this.anchored = true;
  }

  turn(yaw, pitch) {
    if (this.flying) this.camera.look(yaw, pitch);
    else this.camera.orbit(yaw, pitch);
    this.refresh(true);
  }

  pan(dx, dy) {
    const lens = this.pixelLens(), ratio = this.canvas.width / this.canvas.clientWidth;
    const perPixel = this.camera.distance * ratio;
    this.camera.move([(-dx * perPixel) / lens.fx, (-dy * perPixel) / lens.fy, 0]);
    this.refresh(true);
  }

  zoom(factor) {
    if (this.flying) this.camera.move([0, 0, -Math.log(factor) * this.extent]);
    else this.camera.zoom(factor);
    this.refresh(true);
  }

  // Turn towards what is seen at a point of the window and orbit around it from now on.
  setPivot(x, y) {
    const ratio = this.canvas.width / this.canvas.clientWidth, lens = this.pixelLens();
    const u = Math.floor(x * ratio), v = Math.floor(y * ratio), { camera } = this;
    const depth = this.renderer.depthAt(camera, lens, u, v);
    if (!depth) return;
    const down = (v + 0.5 - lens.cy) / lens.fy, right = (u + 0.5 - lens.cx) / lens.fx;
    const [r, d, f] = camera.axes, toPoint = add(add(add([0, 0, 0], r, right * depth), d, down * depth), f, depth);
    const aim = unit(toPoint), { up } = camera, level = (a) => unit(add(a, up, -dot(a, up)));
    const from = level(f), to = level(aim), side = dot(cross(up, from), to);
    const turned = new Camera(camera, up, Math.hypot(...toPoint));
    turned.turn(-Math.atan2(side, dot(from, to)), Math.asin(dot(aim, up)) - Math.asin(clamp(dot(f, up), -1, 1)));
    this.setFlying(false);
    this.travel(turned, Math.hypot(...toPoint), 350);
    this.anchored = true;
  }

  travel({ q, p, lens }, distance, ms) {
    const { camera } = this, begun = this.calm ? -Infinity : performance.now();
    const from = { q: camera.q, p: camera.p, lens: camera.lens, distance: camera.distance };
    this.tween = { from, to: { q, p, lens, distance }, begun, ms };
    this.refresh(true);
  }

  reset() {
    this.station = 0;
    this.anchored = false;
    this.setFlying(false);
    this.travel(this.path[0].view, this.extent, 500);
  }

  goTo(station) {
    this.station = clamp(station, 0, this.path.length - 1);
    const { view, time } = this.path[this.station];
    this.anchored = false;
    this.travel(view, this.camera.distance, 250);
    if (this.clock && time !== undefined) {
      this.setPlaying(false);
      this.setTime(time);
    }
  }

  setCamera(c2w, K, [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight]) {
    this.tween = null;
    this.anchored = false;
    this.camera.place({ ...poseOf(c2w), lens: lensOf(K, width, height) });
    return this.settle();
  }

  setTime(time) {
    if (this.clock) this.clock.time = clamp(time, 0, this.clock.duration);
    return this.settle();
  }

  setPlaying(playing) {
    const { clock } = this;
    if (!clock) return;
    if (playing && clock.time >= clock.duration) clock.time = 0;
    clock.playing = playing;
    this.refresh(false);
  }

  setLoop(loop) {
    this.clock.loop = loop;
    this.refresh(false);
  }

  nextSpeed() {
    this.clock.speed = SPEEDS[(SPEEDS.indexOf(this.clock.speed) + 1) % SPEEDS.length];
    this.refresh(false);
  }

  stepFrame(step) {
    this.setPlaying(false);
    const { fps } = this.scene, frame = this.clock.time * fps;
    this.setTime((step > 0 ? Math.floor(frame + 1e-4) + 1 : Math.ceil(frame - 1e-4) - 1) / fps);
  }

  setFlying(flying) {
    if (this.flying && !flying) this.anchored = false;
    this.flying = flying;
    this.refresh(false);
  }

  setBackground(color) {
    this.renderer.background = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
    this.panel.showBackground(color);
    this.refresh(false);
  }

  async screenshot() {
    if (this.changed || this.tween || !this.order || this.order.ticket < this.ticket) await this.settle();
    this.renderer.draw(this.camera, this.pixelLens());
    return this.canvas.toDataURL("image/png");
  }

  async download() {
    const link = Object.assign(document.createElement("a"), { href: await this.screenshot() });
    link.download = `${document.title.replace(/[^\w.-]+/g, "_") || "scene"}.png`;
    link.click();
  }

  // What setCamera takes: camera-to-world rows, and the lens of the present window in its pixels.
  getCamera() {
    const { clientWidth: width, clientHeight: height } = this.canvas, lens = fitLens(this.camera.lens, width, height);
    const [r, d, f] = this.camera.axes, { p } = this.camera;
    const c2w = [...[0, 1, 2].map((i) => [r[i], d[i], f[i], p[i]]), [0, 0, 0, 1]];
    return { c2w, K: [[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], size: [width, height] };
  }

  stats() {
    const { shown, time } = this.renderer, { width, height } = this.canvas;
    const sortMs = this.order ? this.order.ms : 0, fps = this.frameMs ? 1000 / this.frameMs : 0;
    return { splats: this.scene.count, shown, time, width, height, sortMs, fps };
  }
}

async function start() {
  const config = JSON.parse($("config").textContent);
  const player = new Player($("stage"), await loadScene(config.source, $("data")), config);
  await player.settle();
  return player;
}

const started = start();
const call = (name) => (...values) => started.then((player) => player[name](...values));

window.lyra = {
  ready: started.then(() => {}),
  setCamera: call("setCamera"),
  getCamera: call("getCamera"),
  setTime: call("setTime"),
  play: () => call("setPlaying")(true),
  pause: () => call("setPlaying")(false),
  screenshot: call("screenshot"),
  stats: call("stats"),
};
window.lyra.ready.catch((error) => {
  const known = error instanceof Sentence;
  showFailure(known ? error.message : "This scene could not be shown; reload the page or export it again.");
  if (!known) console.error(error);
});

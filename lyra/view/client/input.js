// Mouse, touch and keyboard to camera movements and commands.

const TURN = 0.005;  // radians a pixel
const FLY_KEYS = {
  w: [0, 0, 1], s: [0, 0, -1], a: [-1, 0, 0], d: [1, 0, 0], q: [0, 1, 0], e: [0, -1, 0],
};
const TURN_KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

class Input {
  constructor(canvas, player) {
    this.canvas = canvas;
    this.player = player;
    this.pointers = new Map();
    this.held = new Set();
    this.lastTap = { at: -1e9, x: 0, y: 0 };
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    addEventListener("keydown", (event) => this.keyDown(event));
    addEventListener("keyup", (event) => this.held.delete(event.key.toLowerCase()));
    addEventListener("blur", () => this.held.clear());
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    document.activeElement?.blur();
    $("swatches").hidden = true;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.still = this.pointers.size === 1 && event.button === 0;
    this.travel = 0;
    this.player.takeOver();
  }

  move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const before = this.fingers(), dx = event.clientX - pointer.x, dy = event.clientY - pointer.y;
    Object.assign(pointer, { x: event.clientX, y: event.clientY });
    this.travel += Math.hypot(dx, dy);
    if (this.travel > 4) this.still = false;
    const { player } = this;
    if (this.pointers.size === 2) {
      const after = this.fingers();
      player.pan(after.x - before.x, after.y - before.y);
      player.zoom(before.apart / Math.max(after.apart, 1));
    } else if (this.pointers.size === 1) {
      if (event.buttons & 6 || event.shiftKey) player.pan(dx, dy);
      else if (player.flying) player.turn(-dx * TURN, dy * TURN);
      else player.turn(dx * TURN, -dy * TURN);
    }
  }

  fingers() {
    const [a, b = a] = [...this.pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.hypot(a.x - b.x, a.y - b.y) };
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.still || event.type !== "pointerup") return;
    const { lastTap } = this, x = event.clientX, y = event.clientY;
    if (event.timeStamp - lastTap.at < 350 && Math.hypot(x - lastTap.x, y - lastTap.y) < 24) {
      lastTap.at = -1e9;
      this.player.setPivot(x, y);
    } else Object.assign(lastTap, { at: event.timeStamp, x, y });
  }

  wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    this.player.takeOver();
    this.player.zoom(Math.exp(clamp(pixels, -400, 400) * 0.0015));
  }

  keyDown(event) {
    const { player } = this, key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ($("help").open && key !== "h") return;
    const target = event.target, typing = target.matches && target.matches("input");
    if (typing && (TURN_KEYS[event.key] || key === "home" || key === "end")) return;
    if (key === " " && target.matches && target.matches("button")) return;
    const command = player.panel.commands.find(([, , shortcut]) => shortcut.toLowerCase() === key);
    if (command && !event.repeat) command[3]();
    else if (FLY_KEYS[key]) {
      player.takeOver();
      player.setFlying(true);
      this.held.add(key);
      player.refresh(true);
    } else if (TURN_KEYS[event.key]) {
      player.takeOver();
      player.turn(...TURN_KEYS[event.key].map((step) => 0.06 * step));
    } else if (key === "+" || key === "=") player.zoom(0.9);
    else if (key === "-") player.zoom(1 / 0.9);
    else if (key === "[" || key === "]") player.goTo(player.station + (key === "]" ? 1 : -1));
    else if (player.clock && key === " ") player.setPlaying(!player.clock.playing);
    else if (player.clock && (key === "," || key === ".")) player.stepFrame(key === "." ? 1 : -1);
    else if (key === "?") player.panel.toggleHelp();
    else if (!command) return;
    event.preventDefault();
  }

  // Where the held keys push, in camera axes.
  get push() {
    const sum = [0, 0, 0];
    for (const key of this.held) FLY_KEYS[key].forEach((x, i) => (sum[i] += x));
    return sum;
  }
}

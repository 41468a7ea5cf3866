// Buttons, sliders, help and messages around the canvas.

const $ = (id) => document.getElementById(id);

const ICONS = {
  reset: "M4 11a8 8 0 1 1 2.3 6M4 18v-5h5",
  fly: "M3 11 21 4l-7 17-3-7z",
  background: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  stats: "M5 20v-7M12 20V5M19 20v-11",
  picture: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3.2 3.2 0 1 0 .01 0",
  full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  help: "M9 9a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2.2M12 17.5v.01M12 3a9 9 0 1 0 .01 0",
  play: "M8 5v14l11-7z",
  pause: "M8 5v14M16 5v14",
  loop: "M4 12V9a3 3 0 0 1 3-3h12l-3-3M20 12v3a3 3 0 0 1-3 3H5l3 3",
  previous: "M15 6l-6 6 6 6",
  next: "M9 6l6 6-6 6",
};

const GESTURES = [
  ["Drag", "turn"], ["Right drag, Shift drag", "move"], ["Wheel", "nearer, farther"],
  ["Double-click", "set the centre"], ["Two fingers", "move, zoom"], ["Double tap", "set the centre"],
];
const MOVE_KEYS = [["W A S D", "fly"], ["Q E", "down, up"], ["Arrows", "turn"], ["+ \u2212", "nearer, farther"]];
const PATH_KEYS = [["[ ]", "cameras of the path"]];
const TIME_KEYS = [["Space", "play, pause"], [", .", "one frame back, on"]];

function setIcon(button, name) {
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
}

function setSlider(slider, value) {
  slider.value = value;
  slider.style.setProperty("--done", `${(100 * value) / (slider.max || 1)}%`);
}

function fillList(list, rows) {
  for (const [term, meaning] of rows) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    for (const key of list.id === "keys" ? term.split(" ") : []) {
      dt.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
    }
    if (list.id !== "keys") dt.textContent = term;
    dd.textContent = meaning;
    list.append(dt, dd);
  }
}

function showProgress(text, share) {
  $("message").textContent = text;
  if (share === undefined) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function showFailure(sentence) {
  $("cover").hidden = false;
  $("cover").className = "";
  $("cover").setAttribute("role", "alert");
  $("progress").hidden = true;
  $("message").textContent = sentence;
}

class Panel {
  constructor(player) {
    this.player = player;
    // id, label, key, action
    this.commands = [
      ["reset", "Reset the view", "R", () => player.reset()],
      ["fly", "Fly instead of orbit", "V", () => player.setFlying(!player.flying)],
      ["background", "Background", "B", () => ($("swatches").hidden = !$("swatches").hidden)],
      ["stats", "Statistics", "I", () => this.toggleStats()],
      ["picture", "Save a picture", "P", () => player.download()],
      ["full", "Full screen", "F", () => this.toggleFullscreen()],
      ["help", "Help", "H", () => this.toggleHelp()],
    ];
    for (const [id, label, key, act] of this.commands) {
      const button = document.createElement("button");
      Object.assign(button, { id: `do-${id}`, title: `${label} (${key})`, onclick: act });
      button.setAttribute("aria-label", label);
      setIcon(button, id);
      $("tools").append(button);
    }
    $("do-full").hidden = !document.fullscreenEnabled;
    fillList($("gestures"), GESTURES);
    const commandKeys = this.commands.map(([, label, key]) => [key, label.toLowerCase()]);
    const more = [...(player.path.length > 1 ? PATH_KEYS : []), ...(player.clock ? TIME_KEYS : [])];
    fillList($("keys"), [...commandKeys, ...MOVE_KEYS, ...more]);
    this.bindTime(player);
    this.bindPath(player);
    this.swatches = [...$("swatches").querySelectorAll("button")];
    for (const swatch of this.swatches) {
      swatch.style.background = swatch.dataset.color;
      swatch.onclick = () => player.setBackground(swatch.dataset.color);
    }
    $("custom").oninput = () => player.setBackground($("custom").value);
    for (const event of ["pointermove", "pointerdown", "keydown", "wheel", "focusin"]) {
      addEventListener(event, () => this.wake(), { passive: true });
    }
    this.wake();
  }

  bindTime(player) {
    $("clock").hidden = !player.clock;
    if (!player.clock) return;
    $("time").max = player.clock.duration;
    $("time").oninput = () => player.setTime(Number($("time").value));
    $("play").onclick = () => player.setPlaying(!player.clock.playing);
    $("speed").onclick = () => player.nextSpeed();
    $("loop").onclick = () => player.setLoop(!player.clock.loop);
    setIcon($("loop"), "loop");
  }

  bindPath(player) {
    $("path").hidden = player.path.length < 2;
    $("station").max = player.path.length - 1;
    $("station").oninput = () => player.goTo(Number($("station").value));
    $("previous").onclick = () => player.goTo(player.station - 1);
    $("next").onclick = () => player.goTo(player.station + 1);
    setIcon($("previous"), "previous");
    setIcon($("next"), "next");
  }

  // Bring the labels up to date; called once a drawn frame and when a control changes.
  update() {
    const { clock, path, station, flying } = this.player;
    if (clock) {
      setSlider($("time"), clock.time);
      $("now").textContent = `${clock.time.toFixed(2)} / ${clock.duration.toFixed(2)} s`;
      if (this.playing !== clock.playing) {
        this.playing = clock.playing;
        setIcon($("play"), clock.playing ? "pause" : "play");
        $("play").setAttribute("aria-label", clock.playing ? "Pause" : "Play");
        $("play").title = clock.playing ? "Pause (Space)" : "Play (Space)";
      }
      $("speed").textContent = `${clock.speed}\u00d7`;
      $("loop").setAttribute("aria-pressed", clock.loop);
    }
    setSlider($("station"), station);
    $("where").textContent = `Camera ${station + 1} / ${path.length}`;
    $("do-fly").setAttribute("aria-pressed", flying);
    $("do-stats").setAttribute("aria-pressed", !$("stats").hidden);
    if (!$("stats").hidden) this.writeStats();
  }

  writeStats() {
    const s = this.player.stats();
    const lines = [
      `${s.shown.toLocaleString("en")} of ${s.splats.toLocaleString("en")} splats`,
      `${s.fps ? s.fps.toFixed(0) : "\u2013"} fps, sorted in ${s.sortMs.toFixed(1)} ms`,
      `${s.width} \u00d7 ${s.height} pixels`,
    ];
    if (this.player.clock) lines.push(`${s.time.toFixed(3)} s`);
    $("stats").textContent = lines.join("\n");
  }

  showBackground(color) {
    $("custom").value = color;
    for (const swatch of this.swatches) swatch.setAttribute("aria-pressed", swatch.dataset.color === color);
  }

  toggleStats() {
    $("stats").hidden = !$("stats").hidden;
    this.update();
  }

  toggleHelp() {
    if ($("help").open) $("help").close();
    else $("help").showModal();
  }

  toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (document.fullscreenEnabled) document.documentElement.requestFullscreen();
  }

  // Controls fade away while nobody touches them.
  wake() {
    document.body.classList.remove("idle");
    clearTimeout(this.sleep);
    this.sleep = setTimeout(() => document.body.classList.add("idle"), 4000);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// One scan of the report: slice, view, windows, region and what its pictures are compared with are shared by all of them.
class Scan extends ScanPictures {
  async start() {
    await this.unpack();
    this.bind();
    this.layout();
    this.showWindow();
    this.show();
    this.draw();
    new ResizeObserver(() => {
      this.layout();
      this.redraw();
    }).observe(this.find(".board"));
    this.root.dataset.ready = "true";
  }

  bind() {
    for (const frame of this.frames) this.listen(frame);
    const input = (selector, act, kind = "input") => this.find(selector)?.addEventListener(kind, (event) => act(event.target));
    input("input.slice", ({ value }) => this.go(Number(value)));
    input("input.volume", ({ value }) => { this.volume = Number(value); this.forget(); this.show(); });
    input("select.pin", ({ value }) => { this.pinned = Number(value); this.forget(); this.show(); });
    input("input.split", ({ value }) => { this.split = Number(value); this.redraw(); });
    input("select.metric", ({ value }) => { this.metric = Number(value); this.show(); });
    for (const choice of this.root.querySelectorAll(".mode input")) choice.addEventListener("change", () => this.setMode(choice.value));
    for (const box of this.root.querySelectorAll("input.kind")) {
      const hide = () => {
        for (const layer of this.root.querySelectorAll(`.layer[data-kind="${box.value}"]`)) layer.hidden = !box.checked;
        this.find(`.bar[data-kind="${box.value}"]`).hidden = !box.checked;
        this.layout();
        this.redraw();
      };
      box.addEventListener("change", hide);
      hide();
    }
    const hold = this.find(".hold");
    hold?.addEventListener("pointerdown", () => this.hold(this.pinned));
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) hold?.addEventListener(end, () => this.hold(null));
    for (const button of this.root.querySelectorAll(".title"))
      button.addEventListener("click", () => this.enlarge(button.closest(".card")));
    this.root.querySelectorAll(".card").forEach((card, number) => {
      if (this.cards.length > 1) card.style.setProperty("--swatch", lineColour(number));
      if (dashOf(number)) card.style.setProperty("--swatch-line", "dashed");
      card.addEventListener("pointerenter", () => this.showLines(number));
      card.addEventListener("pointerleave", () => this.showLines());
    });
    const svg = this.find(".lines");
    if (svg) this.lines = new Lines(svg, this.slices.length, (slice) => this.go(slice));
    this.find("select.metric")?.replaceChildren(...this.metrics.map(({ title }, n) => new Option(title, n)));
  }

  // --- what is said ---

  show() {
    const say = (name, text) => {
      const input = this.find("input." + name);
      if (!input) return;
      input.closest(".control").querySelector("output").value = text;
      input.setAttribute("aria-valuetext", text);
    };
    say("slice", this.slices[this.slice]);
    say("volume", this.volume);
    if (this.find("input.slice")) this.find("input.slice").value = this.slice;
    for (const now of this.root.querySelectorAll(".slice-now")) now.textContent = this.slices[this.slice];
    const scores = (number) => this.curves.flatMap(({ before, unit, digits, values }) => {
      const value = values[number][this.place];
      return value === null ? [] : before + value.toFixed(digits) + unit;
    });
    this.methods.forEach((index, number) => {
      const found = scores(number), several = this.slices.length > 1;
      this.say(index, ".score", found.length && several ? `slice: ${found.join(", ")}` : found.join(", "));
    });
    for (const name of this.root.querySelectorAll(".pinned-name")) name.textContent = this.cards[this.pinned].title;
    this.showRegion();
    this.showLines();
    this.redraw();
  }

  say(index, selector, text) {
    for (const { element } of this.frames.filter((frame) => frame.kind === "image" && (frame.index ?? this.pinned) === index))
      element.parentElement.querySelector(selector).textContent = text;
  }

  // What the report knows of each slice, then the difference to the pinned picture; rows of the volume shown.
  get metrics() {
    const first = this.volume * this.slices.length;
    const told = this.curves.map(({ values, ...about }) => ({
      ...about, rows: () => values.map((row) => row.slice(first, first + this.slices.length)),
    }));
    const differences = () => this.methods.map((index) => this.slices.map((_, slice) => {
      const values = this.values(index, "difference", first + slice);
      return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    }));
    return this.cards.length > 1 ? [...told, { title: "RMS difference", unit: " (a.u.)", rows: differences }] : told;
  }

  showLines(marked = null) {
    if (!this.lines) return;
    const metric = this.metrics[this.metric], key = `${this.metric} ${this.pinned} ${this.volume}`;
    if (this.lineKey !== key) [this.lineKey, this.lineRows] = [key, metric.rows()];
    const ends = this.lines.show(this.lineRows, this.slice, marked), texts = ends.map((end) => metric.digits ? end.toFixed(metric.digits) : short(end));
    [".least", ".most"].forEach((name, n) => { this.find(name).textContent = Number.isFinite(ends[n]) ? texts[n] : ""; });
    this.find(".unit").textContent = metric.unit;
    this.find(".metric-now").textContent = `${metric.title} of each slice`;
  }

  showRegion() {
    const { region, pinned } = this, other = this.cards.length > 1 ? pinned : null;
    this.cards.forEach((_, index) => {
      if (!region) return this.say(index, ".local", "");
      const isAlone = index === other || other === null;
      const found = region.measured(this.known(index, "image"), isAlone ? null : this.known(other, "image"), this.size);
      const share = (100 * found.rms / (found.energy || 1)).toFixed(1);
      this.say(index, ".local", isAlone ? `region ${found.size}: mean ${short(found.mean)}, std ${short(found.deviation)}`
        : `region: ${pinned === this.reference ? "RMSE" : "RMS difference"} ${short(found.rms)} (${share} %)`);
    });
  }

  // --- controls ---

  get window() { return this.kept[this.active]; }
  get range() {
    const { low, high } = this.first[this.active];
    return [Math.min(low, 0), low < 0 ? high : 2 * high];
  }

  setWindow(window) {
    const least = (this.first[this.active].high - this.first[this.active].low) / 1000;
    if (window.high - window.low < least) return;
    Object.assign(this.kept[this.active], window);
    this.showWindow();
  }

  showWindow() {
    super.showWindow();
    this.find(".window-of").textContent = Object.keys(this.first).length > 2 ? "of " + this.active.replace("_", " ") : "";
    for (const [kind, { low, high }] of Object.entries(this.kept)) {
      const bar = this.find(`.bar[data-kind="${kind}"]`);
      if (bar) [bar.querySelector(".low").textContent, bar.querySelector(".high").textContent] = [short(low), short(high)];
    }
    this.coloured = new Map();
    this.redraw();
  }

  autoWindow() {
    this.setWindow({ ...this.first[this.active] });
  }

  get swipes() { return this.mode === "swipe"; }

  setMode(mode) {
    if (this.cards.length < 2) return;
    this.mode = mode;
    this.find(`.mode input[value=${mode}]`).checked = true;
    this.find(".swiper").hidden = mode !== "swipe";
    this.find(".bar[data-kind=difference]").hidden = mode !== "difference";
    this.active = mode === "difference" ? "difference" : "image";
    this.showWindow();
  }

  go(slice) {
    this.slice = clamp(slice, 0, this.slices.length - 1);
    this.forget();
    this.show();
  }

  step(by, around = false) {
    const count = this.slices.length;
    this.go(around ? (this.slice + by) % count : this.slice + by);
  }

  scrolls() { return this.slices.length > 1; }

  hold(index) {
    this.held = index;
    this.redraw();
  }

  enlarge(card) {
    const cards = this.find(".cards"), on = card && !card.classList.contains("large");
    for (const other of cards.querySelectorAll(".card")) other.classList.toggle("large", on && other === card);
    cards.classList.toggle("enlarged", Boolean(on));
    this.redraw();
  }

  touch({ kind, index }) {
    const next = kind === "image" && this.mode === "difference" && index !== null ? "difference" : kind;
    if (next === this.active) return;
    this.active = next;
    this.showWindow();
  }

  tap() {}

  hover(frame, point) {
    const found = point && this.view.point(point), [rows, columns] = this.size;
    const inside = found && found.every((x) => x >= 0 && x < 1);
    this.cursor = inside ? [Math.floor(found[0] * columns), Math.floor(found[1] * rows)] : null;
    if (point && this.mode === "swipe") this.setSplit(point[0]);
    this.find(".position").textContent = this.cursor ? `column ${this.cursor[0]}, row ${this.cursor[1]}` : "";
    this.redraw();
  }

  setSplit(x) {
    this.split = clamp(x, 0, 1);
    this.find("input.split").value = this.split;
    this.redraw();
  }

  drag(tool, frame, before, now, start) {
    if (tool === "swipe") return this.setSplit(now[0]);
    if (tool !== "region") return super.drag(tool, frame, before, now);
    const [from, last, to] = [start, before, now].map((point) => this.view.point(point));
    this.moves = before === start ? this.region?.holds(from) ?? false : this.moves;
    this.setRegion(this.moves ? this.region.moved(to[0] - last[0], to[1] - last[1]) : new Region(from, to));
  }

  setRegion(region) {
    this.region = region;
    this.showRegion();
    this.redraw();
  }

  // By a pixel along the screen, however it is turned.
  nudge(dx, dy) {
    const { a, b, c, d } = this.view.turned, [rows, columns] = this.size;
    this.setRegion(this.region.moved((a * dx + b * dy) / columns, (c * dx + d * dy) / rows));
  }

  keys(event) {
    const frame = this.frames.find(({ canvas }) => canvas === event.target);
    if (event.shiftKey && this.region && event.key in ARROWS) return { [event.key]: () => this.nudge(...ARROWS[event.key]) };
    if (event.key === "Escape") return { Escape: () => { this.enlarge(null); this.setRegion(null); } };
    return {
      ...super.keys(),
      i: () => this.setMode("image"), s: () => this.setMode("swipe"), d: () => this.setMode("difference"),
      g: () => this.setRegion(this.region ? null : new Region([0.4, 0.4], [0.6, 0.6])),
      r: () => this.hold(this.pinned),
      ...Object.fromEntries(this.methods.map((index, n) => [n + 1, () => this.hold(index)])),
      ...(frame && {
        ArrowUp: () => this.step(1), ArrowDown: () => this.step(-1), Enter: () => this.enlarge(frame.canvas.closest(".card")),
      }),
    };
  }
}

const scans = [];
// Keys are for the scan that was used last if it is in sight, else for the one in the middle of the window.
function current() {
  const covers = (from, to) => (scan) => {
    const { top, bottom } = scan.root.getBoundingClientRect();
    return bottom > from && top < to;
  };
  const focused = scans.find((scan) => scan.root.contains(document.activeElement));
  if (focused && covers(0, innerHeight)(focused)) return focused;
  return scans.find(covers(innerHeight / 2, innerHeight / 2)) ?? scans[0];
}
listenToKeys(current);
addEventListener("keyup", () => { for (const scan of scans) if (scan.held !== null) scan.hold(null); });
addEventListener("blur", () => { for (const scan of scans) scan.hold(null); });
for (const box of document.querySelectorAll(".print-parameters")) box.addEventListener("change", () => {
  for (const other of document.querySelectorAll(".print-parameters")) other.checked = box.checked;
  document.body.classList.toggle("print-all", box.checked);
});
const opened = [];
addEventListener("beforeprint", () => {
  if (!document.body.classList.contains("print-all")) return;
  for (const part of document.querySelectorAll("details.parameters-of:not([open])")) {
    part.open = true;
    opened.push(part);
  }
});
addEventListener("afterprint", () => { for (const part of opened.splice(0)) part.open = false; });

const abouts = [...document.querySelectorAll("script.about")];
for (const [number, root] of [...document.querySelectorAll(".scan")].entries()) {
  const scripts = [...document.querySelectorAll(`script[data-stack^="${number}-"]`)];
  const scan = new Scan(root, JSON.parse(abouts[number].textContent), scripts);
  await scan.start();
  scans.push(scan);
  document.documentElement.dataset.ready = "true";
}

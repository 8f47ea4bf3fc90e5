// Three planes through volumes, linked. Planes come from Python: which array axis runs right, which down, and which are flipped.
const MAP = words(JSON.parse(document.querySelector("#tables").textContent).map);
const PAPER = [530, 880]; // beside the controls on A4 and on letter, in CSS pixels
const SIDES = [["R", "L"], ["A", "P"], ["S", "I"]]; // of positive and negative RAS coordinates

class Viewer extends Lightbox {
  frame = 0; shown = "all"; isOverlayHidden = false; active = 0;

  constructor(root, volumes, overlay) {
    super(root);
    Object.assign(this, { volumes, overlay });
    this.views = [this.view, new View(), new View()];
    this.windows = volumes.map(({ window: [low, high] }) => ({ low, high }));
    this.place = volumes[0].middle;
    this.frames = [...root.querySelectorAll(".pane")].map((element) => {
      const number = Number(element.dataset.plane), volume = volumes[element.dataset.volume];
      const named = volume.planes.find(({ name }) => name === volumes[0].planes[number].name);
      return { element, canvas: element.querySelector("canvas"), number, volume, plane: named ?? volume.planes[number],
        native: document.createElement("canvas"), over: document.createElement("canvas"), edges: [...element.querySelectorAll(".edge")] };
    });
    this.bind();
    const widths = this.windows.map(({ low, high }) => high - low);
    if (this.together) this.together.checked = Math.max(...widths) < 1.5 * Math.min(...widths);
    if (overlay) // anatomy is seen below the rest
      this.find("#threshold").value = clamp((0.3 * overlay.window[1] - overlay.low) / (overlay.high - overlay.low), 0, 1);
    this.setTogether();
    this.layout();
    this.update();
    this.draw();
  }

  get together() { return this.find("#together"); }
  get planes() { return this.volumes[0].planes; }

  bind() {
    for (const frame of this.frames) this.listen(frame);
    for (const slider of this.root.querySelectorAll("input.slice")) {
      const { normal, name } = this.planes[slider.dataset.plane], last = this.volumes[0].shape[normal] - 1;
      slider.max = last;
      slider.disabled = last === 0;
      slider.closest(".control").querySelector(".plane-name").textContent = name[0].toUpperCase() + name.slice(1);
      slider.addEventListener("input", () => {
        this.activate(Number(slider.dataset.plane));
        this.shift(normal, Number(slider.value) - this.place[normal]);
      });
    }
    const frames = Math.max(...this.volumes.map((volume) => volume.frames));
    this.find("#frame-control").hidden = frames === 1;
    this.find("#frame").max = frames - 1;
    this.find("#frame").addEventListener("input", ({ target }) => { this.frame = Number(target.value); this.update(); });
    for (const id of ["#cross", "#ruler", "#opacity", "#threshold"]) this.find(id)?.addEventListener("input", () => this.update());
    this.together?.addEventListener("change", () => this.setTogether());
    for (const choice of this.root.querySelectorAll(".shown input")) choice.addEventListener("change", () => {
      this.shown = choice.value;
      this.layout();
    });
    const links = this.volumes.slice(1).map((volume) => volume.linkTo(this.volumes[0]));
    if (links.length) this.find("#linked").textContent = "Linked " + [...new Set(links)].join(", ");
    addEventListener("resize", () => this.layout());
    addEventListener("beforeprint", () => { this.layout(PAPER); this.draw(); });
    addEventListener("afterprint", () => this.layout());
    addEventListener("keyup", () => this.hideOverlay(false));
  }

  // --- layout: all panes at one scale, as large as the window allows ---

  extent({ volume, plane }) {
    const size = [plane.right, plane.down].map((axis) => volume.shape[axis] * volume.voxel[axis]);
    return this.view.isSideways ? size.reverse() : size;
  }

  // Columns of panes, from which the one is taken in which pictures are largest.
  *arrangements(frames) {
    const planes = [...new Set(frames.map((frame) => frame.number))], of = (test) => frames.filter(test);
    yield planes.map((number) => of((frame) => frame.number === number));
    yield this.volumes.map((volume) => of((frame) => frame.volume === volume));
    for (const columns of frames.length === 3 ? [[[0], [1, 2]], [[0, 1], [2]], [[0, 2], [1]]] : [])
      yield columns.map((column) => column.map((n) => frames[n]));
  }

  // Pixels per millimetre with which columns of panes fill a room of some width and height.
  scaleOf(columns, [wide, high]) {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize), [pad, caption, gap] = [2.3 * rem, 1.2 * rem, 0.5 * rem];
    const sum = (numbers) => numbers.reduce((a, b) => a + b, 0), room = (length, count, each) => length - count * (each + gap) + gap;
    const widths = columns.map((column) => Math.max(...column.map((frame) => this.extent(frame)[0])));
    const heights = columns.map((column) => sum(column.map((frame) => this.extent(frame)[1])));
    const fits = columns.map((column, n) => room(high, column.length, pad + caption) / heights[n]);
    return Math.min(room(wide, columns.length, pad) / sum(widths), ...fits);
  }

  // Into the window or onto paper; on a phone one pane below the other, two volumes side by side.
  layout(paper = null) {
    const panes = this.find(".panes"), isNarrow = !paper && matchMedia("(max-width: 44rem)").matches;
    const frames = this.frames.filter(({ number }) => this.shown === "all" || Number(this.shown) === number);
    for (const frame of this.frames) frame.element.hidden = !frames.includes(frame);
    const below = (element) => Math.max(innerHeight - element.getBoundingClientRect().top - scrollY - 8, 240);
    this.root.style.setProperty("--room", `${below(this.root)}px`);
    const [byPlane, byVolume, ...others] = this.arrangements(frames), pair = this.shown === "all" && this.volumes.length === 2;
    const choices = isNarrow ? [pair ? byVolume : [frames]] : [byPlane, byVolume, ...others];
    const room = paper ?? [panes.clientWidth, isNarrow ? Infinity : below(panes)];
    const scales = choices.map((columns) => this.scaleOf(columns, room)), scale = Math.max(...scales);
    const columns = choices[scales.indexOf(scale)], rows = Math.max(...columns.map((column) => column.length));
    columns.forEach((column, x) => column.forEach((frame, y) => {
      const [width, height] = this.extent(frame).map((mm) => Math.max(mm * scale, 1) + "px");
      frame.element.style.gridArea = `${y + 1} / ${x + 1} / span ${column.length === 1 ? rows : 1} / span 1`;
      frame.canvas.style.setProperty("--wide", width);
      frame.canvas.style.setProperty("--high", height);
    }));
    for (const { edges, plane } of this.frames)
      this.view.edges(plane.edges).forEach((letter, n) => { edges[n].textContent = letter; });
    this.redraw();
  }

  // --- drawing ---

  draw() {
    for (const frame of this.frames) if (!frame.element.hidden) this.drawFrame(frame);
  }

  drawFrame(frame) {
    const { volume, plane, canvas, native, over } = frame, columns = volume.shape[plane.right], rows = volume.shape[plane.down];
    const place = volume.placeOf(this.volumes[0], this.place), view = this.views[frame.number];
    colour(native, columns, rows, volume.pixels(plane, place, this.frame), this.windows[this.volumes.indexOf(volume)], GRAY);
    const drawn = paint(canvas, native, view, this.smooth), { pen, matrix } = drawn;
    if (this.overlay && !this.isOverlayHidden) {
      const [low, high] = this.overlay.window;
      colour(over, columns, rows, this.overlay.pixels(plane, place, this.frame), { low, high }, MAP, this.threshold);
      pen.globalAlpha = Number(this.find("#opacity").value);
      put(pen, over, matrix);
      pen.globalAlpha = 1;
    }
    if (this.find("#cross").checked) this.drawCross(drawn, this.share(frame, place));
    if (volume.isKnown && this.find("#ruler").checked) this.drawRuler(drawn, this.extent(frame)[0] / view.zoom);
  }

  drawCross({ pen, matrix, ratio }, [u, v]) {
    const { x, y } = matrix.transformPoint({ x: u, y: v }), { width, height } = pen.canvas, gap = 8 * ratio, path = new Path2D();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
    }
    pen.strokeStyle = "#4cc2ff";
    pen.lineWidth = ratio;
    pen.stroke(path);
  }

  // A round number of millimetres, at most a third of the width; none where the picture is too low for it.
  drawRuler({ pen, ratio }, across) {
    const { width, height } = pen.canvas;
    if (height < 30 * ratio) return;
    const power = 10 ** Math.floor(Math.log10(across / 3));
    const mm = [5, 2, 1].map((n) => n * power).find((n) => n <= across / 3), x = 5 * ratio, y = height - 5 * ratio, path = new Path2D();
    path.moveTo(x, y - 4 * ratio);
    path.lineTo(x, y);
    path.lineTo(x + mm / across * width, y);
    path.lineTo(x + mm / across * width, y - 4 * ratio);
    outline(pen, path, ratio, "#fff");
    write(pen, short(mm) + " mm", x + 4 * ratio, y - 4 * ratio, ratio);
  }

  // Where a voxel lies in its picture, as a share of width and height.
  share({ volume, plane }, place) {
    return [[plane.right, plane.flip_right], [plane.down, plane.flip_down]].map(([axis, flipped]) => {
      const share = (place[axis] + 0.5) / volume.shape[axis];
      return flipped ? 1 - share : share;
    });
  }

  // --- what is said ---

  get threshold() { return this.overlay.low + Number(this.find("#threshold").value) * (this.overlay.high - this.overlay.low); }

  update() {
    const [first] = this.volumes, say = (input, text) => {
      input.closest(".control").querySelector("output").value = text;
      input.setAttribute("aria-valuetext", text);
    };
    for (const slider of this.root.querySelectorAll("input.slice")) {
      slider.value = this.place[this.planes[slider.dataset.plane].normal];
      say(slider, `${slider.value} / ${slider.max}`);
    }
    say(this.find("#frame"), `${this.frame} / ${this.find("#frame").max}`);
    for (const { element, canvas, plane, volume } of this.frames) {
      const slice = volume.placeOf(first, this.place)[plane.normal];
      element.querySelector(".where").textContent = `${plane.name} ${slice}`;
      canvas.setAttribute("aria-label", `${volume.name}, ${plane.name} plane, slice ${slice}`);
    }
    const rows = [["voxel", this.place.join(", ")]];
    if (first.toPatient) {
      const parts = first.position(this.place).map((x, axis) => `${SIDES[axis][Number(x < 0)]} ${Math.abs(x).toFixed(1)}`);
      rows.push(["position", parts.join(", ") + " mm"]);
    }
    this.root.querySelectorAll(".bar.image .value").forEach((element, n) => {
      const volume = this.volumes[n];
      element.textContent = short(volume.at(volume.placeOf(first, this.place), this.frame));
    });
    if (this.overlay) {
      rows.push(["overlay", short(this.overlay.at(this.place, this.frame))]);
      say(this.find("#opacity"), Math.round(100 * this.find("#opacity").value) + " %");
      say(this.find("#threshold"), short(this.threshold));
    }
    this.find("#position").replaceChildren(...rows.flatMap(([name, value]) => ["dt", "dd"].map((tag, n) =>
      Object.assign(document.createElement(tag), { textContent: [name, value][n] }))));
    this.redraw();
  }

  // --- controls ---

  get window() { return this.windows[this.active]; }
  get range() {
    const { low, high } = this.volumes[this.active];
    return [low, high];
  }

  setWindow(window) {
    if (!(window.high - window.low > 1e-4 * (this.range[1] - this.range[0]))) return;
    if (this.together?.checked) this.windows = this.volumes.map(() => ({ ...window }));
    else this.windows[this.active] = window;
    this.showWindow();
  }

  showWindow() {
    super.showWindow();
    const name = this.together?.checked ? "all" : this.volumes[this.active].name;
    this.find(".window-of").textContent = this.volumes.length > 1 ? "of " + name : "";
    this.root.querySelectorAll(".bar.image").forEach((bar, n) => {
      bar.querySelector(".low").textContent = short(this.windows[n].low);
      bar.querySelector(".high").textContent = short(this.windows[n].high);
    });
    this.redraw();
  }

  autoWindow() {
    const [low, high] = this.volumes[this.active].window;
    this.setWindow({ low, high });
  }

  // One window for all volumes, or the first one of each.
  setTogether() {
    if (this.together?.checked) return this.autoWindow();
    this.windows = this.volumes.map(({ window: [low, high] }) => ({ low, high }));
    this.showWindow();
  }

  shift(axis, by) {
    this.place = this.volumes[0].inside(this.place.map((p, n) => n === axis ? p + by : p));
    this.update();
  }

  step(by) {
    this.shift(this.planes[this.views.indexOf(this.view)].normal, by);
  }

  scrolls({ plane, volume }) { return volume.shape[plane.normal] > 1; }

  activate(plane) {
    this.view = this.views[plane];
    for (const { element, number } of this.frames) element.classList.toggle("active", number === plane);
  }

  touch(frame) {
    this.activate(frame.number);
    const active = this.volumes.indexOf(frame.volume);
    if (active === this.active) return;
    this.active = active;
    this.showWindow();
  }

  tap(frame, point) {
    const { volume, plane } = frame, found = this.views[frame.number].point(point);
    const place = [...volume.placeOf(this.volumes[0], this.place)];
    [[plane.right, plane.flip_right], [plane.down, plane.flip_down]].forEach(([axis, flipped], n) => {
      const index = clamp(Math.floor(found[n] * volume.shape[axis]), 0, volume.shape[axis] - 1);
      place[axis] = flipped ? volume.shape[axis] - 1 - index : index;
    });
    this.place = this.volumes[0].placeOf(volume, place);
    this.update();
  }

  hover() {}

  drag(tool, frame, before, now) {
    if (tool === "place") this.tap(frame, now);
    else super.drag(tool, frame, before, now);
  }

  // All planes alike: the one in use about a point, the others about the crosshair.
  zoom(factor, point) {
    const next = clamp(this.view.zoom * factor, 1, 16) / this.view.zoom;
    for (const frame of this.frames.filter(({ volume }) => volume === this.volumes[0])) {
      const view = this.views[frame.number], [x, y] = this.share(frame, this.place), cross = view.matrix.transformPoint({ x, y });
      view.magnify(next, view === this.view && point ? point : [cross.x, cross.y]);
    }
    this.showView();
  }

  turn(by) {
    for (const view of this.views) if (view !== this.view) view.turn(by);
    super.turn(by);
  }

  hideOverlay(isHidden) {
    if (this.isOverlayHidden === isHidden) return;
    this.isOverlayHidden = isHidden;
    this.redraw();
  }

  keys(event) {
    const frame = this.frames.find(({ canvas }) => canvas === event.target), cross = this.find("#cross");
    const along = (dx, dy) => () => { // along the screen, however it is turned
      const { a, b, c, d } = this.view.turned, plane = this.planes[frame.number];
      const [u, v] = [a * dx + b * dy, c * dx + d * dy];
      if (u) this.shift(plane.right, plane.flip_right ? -u : u);
      else this.shift(plane.down, plane.flip_down ? -v : v);
    };
    return {
      ...super.keys(), PageUp: () => this.step(1), PageDown: () => this.step(-1), o: () => this.hideOverlay(true),
      c: () => { cross.checked = !cross.checked; this.redraw(); },
      ...(frame && { ArrowRight: along(1, 0), ArrowLeft: along(-1, 0), ArrowDown: along(0, 1), ArrowUp: along(0, -1) }),
    };
  }
}

try {
  const abouts = [...document.querySelectorAll("script.about")], datas = [...document.querySelectorAll("script.data")];
  const volumes = await Promise.all(abouts.map((about, n) => Volume.of(about, datas[n])));
  const over = document.querySelector("#overlay-about");
  const overlay = over && await Volume.of(over, document.querySelector("#overlay-data"));
  const said = [...new Set(volumes.flatMap(({ warnings }) => warnings))].map((line) => {
    const names = volumes.filter(({ warnings }) => warnings.includes(line)).map(({ name }) => name);
    return names.length === volumes.length ? line : `${names.join(", ")}: ${line}`;
  });
  Object.assign(document.querySelector("#warnings"), { hidden: said.length === 0, textContent: said.join(". ") });
  document.querySelector("#state").remove();
  const viewer = new Viewer(document.querySelector("#viewer"), volumes, overlay);
  listenToKeys(() => viewer);
} catch (error) {
  document.querySelector("#state")?.append(" This browser cannot show the page: " + error.message);
  throw error;
}

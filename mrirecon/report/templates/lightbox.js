// Pictures that share a view and controls: window and level, slice, zoom and place, turn, keys. Pages add the rest.
class Lightbox {
  view = new View();
  tool = "window";
  player = null;

  constructor(root) {
    this.root = root;
    this.width = root.querySelector("input.width");
    this.level = root.querySelector("input.level");
    const act = {
      in: () => this.zoom(1.5), out: () => this.zoom(1 / 1.5), fit: () => this.zoom(1 / 16), auto: () => this.autoWindow(),
      turn: () => this.turn(View.TURN), mirror: () => this.turn(View.MIRROR), play: () => this.play(),
    };
    for (const button of root.querySelectorAll("[data-act]"))
      button.addEventListener("click", act[button.dataset.act]);
    for (const input of root.querySelectorAll(".tool input")) input.addEventListener("change", () => {
      this.tool = input.value;
      root.classList.add("armed"); // from here on a finger does this and no longer scrolls
    });
    for (const input of [this.width, this.level]) input.addEventListener("input", () => {
      const [low, high] = this.range, span = high - low;
      const width = this.width.value ** 2 * span, level = low + this.level.value * span; // fine where narrow
      this.setWindow({ low: level - width / 2, high: level + width / 2 });
    });
    this.find("input.smooth").addEventListener("change", () => this.redraw());
  }

  find(selector) { return this.root.querySelector(selector); }
  get smooth() { return this.find("input.smooth").checked; }

  // Draw once before the next frame of the screen, however much changed.
  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  zoom(factor, point) {
    this.view.magnify(factor, point);
    this.showView();
  }

  move(dx, dy) {
    this.view.move(dx, dy);
    this.showView();
  }

  turn(by) {
    this.view.turn(by);
    this.layout();
    this.showView();
  }

  showView() {
    this.root.classList.toggle("zoomed", this.view.zoom > 1);
    this.find("output.zoom").value = Math.round(100 * this.view.zoom) + " %";
    this.find(".turned").hidden = !this.view.isChanged;
    this.redraw();
  }

  // Width by a factor, level by a share of the width.
  shiftWindow(factor, share) {
    const { low, high } = this.window, width = (high - low) * factor, level = (low + high) / 2 + share * (high - low);
    this.setWindow({ low: level - width / 2, high: level + width / 2 });
  }

  showWindow() {
    const [low, high] = this.range, span = high - low || 1, { low: black, high: white } = this.window;
    this.width.value = Math.sqrt((white - black) / span);
    this.level.value = ((black + white) / 2 - low) / span;
    for (const [input, value] of [[this.width, white - black], [this.level, (black + white) / 2]]) {
      input.closest(".control").querySelector("output").value = short(value);
      input.setAttribute("aria-valuetext", short(value));
    }
  }

  play() {
    const button = this.find("[data-act=play]");
    if (!button) return;
    clearInterval(this.player);
    this.player = this.player ? null : setInterval(() => this.step(1, true), 150);
    button.setAttribute("aria-pressed", this.player !== null);
  }

  // What a drag does: the chosen tool; with Shift or the middle button it moves, as a finger does in what is magnified, unless
  // a tool was chosen for it.
  toolOf(event) {
    if (event.shiftKey || event.button === 1) return "move";
    if (event.pointerType !== "touch" || this.root.classList.contains("armed")) return this.tool;
    return this.view.zoom > 1 ? "move" : this.swipes ? "swipe" : "window";
  }

  drag(tool, frame, before, now) {
    const dx = now[0] - before[0], dy = now[1] - before[1];
    if (tool === "move") this.move(dx, dy);
    else this.shiftWindow(Math.exp(2 * dx), -dy);
  }

  listen(frame) {
    const canvas = frame.canvas, fingers = new Map();
    let tool = null, start = null, far = false, wheeled = 0;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button === 1) event.preventDefault();
      [tool, start, far] = [this.toolOf(event), at(event), fingers.size > 0];
      fingers.set(event.pointerId, start);
      canvas.setPointerCapture(event.pointerId);
      this.touch(frame);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId), now = at(event);
      if (!before) return this.hover(frame, now);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) { // pinch
        const span = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
        this.view.move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
        this.zoom(span(now) / Math.max(span(before), 0.01), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      } else if (far || Math.hypot((now[0] - start[0]) * canvas.clientWidth, (now[1] - start[1]) * canvas.clientHeight) > 3) {
        far = true;
        this.drag(tool, frame, before, now, start);
      } else return;
      fingers.set(event.pointerId, now);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (fingers.has(event.pointerId) && !far) this.tap(frame, at(event));
    });
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.hover(frame, null));
    canvas.addEventListener("focus", () => this.touch(frame));
    canvas.addEventListener("dblclick", (event) => this.zoom(this.view.zoom > 1 ? 1 / 16 : 3, at(event)));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !this.scrolls(frame)) return; // the page scrolls
      event.preventDefault();
      this.touch(frame);
      if (event.ctrlKey) return this.zoom(Math.exp(-event.deltaY / 200), at(event));
      wheeled += event.deltaMode ? 60 * event.deltaY : event.deltaY;
      if (Math.abs(wheeled) < 30) return;
      this.step(Math.sign(wheeled));
      wheeled = 0;
    }, { passive: false });
  }

  // Keys anywhere on the page; on sliders and in lists arrow keys keep their meaning.
  keys() {
    return {
      "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5), 0: () => this.zoom(1 / 16),
      "[": () => this.shiftWindow(1 / 1.2, 0), "]": () => this.shiftWindow(1.2, 0),
      ",": () => this.shiftWindow(1, -0.1), ".": () => this.shiftWindow(1, 0.1), a: () => this.autoWindow(),
      t: () => this.turn(View.TURN), m: () => this.turn(View.MIRROR), p: () => this.play(),
      ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1),
    };
  }
}

// Give keys to the lightbox that `which` names for them.
function listenToKeys(which) {
  const typed = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return null;
    const on = (selector) => event.target instanceof Element && event.target.matches(selector);
    return on("select, textarea") || (on("input, .wide") && event.key.startsWith("Arrow")) ? null : which(event);
  };
  addEventListener("keydown", (event) => {
    if (event.key === "?") document.querySelector("#keys").showModal();
    const act = typed(event)?.keys(event)[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

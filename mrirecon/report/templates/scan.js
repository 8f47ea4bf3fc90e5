// The pictures of one scan in the report: their values, and how they are drawn and laid out.
const TABLES = JSON.parse(document.querySelector("#tables").textContent);
const [MAP, SIGNED] = [words(TABLES.map), words(TABLES.signed)];

class ScanPictures extends Lightbox {
  volume = 0; mode = "image"; split = 0.5; held = null; region = null; cursor = null; active = "image"; metric = 0;

  constructor(root, about, scripts) {
    super(root);
    const { slices, size, aspect, edges, cards, curves, start } = about;
    Object.assign(this, { slices, size, aspect, edges, cards, curves, scripts, slice: start });
    this.reference = this.cards.findIndex((card) => card.isReference);
    this.pinned = 0;
    this.first = {};
    for (const [kind, { high, gray }] of Object.entries(about.windows)) this.first[kind] = { low: 0, high, table: gray ? GRAY : MAP };
    const most = this.first.error?.high ?? about.windows.image.high / 4;
    this.first.difference = { low: -most, high: most, table: SIGNED };
    this.kept = structuredClone(this.first);
    this.frames = [...root.querySelectorAll(".frame[data-kind]")].map((element) => ({
      element, canvas: element.querySelector("canvas"), kind: element.dataset.kind, edges: [...element.querySelectorAll(".edge")],
      index: element.dataset.card === "pinned" ? null : Number(element.dataset.card),
    }));
  }

  async unpack() {
    this.stacks = new Map();
    for (const script of this.scripts) this.stacks.set(script.dataset.stack.replace(/^\d+-/, ""), await unpack(script));
    this.forget();
  }

  // --- values ---

  get place() { return this.volume * this.slices.length + this.slice; }
  get methods() { return this.cards.map((_, n) => n).filter((n) => n !== this.reference); }

  // Of a card and kind at a place, each picture between its own ends; an error is that to the reference.
  values(index, kind, place = this.place) {
    if (kind === "error" || kind === "difference") {
      const a = this.values(index, "image", place), b = this.values(kind === "error" ? this.reference : this.pinned, "image", place);
      return a.map(kind === "error" ? (value, n) => Math.abs(value - b[n]) : (value, n) => value - b[n]);
    }
    const { lows, highs, steps } = this.cards[index].stacks[kind], size = this.size[0] * this.size[1];
    const low = lows[place], scale = (highs[place] - low) / steps;
    const rounded = this.stacks.get(`${index}-${kind}`), values = new Float32Array(size);
    for (let n = 0; n < size; n++) {
      const step = rounded[place * size + n];
      values[n] = step === 65535 ? NaN : low + scale * step;
    }
    return values;
  }

  known(index, kind) {
    const key = `${index}-${kind}`;
    if (!this.now.has(key)) this.now.set(key, this.values(index, kind));
    return this.now.get(key);
  }

  // As a canvas of its own size, coloured once for each window.
  picture(index, kind) {
    const key = `${index}-${kind}`, values = this.known(index, kind), { table, ...window } = this.kept[kind];
    if (!this.coloured.has(key)) {
      const canvas = document.createElement("canvas");
      colour(canvas, this.size[1], this.size[0], (n) => values[n], window, table);
      this.coloured.set(key, canvas);
    }
    return this.coloured.get(key);
  }

  forget() {
    this.now = new Map();
    this.coloured = new Map();
  }

  // --- drawing ---

  draw() {
    for (const frame of this.frames) if (frame.canvas.offsetParent) this.drawFrame(frame);
  }

  drawFrame({ canvas, kind, index }) {
    const own = index ?? this.pinned, isImage = kind === "image" && index !== null;
    const shown = isImage && this.held !== null ? this.held : own;
    const picture = this.picture(shown, isImage && this.mode === "difference" && shown === own ? "difference" : kind);
    const drawn = paint(canvas, picture, this.view, this.smooth), { pen, matrix, ratio } = drawn;
    if (isImage && this.mode === "swipe" && shown === own) {
      const x = this.split * canvas.width, line = new Path2D();
      pen.save();
      pen.beginPath();
      pen.rect(0, 0, x, canvas.height);
      pen.clip();
      pen.fillRect(0, 0, canvas.width, canvas.height);
      put(pen, this.picture(this.pinned, "image"), matrix);
      pen.restore();
      line.moveTo(x, 0);
      line.lineTo(x, canvas.height);
      outline(pen, line, ratio, "#fff");
    }
    if (this.region) this.region.draw(drawn, picture);
    if (this.cursor) this.drawCursor(drawn, this.known(own, kind));
    if (shown !== own) write(pen, this.cards[shown].title, 6 * ratio, 16 * ratio, ratio);
  }

  drawCursor({ pen, matrix, ratio }, values) {
    const [rows, columns] = this.size, [column, row] = this.cursor;
    const { x, y } = matrix.transformPoint({ x: (column + 0.5) / columns, y: (row + 0.5) / rows }), cross = new Path2D();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      cross.moveTo(x + 4 * dx * ratio, y + 4 * dy * ratio);
      cross.lineTo(x + 9 * dx * ratio, y + 9 * dy * ratio);
    }
    outline(pen, cross, ratio, "#4cc2ff");
    const value = values[row * columns + column];
    write(pen, Number.isNaN(value) ? "no number" : short(value), 5 * ratio, pen.canvas.height - 6 * ratio, ratio);
  }

  // As few columns as let all pictures be on one screen; where none do, as Python says.
  fitColumns() {
    const cards = this.find(".cards"), layers = [...cards.querySelector(".card").querySelectorAll(".layer:not(.empty, [hidden])")];
    const across = cards.classList.contains("across"), count = across ? layers.length : this.methods.length, gap = 12;
    const high = innerHeight - cards.getBoundingClientRect().top - scrollY - 8, wide = cards.clientWidth;
    const aspect = this.view.isSideways ? 1 / this.aspect : this.aspect;
    const captions = layers.reduce((sum, layer) => sum + layer.querySelector("figcaption").offsetHeight + gap, 0);
    const extra = captions / (across ? layers.length : 1);
    const fits = (columns) => {
      const picture = (wide - (columns - 1) * gap) / columns / aspect, rows = Math.ceil(count / columns);
      return rows * ((across ? 1 : layers.length) * picture + extra) <= high;
    };
    const columns = Array.from({ length: count }, (_, n) => n + 1).find((n) => fits(n) && (n > 1 || count === 1));
    if (columns && columns <= 6) cards.style.setProperty("--columns", columns);
    else cards.style.removeProperty("--columns");
  }

  layout() {
    if (this.view.isSideways) this.root.style.setProperty("--shown-aspect", 1 / this.aspect);
    else this.root.style.removeProperty("--shown-aspect");
    this.fitColumns();
    const letters = this.view.edges(this.edges);
    for (const { kind, edges } of this.frames) if (kind === "image") edges.forEach((edge, n) => { edge.textContent = letters[n]; });
  }
}

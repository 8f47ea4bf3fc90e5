// Values of pictures: unpacked from the page, coloured through a window, turned, magnified and drawn.

// Whole numbers: low bytes before high bytes, gzip, base64.
async function unpack(script) {
  const text = atob(script.textContent), packed = new Uint8Array(text.length);
  for (let n = 0; n < packed.length; n++) packed[n] = text.charCodeAt(n); // ten times as fast as Uint8Array.from
  script.textContent = ""; // the text is larger than the values
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const steps = new Uint16Array(bytes.length / 2);
  for (let n = 0; n < steps.length; n++) steps[n] = bytes[n] | bytes[n + steps.length] << 8;
  return steps;
}

// 256 colours as the words that ImageData holds.
const words = (colours) => Uint32Array.from(colours, ([r, g, b]) => 255 << 24 | b << 16 | g << 8 | r);
const GRAY = words(Array.from({ length: 256 }, (_, n) => [n, n, n]));

// Colour the values of a canvas of their own size; what is no number is brightest. With `least`, what is below it is transparent,
// and what is above the more opaque the larger it is.
function colour(canvas, columns, rows, value, { low, high }, table, least = null) {
  canvas.width = columns;
  canvas.height = rows;
  const pen = canvas.getContext("2d"), picture = pen.createImageData(columns, rows);
  const out = new Uint32Array(picture.data.buffer), gain = 256 / Math.max(high - low, 1e-30), fade = 255 / Math.max(high - least, 1e-30);
  for (let n = 0; n < out.length; n++) {
    const number = value(n), level = (number - low) * gain, word = table[level < 0 ? 0 : level < 255 ? level | 0 : 255];
    out[n] = least === null ? word : number < least ? 0 : word & 0xffffff | clamp((number - least) * fade, 0, 255) << 24;
  }
  pen.putImageData(picture, 0, 0);
}

// How pictures lie in their frames, all alike: magnified about a place, turned and mirrored. Frames and pictures are unit squares.
class View {
  static TURN = new DOMMatrix([0, 1, -1, 0, 1, 0]);
  static MIRROR = new DOMMatrix([-1, 0, 0, 1, 1, 0]);
  zoom = 1; x = 0; y = 0; turned = new DOMMatrix();

  // From a picture to its frame.
  get matrix() { return new DOMMatrix([this.zoom, 0, 0, this.zoom, this.x, this.y]).multiply(this.turned); }
  get isSideways() { return this.turned.a === 0; }
  get isChanged() { return !this.turned.isIdentity; }

  turn(by) { this.turned = by.multiply(this.turned); }

  move(dx, dy) {
    const low = 1 - this.zoom;
    this.x = clamp(this.x + dx, low, 0);
    this.y = clamp(this.y + dy, low, 0);
  }

  // Magnify about a point of the frame, which stays where it is.
  magnify(factor, [px, py] = [0.5, 0.5]) {
    const next = clamp(this.zoom * factor, 1, 16), ratio = next / this.zoom;
    const dx = (px - this.x) * (1 - ratio), dy = (py - this.y) * (1 - ratio);
    this.zoom = next;
    this.move(dx, dy);
  }

  // The point of the picture below a point of the frame.
  point([s, t]) {
    const { x, y } = this.matrix.inverse().transformPoint({ x: s, y: t });
    return [x, y];
  }

  // What stands at the left, right, top and bottom edge of the frame, of what stands at those of the picture.
  edges(letters) {
    const at = { "-1,0": letters[0], "1,0": letters[1], "0,-1": letters[2], "0,1": letters[3] };
    const { a, b, c, d } = this.turned; // orthogonal: its transpose is its inverse
    return [[-1, 0], [1, 0], [0, -1], [0, 1]].map(([x, y]) => at[[a * x + b * y + 0, c * x + d * y + 0]]);
  }
}

// Fit a canvas to its place on the screen and draw a picture as the view says; gives the pen, and the matrix from unit square to pixels.
function paint(canvas, picture, view, smooth) {
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d"), matrix = new DOMMatrix().scale(width, height).multiply(view.matrix);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingEnabled = smooth;
  pen.imageSmoothingQuality = "high";
  put(pen, picture, matrix);
  return { pen, matrix, ratio };
}

function put(pen, picture, matrix) {
  pen.setTransform(matrix.scale(1 / picture.width, 1 / picture.height));
  pen.drawImage(picture, 0, 0);
  pen.setTransform(1, 0, 0, 1, 0, 0);
}

// A line of text with a dark edge.
function write(pen, text, x, y, ratio, align = "left") {
  pen.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  pen.textAlign = align;
  pen.lineWidth = 3 * ratio;
  pen.strokeStyle = "#000c";
  pen.fillStyle = "#fff";
  pen.lineJoin = "round";
  pen.strokeText(text, x, y);
  pen.fillText(text, x, y);
}

// A line twice, dark below light, that is seen over black and white.
function outline(pen, path, ratio, colour) {
  for (const [style, width] of [["#000a", 3], [colour, 1.25]]) {
    pen.strokeStyle = style;
    pen.lineWidth = width * ratio;
    pen.stroke(path);
  }
}

// A region of all pictures: drawn, magnified in a corner of each, and measured.
class Region {
  constructor([x0, y0], [x1, y1]) { // in unit squares of the picture
    [this.left, this.right] = [Math.min(x0, x1), Math.max(x0, x1)].map((x) => clamp(x, 0, 1));
    [this.top, this.bottom] = [Math.min(y0, y1), Math.max(y0, y1)].map((y) => clamp(y, 0, 1));
  }

  moved(dx, dy) {
    dx = clamp(dx, -this.left, 1 - this.right);
    dy = clamp(dy, -this.top, 1 - this.bottom);
    return new Region([this.left + dx, this.top + dy], [this.right + dx, this.bottom + dy]);
  }

  holds([x, y]) { return x >= this.left && x <= this.right && y >= this.top && y <= this.bottom; }

  // Whole pixels: those that it touches, at least one.
  pixels(columns, rows) {
    const ends = (low, high, count) => {
      const first = Math.min(Math.floor(low * count + 1e-6), count - 1);
      return [first, clamp(Math.ceil(high * count - 1e-6), first + 1, count)];
    };
    return [...ends(this.left, this.right, columns), ...ends(this.top, this.bottom, rows)];
  }

  // Root mean square of the difference of two pictures, and of the second alone; or mean and deviation of one.
  measured(values, others, [rows, columns]) {
    const [left, right, top, bottom] = this.pixels(columns, rows), count = (right - left) * (bottom - top);
    let squares = 0, energy = 0, sum = 0;
    for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) {
      const n = row * columns + column, value = values[n];
      sum += value;
      energy += (others ?? values)[n] ** 2;
      if (others) squares += (value - others[n]) ** 2;
    }
    const mean = sum / count;
    return { size: `${right - left} x ${bottom - top}`, rms: Math.sqrt(squares / count), energy: Math.sqrt(energy / count),
      mean, deviation: Math.sqrt(Math.max(energy / count - mean ** 2, 0)) };
  }

  // Its outline, and what is inside magnified in the corner farthest from it.
  draw({ pen, matrix, ratio }, picture) {
    const corners = [[this.left, this.top], [this.right, this.bottom]].map(([x, y]) => matrix.transformPoint({ x, y }));
    const [left, right] = corners.map((p) => p.x).sort((a, b) => a - b), [top, bottom] = corners.map((p) => p.y).sort((a, b) => a - b);
    const { width, height } = pen.canvas, path = new Path2D();
    path.rect(left, top, right - left, bottom - top);
    outline(pen, path, ratio, "#ffd21f");
    const most = 0.45 * Math.min(width, height), scale = most / Math.max(right - left, bottom - top, 1);
    const [w, h] = [(right - left) * scale, (bottom - top) * scale], edge = 2 * ratio;
    const x = (left + right) / 2 < width / 2 ? width - w - edge : edge, y = (top + bottom) / 2 < height / 2 ? height - h - edge : edge;
    const inset = new Path2D();
    inset.rect(x, y, w, h);
    pen.save();
    pen.clip(inset);
    pen.fillRect(x, y, w, h);
    put(pen, picture, new DOMMatrix([scale, 0, 0, scale, x - left * scale, y - top * scale]).multiply(matrix));
    pen.restore();
    outline(pen, inset, ratio, "#ffd21f");
  }
}

// Metrics of every slice as lines; a click chooses the slice.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080", "#8f8a00"]; // Okabe and Ito
const DASHES = ["", "6 3", "2 2"];

class Lines {
  constructor(svg, count, choose) {
    Object.assign(this, { svg, count });
    const { width, height } = svg.viewBox.baseVal;
    this.size = [width, height];
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      choose(clamp(Math.floor((event.clientX - box.left) / box.width * count), 0, count - 1));
    });
  }

  x(slice) { return (slice + 0.5) / this.count * this.size[0]; }

  // Rows of numbers, null where there is none: then each that is known is a dot. `marked` stands out. The least and the most.
  show(rows, slice, marked = null) {
    const known = rows.flat().filter((value) => value !== null), low = Math.min(...known), high = Math.max(...known), span = high - low || 1;
    const y = (value) => this.size[1] * (0.93 - 0.86 * (value - low) / span);
    const part = (name, path, style = {}) => {
      const element = document.createElementNS(this.svg.namespaceURI, "path");
      element.setAttribute("d", path);
      element.setAttribute("class", name);
      for (const [key, value] of Object.entries(style)) element.setAttribute(key, value);
      return element;
    };
    const lines = rows.flatMap((row, number) => {
      const points = row.flatMap((value, n) => value === null ? [] : [`${this.x(n).toFixed(1)} ${y(value).toFixed(1)}`]);
      if (!points.length) return [];
      const name = marked === null || marked === number ? "" : " other", stroke = lineColour(number);
      const line = part("line" + name, "M" + points.join("L"), { stroke, "stroke-dasharray": dashOf(number) });
      return points.length === row.length ? [line] : [line, part("dots" + name, points.map((point) => `M${point}h0`).join(""), { stroke })];
    });
    this.svg.replaceChildren(part("now", `M${this.x(slice)} 0V${this.size[1]}`), ...lines);
    return [low, high];
  }
}

const lineColour = (number) => COLOURS[number % COLOURS.length];
const dashOf = (number) => DASHES[Math.floor(number / COLOURS.length) % DASHES.length];

// Three planes through a volume. Planes come from Python: which array axis runs right, which down, and which are flipped.
(async () => {
  const $ = (selector) => document.querySelector(selector);
  const json = (element) => JSON.parse(element.textContent);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const short = (value) => Number(value.toPrecision(4)).toString();
  const say = (input, text) => { input.closest(".control").querySelector("output").value = text; };
  const SIDES = [["R", "L"], ["A", "P"], ["S", "I"]]; // of positive and negative RAS coordinates

  async function unpack(script) {
    const packed = Uint8Array.from(atob(script.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint16Array(await new Response(stream).arrayBuffer());
  }

  async function load(about, script) {
    const volume = json(about);
    const [nx, ny, nz] = volume.shape;
    volume.strides = [1, nx, nx * ny];
    volume.frameSize = nx * ny * nz;
    volume.steps = await unpack(script);
    script.textContent = ""; // the text is three times as large as the values
    volume.scale = (volume.high - volume.low) / 65535;
    volume.at = (place, frame) => {
      const offset = (volume.shape[3] > 1 ? frame : 0) * volume.frameSize;
      return volume.low + volume.scale * volume.steps[offset + place.reduce((sum, p, axis) => sum + p * volume.strides[axis], 0)];
    };
    return volume;
  }

  const abouts = [...document.querySelectorAll("script.about")], datas = [...document.querySelectorAll("script.data")];
  const volumes = await Promise.all(abouts.map((about, n) => load(about, datas[n])));
  const overlay = $("#overlay-about") && await load($("#overlay-about"), $("#overlay-data"));
  const table = json($("#map-table"));
  const figures = [...document.querySelectorAll(".plane")].map((element) => ({
    element, canvas: element.querySelector("canvas"), slider: element.querySelector("input"), native: document.createElement("canvas"),
  }));
  let volume, place, frame = 0, level, width;

  // Native pixels of a slice, rows and columns as on the screen.
  function slicePixels(source, plane, each) {
    const columns = source.shape[plane.right], rows = source.shape[plane.down];
    let start = place[plane.normal] * source.strides[plane.normal] + (source.shape[3] > 1 ? frame : 0) * source.frameSize;
    let right = source.strides[plane.right], down = source.strides[plane.down];
    if (plane.flip_right) { start += (columns - 1) * right; right = -right; }
    if (plane.flip_down) { start += (rows - 1) * down; down = -down; }
    for (let row = 0, pixel = 0; row < rows; row++)
      for (let column = 0, at = start + row * down; column < columns; column++, at += right, pixel++) each(pixel, source.steps[at]);
  }

  function draw(figure) {
    const plane = figure.plane, canvas = figure.canvas, box = canvas.getBoundingClientRect();
    const columns = volume.shape[plane.right], rows = volume.shape[plane.down];
    figure.native.width = columns;
    figure.native.height = rows;
    const pen = figure.native.getContext("2d"), picture = pen.createImageData(columns, rows), out = picture.data;
    const black = (level - width / 2 - volume.low) / volume.scale, gain = 255 * volume.scale / Math.max(width, 1e-30);
    slicePixels(volume, plane, (pixel, step) => {
      out[4 * pixel] = out[4 * pixel + 1] = out[4 * pixel + 2] = (step - black) * gain; // clamped by the array
      out[4 * pixel + 3] = 255;
    });
    if (overlay) {
      const [low, high] = overlay.window, opacity = Number($("#opacity").value), least = thresholdValue();
      slicePixels(overlay, plane, (pixel, step) => {
        const value = overlay.low + overlay.scale * step;
        if (value < least) return;
        const colour = table[clamp(Math.round(255 * (value - low) / (high - low)), 0, 255)];
        for (let n = 0; n < 3; n++) out[4 * pixel + n] += opacity * (colour[n] - out[4 * pixel + n]);
      });
    }
    pen.putImageData(picture, 0, 0);
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    const brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = $("#smooth").checked;
    brush.imageSmoothingQuality = "high";
    brush.drawImage(figure.native, 0, 0, canvas.width, canvas.height);
    if ($("#cross").checked) {
      const x = (screenIndex(plane.right, plane.flip_right) + 0.5) / columns * canvas.width;
      const y = (screenIndex(plane.down, plane.flip_down) + 0.5) / rows * canvas.height;
      const gap = 8 * ratio;
      brush.strokeStyle = "#4cc2ff";
      brush.lineWidth = ratio;
      brush.beginPath();
      for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.height]]) {
        brush.moveTo(x0, y0);
        brush.lineTo(x1, y1);
      }
      brush.stroke();
    }
  }

  const screenIndex = (axis, flipped) => flipped ? volume.shape[axis] - 1 - place[axis] : place[axis];
  const thresholdValue = () => overlay.low + Number($("#threshold").value) * (overlay.high - overlay.low);

  function describe(list, rows) {
    list.replaceChildren(...rows.flatMap(([name, value]) => {
      const term = document.createElement("dt"), text = document.createElement("dd");
      term.textContent = name;
      text.textContent = value;
      return [term, text];
    }));
  }

  function update() {
    for (const figure of figures) {
      draw(figure);
      const axis = figure.plane.normal;
      figure.slider.value = place[axis];
      say(figure.slider, `${place[axis]} of 0 to ${volume.shape[axis] - 1}`);
      figure.canvas.setAttribute("aria-label", `${figure.plane.name} plane, slice ${place[axis]}`);
    }
    const rows = [["voxel", place.join(", ")]];
    if (volume.affine) {
      const ras = volume.affine.slice(0, 3).map((row) => row[3] + place.reduce((sum, p, axis) => sum + row[axis] * p, 0));
      rows.push(["position", ras.map((x, axis) => `${SIDES[axis][Number(x < 0)]} ${Math.abs(x).toFixed(1)}`).join(", ") + " mm"]);
    }
    rows.push(["value", short(volume.at(place, frame)) + " (a.u.)"]);
    if (overlay) rows.push(["overlay", short(overlay.at(place, frame))]);
    describe($("#position"), rows);
    const span = volume.high - volume.low;
    $("#width").value = width / span;
    $("#level").value = (level - volume.low) / span;
    say($("#width"), short(width));
    say($("#level"), short(level));
    if (overlay) {
      say($("#opacity"), Math.round(100 * $("#opacity").value) + " %");
      say($("#threshold"), short(thresholdValue()));
    }
    say($("#frame"), `${frame} of 0 to ${volume.shape[3] - 1}`);
  }

  function autoWindow() {
    width = volume.window[1] - volume.window[0];
    level = (volume.window[0] + volume.window[1]) / 2;
  }

  // What is next to nothing hides nothing.
  if (overlay) $("#threshold").value = Math.max(0, (0.1 * overlay.window[1] - overlay.low) / (overlay.high - overlay.low));

  function show(number) {
    const before = volume;
    volume = volumes[number];
    const same = before && volume.shape.every((n, axis) => n === before.shape[axis]);
    if (!same) {
      place = volume.shape.slice(0, 3).map((n) => Math.floor(n / 2));
      frame = 0;
    }
    autoWindow();
    const extent = (axis) => volume.shape[axis] * volume.voxel[axis];
    // Two planes of a slab are thin: they share the second column with the panel.
    const heights = volume.planes.map((plane) => extent(plane.down));
    const widths = volume.planes.map((plane) => extent(plane.right)), second = Math.max(widths[1], widths[2]);
    const planes = $(".planes"), slab = Math.max(heights[1], heights[2]) < heights[0] / 2;
    planes.classList.toggle("slab", slab);
    (slab ? planes : planes.parentElement).append($(".panel"));
    planes.style.gridTemplateColumns = `minmax(0, ${widths[0]}fr) minmax(0, ${second}fr)`;
    figures.forEach((figure, n) => {
      const plane = figure.plane = volume.planes[n];
      figure.element.style.setProperty("--mm", widths[n]);
      figure.element.style.setProperty("--column-share", n === 0 ? 1 : widths[n] / second);
      figure.element.style.setProperty("--share", widths[n] / Math.max(...widths));
      figure.element.style.setProperty("--aspect", widths[n] / heights[n]);
      figure.element.querySelector(".plane-name").textContent = plane.name[0].toUpperCase() + plane.name.slice(1);
      figure.slider.max = volume.shape[plane.normal] - 1;
      figure.slider.disabled = volume.shape[plane.normal] === 1;
      [".left", ".right", ".top-edge", ".bottom"].forEach((edge, side) => {
        figure.element.querySelector(".edge" + edge).textContent = plane.edges[side];
      });
    });
    $("#frame-control").hidden = volume.shape[3] === 1;
    $("#frame").max = volume.shape[3] - 1;
    $("#frame").value = frame;
    $("#warnings").hidden = volume.warnings.length === 0;
    $("#warnings").textContent = volume.warnings.join(". ");
    describe($("#facts"), volume.facts);
    update();
  }

  function move(axis, by) {
    place[axis] = clamp(place[axis] + by, 0, volume.shape[axis] - 1);
    update();
  }

  for (const figure of figures) {
    const point = (event) => {
      const box = figure.canvas.getBoundingClientRect(), plane = figure.plane;
      for (const [axis, flipped, share] of [
        [plane.right, plane.flip_right, (event.clientX - box.left) / box.width],
        [plane.down, plane.flip_down, (event.clientY - box.top) / box.height],
      ]) {
        const index = clamp(Math.floor(share * volume.shape[axis]), 0, volume.shape[axis] - 1);
        place[axis] = flipped ? volume.shape[axis] - 1 - index : index;
      }
      update();
    };
    figure.canvas.addEventListener("pointerdown", (event) => {
      figure.canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    figure.canvas.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    figure.canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return;
      event.preventDefault();
      move(figure.plane.normal, -Math.sign(event.deltaY));
    }, { passive: false });
    figure.canvas.addEventListener("keydown", (event) => {
      const plane = figure.plane, right = plane.flip_right ? -1 : 1, down = plane.flip_down ? -1 : 1;
      const [axis, by] = {
        ArrowRight: [plane.right, right], ArrowLeft: [plane.right, -right], ArrowDown: [plane.down, down],
        ArrowUp: [plane.down, -down], PageUp: [plane.normal, 1], PageDown: [plane.normal, -1],
      }[event.key] ?? [];
      if (axis === undefined) return;
      event.preventDefault();
      move(axis, by);
    });
    figure.slider.addEventListener("input", () => move(figure.plane.normal, Number(figure.slider.value) - place[figure.plane.normal]));
  }
  $("#volume")?.addEventListener("change", (event) => show(Number(event.target.value)));
  $("#frame").addEventListener("input", (event) => { frame = Number(event.target.value); update(); });
  $("#width").addEventListener("input", (event) => { width = Number(event.target.value) * (volume.high - volume.low); update(); });
  $("#level").addEventListener("input", (event) => { level = volume.low + Number(event.target.value) * (volume.high - volume.low); update(); });
  $("#auto").addEventListener("click", () => { autoWindow(); update(); });
  for (const id of ["#cross", "#smooth", "#opacity", "#threshold"]) $(id)?.addEventListener("input", update);
  show(0);
  $("#state").remove();
  new ResizeObserver(() => figures.forEach(draw)).observe($(".planes"));
  document.documentElement.dataset.ready = "true";
})().catch((error) => {
  document.querySelector("#state").textContent = "This browser cannot show the page: " + error.message;
  throw error;
});

// One scan of the report: its pictures share the slice, the zoom, the place and the brightness.
for (const scan of document.querySelectorAll(".scan")) {
  const slices = JSON.parse(scan.dataset.slices);
  const input = (name) => scan.querySelector("input." + name);
  const stacks = new Map([...scan.querySelectorAll("script[data-pictures]")].map(
    (script) => [script.dataset.pictures, JSON.parse(script.textContent)]));
  const view = { zoom: 1, x: 0, y: 0 }; // x, y: offset of the picture in percent of its frame
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const say = (element, text) => { element.closest(".control").querySelector("output").value = text; };

  function showSlice() {
    const slice = Number(input("slice")?.value ?? 0), volume = Number(input("volume")?.value ?? 0);
    if (input("slice")) say(input("slice"), slices[slice]);
    if (input("volume")) say(input("volume"), volume);
    for (const now of scan.querySelectorAll(".slice-now")) now.textContent = slices[slice];
    for (const image of scan.querySelectorAll("img[data-stack]"))
      image.src = "data:image/png;base64," + stacks.get(image.dataset.stack)[volume * slices.length + slice];
  }

  function step(by) {
    const slider = input("slice");
    if (!slider) return;
    slider.value = Number(slider.value) + by;
    showSlice();
  }

  function place() {
    const low = 100 * (1 - view.zoom);
    view.x = clamp(view.x, low, 0);
    view.y = clamp(view.y, low, 0);
    for (const name of ["zoom", "x", "y"]) scan.style.setProperty("--" + name, view[name]);
    scan.classList.toggle("zoomed", view.zoom > 1);
    scan.querySelector(".zoom output").value = Math.round(100 * view.zoom) + " %";
  }

  // Zoom about a point of the frame (0 to 100 percent), which stays where it is.
  function zoom(factor, px = 50, py = 50) {
    const next = clamp(view.zoom * factor, 1, 16), ratio = next / view.zoom;
    view.x = px - (px - view.x) * ratio;
    view.y = py - (py - view.y) * ratio;
    view.zoom = next;
    place();
  }

  const inFrame = (frame, event) => {
    const box = frame.getBoundingClientRect();
    return [100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height];
  };

  for (const frame of scan.querySelectorAll(".linked")) {
    const fingers = new Map();
    frame.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, inFrame(frame, event));
      if (view.zoom > 1) frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const now = inFrame(frame, event);
      fingers.set(event.pointerId, now);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) { // pinch
        const far = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
        zoom(far(now) / Math.max(far(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else {
        view.x += now[0] - before[0];
        view.y += now[1] - before[1];
        place();
      }
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      frame.addEventListener(end, (event) => fingers.delete(event.pointerId));
    frame.addEventListener("dblclick", (event) => zoom(view.zoom > 1 ? 1 / 16 : 3, ...inFrame(frame, event)));
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // plain wheels scroll the page
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 200), ...inFrame(frame, event));
    }, { passive: false });
    frame.addEventListener("keydown", (event) => {
      const act = {
        ArrowLeft: () => step(-1), ArrowDown: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(1),
        "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => zoom(1 / 16),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }

  for (const name of ["slice", "volume"]) input(name)?.addEventListener("input", showSlice);
  input("bright").addEventListener("input", (event) => {
    scan.style.setProperty("--bright", event.target.value);
    for (const top of scan.querySelectorAll("[data-top]")) // the value that is white now
      top.textContent = Number((top.dataset.top / event.target.value).toPrecision(3));
    say(event.target, Number(event.target.value).toFixed(1) + " x");
  });
  const zooms = { in: 1.5, out: 1 / 1.5, reset: 1 / 16 };
  for (const button of scan.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => zoom(zooms[button.dataset.zoom]));
  for (const box of scan.querySelectorAll(".kinds input"))
    box.addEventListener("change", () => {
      for (const layer of scan.querySelectorAll(`.layer[data-kind="${box.value}"]`)) layer.hidden = !box.checked;
    });
  place();
}
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });

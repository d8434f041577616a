// Looking through the slices. The page is whole without.

const PLANES = { // axes of the volume (0 left, 1 back, 2 feet): to the right, down, and through
  axial: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0],
};
const SIDES = ["RL", "AP", "SI"]; // letters at the first and the last voxel of each axis
const STEPS = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function view() {
  const page = (id) => document.getElementById(id);
  if (typeof DecompressionStream === "undefined") {
    page("viewer-absent").textContent = "This browser is too old for the slice viewer.";
    return;
  }
  const stored = JSON.parse(page("slices").textContent);
  const { size, spacing, origin, levels, places, organs: names } = stored;
  const voxels = new Uint8Array(await unpacked(stored.voxels));
  const lesions = new Uint16Array(await unpacked(stored.lesions));
  const organs = new Uint16Array(await unpacked(stored.organ_labels));
  const index = (at) => (at[0] * size[1] + at[1]) * size[2] + at[2];
  const cursor = (Object.values(places)[0] ?? size.map((n) => n >> 1)).slice();
  const [wide_mm, deep_mm, high_mm] = size.map((n, axis) => n * spacing[axis]);
  const scale = Math.min(360 / Math.max(wide_mm, deep_mm), 560 / high_mm);

  function draw(canvas, [across, down, through]) {
    const [columns, rows] = [size[across], size[down]];
    const [wide, high] = [spacing[across] * scale, spacing[down] * scale];
    const pen = canvas.getContext("2d");
    const picture = new ImageData(columns, rows);
    const [low, top] = [page("low").valueAsNumber || 0, page("high").valueAsNumber || 0];
    const greys = levels.map((value) => {
      const share = Math.min(Math.max((value - low) / Math.max(top - low, 1e-6), 0), 1);
      return 255 * (stored.inverted ? 1 - share : share);
    });
    const step = [size[1] * size[2], size[2], 1];
    const start = cursor[through] * step[through];
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const grey = greys[voxels[start + x * step[across] + y * step[down]]];
        picture.data.set([grey, grey, grey, 255], 4 * (y * columns + x));
      }
    }
    const small = new OffscreenCanvas(columns, rows);
    small.getContext("2d").putImageData(picture, 0, 0);
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
    const outline = (labels, colour, dash) => {
      pen.beginPath();
      const found = {};
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const at = start + x * step[across] + y * step[down];
          const label = labels[at];
          if (label !== (x + 1 < columns ? labels[at + step[across]] : 0)) {
            pen.moveTo((x + 1) * wide, y * high);
            pen.lineTo((x + 1) * wide, (y + 1) * high);
          }
          if (label !== (y + 1 < rows ? labels[at + step[down]] : 0)) {
            pen.moveTo(x * wide, (y + 1) * high);
            pen.lineTo((x + 1) * wide, (y + 1) * high);
          }
          if (label && !(label in found)) found[label] = [(x + 0.5) * wide, y * high - 4];
        }
      }
      for (const [width, ink] of [[3.5, "#ffffffb0"], [1.6, colour]]) {
        pen.setLineDash(ink === colour ? dash : []);
        Object.assign(pen, { lineWidth: width, strokeStyle: ink });
        pen.stroke();
      }
      return found;
    };
    if (page("organ-outlines")?.checked) outline(organs, "#0072b2", [4, 2]);
    if (page("lesion-outlines").checked) {
      const found = outline(lesions, "#d55e00", []);
      for (const [label, [x, y]] of Object.entries(found)) word(pen, label, x, Math.max(y, 12), "#d55e00");
    }
    pen.setLineDash([6, 6]);
    Object.assign(pen, { lineWidth: 1, strokeStyle: stored.inverted ? "#004d80" : "#8fd0ff" });
    pen.beginPath();
    const [x, y] = [(cursor[across] + 0.5) * wide, (cursor[down] + 0.5) * high];
    for (const [a, b, c, d] of [[x, 0, x, canvas.height], [0, y, canvas.width, y]]) {
      pen.moveTo(a, b);
      pen.lineTo(c, d);
    }
    pen.stroke();
    const ink = stored.inverted ? "#000000" : "#ffffff";
    word(pen, SIDES[across][0], 9, canvas.height / 2, ink);
    word(pen, SIDES[across][1], canvas.width - 9, canvas.height / 2, ink);
    word(pen, SIDES[down][0], canvas.width / 2, 15, ink);
    word(pen, SIDES[down][1], canvas.width / 2, canvas.height - 6, ink);
    canvas.setAttribute("aria-valuenow", cursor[through] + 1);
    canvas.setAttribute("aria-valuetext", `${cursor[through] + 1} of ${size[through]}, ${place(through)} mm`);
  }

  function word(pen, text, x, y, colour) {
    pen.setLineDash([]);
    Object.assign(pen, { font: "bold 14px sans-serif", textAlign: "center", lineWidth: 3,
      strokeStyle: colour === "#ffffff" ? "#000000" : "#ffffff", fillStyle: colour });
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  }

  function place(axis) { // the axes run to the left, the back and the feet, where RAS falls
    const value = origin[axis] - cursor[axis] * spacing[axis];
    return `${["LR", "PA", "IS"][axis][+(value >= 0)]} ${Math.abs(value).toFixed(1)}`;
  }

  function show() {
    for (const [name, axes] of Object.entries(PLANES)) draw(page(`view-${name}`), axes);
    const [lesion, organ] = [lesions[index(cursor)], organs[index(cursor)]];
    const value = Number(levels[voxels[index(cursor)]].toPrecision(2)); // of a coarse copy
    const said = [[0, 1, 2].map(place).join(" · ") + " mm", `about ${value} ${stored.unit}`.trim()];
    if (organ) said.push(names[organ]);
    page("cursor").textContent = said.join(", ") + (lesion ? ", " : "");
    page("cursor-lesion").hidden = !lesion;
    page("cursor-lesion").textContent = `lesion ${lesion}`;
    page("cursor-lesion").setAttribute("href", `#row-${lesion}`);
  }

  function move(axis, to) {
    cursor[axis] = Math.min(Math.max(Math.round(to), 0), size[axis] - 1);
  }

  page("viewer-body").hidden = false;
  page("viewer-absent").hidden = true;
  for (const [name, [across, down, through]] of Object.entries(PLANES)) {
    const canvas = page(`view-${name}`);
    canvas.width = Math.round(size[across] * spacing[across] * scale);
    canvas.height = Math.round(size[down] * spacing[down] * scale);
    canvas.setAttribute("aria-valuemax", size[through]);
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      move(across, ((event.clientX - box.left) / box.width) * size[across] - 0.5);
      move(down, ((event.clientY - box.top) / box.height) * size[down] - 0.5);
      show();
    };
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointermove", (event) => event.buttons && point(event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      move(through, cursor[through] + Math.sign(event.deltaY));
      show();
    });
    canvas.addEventListener("keydown", (event) => {
      const ends = { Home: 0, End: size[through] };
      const to = ends[event.key] ?? cursor[through] + STEPS[event.key];
      if (event.key === "o") page("lesion-outlines").click();
      if (Number.isNaN(to)) return;
      event.preventDefault();
      move(through, to);
      show();
    });
  }
  page("preset")?.addEventListener("change", (event) => {
    [page("low").value, page("high").value] = event.target.value.split(" ");
    show();
  });
  for (const input of page("viewer").querySelectorAll("input")) input.addEventListener("input", show);
  for (const link of document.querySelectorAll(".to-viewer")) {
    link.hidden = false;
    link.addEventListener("click", () => {
      places[link.dataset.lesion].forEach((to, axis) => move(axis, to));
      show();
    });
  }
  show();
}

view();

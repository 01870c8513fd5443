// One head's attention over the photograph, drawn in the browser while the cursor moves.
// What arrives is described at `pack` in explorer.py. A query is a patch (its index in raster
// order) or the name of a token. Nothing from outside becomes HTML.

const MAX_HEIGHT = 600; // CSS px
const KEY_PAUSE = 250; // ms; a held arrow key asks Python once, when it rests
const STEP = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const explorers = new WeakMap();

// Called again on every rerun with new data, and with the same place to draw in.
export default function ({ data, parentElement, setTriggerValue }) {
  let explorer = explorers.get(parentElement);
  if (!explorer?.stage.isConnected) {
    explorer?.close();
    explorer = new Explorer(parentElement);
    explorers.set(parentElement, explorer);
  }
  const turn = explorer.update(data, (patch) => setTriggerValue("patch", patch));
  // A call that was overtaken by the next one is cleaned up too, which must not end what follows.
  return () => {
    if (explorer.turn === turn) explorer.close();
  };
}

class Explorer {
  constructor(place) {
    const part = (name) => place.querySelector(`.${name}`);
    this.stage = part("stage");
    this.canvas = part("picture");
    this.line = part("line");
    this.bar = part("bar");
    this.end = part("end");
    this.unit = part("unit");
    this.hint = part("hint");
    this.spoken = part("spoken");
    this.context = this.canvas.getContext("2d");
    this.turn = 0;
    this.hovered = null; // the patch under the cursor
    this.pinned = null; // the query shown while nothing is hovered
    this.asked = null; // the patch whose row Python was asked for
    this.frame = null;
    this.timer = null;

    this.closing = new AbortController();
    const listen = (target, type, act) =>
      target.addEventListener(type, act, { signal: this.closing.signal });
    listen(this.canvas, "pointermove", (event) => {
      if (event.pointerType !== "touch") this.hover(this.patchAt(event));
    });
    listen(this.canvas, "pointerleave", () => this.hover(null));
    listen(this.canvas, "click", (event) => {
      const patch = this.patchAt(event);
      if (patch === null) return;
      if (patch === (this.asked ?? this.pinned)) this.unpin();
      else this.choose(patch, 0);
    });
    listen(this.stage, "keydown", (event) => this.press(event));

    const exact = "devicePixelContentBoxSize" in ResizeObserverEntry.prototype;
    this.observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      const ratio = window.devicePixelRatio;
      const size = entry.devicePixelContentBoxSize?.[0];
      this.resize(size?.inlineSize ?? width * ratio, size?.blockSize ?? height * ratio);
    });
    this.observer.observe(this.canvas, { box: exact ? "device-pixel-content-box" : "content-box" });
  }

  // Takes new rows once their photograph is there; until then the old ones stay. Returns the turn.
  update(data, report) {
    this.turn += 1;
    this.report = report;
    if (data !== this.data) {
      this.data = data;
      this.load(unpack(data), data);
    }
    return this.turn;
  }

  async load(sheet, data) {
    let photograph = this.photograph;
    if (sheet.picture !== this.sheet?.picture) {
      photograph = await createImageBitmap(new Blob([sheet.webp], { type: "image/webp" }));
      if (this.data !== data || this.closing.signal.aborted) return photograph.close();
      this.photograph?.close();
    }
    if (this.sheet?.grid.join() !== sheet.grid.join()) this.hovered = null;
    this.sheet = sheet;
    this.photograph = photograph;
    this.asked = null;
    // What the user chose since, and Python has not heard of yet, goes before.
    if (this.timer === null || !sheet.rowOf.has(this.pinned)) this.pinned = sheet.pinned;
    this.base = null;
    const [height, width] = sheet.size;
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.canvas.style.width = `${(MAX_HEIGHT * width) / height}px`;
    this.showScale();
    this.draw();
    this.speak();
  }

  close() {
    this.closing.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.photograph?.close();
  }

  hover(patch) {
    if (patch === this.hovered) return;
    this.hovered = patch;
    this.request();
  }

  press(event) {
    if (!this.sheet || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      this.unpin();
    } else if (event.key in STEP) {
      this.move(...STEP[event.key]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  move(down, right) {
    const [rows, columns] = this.sheet.grid;
    const here = this.asked ?? (isPatch(this.pinned) ? this.pinned : this.hovered);
    this.hovered = null;
    if (here === null) {
      this.choose(Math.floor(rows / 2) * columns + Math.floor(columns / 2), KEY_PAUSE);
      return;
    }
    const row = clamp(Math.floor(here / columns) + down, rows);
    const column = clamp((here % columns) + right, columns);
    this.choose(row * columns + column, KEY_PAUSE);
  }

  choose(patch, pause) {
    if (patch === (this.asked ?? this.pinned)) return;
    if (this.sheet.rowOf.has(patch)) this.pinned = patch;
    else this.asked = patch;
    this.request();
    this.tell(patch, pause);
  }

  unpin() {
    if (isPatch(this.pinned) || this.asked !== null) this.tell(-1, 0);
  }

  tell(value, pause) {
    clearTimeout(this.timer);
    const send = () => {
      this.timer = null;
      this.speak();
      this.report(value);
    };
    if (pause) this.timer = setTimeout(send, pause);
    else send();
  }

  patchAt(event) {
    if (!this.sheet) return null;
    const { size, seen, grid } = this.sheet;
    const place = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - place.left) / place.width) * size[1];
    const y = ((event.clientY - place.top) / place.height) * size[0];
    const row = Math.floor(((y - seen[1]) / (seen[3] - seen[1])) * grid[0]);
    const column = Math.floor(((x - seen[0]) / (seen[2] - seen[0])) * grid[1]);
    const inside = row >= 0 && row < grid[0] && column >= 0 && column < grid[1];
    return inside ? row * grid[1] + column : null;
  }

  resize(width, height) {
    // Hidden, as in a closed tab.
    if (!width || !height) return;
    this.canvas.width = Math.round(width);
    this.canvas.height = Math.round(height);
    this.base = null;
    // Now, not in the next frame: a canvas of a new size is empty.
    this.draw();
  }

  request() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    if (!this.sheet) return;
    const { sheet, canvas, context } = this;
    const query = sheet.rowOf.has(this.hovered) ? this.hovered : this.pinned;
    const row = sheet.rowOf.get(query);
    this.base ??= this.drawBase();
    context.drawImage(this.base, 0, 0);
    this.drawMap(row);
    for (const patch of new Set([this.hovered, this.asked])) {
      if (isPatch(patch) && patch !== this.pinned) this.outline(patch, sheet.ink, sheet.paper);
    }
    if (isPatch(this.pinned)) this.outline(this.pinned, sheet.paper, sheet.accent);
    this.line.textContent = this.words(query);
    canvas.dataset.shown = isPatch(query) ? this.place(query).join() : query;
  }

  // The photograph in grey, veiled where the model never saw it.
  drawBase() {
    const { sheet, canvas } = this;
    const base = document.createElement("canvas");
    base.width = canvas.width;
    base.height = canvas.height;
    const context = base.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.photograph, 0, 0, base.width, base.height);
    context.fillStyle = sheet.veil.colour;
    context.globalAlpha = sheet.veil.opacity;
    for (const box of sheet.unseen) context.fillRect(...this.onCanvas(box));
    return base;
  }

  drawMap(row) {
    const { sheet, context } = this;
    const largest = sheet.maxima[row];
    const limit = sheet.limit ?? largest;
    const factor = limit > 0 ? (sheet.ramp.length * largest) / sheet.steps / limit : 0;
    const colours = new Uint32Array(sheet.grid[0] * sheet.grid[1]);
    const start = row * colours.length;
    for (let patch = 0; patch < colours.length; patch++) {
      const step = Math.floor(sheet.weights[start + patch] * factor);
      colours[patch] = sheet.ramp[Math.min(step, sheet.ramp.length - 1)];
    }
    context.globalAlpha = sheet.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(coloured(colours, sheet.grid[1]), ...this.onCanvas(sheet.seen));
    context.globalAlpha = 1;
  }

  outline(patch, edge, colour) {
    const { sheet, context } = this;
    const [left, top, right, bottom] = sheet.seen;
    const [row, column] = this.place(patch);
    const height = (bottom - top) / sheet.grid[0];
    const width = (right - left) / sheet.grid[1];
    const x = left + column * width;
    const y = top + row * height;
    const box = this.onCanvas([x, y, x + width, y + height]);
    const pixel = this.canvas.width / this.canvas.clientWidth;
    for (const [stroke, thickness] of [[edge, 4], [colour, 2]]) {
      context.strokeStyle = stroke;
      context.lineWidth = thickness * pixel;
      context.strokeRect(...box);
    }
  }

  // From pixels of the original to x, y, width and height in pixels of the canvas.
  onCanvas([left, top, right, bottom]) {
    const [height, width] = this.sheet.size;
    const across = this.canvas.width / width;
    const down = this.canvas.height / height;
    return [left * across, top * down, (right - left) * across, (bottom - top) * down];
  }

  place(patch) {
    const columns = this.sheet.grid[1];
    return [Math.floor(patch / columns), patch % columns];
  }

  name(query) {
    return isPatch(query) ? `Patch ${this.pair(query)}` : query;
  }

  pair(patch) {
    return `(${this.place(patch).join(", ")})`;
  }

  // The line below the photograph, of what is drawn now.
  words(query) {
    if (this.asked !== null) return `Computing what patch ${this.pair(this.asked)} attends to`;
    if (this.hovered === null || this.hovered === query) return this.look(query);
    return `${this.name(query)} to ${this.pair(this.hovered)}: ${number(this.weight(query, this.hovered))}`;
  }

  weight(query, patch) {
    const { sheet } = this;
    const row = sheet.rowOf.get(query);
    const start = row * sheet.grid[0] * sheet.grid[1];
    return (sheet.weights[start + patch] / sheet.steps) * sheet.maxima[row];
  }

  look(query) {
    const { sheet } = this;
    const row = sheet.rowOf.get(query);
    const count = sheet.grid[0] * sheet.grid[1];
    const weights = sheet.weights.subarray(row * count, (row + 1) * count);
    const largest = sheet.maxima[row];
    const masses = sheet.masses.subarray(row * sheet.prefix.length, (row + 1) * sheet.prefix.length);
    const rest = Math.max(0, 1 - masses.reduce((sum, mass) => sum + mass, 0));
    const shares = [["patches", rest], ...sheet.prefix.map((name, token) => [name, masses[token]])];
    const words = shares.map(([name, share]) => `${(100 * share).toFixed(1)}% to ${name}`).join(", ");
    if (largest === 0) return `${this.name(query)} attends ${words}`;
    const most = this.pair(weights.indexOf(sheet.steps));
    return `${this.name(query)} attends ${words}; most to patch ${most}: ${number(largest)}`;
  }

  showScale() {
    const { sheet, bar } = this;
    const context = bar.getContext("2d");
    // As the colours look over a middle grey of the photograph, on light and dark pages alike.
    context.globalAlpha = 1;
    context.fillStyle = "#808080";
    context.fillRect(0, 0, bar.width, 1);
    context.globalAlpha = sheet.opacity;
    context.drawImage(coloured(sheet.ramp, bar.width), 0, 0);
    this.end.textContent = `${sheet.above ? "≥ " : ""}${sheet.limit === null ? 1 : number(sheet.limit)}`;
    this.unit.textContent = sheet.unit;
    this.hint.textContent = sheet.queries.length > 1
      ? "Hover over a patch to see what it attends to. Click to pin, click again to unpin."
      : "Click a patch to see what it attends to.";
  }

  // What is pinned, for those who hear the page; what is merely hovered would never end.
  speak() {
    const words = this.asked === null ? this.look(this.pinned) : this.words(this.pinned);
    this.canvas.setAttribute("aria-label", words);
    if (this.spoken.textContent !== words) this.spoken.textContent = words;
  }
}

function unpack(bytes) {
  // A copy: the bytes start anywhere in their message, numbers only at multiples of their size.
  const { buffer } = bytes.slice();
  const length = new DataView(buffer).getUint32(0, true);
  const sheet = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  const take = (Kind, count) => {
    const part = new Kind(buffer, offset, count);
    offset += part.byteLength;
    return part;
  };
  const rows = sheet.queries.length;
  sheet.rowOf = new Map(sheet.queries.map((query, row) => [query, row]));
  sheet.maxima = take(Float32Array, rows);
  sheet.masses = take(Float32Array, rows * sheet.prefix.length);
  sheet.weights = take(Uint16Array, rows * sheet.grid[0] * sheet.grid[1]);
  const colours = take(Uint8Array, 3 * 256);
  sheet.ramp = Uint32Array.from({ length: 256 }, (_, step) => {
    const [red, green, blue] = colours.subarray(3 * step, 3 * step + 3);
    return (255 << 24) | (blue << 16) | (green << 8) | red;
  });
  sheet.webp = take(Uint8Array);
  return sheet;
}

// A picture, `width` pixels wide, of colours as the machine keeps them: alpha, blue, green, red.
function coloured(colours, width) {
  const picture = new OffscreenCanvas(width, colours.length / width);
  const pixels = new ImageData(new Uint8ClampedArray(colours.buffer), width);
  picture.getContext("2d").putImageData(pixels, 0, 0);
  return picture;
}

function isPatch(query) {
  return typeof query === "number";
}

function clamp(index, count) {
  return Math.min(Math.max(index, 0), count - 1);
}

function number(weight) {
  return weight.toPrecision(3);
}

// Maps over the photograph, drawn in the browser while the cursor moves and keys are pressed.
// What is chosen is told to Python once it rests. Nothing from outside becomes HTML.

import {
  averaged, bestColumns, clamp, endsOf, isHead, isPatch, number, paint, placeName, shade, tinted, turnGrey, unpack, valueAt,
} from "./maps.js";

/** @import { Look, PatchMap, Query, Sheet } from "./maps.js" */

const PAUSE = 250; // ms; Python is told once when keys rest
const PLAY = 600; // ms a layer
const MIN_HEIGHT = 360; // CSS px of the photograph
const MAX_HEIGHT = 760;
const BELOW = 165; // CSS px below the photograph for words, scale and tools
const NARROW = 700; // CSS px; the overview goes below
const HOVER = "vit_inspect_hover";
const SHARE = 0.6; // of the width for the photograph
const GAP = 2; // CSS px between small maps
const WALK = 130; // ms from patch to patch of the first demonstration
const WALK_STEPS = 40;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** @type {WeakMap<Element, Explorer>} */
const explorers = new WeakMap();
let walked = false; // the demonstration is for who has just come

// Called again on every rerun with new data, and with the same place to draw in.
/** @param {{data: Uint8Array, parentElement: Element, setTriggerValue: (name: string, value: unknown) => void}} given */
export default function ({ data, parentElement, setTriggerValue }) {
  let explorer = explorers.get(parentElement);
  if (!explorer?.stage.isConnected) {
    explorer?.close();
    explorer = new Explorer(parentElement);
    explorers.set(parentElement, explorer);
  }
  const open = explorer;
  const turn = open.update(data, (chosen) => setTriggerValue("chosen", chosen));
  // A call that was overtaken by the next one is cleaned up too, which must not end what follows.
  return () => {
    if (open.turn === turn) open.close();
  };
}

class Explorer {
  /** @param {Element} place */
  constructor(place) {
    /** @param {string} name */
    const part = (name) => /** @type {HTMLElement} */ (place.querySelector(`.${name}`));
    this.part = part;
    this.root = part("explorer");
    this.stage = part("stage");
    this.canvas = /** @type {HTMLCanvasElement} */ (part("picture"));
    this.overview = /** @type {HTMLCanvasElement} */ (part("overview"));
    this.bar = /** @type {HTMLCanvasElement} */ (part("bar"));
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    this.turn = 0;
    this.stamp = -1; // of the last choice that Python was told
    /** @type {Uint8Array | null} */
    this.data = null;
    /** @type {Sheet | null} */
    this.sheet = null;
    /** @type {ImageBitmap | null} */
    this.photograph = null;
    /** @type {Look} */
    this.look = { look: "heat", edges: "smooth", scale: "own", clip: "98.5" };
    this.layer = 0; // of those that were sent
    this.column = 0;
    /** @type {Query | null} */
    this.pinned = null; // the query shown while nothing is hovered
    /** @type {number | null} */
    this.hovered = null; // the patch under the cursor
    /** @type {number | null} */
    this.anchor = null; // where the button went down
    /** @type {Corners | null} */
    this.dragged = null; // the region from there to the cursor
    /** @type {number | null} */
    this.frame = null;
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.timer = null;
    /** @type {ReturnType<typeof setInterval> | null} */
    this.playing = null;
    /** @type {ReturnType<typeof setInterval> | null} */
    this.walking = null;
    /** @type {HTMLCanvasElement | null} */
    this.base = null;
    /** @type {(chosen: object) => void} */
    this.report = () => {};
    this.closing = new AbortController();
    this.listen();
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.root);
    // What comes above the photograph after it takes room from it: the page grows, the place does not.
    const page = document.querySelector('[data-testid="stMainBlockContainer"]');
    if (page) this.observer.observe(page);
  }

  listen() {
    const { signal } = this.closing;
    /** @param {string} name @param {() => void} act */
    const press = (name, act) => this.part(name).addEventListener("click", act, { signal });
    for (const arrival of ["pointerdown", "pointermove", "keydown", "wheel"]) {
      window.addEventListener(arrival, () => this.stand(), { signal, passive: true, capture: true });
    }
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch" && event.button === 0) this.anchor = this.patchAt(event);
    }, { signal });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      if (event.buttons === 1 && this.anchor !== null) this.drag(this.patchAt(event));
      else this.hover(this.patchAt(event));
    }, { signal });
    this.canvas.addEventListener("pointerleave", () => this.hover(null), { signal });
    window.addEventListener(HOVER, (event) => this.follow(/** @type {CustomEvent} */ (event).detail), { signal });
    window.addEventListener("pointerup", () => this.drop(), { signal });
    this.canvas.addEventListener("click", (event) => this.click(this.patchAt(event)), { signal });
    this.overview.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) this.open(cell[0], cell[1], 0);
    }, { signal });
    this.overview.addEventListener("pointermove", (event) => {
      const cell = this.cellAt(event);
      this.overview.title = cell ? `Open ${this.nameOf(cell[0], cell[1])}` : "";
    }, { signal });
    this.stage.addEventListener("keydown", (event) => this.arrow(event), { signal });
    window.addEventListener("keydown", (event) => this.key(event), { signal });
    window.addEventListener("resize", () => this.fit(), { signal });
    press("unpin", () => this.pin(null, 0));
    press("back", () => this.step(-1, 0));
    press("next", () => this.step(1, 0));
    press("left", () => this.step(0, -1));
    press("right", () => this.step(0, 1));
    press("play", () => (this.playing ? this.rest() : this.play()));
    press("copy", () => this.copyLink());
    press("png", () => this.copyPicture());
    for (const [name, key] of /** @type {[string, keyof Look][]} */ (
      [["look", "look"], ["edges", "edges"], ["scale-of", "scale"], ["clip", "clip"]]
    )) {
      const select = /** @type {HTMLSelectElement} */ (this.part(name));
      select.addEventListener("change", () => {
        this.look = { ...this.look, [key]: select.value };
        this.base = null;
        this.redraw();
        this.tell(0);
        // Keys are the map's again.
        this.stage.focus({ preventScroll: true });
      }, { signal });
    }
    const query = /** @type {HTMLSelectElement} */ (this.part("query"));
    query.addEventListener("change", () => {
      if (!this.sheet) return;
      const token = this.sheet.tokens[query.selectedIndex];
      this.pin(query.selectedIndex === 0 ? null : token, 0);
    }, { signal });
  }

  // Takes new maps once their photograph is there; until then the old ones stay. Returns the turn.
  /** @param {Uint8Array} data @param {(chosen: object) => void} report */
  update(data, report) {
    this.turn += 1;
    this.report = report;
    if (data !== this.data) {
      this.data = data;
      this.load(unpack(data), data);
    }
    return this.turn;
  }

  /** @param {Sheet} sheet @param {Uint8Array} data */
  async load(sheet, data) {
    if (sheet.picture !== this.sheet?.picture || !this.photograph) {
      const photograph = await createImageBitmap(new Blob([sheet.webp], { type: "image/webp" }));
      if (this.data !== data || this.closing.signal.aborted) return photograph.close();
      this.photograph?.close();
      this.photograph = photograph;
    }
    const before = this.sheet;
    if (before?.grid.join() !== sheet.grid.join()) this.hovered = null;
    this.sheet = sheet;
    // What the user chose since, and Python has not heard of yet, goes before.
    const newest = this.timer === null && !this.playing && sheet.stamp >= this.stamp;
    const other = before?.kind !== sheet.kind || before.maps.length !== sheet.maps.length;
    if (newest || other) {
      this.stamp = sheet.stamp;
      this.look = sheet.look;
      [this.layer, this.column] = sheet.opened;
      this.pinned = sheet.query;
    }
    this.fillTools();
    this.fit();
    this.speak();
    if (before) this.stand();
    else this.walk();
  }

  close() {
    this.stand();
    this.closing.abort();
    this.observer.disconnect();
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.playing) clearInterval(this.playing);
    this.photograph?.close();
    this.photograph = null;
  }

  // What a cursor would show, in a circle over the picture, until the user's own arrives.
  walk() {
    const { sheet } = this;
    const follows = sheet?.pins && !sheet.link && sheet.query === sheet.tokens[0] && rowOf(sheet, 0);
    if (walked || !follows || document.hidden) return;
    if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    walked = true;
    const [rows, columns] = sheet.grid;
    let step = 0;
    this.walking = setInterval(() => {
      if (step > WALK_STEPS) return this.stand();
      const turn = (2 * Math.PI * step) / WALK_STEPS;
      const row = Math.floor(rows * (0.5 - 0.28 * Math.cos(turn)));
      this.hover(row * columns + Math.floor(columns * (0.5 + 0.28 * Math.sin(turn))));
      step += 1;
    }, WALK);
  }

  stand() {
    if (!this.walking) return;
    clearInterval(this.walking);
    this.walking = null;
    this.hover(null);
  }

  // ---- what the user does

  /** @param {number | null} patch */
  hover(patch) {
    if (patch === this.hovered) return;
    this.hovered = patch;
    this.request();
    if (this.sheet?.link) window.dispatchEvent(new CustomEvent(HOVER, { detail: { from: this, patch } }));
  }

  // What another explorer of the same link is asked to show is shown here at the same place.
  /** @param {{from: Explorer, patch: number | null}} told */
  follow({ from, patch }) {
    const [here, there] = [this.sheet, from.sheet];
    if (from === this || !here?.link || here.link !== there?.link) return;
    this.hovered = null;
    if (patch !== null) {
      const place = [Math.floor(patch / there.grid[1]), patch % there.grid[1]];
      const [row, column] = place.map((each, axis) =>
        Math.floor(((each + 0.5) / there.grid[axis]) * here.grid[axis]),
      );
      this.hovered = row * here.grid[1] + column;
    }
    this.request();
  }

  /** @param {number | null} patch */
  click(patch) {
    if (this.dragged || patch === null || !this.sheet?.pins) return;
    this.pin(patch === this.pinned ? null : patch, 0);
  }

  // From the patch where the button went down to this one: a region, whose rows are averaged.
  /** @param {number | null} patch */
  drag(patch) {
    const { sheet, anchor } = this;
    if (!sheet?.prefix.length || !sheet.pins || patch === null || anchor === null) return;
    if (patch === anchor && !this.dragged) return;
    const columns = sheet.grid[1];
    const rows = [anchor, patch].map((each) => Math.floor(each / columns));
    const across = [anchor, patch].map((each) => each % columns);
    this.dragged = [Math.min(...rows), Math.min(...across), Math.max(...rows), Math.max(...across)];
    this.hovered = null;
    this.pinned = regionName(this.dragged);
    this.request();
  }

  drop() {
    this.anchor = null;
    if (!this.dragged) return;
    this.chosenQuery = this.dragged;
    this.redraw();
    this.tell(0);
    // The click that ends a drag comes after this.
    setTimeout(() => (this.dragged = null), 0);
  }

  /** @param {Query | null} query @param {number} pause */
  pin(query, pause) {
    if (!this.sheet?.pins || query === this.pinned) return;
    if (query === null && !isPatch(this.pinned) && this.pinned === this.sheet.tokens[0]) return;
    this.pinned = query ?? this.sheet.tokens[0] ?? null;
    this.chosenQuery = query;
    if (this.pinned === null) this.pinned = this.sheet.query;
    this.redraw();
    this.tell(pause);
  }

  /** @param {number} layer @param {number} column @param {number} pause */
  open(layer, column, pause) {
    if (layer === this.layer && column === this.column) return;
    this.layer = layer;
    this.column = column;
    this.redraw();
    this.tell(pause);
  }

  /** @param {number} down @param {number} right */
  step(down, right) {
    if (!this.sheet) return;
    const layer = clamp(this.layer + down, this.sheet.layers);
    this.open(layer, clamp(this.column + right, this.sheet.columns.length), PAUSE);
  }

  play() {
    if (!this.sheet) return;
    if (this.layer === this.sheet.layers - 1) this.layer = 0;
    this.part("play").textContent = "Pause";
    this.redraw();
    this.playing = setInterval(() => {
      if (!this.sheet || this.layer === this.sheet.layers - 1) return this.rest();
      this.layer += 1;
      this.redraw();
    }, PLAY);
  }

  rest() {
    if (this.playing) clearInterval(this.playing);
    this.playing = null;
    this.part("play").textContent = "Play";
    this.tell(0);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.sheet || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
    if (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "")) return;
    const steps = { j: [1, 0], k: [-1, 0], h: [0, -1], l: [0, 1] };
    const step = steps[/** @type {keyof typeof steps} */ (event.key.toLowerCase())];
    if (step) this.step(step[0], step[1]);
    else if (event.key === "Escape") this.pin(null, 0);
    else return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  arrow(event) {
    const step = ARROWS[event.key];
    if (!this.sheet || !step || !this.sheet.pins) return;
    event.preventDefault();
    const [rows, columns] = this.sheet.grid;
    const middle = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    const here = isPatch(this.pinned) ? this.pinned : this.hovered;
    this.hovered = null;
    if (here === null) return this.pin(middle, PAUSE);
    const row = clamp(Math.floor(here / columns) + step[0], rows);
    this.pin(row * columns + clamp((here % columns) + step[1], columns), PAUSE);
  }

  /** @param {number} pause */
  tell(pause) {
    if (this.timer !== null) clearTimeout(this.timer);
    const send = () => {
      this.timer = null;
      const { sheet } = this;
      if (!sheet) return;
      this.stamp += 1;
      this.speak();
      this.report({
        stamp: this.stamp,
        layer: this.layer,
        column: this.column,
        ...(this.chosenQuery === undefined ? {} : { query: this.chosenQuery }),
        ...this.look,
      });
      this.chosenQuery = undefined;
    };
    if (pause) this.timer = setTimeout(send, pause);
    else send();
  }

  async copyLink() {
    await this.copied("copy", () => navigator.clipboard.writeText(window.location.href));
  }

  async copyPicture() {
    const blob = await new Promise((/** @type {BlobCallback} */ done) => this.canvas.toBlob(done));
    if (!blob) return;
    await this.copied("png", async () => {
      if (navigator.clipboard && "ClipboardItem" in window) {
        await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        return;
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = "map.png";
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  /** @param {string} name @param {() => Promise<void>} act */
  async copied(name, act) {
    const button = this.part(name);
    const words = button.dataset.words ?? button.textContent ?? "";
    button.dataset.words = words;
    try {
      await act();
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed here";
    }
    setTimeout(() => (button.textContent = words), 1500);
  }

  // ---- where things are

  /** @param {MouseEvent} event */
  patchAt(event) {
    if (!this.sheet) return null;
    const { grid } = this.sheet;
    const place = this.canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - place.top) / place.height) * grid[0]);
    const column = Math.floor(((event.clientX - place.left) / place.width) * grid[1]);
    const inside = row >= 0 && row < grid[0] && column >= 0 && column < grid[1];
    return inside ? row * grid[1] + column : null;
  }

  /** @param {MouseEvent} event @returns {[number, number] | null} */
  cellAt(event) {
    const { cells, sheet } = this;
    if (!cells || !sheet) return null;
    const place = this.overview.getBoundingClientRect();
    const [x, y] = [event.clientX - place.left, event.clientY - place.top];
    const index = cells.corners.findIndex(
      ([left, top]) => x >= left && x < left + cells.width && y >= top && y < top + cells.height,
    );
    const columns = sheet.columns.length;
    return index < 0 ? null : [Math.floor(index / columns), index % columns];
  }

  // The photograph and the overview share the screen: nothing need be scrolled to see both.
  fit() {
    const { sheet } = this;
    const width = this.root.clientWidth;
    if (!sheet || !width) return;
    const [left, top, right, bottom] = sheet.seen;
    const aspect = (right - left) / (bottom - top);
    const narrow = width < NARROW;
    const alone = sheet.maps.length < 2 || Boolean(sheet.link);
    const height = Math.min(Math.max(window.innerHeight - this.above() - BELOW, MIN_HEIGHT), MAX_HEIGHT);
    const room = narrow || alone ? width : width * SHARE;
    const shown = Math.min(narrow ? 0.75 * window.innerHeight : height, room / aspect);
    const ratio = window.devicePixelRatio;
    this.canvas.style.width = `${shown * aspect}px`;
    this.canvas.style.height = `${shown}px`;
    this.canvas.width = Math.round(shown * aspect * ratio);
    this.canvas.height = Math.round(shown * ratio);
    this.base = null;
    this.part("main").style.width = narrow ? "100%" : `${shown * aspect}px`;
    this.part("boards").classList.toggle("narrow", narrow);
    this.part("side").hidden = alone;
    if (!alone) this.layOut(narrow ? width : width - shown * aspect - 32, narrow ? 4 * height : shown + 34, aspect);
    this.redraw();
  }

  // CSS px of the page above the photograph, wherever the page is scrolled to.
  above() {
    const page = document.querySelector('[data-testid="stMain"]');
    const { top } = this.root.getBoundingClientRect();
    return page ? top - page.getBoundingClientRect().top + page.scrollTop : top + window.scrollY;
  }

  // Layers below each other and heads side by side; layers alone fill the room from left to right.
  /** @param {number} width @param {number} height @param {number} aspect */
  layOut(width, height, aspect) {
    const { sheet } = this;
    if (!sheet) return;
    const columns = sheet.columns.length;
    const heads = sheet.columns.filter(isHead).length;
    const alone = columns === 1 || sheet.layers === 1;
    const narrow = this.part("boards").classList.contains("narrow");
    const screen = narrow ? 0.75 * window.innerHeight : height;
    const room = { width, height: screen, aspect, label: 16, most: narrow ? 110 : 180 };
    const across = alone ? bestColumns(sheet.maps.length, room) : columns;
    const down = alone ? Math.ceil(sheet.maps.length / across) : sheet.layers;
    const [left, top] = alone ? [0, 0] : [22, 20];
    const label = alone ? 16 : 0; // px above each map
    const apart = heads && heads < columns ? 10 : 0; // px between heads and what is of all heads
    const side = Math.min((width - left - apart) / across, ((height - top) / down - label) * aspect, 180);
    const step = [Math.max(side, 10), Math.max(side, 10) / aspect + label];
    const corners = sheet.maps.map((_, index) => {
      const [row, column] = [Math.floor(index / across), index % across];
      const x = left + column * step[0] + (heads && column >= heads ? apart : 0);
      return /** @type {[number, number]} */ ([x, top + row * step[1] + label]);
    });
    this.cells = { corners, left, top, label, width: step[0] - GAP, height: step[1] - label - GAP };
    const size = [left + across * step[0] + apart, top + down * step[1]];
    const ratio = window.devicePixelRatio;
    this.overview.style.width = `${size[0]}px`;
    this.overview.style.height = `${size[1]}px`;
    this.overview.width = Math.round(size[0] * ratio);
    this.overview.height = Math.round(size[1] * ratio);
  }

  // ---- what is drawn

  request() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  redraw() {
    this.draw();
    this.drawOverview();
    this.showTools();
  }

  // The map that is large: of what is hovered, where its row is there, else of what is pinned.
  /** @returns {[Query | null, PatchMap] | null} */
  shown() {
    const { sheet } = this;
    if (!sheet) return null;
    const opened = sheet.opened[0] === this.layer && sheet.opened[1] === this.column;
    for (const query of opened ? [this.hovered, this.pinned] : []) {
      const row = query === null ? undefined : rowOf(sheet, query);
      if (row) return [query, row];
    }
    return [sheet.query, sheet.maps[this.layer * sheet.columns.length + this.column]];
  }

  draw() {
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    this.frame = null;
    const { sheet, canvas, context } = this;
    const found = this.shown();
    if (!sheet || !found || !this.photograph) return;
    const [query, map] = found;
    this.base ??= this.drawBase(canvas.width, canvas.height);
    context.drawImage(this.base, 0, 0);
    const ends = endsOf(sheet, map, this.look);
    this.cover(context, map, this.layer, [0, 0, canvas.width, canvas.height], ends);
    if (this.layer === sheet.opened[0]) for (const patch of sheet.outlined) this.outline(patch, sheet.paper, sheet.accent);
    if (this.hovered !== null && this.hovered !== this.pinned) this.outline(this.hovered, sheet.ink, sheet.paper);
    const corners = cornersOf(this.pinned, sheet.grid[1]);
    if (corners) this.outlineBox(corners, sheet.paper, sheet.accent);
    this.showScale(ends, map);
    const words = this.words(query, map);
    this.part("line").textContent = this.walking ? `For example: ${words}` : words;
    canvas.dataset.shown = isPatch(query) ? this.pair(query) : String(query);
    canvas.dataset.place = this.nameOf(this.layer, this.column);
  }

  // The part of the photograph that the model saw.
  /** @param {number} width @param {number} height */
  drawBase(width, height) {
    const base = document.createElement("canvas");
    base.width = width;
    base.height = height;
    const context = /** @type {CanvasRenderingContext2D} */ (base.getContext("2d"));
    context.imageSmoothingQuality = "high";
    if (!this.sheet || !this.photograph) return base;
    const { size, seen } = this.sheet;
    const across = this.photograph.width / size[1];
    const down = this.photograph.height / size[0];
    const [left, top, right, bottom] = [seen[0] * across, seen[1] * down, seen[2] * across, seen[3] * down];
    context.drawImage(this.photograph, left, top, right - left, bottom - top, 0, 0, width, height);
    if (this.look.look === "heat on grey" && !this.sheet.coloured) {
      const picture = context.getImageData(0, 0, width, height);
      turnGrey(picture.data, this.sheet.greyWeights);
      context.putImageData(picture, 0, 0);
    }
    return base;
  }

  /**
   * Draws a map over a box of a picture that is there.
   * @param {CanvasRenderingContext2D} context @param {PatchMap} map @param {number} layer
   * @param {[number, number, number, number]} box @param {import("./maps.js").Ends} ends
   */
  cover(context, map, layer, box, ends) {
    const { sheet } = this;
    if (!sheet) return;
    const pixels = sheet.coloured ? tinted(sheet, layer) : shade(sheet, map, ends, this.look.look);
    const picture = new OffscreenCanvas(sheet.grid[1], sheet.grid[0]);
    /** @type {OffscreenCanvasRenderingContext2D} */ (picture.getContext("2d")).putImageData(
      new ImageData(pixels, sheet.grid[1]), 0, 0,
    );
    context.imageSmoothingEnabled = this.look.edges === "smooth";
    // Linear between the centres of patches, as `lit.py` enlarges; "high" is a cubic curve, "low" is
    // coarse, and leaves patches out where the picture becomes smaller.
    context.imageSmoothingQuality = "medium";
    context.drawImage(picture, ...box);
    context.imageSmoothingEnabled = true;
  }

  drawOverview() {
    const { sheet, cells, overview } = this;
    if (!sheet || !cells || this.part("side").hidden || !this.photograph) return;
    const context = /** @type {CanvasRenderingContext2D} */ (overview.getContext("2d"));
    const ratio = window.devicePixelRatio;
    const style = getComputedStyle(this.root);
    const [width, height] = [cells.width * ratio, cells.height * ratio];
    context.clearRect(0, 0, overview.width, overview.height);
    const small = this.drawBase(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
    context.fillStyle = style.color;
    context.font = `${11 * ratio}px ${style.fontFamily}`;
    context.textBaseline = "middle";
    const columns = sheet.columns.length;
    const every = Math.ceil(13 / cells.height); // layers whose number has room
    // While the large map follows the cursor, these stay maps of what was chosen.
    this.part("maps").textContent = [
      ...(cells.label ? [] : ["Rows are layers, columns are heads."]),
      ...(sheet.query === null ? [] : [`Query: ${this.name(sheet.query)}.`]),
    ].join(" ");
    sheet.maps.forEach((map, index) => {
      const [layer, column] = [Math.floor(index / columns), index % columns];
      const [x, y] = cells.corners[index].map((each) => each * ratio);
      context.drawImage(small, x, y, width, height);
      this.cover(context, map, layer, [x, y, width, height], endsOf(sheet, map, this.look));
      if (cells.label) {
        context.textAlign = "left";
        const name = sheet.layers > 1 ? `${sheet.layerName} ${layer}` : sheet.columns[column];
        context.fillText(name, x, y - (cells.label / 2) * ratio);
      } else if (column === 0 && layer % every === 0) {
        context.textAlign = "right";
        context.fillText(`${layer}`, (cells.left - 6) * ratio, y + height / 2);
      }
      if (!cells.label && layer === 0) {
        context.textAlign = "center";
        context.fillText(sheet.columns[column], x + width / 2, (cells.top / 2) * ratio);
      }
    });
    const [x, y] = cells.corners[this.layer * columns + this.column].map((each) => each * ratio);
    context.strokeStyle = sheet.accent;
    context.lineWidth = 2.5 * ratio;
    context.strokeRect(x, y, width, height);
  }

  /** @param {number} patch @param {string} edge @param {string} colour */
  outline(patch, edge, colour) {
    const corners = cornersOf(patch, this.sheet?.grid[1] ?? 1);
    if (corners) this.outlineBox(corners, edge, colour);
  }

  /** @param {Corners} corners @param {string} edge @param {string} colour */
  outlineBox([top, left, bottom, right], edge, colour) {
    const { sheet, canvas, context } = this;
    if (!sheet) return;
    const [rows, columns] = sheet.grid;
    const [width, height] = [canvas.width / columns, canvas.height / rows];
    const pixel = window.devicePixelRatio;
    for (const [stroke, thickness] of /** @type {[string, number][]} */ ([[edge, 4], [colour, 2]])) {
      context.strokeStyle = stroke;
      context.lineWidth = thickness * pixel;
      context.strokeRect(left * width, top * height, (right - left + 1) * width, (bottom - top + 1) * height);
    }
  }

  // ---- what is said

  /** @param {number} layer @param {number} column */
  nameOf(layer, column) {
    return this.sheet ? placeName(this.sheet, layer, column) : "";
  }

  /** @param {number} patch */
  pair(patch) {
    const columns = this.sheet?.grid[1] ?? 1;
    return `(${Math.floor(patch / columns)}, ${patch % columns})`;
  }

  /** @param {Query | null} query */
  name(query) {
    return isPatch(query) ? `Patch ${this.pair(query)}` : String(query);
  }

  /** @param {Query | null} query @param {PatchMap} map */
  words(query, map) {
    const { sheet } = this;
    if (!sheet) return "";
    const here = this.hovered;
    if (sheet.coloured) return here === null ? "Patches of similar colour have similar tokens." : this.name(here);
    if (cornersOf(this.pinned, 1) && this.pinned !== query && here === null) {
      return `Computing the map of ${this.name(this.pinned).toLowerCase()}`;
    }
    if (here !== null && here !== query) {
      const kind = sheet.layers === 1 ? sheet.columns[this.column] || sheet.kind : sheet.kind;
      const whose = query === null ? kind : `${this.name(query)} to`;
      return `${whose} ${this.pair(here)}: ${number(valueAt(map, here, sheet.steps))}`;
    }
    const most = this.pair(map.steps.indexOf(Math.max(...map.steps)));
    if (!sheet.prefix.length) {
      const whose = query === null ? "" : `${this.name(query)}: `;
      return `${whose}least ${number(map.least)}, most ${number(map.largest)} at patch ${most}`;
    }
    const masses = sheet.prefix.map((name, token) => /** @type {[string, number]} */ ([name, map.prefix[token]]));
    if (sheet.columns[this.column] === "max") return `${this.name(query)}: most at patch ${most}: ${number(map.largest)}`;
    const rest = Math.max(0, 1 - masses.reduce((sum, [, mass]) => sum + mass, 0));
    const shares = [/** @type {[string, number]} */ (["patches", rest]), ...masses];
    const parts = shares.map(([name, share]) => `${(100 * share).toFixed(1)}% to ${name}`).join(", ");
    return `${this.name(query)} attends ${parts}; most to patch ${most}: ${number(map.largest)}`;
  }

  /** @param {import("./maps.js").Ends} ends @param {PatchMap} map */
  showScale(ends, map) {
    const { sheet, bar } = this;
    if (!sheet) return;
    this.part("scale").hidden = sheet.coloured;
    const context = /** @type {CanvasRenderingContext2D} */ (bar.getContext("2d"));
    // As the colours look over a middle grey of the photograph, on light and dark pages alike.
    const grey = `${100 * sheet.grey}%`;
    context.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
    context.fillRect(0, 0, bar.width, 1);
    const pixels = new Uint8ClampedArray(4 * bar.width);
    for (let step = 0; step < bar.width; step++) paint(pixels, 4 * step, step / (bar.width - 1), sheet, this.look.look);
    const picture = new OffscreenCanvas(bar.width, 1);
    /** @type {OffscreenCanvasRenderingContext2D} */ (picture.getContext("2d")).putImageData(new ImageData(pixels, bar.width), 0, 0);
    context.drawImage(picture, 0, 0);
    this.part("start").textContent = number(ends.low);
    this.part("end").textContent = `${ends.above ? "≥ " : ""}${number(ends.high)}`;
    // Of attention a pinned or hovered map keeps the scale of what the model reads.
    const several = sheet.link ? "both maps" : "all maps";
    const maps = sheet.tokens.length ? "what the model reads" : several;
    const clip = this.look.scale === "shared" ? `${this.look.clip} of ${maps}` : this.look.clip;
    const far = ends.high > 0 ? map.largest / ends.high : 0;
    const beyond = far >= 2 ? `, ${number(far, 2)} × the end of the scale` : "";
    const clipped = ends.above ? `; clipped at percentile ${clip}, largest ${number(map.largest)}${beyond}` : "";
    this.part("unit").textContent = `${sheet.unit}${clipped}`;
  }

  // The options of the tools, which follow from what was sent.
  fillTools() {
    const { sheet } = this;
    if (!sheet) return;
    const touch = window.matchMedia("(hover: none)").matches;
    this.part("lead").textContent = touch ? sheet.lead.replace(/^(Move over|Click)/, "Tap") : sheet.lead;
    this.part("head").title = sheet.columns.length > 1 ? sheet.why : "";
    const fill = (/** @type {string} */ name, /** @type {string[]} */ options) => {
      const select = /** @type {HTMLSelectElement} */ (this.part(name));
      if ([...select.options].map((each) => each.value).join() === options.join()) return;
      select.replaceChildren(...options.map((each) => new Option(told(name, each), each)));
    };
    fill("look", sheet.choices.look);
    fill("edges", sheet.choices.edges);
    fill("scale-of", sheet.choices.scale);
    fill("clip", sheet.choices.clip);
  }

  showTools() {
    const { sheet } = this;
    if (!sheet) return;
    const value = (/** @type {string} */ name, /** @type {string} */ text) => {
      /** @type {HTMLSelectElement} */ (this.part(name)).value = text;
    };
    value("look", this.look.look);
    value("edges", this.look.edges);
    value("scale-of", this.look.scale);
    value("clip", this.look.clip);
    const select = /** @type {HTMLSelectElement} */ (this.part("query"));
    const held = cornersOf(this.pinned, 1) !== null;
    const names = [...sheet.tokens, ...(held ? [this.name(this.pinned)] : [])];
    if ([...select.options].map((each) => each.text).join() !== names.join()) {
      select.replaceChildren(...names.map((each) => new Option(each)));
    }
    if (this.pinned !== null) select.value = this.name(this.pinned);
    this.part("query-group").hidden = !sheet.pins;
    const unpin = /** @type {HTMLButtonElement} */ (this.part("unpin"));
    unpin.hidden = !sheet.pins || !sheet.tokens.length;
    unpin.disabled = !held;
    this.part("layer").textContent = `${sheet.layerName} ${this.layer}`;
    this.part("layer-group").hidden = sheet.layers < 2;
    const column = sheet.columns[this.column];
    const headed = sheet.columns.some(isHead);
    const beside = headed ? `${column} of heads` : column;
    this.part("head").textContent = isHead(column) ? `Head ${column}` : beside;
    this.part("left").title = `Previous ${headed ? "head" : "map"} (H)`;
    this.part("right").title = `Next ${headed ? "head" : "map"} (L)`;
    this.part("head-group").hidden = sheet.columns.length < 2;
    const disabled = (/** @type {string} */ name, /** @type {boolean} */ off) => {
      /** @type {HTMLButtonElement} */ (this.part(name)).disabled = off;
    };
    disabled("back", this.layer === 0);
    disabled("next", this.layer === sheet.layers - 1);
    disabled("left", this.column === 0);
    disabled("right", this.column === sheet.columns.length - 1);
    for (const name of ["look", "scale-of", "clip"]) this.part(name).hidden = sheet.coloured;
    // Of explorers that are linked the page says the scale; maps without a common unit have none.
    this.part("scale-of").hidden ||= Boolean(sheet.link) || !Object.keys(sheet.limits).length;
  }

  // What is pinned, for those who hear the page; what is merely hovered would never end.
  speak() {
    const found = this.sheet && this.shown();
    if (!found) return;
    const hovered = this.hovered;
    this.hovered = null;
    const words = `${this.nameOf(this.layer, this.column)}. ${this.words(...found)}`;
    this.hovered = hovered;
    this.canvas.setAttribute("aria-label", words);
    if (this.part("spoken").textContent !== words) this.part("spoken").textContent = words;
  }
}

/** The first and the last row and column of a rectangle of patches: top, left, bottom, right.
 * @typedef {[number, number, number, number]} Corners */

/** @param {Corners} corners */
function regionName([top, left, bottom, right]) {
  return `Region (${top}, ${left}) to (${bottom}, ${right})`;
}

// The corners of a patch or a region; null of any other query.
/** @param {Query | null} query @param {number} columns @returns {Corners | null} */
function cornersOf(query, columns) {
  if (isPatch(query)) {
    const [row, column] = [Math.floor(query / columns), query % columns];
    return [row, column, row, column];
  }
  const found = /^Region \((\d+), (\d+)\) to \((\d+), (\d+)\)$/.exec(query ?? "");
  return found ? /** @type {Corners} */ (found.slice(1).map(Number)) : null;
}

// The row of a query, where it was sent; of a region the mean of its rows.
/** @param {Sheet} sheet @param {Query} query @returns {PatchMap | undefined} */
function rowOf(sheet, query) {
  const row = sheet.rows.get(query);
  const columns = sheet.grid[1];
  const corners = row || isPatch(query) ? null : cornersOf(query, columns);
  if (!corners) return row;
  const [top, left, bottom, right] = corners;
  const parts = [];
  for (let patch = top * columns + left; patch <= bottom * columns + right; patch++) {
    const inside = patch % columns >= left && patch % columns <= right;
    const part = inside ? sheet.rows.get(patch) : undefined;
    if (part) parts.push(part);
  }
  return parts.length ? averaged(parts, sheet.steps) : undefined;
}

// An option in the words of the tools.
/** @param {string} name @param {string} option */
function told(name, option) {
  if (name === "scale-of") return `${option} scale`;
  return name === "clip" ? `clip ${option}` : option;
}

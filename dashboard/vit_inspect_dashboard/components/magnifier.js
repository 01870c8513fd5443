// A sheet of tiles whose tile under the cursor is large. What arrives is described at `described`
// in magnifier.py. Nothing from outside becomes HTML.

/**
 * @typedef {object} Sheet
 * @property {string} alt
 * @property {string[]} lines
 * @property {string} picture
 * @property {[number, number, number, number]} extent left, top, width, height
 * @property {number} columns
 * @property {string[][]} words
 * @property {string[]} rows
 * @property {string[]} across
 * @property {string} side
 * @property {{colours: string[], ends: [string, string], unit: string}} scale
 * @property {number | null} opened the tile that is outlined
 * @typedef {{left: number, top: number, width: number, height: number}} Box
 */

/** @type {Record<string, [number, number]>} */
const STEP = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const LENS = 240; // px of the longer side of the large tile

/** @type {WeakMap<Element, Magnifier>} */
const magnifiers = new WeakMap();

// Called again on every rerun with new data, and with the same place to draw in.
/** @param {{data: Sheet, parentElement: Element, setTriggerValue: (name: string, value: unknown) => void}} given */
export default function ({ data, parentElement, setTriggerValue }) {
  let magnifier = magnifiers.get(parentElement);
  if (!magnifier?.stage.isConnected) {
    magnifier?.closing.abort();
    magnifier = new Magnifier(parentElement);
    magnifiers.set(parentElement, magnifier);
  }
  const open = magnifier;
  const turn = open.update(data, (tile) => setTriggerValue("tile", tile));
  // A call that was overtaken by the next one is cleaned up too, which must not end what follows.
  return () => {
    if (open.turn === turn) open.closing.abort();
  };
}

class Magnifier {
  /** @param {Element} place */
  constructor(place) {
    /** @param {string} name */
    const part = (name) => /** @type {HTMLElement} */ (place.querySelector(`.${name}`));
    this.part = part;
    this.stage = part("stage");
    this.picture = /** @type {HTMLImageElement} */ (part("picture"));
    this.lens = this.part("lens");
    this.mark = this.part("mark");
    this.opened = this.part("opened");
    this.canvas = /** @type {HTMLCanvasElement} */ (this.lens.querySelector("canvas"));
    this.turn = 0;
    /** @type {Sheet | null} */
    this.sheet = null;
    /** @type {number | null} */
    this.tile = null; // the one under the cursor
    /** @type {(tile: number) => void} */
    this.report = () => {};
    this.closing = new AbortController();
    const { signal } = this.closing;
    this.stage.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.show(this.tileAt(event));
    }, { signal });
    this.stage.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.show(null);
    }, { signal });
    this.stage.addEventListener("blur", () => this.show(null), { signal });
    this.stage.addEventListener("click", (event) => {
      const tile = this.tileAt(event);
      // A finger cannot hover; its next tap on the tile lets go of it.
      if (event.pointerType === "touch") this.show(tile === this.tile ? null : tile);
      this.pick(tile);
    }, { signal });
    this.stage.addEventListener("keydown", (event) => this.press(event), { signal });
  }

  /** @param {Sheet} data @param {(tile: number) => void} report */
  update(data, report) {
    this.turn += 1;
    this.report = report;
    const before = this.sheet;
    this.sheet = data;
    if (before?.picture !== data.picture) this.picture.src = data.picture;
    if (before?.words.length !== data.words.length) this.tile = null;
    this.picture.alt = data.alt;
    this.stage.setAttribute(
      "aria-label",
      `${data.alt}. Arrow keys go from tile to tile, Enter opens one, Escape closes it.`,
    );
    this.describe(data);
    this.opened.hidden = data.opened === null;
    if (data.opened !== null) this.frame(this.opened, this.box(data.opened, data));
    this.show(this.tile, true);
    return this.turn;
  }

  // Words, scale, and the numbers along the sides.
  /** @param {Sheet} sheet */
  describe({ lines, scale, rows, across, side, extent }) {
    this.part("lines").replaceChildren(...lines.filter((line) => line.trim()).map((line) => text("p", line)));
    this.part("low").textContent = scale.ends[0];
    this.part("high").textContent = scale.ends[1];
    this.part("unit").textContent = scale.unit;
    this.part("bar").style.background = `linear-gradient(to right, ${scale.colours.join()})`;
    const below = side !== "top";
    this.part("sheet").classList.toggle("below", below);
    const [left, top, width, height] = extent;
    /**
     * @param {HTMLElement} where @param {string[]} names
     * @param {(span: HTMLElement, index: number, away: number) => HTMLElement} place
     * @param {number} middle
     */
    const names = (where, [title, ...numbers], place, middle) => {
      const step = Math.ceil(numbers.length / 24);
      where.replaceChildren(
        place(text("span", title, "title"), middle, 2.1),
        ...numbers.flatMap((number, index) =>
          index % step ? [] : [place(text("span", number), index, 0.75)]),
      );
    };
    const inside = (/** @type {number} */ share, /** @type {string} */ padding) => `calc(${padding} + (100% - 3rem) * ${share})`;
    names(
      this.part("column-names"),
      across,
      (span, index, away) => {
        span.style.left = inside((index - left) / width, "3rem");
        span.style[below ? "bottom" : "top"] = `${2.6 - away - 0.55}rem`;
        span.style.transform = "translateX(-50%)";
        return span;
      },
      (across.length - 2) / 2,
    );
    names(
      this.part("row-names"),
      rows,
      (span, index, away) => {
        const share = (index - top) / height;
        span.style.top = `calc(${below ? "0rem" : "2.6rem"} + (100% - 2.6rem) * ${share})`;
        span.style.left = `${3 - away}rem`;
        return span;
      },
      (rows.length - 2) / 2,
    );
  }

  /** @param {MouseEvent} event */
  tileAt(event) {
    if (!this.sheet) return null;
    const place = this.picture.getBoundingClientRect();
    const [left, top, width, height] = this.sheet.extent;
    const column = Math.round(left + ((event.clientX - place.left) / place.width) * width);
    const row = Math.round(top + ((event.clientY - place.top) / place.height) * height);
    const tile = row * this.sheet.columns + column;
    return column >= 0 && column < this.sheet.columns && tile in this.sheet.words ? tile : null;
  }

  /** @param {number | null} tile */
  show(tile, again = false) {
    if (tile === this.tile && !again) return;
    this.tile = tile;
    this.lens.hidden = this.mark.hidden = tile === null;
    if (tile === null || !this.sheet) {
      delete this.stage.dataset.shown;
      return;
    }
    const words = this.sheet.words[tile].map((line) => line.replace(/<\/?b>/g, "")).join("\n");
    this.part("words").textContent = words;
    this.stage.dataset.shown = words;
    const box = this.box(tile, this.sheet);
    this.frame(this.mark, box);
    this.enlarge(box);
    const place = this.picture.getBoundingClientRect();
    const edge = place.left + (box.left + box.width) * place.width;
    const right = edge + 1.2 * this.lens.offsetWidth < document.documentElement.clientWidth;
    this.lens.style.left = right ? `calc(${100 * (box.left + box.width)}% + 0.8rem)` : "auto";
    this.lens.style.right = right ? "auto" : `calc(${100 * (1 - box.left)}% + 0.8rem)`;
    const low = box.top + box.height / 2 > 0.5;
    this.lens.style.top = low ? "auto" : `${100 * box.top}%`;
    this.lens.style.bottom = low ? `${100 * (1 - box.top - box.height)}%` : "auto";
  }

  /** @param {HTMLElement} mark @param {Box} box */
  frame(mark, box) {
    for (const [side, share] of Object.entries(box)) mark.style.setProperty(side, `${100 * share}%`);
  }

  // The tile's place on the picture, in shares of it.
  /** @param {number} tile @param {Sheet} sheet @returns {Box} */
  box(tile, sheet) {
    const [left, top, width, height] = sheet.extent;
    const row = Math.floor(tile / sheet.columns);
    const column = tile % sheet.columns;
    // The picture begins with the first tile's edge: as far from its middle as its half.
    const across = (-2 * left) / width;
    const down = (-2 * top) / height;
    return {
      left: (column - left) / width - across / 2,
      top: (row - top) / height - down / 2,
      width: across,
      height: down,
    };
  }

  /** @param {Box} box */
  enlarge(box) {
    const { naturalWidth, naturalHeight } = this.picture;
    if (!naturalWidth) return;
    const width = box.width * naturalWidth;
    const height = box.height * naturalHeight;
    const scale = LENS / Math.max(width, height);
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.imageSmoothingEnabled = false;
    context.drawImage(
      this.picture,
      box.left * naturalWidth,
      box.top * naturalHeight,
      width,
      height,
      0,
      0,
      this.canvas.width,
      this.canvas.height,
    );
  }

  /** @param {number | null} tile */
  pick(tile) {
    if (tile !== null) this.report(tile);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in STEP) {
      this.move(...STEP[event.key]);
    } else if (event.key === "Enter") {
      this.pick(this.tile);
    } else if (event.key === "Escape") {
      this.show(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} down @param {number} right */
  move(down, right) {
    if (!this.sheet) return;
    const { columns, words } = this.sheet;
    const here = this.tile ?? 0;
    const column = clamp((here % columns) + right, columns);
    const row = clamp(Math.floor(here / columns) + down, Math.ceil(words.length / columns));
    const tile = row * columns + column;
    if (tile in words) this.show(tile);
    this.part("spoken").textContent = this.part("words").textContent;
  }
}

/** @param {string} kind @param {string} words */
function text(kind, words, name = "") {
  const element = document.createElement(kind);
  element.textContent = words;
  element.className = name;
  return element;
}

/** @param {number} index @param {number} count */
function clamp(index, count) {
  return Math.min(Math.max(index, 0), count - 1);
}

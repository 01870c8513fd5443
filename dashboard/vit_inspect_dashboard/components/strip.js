// Pictures to choose from, and three ways to bring one: choose, drop, paste.

const UPLOADER = 'input[data-testid="stFileUploaderDropzoneInput"]';

/** @type {WeakMap<Element, Strip>} */
const strips = new WeakMap();

/**
 * @typedef {{here: number, pictures: {title: string, source: string}[]}} Offered
 * @param {{data: Offered, parentElement: Element, setTriggerValue: (name: string, value: unknown) => void}} given
 */
export default function ({ data, parentElement, setTriggerValue }) {
  let strip = strips.get(parentElement);
  if (!strip?.root.isConnected) {
    strip?.close();
    strip = new Strip(parentElement);
    strips.set(parentElement, strip);
  }
  const open = strip;
  const turn = open.update(data, (index) => setTriggerValue("picked", index));
  return () => {
    if (open.turn === turn) open.close();
  };
}

class Strip {
  /** @param {Element} place */
  constructor(place) {
    /** @param {string} name */
    const part = (name) => /** @type {HTMLElement} */ (place.querySelector(`.${name}`));
    this.root = part("strip");
    this.pictures = part("pictures");
    this.told = part("told");
    this.turn = 0;
    /** @type {(index: number) => void} */
    this.report = () => {};
    this.closing = new AbortController();
    const { signal } = this.closing;
    part("own").addEventListener("click", () => this.uploader()?.click(), { signal });
    window.addEventListener("paste", (event) => this.take(event.clipboardData, event), { signal });
    window.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    }, { signal });
    window.addEventListener("drop", (event) => this.take(event.dataTransfer, event), { signal });
  }

  /** @param {Offered} data @param {(index: number) => void} report */
  update(data, report) {
    this.turn += 1;
    this.report = report;
    const shown = [...this.pictures.querySelectorAll("img")].map((image) => image.src).join();
    if (shown !== data.pictures.map((each) => each.source).join()) {
      this.pictures.replaceChildren(...data.pictures.map((each, index) => this.button(each, index)));
    }
    [...this.pictures.children].forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === data.here));
      if (index === data.here) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    return this.turn;
  }

  /** @param {{title: string, source: string}} picture @param {number} index */
  button({ title, source }, index) {
    const button = document.createElement("button");
    const image = document.createElement("img");
    button.type = "button";
    button.title = title;
    image.alt = title;
    image.src = source;
    button.append(image);
    button.addEventListener("click", () => this.report(index));
    return button;
  }

  // Where Streamlit takes files; it is in the sidebar, which may be closed.
  uploader() {
    const found = /** @type {HTMLInputElement | null} */ (document.querySelector(UPLOADER));
    this.told.textContent = found ? "" : "Open the sidebar to add pictures.";
    return found;
  }

  /** @param {DataTransfer | null} given @param {Event} event */
  take(given, event) {
    const files = [...(given?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    const dropped = /** @type {Element} */ (event.target).closest?.('[data-testid="stFileUploaderDropzone"]');
    const input = files.length && !dropped ? this.uploader() : null;
    if (!input) return;
    event.preventDefault();
    const handed = new DataTransfer();
    for (const file of files) handed.items.add(file);
    input.files = handed.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  close() {
    this.closing.abort();
  }
}

// Tells Python what the screen is like, lets a finger on a chart move the page, keeps the title of the open
// view in sight, and loads what charts need. It is called again on every rerun.

const PAUSE = 200; // ms; the page is still when its width is told
const STILL = 5500; // ms without a hand on the page; the demonstration is over by then
const STEP = 20; // px
const MUCH = 40; // px; a scroll bar that comes and goes is no wider page
const CHECKED = "aria-checked";

/** @typedef {{width: number, touched: boolean}} Told */
/**
 * What Python knows is `told`; `ahead` is the file of Streamlit's charts.
 * @typedef {{asked: boolean, full: number, told: Told, ahead: string | null}} Given
 */

/** @type {Given | null} */
let given = null;
let seen = { title: /** @type {Element | null} */ (null), text: /** @type {string | null} */ (null) };
/** @type {(told: Told) => void} */
let report = () => {};
/** @type {ReturnType<typeof setTimeout> | null} */
let timer = null;

// Streamlit sets plotly's dragmode to "pan" on charts that can be clicked, and plotly then takes every
// touch for itself. Without its touch events it follows the mouse events that browsers make of a tap.
/** @param {TouchEvent} event */
const keepFromPlotly = (event) => {
  if (event.target instanceof Element && event.target.closest(".js-plotly-plot .drag")) {
    event.stopPropagation();
  }
};

const room = () => {
  const page = document.querySelector('[data-testid="stMainBlockContainer"]');
  if (!page || !given) return null;
  const style = getComputedStyle(page);
  const width = page.clientWidth - Number.parseFloat(style.paddingLeft) - Number.parseFloat(style.paddingRight);
  return Math.min(width, given.full);
};

const tell = () => {
  timer = null;
  const width = room();
  if (!given?.asked || !width) return;
  const touched = window.matchMedia("(hover: none)").matches;
  const before = given.told;
  const same = width >= before.width && (width < before.width + MUCH || before.width === given.full);
  if (same && touched === before.touched) return;
  report({ width: width === given.full ? width : Math.floor(width / STEP) * STEP, touched });
};

const tellSoon = () => {
  if (timer !== null) clearTimeout(timer);
  timer = setTimeout(tell, PAUSE);
};

// Streamlit loads plotly when the first chart is to be drawn, and a second passes. So it is loaded before,
// once the page has been still for a while: for most of that second nothing moves.
/** @param {string} file */
const loadAhead = (file) => {
  const own = document.querySelector('script[type="module"][src*="/static/js/"]');
  if (!(own instanceof HTMLScriptElement)) return;
  const url = new URL(file, own.src).href;
  const signs = ["pointermove", "pointerdown", "keydown", "wheel"];
  /** @type {ReturnType<typeof setTimeout>} */
  let still;
  const moved = () => {
    clearTimeout(still);
    still = setTimeout(load, STILL);
  };
  const load = () => {
    for (const each of signs) document.removeEventListener(each, moved);
    import(url);
  };
  for (const each of signs) document.addEventListener(each, moved, { passive: true });
  moved();
};

const watcher = new ResizeObserver(tellSoon);

/**
 * Bring the title of the view that is open into sight, once for each time that it is drawn: on a
 * slow machine it comes long after this part, or is drawn anew.
 */
const bringIntoSight = () => {
  const row = document.querySelector('.st-key-view [role="radiogroup"]');
  const open = row?.querySelector(`[${CHECKED}="true"]`);
  if (!row || !open || (open === seen.title && open.textContent === seen.text)) return;
  seen = { title: open, text: open.textContent };
  const [whole, part] = [row.getBoundingClientRect(), open.getBoundingClientRect()];
  row.scrollLeft += part.left + part.width / 2 - whole.left - whole.width / 2;
};

const titles = new MutationObserver(bringIntoSight);

/** @param {{data: Given, setTriggerValue: (name: string, value: unknown) => void}} called */
export default function ({ data, setTriggerValue }) {
  const first = given === null;
  given = data;
  report = (what) => setTriggerValue("told", what);
  document.addEventListener("touchstart", keepFromPlotly, { capture: true, passive: true });
  const page = document.querySelector('[data-testid="stMainBlockContainer"]');
  if (page) watcher.observe(page);
  if (first && data.ahead) loadAhead(data.ahead);
  // What was laid out for a wide page is not to be seen on a narrow one.
  if (first) tell();
  else tellSoon();
  titles.observe(document.body, { subtree: true, childList: true, attributeFilter: [CHECKED] });
  bringIntoSight();
}

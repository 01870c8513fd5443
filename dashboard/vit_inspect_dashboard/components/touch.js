// Lets a finger on a chart move the page, and lets a tap still choose.
// Streamlit sets plotly's dragmode to "pan" on charts that can be clicked, and plotly then takes every
// touch for itself. Without its touch events it follows the mouse events that browsers make of a tap.

/** @param {TouchEvent} event */
const keepFromPlotly = (event) => {
  if (event.target instanceof Element && event.target.closest(".js-plotly-plot .drag")) {
    event.stopPropagation();
  }
};

export default function () {
  document.addEventListener("touchstart", keepFromPlotly, { capture: true, passive: true });
}

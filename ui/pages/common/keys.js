// @ts-check
const KEYS = [
  ["Ctrl or ⌘ + Enter", "Paint, or compare"],
  ["Esc", "Cancel what is being painted"],
  ["/", "To the prompt"],
  ["← → ↑ ↓", "To the next style or picture, once one is chosen"],
  ["Ctrl or ⌘ + ↑ ↓", "In the prompt: more or less weight for a word"],
  ["< __ /", "In the prompt: suggests styles, wildcards, templates"],
  ["1 2 3", "To another tab"],
  ["?", "This list"],
];
const TYPING = "input:not([type=checkbox]), textarea, select, [contenteditable=true]";
// What is laid out for walking through with the arrows.
const WALKS = ".cards, .templates, [data-walk]";

// What is fixed to the window, as the buttons are on a phone, has no offsetParent.
/** @param {Element} node */
const seen = (node) => node.getClientRects().length > 0;
/** @param {string} selector */
const shown = (selector) => findAll(document, selector).find(seen);

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// To the nearest one in that direction; sideways at the end of a line on to the next line.
/** @param {HTMLElement | undefined} from @param {[number, number]} direction */
function walk(from, [dx, dy]) {
  const place = from?.closest(WALKS);
  if (!from || !place) return false;
  const stops = findAll(place, "button:not(.card-heart, .card-more), a[href]").filter(seen);
  const here = from.getBoundingClientRect();
  /** @param {HTMLElement} stop */
  const away = (stop) => {
    const there = stop.getBoundingClientRect();
    return (there.top - here.top) * dy > 1 ? Math.abs(there.top - here.top) * 1000 + Math.abs(there.left - here.left) : Infinity;
  };
  const below = stops.filter((stop) => away(stop) < Infinity).sort((a, b) => away(a) - away(b))[0];
  const next = dy ? below : stops[stops.indexOf(from) + dx];
  next?.focus();
  return Boolean(next);
}

// Whether a key that is pressed outside of text did something.
/** @param {string} key */
function pressed(key) {
  if (key in ARROWS) return walk(shown(":focus"), ARROWS[key]);
  if (key === "?") part("sheet").showModal();
  else if (key === "/") promptArea()?.focus();
  else {
    const tab = /^[1-9]$/.test(key) && findAll(document, "#pages [role=tab]")[Number(key) - 1];
    if (!tab) return false;
    tab.click();
  }
  return true;
}

document.addEventListener("keydown", (event) => {
  if (part("sheet").open || event.defaultPrevented) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    shown("#paint, #compare")?.click();
  } else if (event.key === "Escape") {
    shown("#cancel, #compare-cancel")?.click();
  } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !inside(event, TYPING)) {
    if (pressed(event.key)) event.preventDefault();
  }
});
for (const [keys, what] of KEYS) {
  const name = make("dt");
  name.append(make("kbd", "", keys));
  part("list").append(name, make("dd", "", what));
}
part("open").addEventListener("click", () => part("sheet").showModal());

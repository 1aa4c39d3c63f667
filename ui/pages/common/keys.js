// @ts-check
const KEYS = [
  ["Ctrl or ⌘ + Enter", "Paint, or compare"],
  ["Esc", "Cancel what is being painted"],
  ["/", "To the prompt"],
  ["← →", "To the next or previous style or picture, once one is chosen"],
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

/** @param {HTMLElement | undefined} from @param {number} by */
function walk(from, by) {
  const place = from?.closest(WALKS);
  const stops = place ? findAll(place, "button, a[href]").filter(seen) : [];
  const next = from && stops[stops.indexOf(from) + by];
  next?.focus();
  return Boolean(next);
}

// Whether a key that is pressed outside of text did something.
/** @param {string} key */
function pressed(key) {
  if (key === "ArrowRight" || key === "ArrowLeft") return walk(shown(":focus"), key === "ArrowRight" ? 1 : -1);
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

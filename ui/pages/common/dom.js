// @ts-check
// What all widgets use, once for the whole page; widget.d.ts says of what types.
/** @type {typeof globalThis.findAll} */
const findAll = (within, selector) => [.../** @type {NodeListOf<HTMLElement>} */ (within.querySelectorAll(selector))];
/** @type {typeof globalThis.inside} */
const inside = (event, selector) => event.target instanceof Element && event.target.closest(selector) !== null;
/** @type {typeof globalThis.make} */
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
/** @type {typeof globalThis.press} */
const press = (className, text, run) => {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", run);
  return button;
};
/** @type {typeof globalThis.terms} */
const terms = (facts) => {
  const list = make("dl");
  for (const [name, value] of facts) if (value) list.append(make("dt", "", name), make("dd", "", String(value)));
  return list;
};
/** @type {typeof globalThis.notify} */
const notify = (node, words) => {
  node.textContent = words || "";
  node.hidden = !words;
};
// Put a picture into a cell, or another one in its place.
/** @type {typeof globalThis.picture} */
const picture = (cell, src, alt, done) => {
  const image = cell.querySelector("img") ?? make("img");
  // What is not finished is in nothing that could be pressed.
  if (!image.isConnected || (!done && image.parentNode !== cell)) cell.replaceChildren(image);
  if (image.getAttribute("src") !== src) image.src = src;
  image.alt = alt;
  image.classList.toggle("unfinished", !done);
  return image;
};
/** @type {typeof globalThis.download} */
const download = (url, name) => {
  const link = make("a");
  Object.assign(link, { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
};
/** @type {typeof globalThis.promptArea} */
const promptArea = () => document.querySelector("#prompt textarea");
// As if it had been typed: that is what gradio listens for.
/** @type {typeof globalThis.write} */
const write = (area, text) => {
  area.value = text;
  area.dispatchEvent(new Event("input", { bubbles: true }));
};
// Put a word into the prompt, unless it is there.
/** @type {typeof globalThis.mention} */
const mention = (word) => {
  const area = promptArea();
  if (!area) return;
  if (!area.value.toLowerCase().includes(word.toLowerCase())) write(area, area.value.trim() ? `${area.value.trimEnd()}, ${word}` : word);
  area.focus();
};
/** @type {typeof globalThis.plural} */
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
/** @type {typeof globalThis.roughly} */
const roughly = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
/** @type {typeof globalThis.signed} */
const signed = (number) => (number < 0 ? "−" : "") + Math.abs(number).toFixed(2);
/** @type {typeof globalThis.again} */
const again = ({ restarts }) => (restarts ? "A machine has gone; begun again on another. " : "");
/** @type {typeof globalThis.stalled} */
const stalled = (value) => (value.stalled ? "No machine is there just now; you keep your place. " : "");
/** @type {typeof globalThis.turn} */
const turn = (place) => (place > 1 ? `after ${plural(place - 1, "other picture")}` : "next");

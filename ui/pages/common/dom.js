const part = (name) => element.querySelector(`[data-part="${name}"]`);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const press = (className, text, run) => {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", run);
  return button;
};
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const roughly = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);
const signed = (number) => (number < 0 ? "−" : "") + Math.abs(number).toFixed(2);
// Put a picture into a cell, or another one in its place.
function picture(cell, src, alt, done) {
  let image = cell.querySelector("img");
  if (!image) {
    image = make("img");
    cell.replaceChildren(image);
  }
  if (image.getAttribute("src") !== src) image.src = src;
  image.alt = alt;
  image.classList.toggle("unfinished", !done);
  return image;
}

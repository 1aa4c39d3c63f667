// @ts-check
// -1: a new one is drawn each time.
const DRAWN = -1;

/** @param {number} seed */
function set(seed) {
  if (props.value === seed) return;
  props.value = seed;
  show();
}

function show() {
  const locked = props.value >= 0;
  part("lock").setAttribute("aria-pressed", String(locked));
  part("lock").textContent = locked ? "Seed locked" : "A new seed each time";
  part("lock").title = locked
    ? "Every picture has this seed. Click for a new one each time."
    : "Click to keep the seed of the last picture";
  part("number").hidden = !locked;
  part("number").value = locked ? String(props.value) : "";
}

part("lock").addEventListener("click", () => {
  const last = atelier.seed ?? Math.floor(Math.random() * given.most);
  set(props.value >= 0 ? DRAWN : last);
});
part("number").addEventListener("change", () => {
  const text = part("number").value.trim();
  const seed = Number(text);
  set(/^\d+$/.test(text) && seed < given.most ? seed : DRAWN);
  show();
});
watch("value", show);
show();

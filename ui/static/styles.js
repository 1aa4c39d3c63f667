const part = (name) => element.querySelector(`[data-part="${name}"]`);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const signed = (weight) => (weight < 0 ? "−" : "") + Math.abs(weight).toFixed(2);
const chosen = () => props.value || [];
const weightOf = (id) => chosen().find((use) => use.id === id)?.weight;

function card(style) {
  const button = make("button", "card");
  button.type = "button";
  button.dataset.style = style.id;
  const picture = make("span", "card-picture");
  if (style.preview) {
    const image = make("img");
    image.src = style.preview.replace(/^\//, "");
    image.alt = "";
    image.loading = "lazy";
    picture.append(image);
  } else {
    picture.append(make("span", "card-initial", style.name.slice(0, 1).toUpperCase()));
  }
  button.append(picture, make("span", "card-name", style.name));
  if (style.triggers.length) button.append(make("span", "card-trigger", style.triggers.join(", ")));
  if (style.description) button.title = style.description;
  button.addEventListener("click", () => toggle(style.id));
  return button;
}

function row(style) {
  const line = make("div", "mix-row");
  line.dataset.style = style.id;
  const id = `weight-${style.id}`;
  const label = make("label", "mix-name", style.name);
  label.htmlFor = id;
  const slider = make("input");
  Object.assign(slider, { type: "range", id, min: -2, max: 2, step: 0.05, value: weightOf(style.id) });
  const shown = make("output", "mix-weight", signed(Number(slider.value)));
  shown.htmlFor = id;
  slider.addEventListener("input", () => {
    const weight = Number(slider.value);
    shown.textContent = signed(weight);
    props.value = chosen().map((use) => (use.id === style.id ? { ...use, weight } : use));
  });
  const remove = make("button", "mix-remove", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", `Take off ${style.name}`);
  remove.addEventListener("click", () => toggle(style.id));
  line.append(label, slider, shown, remove);
  return line;
}

function toggle(id) {
  const on = weightOf(id) === undefined;
  props.value = on ? [...chosen(), { id, weight: 1 }] : chosen().filter((use) => use.id !== id);
  show();
}

function show() {
  for (const button of part("cards").children) {
    button.setAttribute("aria-pressed", String(weightOf(button.dataset.style) !== undefined));
  }
  const rows = part("mix");
  const known = props.styles.filter((style) => weightOf(style.id) !== undefined);
  for (const line of [...rows.children]) if (weightOf(line.dataset.style) === undefined) line.remove();
  for (const style of known) {
    const line = [...rows.children].find((each) => each.dataset.style === style.id);
    if (!line) rows.append(row(style));
    else if (Number(line.querySelector("input").value) !== weightOf(style.id)) line.replaceWith(row(style));
  }
  part("hint").textContent = !props.styles.length
    ? "No styles are installed here. Put LoRA files into the adapters folder and start again."
    : known.length
      ? "Pull a slider below zero to push a style away."
      : "Put one or more on. They mix.";
}

part("cards").append(...props.styles.map(card));
watch("value", show);
show();

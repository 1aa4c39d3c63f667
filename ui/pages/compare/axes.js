// @ts-check
/** @typedef {"x" | "y" | "z"} Side */
const PICKED = { adapter: "styles", scheduler: "schedulers" };
// More than these are not seen at a glance.
const MANY = 24;
const SIDES = { x: "Across", y: "Down", z: "Pages" };
/** @type {Record<string, string>} */
const HINTS = {
  adapter: "Each is on alone.",
  adapter_weight: `−${given.max_weight} to ${given.max_weight}. Ranges: 0..1 step 0.25, or 0-1 [5] for five of them.`,
  prompt: 'Words of the prompt, then what replaces them: apple, pear, plum. With a comma in it: "red, ripe".',
  scheduler: "",
  steps: "Ranges: 10..30 step 10.",
  guidance_scale: `0 to ${given.max_guidance}. Ranges: 1..9 step 2.`,
  seed: "Ranges: 1-10.",
};
/** @type {Record<string, string>} */
const EXAMPLES = { adapter_weight: "0, 0.5, 1", prompt: "apple, pear, plum", steps: "10, 20, 30", guidance_scale: "2, 5, 8", seed: "1-4" };
const value = { ...props.value, ...remembered() };
/** @type {number | undefined} */
let late;

// What was chosen last, as far as it is there still.
function remembered() {
  const kept = atelier.recall("axes") ?? {};
  const sound = Object.keys(SIDES).every((side) => {
    const [axis, values] = [kept[`${side}_axis`], kept[`${side}_values`]];
    if (axis === "" && side !== "x") return true;
    if (!(axis in given.names)) return false;
    if (!(axis in PICKED)) return typeof values === "string";
    const there = options(axis).map(([id]) => id);
    return Array.isArray(values) && values.every((id) => there.includes(id));
  });
  return sound ? kept : {};
}

function publish() {
  props.value = { ...value };
  atelier.remember("axes", value);
  part("cost").classList.add("old");
}

// After the last key of a word, not at each.
function soon() {
  clearTimeout(late);
  late = setTimeout(publish, 300);
}

/** @param {string} axis */
function options(axis) {
  if (axis === "scheduler") return given.schedulers.map((name) => [name, name]);
  return [["", "No style"], ...props.styles.map((style) => [style.id, style.name])];
}

/** @param {HTMLElement} box */
function finder(box) {
  const field = make("input", "axis-find");
  Object.assign(field, { type: "search", placeholder: "Find, such as 2M Karras", autocomplete: "off", spellcheck: false });
  field.setAttribute("aria-label", "Find among these");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const chip of findAll(box, ".chip")) {
      const name = (chip.textContent || "").toLowerCase();
      chip.hidden = !words.every((word) => name.includes(word));
    }
  });
  return field;
}

/** @param {Side} side */
function picks(side) {
  const box = make("div", "axis-picks");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", given.names[value[`${side}_axis`]]);
  const offered = options(value[`${side}_axis`]);
  const chosen = (/** @type {string} */ id) => Number(value[`${side}_values`].includes(id));
  // Of many those that are on stand first, and the others are found by their letters.
  if (offered.length > MANY) {
    offered.sort(([a], [b]) => chosen(b) - chosen(a));
    box.append(finder(box));
  }
  for (const [id, name] of offered) {
    const chip = press("chip", name, () => {
      const on = value[`${side}_values`].includes(id);
      value[`${side}_values`] = on
        ? value[`${side}_values`].filter((/** @type {string} */ other) => other !== id)
        : [...value[`${side}_values`], id];
      chip.setAttribute("aria-pressed", String(!on));
      publish();
    });
    chip.setAttribute("aria-pressed", String(value[`${side}_values`].includes(id)));
    box.append(chip);
  }
  return box;
}

/** @param {Side} side */
function written(side) {
  const field = make("input");
  const axis = value[`${side}_axis`];
  Object.assign(field, {
    type: "text",
    value: value[`${side}_values`],
    placeholder: EXAMPLES[axis],
    autocomplete: "off",
    spellcheck: false,
    maxLength: given.max_characters,
  });
  field.setAttribute("aria-label", `${SIDES[side]}: ${given.names[axis]}, values`);
  field.addEventListener("input", () => {
    value[`${side}_values`] = field.value;
    soon();
  });
  // Whoever leaves the field, for the button perhaps, means what stands in it.
  field.addEventListener("change", () => {
    clearTimeout(late);
    publish();
  });
  return field;
}

/** @param {Side} side */
function chooser(side) {
  const select = make("select");
  select.setAttribute("aria-label", SIDES[side]);
  const none = side === "x" ? [] : [["", "nothing"]];
  for (const [id, name] of [...none, ...Object.entries(given.names)]) {
    const option = make("option", "", name);
    option.value = id;
    select.append(option);
  }
  select.value = value[`${side}_axis`];
  select.addEventListener("change", () => {
    value[`${side}_axis`] = select.value;
    value[`${side}_values`] = select.value in PICKED ? [] : "";
    show(side);
    publish();
  });
  return select;
}

/** @param {Side} side */
function show(side) {
  const axis = value[`${side}_axis`];
  const line = make("div", "axis");
  const label = make("label", "axis-name");
  label.append(make("span", "", SIDES[side]), chooser(side));
  line.append(label);
  if (axis) line.append(axis in PICKED ? picks(side) : written(side), make("p", "hint", HINTS[axis]));
  part(side).replaceChildren(line);
}

function cost() {
  /** @type {Plan & { hint?: string } & Pick<Grid, "cells" | "columns" | "rows" | "pages">} */
  const { cells, columns, rows, pages, hint, expected_seconds: seconds, place, starts_in: wait, error } = props.plan || {};
  const queue = place ? `, beginning in about ${roughly(wait)}` : "";
  part("cost").classList.remove("old");
  part("cost").classList.toggle("wrong", Boolean(error));
  part("cost").textContent =
    error ||
    hint ||
    (cells
      ? `${columns} × ${rows}${pages > 1 ? ` × ${plural(pages, "page")}` : ""}: ${plural(cells, "picture")} of at most ${given.most}, about ${roughly(seconds)}${queue}.`
      : "");
}

function styles() {
  for (const side of /** @type {Side[]} */ (Object.keys(SIDES))) if (value[`${side}_axis`] === "adapter") show(side);
}

document.addEventListener("input", (event) => {
  const area = promptArea();
  if (!(event.target instanceof HTMLTextAreaElement) || !inside(event, "#compare-prompt") || !area) return;
  write(area, event.target.value);
});
watch("plan", cost);
watch("styles", styles);
props.value = { ...value };
for (const side of /** @type {Side[]} */ (Object.keys(SIDES))) show(side);

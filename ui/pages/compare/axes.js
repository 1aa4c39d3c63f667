// @ts-check
/** @typedef {"x" | "y"} Side */
const PICKED = { adapter: "styles", scheduler: "schedulers" };
const SIDES = { x: "Across", y: "Down" };
/** @type {Record<string, string>} */
const HINTS = {
  adapter: "Each is on alone.",
  adapter_weight: `−${props.max_weight} to ${props.max_weight}. Ranges: 0-1 [5] is five from 0 to 1.`,
  prompt: 'Words of the prompt, then what replaces them: apple, pear, plum. With a comma in it: "red, ripe".',
  scheduler: "",
  steps: "Ranges: 10-30 (+10).",
  guidance_scale: `0 to ${props.max_guidance}. Ranges: 1-9 (+2).`,
  seed: "Ranges: 1-6.",
};
/** @type {Record<string, string>} */
const EXAMPLES = { adapter_weight: "0, 0.5, 1", prompt: "apple, pear, plum", steps: "10, 20, 30", guidance_scale: "2, 5, 8", seed: "1-4" };
const value = { ...props.value };
/** @type {number | undefined} */
let late;

function publish() {
  props.value = { ...value };
  part("cost").classList.add("old");
}

// After the last key of a word, not at each.
function soon() {
  clearTimeout(late);
  late = setTimeout(publish, 300);
}

/** @param {string} axis */
function options(axis) {
  if (axis === "scheduler") return props.schedulers.map((name) => [name, name]);
  return [["", "No style"], ...props.styles.map((style) => [style.id, style.name])];
}

/** @param {Side} side */
function picks(side) {
  const box = make("div", "axis-picks");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", props.names[value[`${side}_axis`]]);
  for (const [id, name] of options(value[`${side}_axis`])) {
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
    maxLength: props.max_characters,
  });
  field.setAttribute("aria-label", `${SIDES[side]}: ${props.names[axis]}, values`);
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
  const none = side === "y" ? [["", "nothing"]] : [];
  for (const [id, name] of [...none, ...Object.entries(props.names)]) {
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
  /** @type {Plan & Pick<Grid, "cells" | "columns" | "rows">} */
  const { cells, columns, rows, expected_seconds: seconds, place, starts_in: wait, error } = props.plan || {};
  const queue = place ? `, beginning in about ${roughly(wait)}` : "";
  part("cost").classList.remove("old");
  part("cost").classList.toggle("wrong", Boolean(error));
  part("cost").textContent =
    error ||
    (cells ? `${columns} × ${rows}: ${plural(cells, "picture")} of at most ${props.most}, about ${roughly(seconds)}${queue}.` : "");
}

function styles() {
  for (const side of /** @type {Side[]} */ (["x", "y"])) if (value[`${side}_axis`] === "adapter") show(side);
}

watch("plan", cost);
watch("styles", styles);
show("x");
show("y");

// @ts-check
const MORE = { text_weight: null, start: 0, end: 1, blocks: {} };
const BLOCKS = { down: "Down blocks", mid: "Middle block", up: "Up blocks" };
const WEIGHT = { min: -given.max_weight, max: given.max_weight };
/** @param {number} number */
const twoPlaces = (number) => Number(number.toFixed(2));

/** @param {string} label @param {number} value @param {{ min: number, max: number }} bounds @param {(value: number) => void} run */
function slider(label, value, { min, max }, run, className = "") {
  const line = make("label", `slide ${className}`);
  const input = make("input");
  Object.assign(input, { type: "range", min, max, step: 0.05, value });
  const shown = make("output", "mix-weight", signed(value));
  input.addEventListener("input", () => {
    shown.textContent = signed(Number(input.value));
    run(Number(input.value));
  });
  line.append(make("span", "slide-name", label), input, shown);
  return line;
}

/** @param {HTMLElement} line @param {number} value */
function set(line, value) {
  const [input, shown] = [line.querySelector("input"), line.querySelector("output")];
  if (input) input.value = String(value);
  if (shown) shown.textContent = signed(value);
}

/** @param {Style} style */
function triggers(style) {
  const line = make("p", "triggers");
  line.append(make("span", "slide-name", "Say"));
  for (const word of style.triggers) {
    const chip = press("chip", `+ ${word}`, () => mention(word));
    chip.setAttribute("aria-label", `Put "${word}" into the prompt`);
    line.append(chip);
  }
  return line;
}

/** @param {Style} style @param {StyleUse} use @param {MixEvents} events */
function details(style, use, { changed, judge }) {
  const box = make("div", "mix-more");
  box.hidden = true;
  /** @param {Partial<StyleUse>} values */
  const change = (values) => {
    Object.assign(use, values);
    for (const name of /** @type {(keyof typeof MORE)[]} */ (Object.keys(MORE))) {
      if (JSON.stringify(use[name]) === JSON.stringify(MORE[name])) delete use[name];
    }
    changed();
  };
  if (style.triggers.length) box.append(triggers(style));
  const text = slider("Text strength", use.text_weight ?? use.weight, WEIGHT, (value) => change({ text_weight: value }), "mix-words");
  text.title = "Weight on the text encoders, where the file has layers for them; follows the weight above until you move it";
  const start = slider("From", use.start ?? 0, { min: 0, max: 0.95 }, (value) => {
    change({ start: value, end: Math.max(use.end ?? 1, twoPlaces(value + 0.05)) });
    set(end, use.end ?? 1);
  });
  const end = slider("Until", use.end ?? 1, { min: 0.05, max: 1 }, (value) => {
    change({ end: value, start: Math.min(use.start ?? 0, twoPlaces(value - 0.05)) });
    set(start, use.start ?? 0);
  });
  start.title = end.title = "The share of the steps between which the style is on";
  const blocks = Object.entries(BLOCKS).map(([name, label]) =>
    slider(label, use.blocks?.[name] ?? 1, WEIGHT, (value) => {
      const { [name]: before, ...others } = use.blocks ?? {};
      change({ blocks: value === 1 ? others : { ...others, [name]: value } });
    }),
  );
  box.append(
    text,
    start,
    end,
    ...blocks,
    press("link", canBeKept(style) ? "Manage this style" : "What this file is", () => judge(style)),
  );
  return box;
}

// One style that is on, or muted: its strength, and folded away all else about it.
/** @type {typeof globalThis.mixRow} */
const mixRow = (style, use, events) => {
  const { changed, remove } = events;
  const line = make("div", "mix-row");
  line.dataset.style = style.id;
  const on = make("input", "mix-on");
  Object.assign(on, { type: "checkbox", checked: !use.muted });
  on.setAttribute("aria-label", `${style.name} is on`);
  on.addEventListener("change", () => {
    use.muted = !on.checked;
    line.classList.toggle("muted", !on.checked);
    changed();
  });
  const slide = make("input", "mix-slide");
  Object.assign(slide, { type: "range", ...WEIGHT, step: 0.05, value: use.weight, id: `weight-${style.id}` });
  slide.setAttribute("aria-label", `Strength of ${style.name}`);
  const number = make("input", "mix-number");
  Object.assign(number, { type: "number", ...WEIGHT, step: 0.05, value: use.weight.toFixed(2) });
  number.setAttribute("aria-label", `Strength of ${style.name} as a number`);
  /** @param {number} weight */
  const weigh = (weight) => {
    use.weight = Math.min(WEIGHT.max, Math.max(WEIGHT.min, weight || 0));
    slide.value = String(use.weight);
    if (document.activeElement !== number) number.value = use.weight.toFixed(2);
    if (use.text_weight === undefined) set(findAll(more, ".mix-words")[0], use.weight);
    changed();
  };
  slide.addEventListener("input", () => weigh(Number(slide.value)));
  number.addEventListener("input", () => weigh(Number(number.value)));
  number.addEventListener("change", () => (number.value = use.weight.toFixed(2)));
  const reset = press("mix-reset", "↺", () => weigh(1));
  reset.setAttribute("aria-label", `${style.name} back to 1`);
  const more = details(style, use, events);
  const open = press("mix-open", "⋯", () => {
    more.hidden = !more.hidden;
    open.setAttribute("aria-expanded", String(!more.hidden));
  });
  open.setAttribute("aria-label", `More about ${style.name}`);
  open.setAttribute("aria-expanded", "false");
  const away = press("mix-remove", "×", remove);
  away.setAttribute("aria-label", `Take off ${style.name}`);
  line.append(on, make("span", "mix-name", style.name), slide, number, reset, open, away, more);
  return line;
};

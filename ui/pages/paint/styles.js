// @ts-check
const MORE = { text_weight: null, start: 0, end: 1, blocks: {} };
const BLOCKS = { down: "Down blocks", mid: "Middle block", up: "Up blocks" };
const WEIGHT = { min: -props.max_weight, max: props.max_weight };
const known = new Map(props.styles.map((style) => [style.id, style]));
// The rows of the mix; a muted one stays on the page and out of the value.
let mix = copied();
let asked = 0;

/** @returns {StyleUse[]} */
function copied() {
  return (props.value || []).map((/** @type {StyleUse} */ use) => ({ ...use }));
}

/** @param {number} number */
const twoPlaces = (number) => Number(number.toFixed(2));
/** @param {string | undefined} id */
const row = (id) => mix.find((use) => use.id === id);
const published = () => mix.filter((use) => !use.muted).map(({ muted, ...use }) => use);

function publish() {
  props.value = published();
  warn();
}

/** @param {StyleUse} use @param {Partial<StyleUse>} values */
function change(use, values) {
  Object.assign(use, values);
  for (const name of /** @type {(keyof typeof MORE)[]} */ (Object.keys(MORE))) {
    if (JSON.stringify(use[name]) === JSON.stringify(MORE[name])) delete use[name];
  }
  publish();
}

/** @param {string} id */
function toggle(id) {
  if (row(id)) mix = mix.filter((use) => use.id !== id);
  else mix.push({ id, weight: 1 });
  publish();
  show();
}

/** @param {Style} style */
function card(style) {
  const button = press("card", undefined, () => toggle(style.id));
  button.dataset.style = style.id;
  const picture = make("span", "card-picture");
  if (style.preview) {
    const image = make("img");
    Object.assign(image, { src: style.preview.replace(/^\//, ""), alt: "", loading: "lazy" });
    picture.append(image);
  } else {
    picture.append(make("span", "card-initial", style.name.slice(0, 1).toUpperCase()));
  }
  button.append(picture, make("span", "card-name", style.name));
  if (style.triggers.length) button.append(make("span", "card-trigger", style.triggers.join(", ")));
  if (style.description) button.title = style.description;
  return button;
}

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

/** @param {Style} style @param {StyleUse} use */
function mixRow(style, use) {
  const line = make("div", "mix-row");
  line.dataset.style = style.id;
  const on = make("input", "mix-on");
  Object.assign(on, { type: "checkbox", checked: !use.muted });
  on.setAttribute("aria-label", `${style.name} is on`);
  on.addEventListener("change", () => {
    use.muted = !on.checked;
    line.classList.toggle("muted", !on.checked);
    publish();
  });
  const weight = slider(
    style.name,
    use.weight,
    WEIGHT,
    (weight) => {
      change(use, { weight });
      if (use.text_weight === undefined) set(findAll(more, ".mix-words")[0], weight);
    },
    "mix-main",
  );
  findAll(weight, "input")[0].id = `weight-${style.id}`;
  const open = press("mix-open", "⋯", () => {
    more.hidden = !more.hidden;
    open.setAttribute("aria-expanded", String(!more.hidden));
  });
  open.setAttribute("aria-label", `More about ${style.name}`);
  open.setAttribute("aria-expanded", "false");
  const remove = press("mix-remove", "×", () => toggle(style.id));
  remove.setAttribute("aria-label", `Take off ${style.name}`);
  const more = details(style, use);
  line.append(on, weight, open, remove, more);
  return line;
}

/** @param {Style} style @param {StyleUse} use */
function details(style, use) {
  const box = make("div", "mix-more");
  box.hidden = true;
  if (style.triggers.length) box.append(triggers(style));
  const text = slider("Text strength", use.text_weight ?? use.weight, WEIGHT, (value) => change(use, { text_weight: value }), "mix-words");
  text.title = "Weight on the text encoders, where the file has layers for them; follows the weight above until you move it";
  const start = slider("From", use.start ?? 0, { min: 0, max: 0.95 }, (value) => {
    change(use, { start: value, end: Math.max(use.end ?? 1, twoPlaces(value + 0.05)) });
    set(end, use.end ?? 1);
  });
  const end = slider("Until", use.end ?? 1, { min: 0.05, max: 1 }, (value) => {
    change(use, { end: value, start: Math.min(use.start ?? 0, twoPlaces(value - 0.05)) });
    set(start, use.start ?? 0);
  });
  start.title = end.title = "The share of the steps between which the style is on";
  const blocks = Object.entries(BLOCKS).map(([name, label]) =>
    slider(label, use.blocks?.[name] ?? 1, WEIGHT, (value) => {
      const { [name]: before, ...others } = use.blocks ?? {};
      change(use, { blocks: value === 1 ? others : { ...others, [name]: value } });
    }),
  );
  box.append(
    text,
    start,
    end,
    ...blocks,
    press("link", "What this file is", () => judge(style)),
  );
  return box;
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

/** @param {string} word */
function mention(word) {
  const area = promptArea();
  if (!area) return;
  if (!area.value.toLowerCase().includes(word.toLowerCase())) {
    write(area, area.value.trim() ? `${area.value.trimEnd()}, ${word}` : word);
  }
  area.focus();
}

/** @param {Style} style @returns {style is Style & Verdict} */
const isInspected = (style) => style.matched !== undefined;

// What an adapter file is, in words: the answer of /inspect_adapter, or for a shared style what /adapters says.
/** @param {Style} style */
function judge(style) {
  const box = part("verdict");
  /** @param {number} share */
  const percent = (share) => `${(100 * share).toPrecision(2)} %`;
  /** @type {[string, unknown][]} */
  const facts = [
    ["Rank", style.rank],
    ["Parameters", style.parameters?.toLocaleString("en")],
  ];
  if (style.share) facts[1][1] += `, ${percent(style.share)} of the base`;
  if (isInspected(style)) {
    const all = style.matched + style.unmatched;
    facts.unshift(["Layers", `${style.matched} of ${all} fit${style.ignored ? `, ${style.ignored} ignored` : ""}`]);
    facts.push(["Made for", `${props.families[style.family] || "an unknown model"}: ${style.family_known_by}`]);
    for (const [name, group] of Object.entries(style.groups)) {
      const kinds = Object.entries(group.kinds)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(", ");
      facts.push([name, `${kinds}; rank ${range(group.rank)}, alpha ${range(group.alpha)}`]);
    }
    if (style.base !== "unknown") facts.push(["Trained on", style.base]);
    if (style.unmatched) facts.push(["Without a place", style.unmatched_examples.join(", ")]);
    if (style.notes.length) facts.push(["Notes", style.notes.join(" ")]);
    if (style.tags.length) facts.push(["Trained with words", style.tags.join(", ")]);
  }
  facts.push(["Source", style.source], ["Licence", style.licence], ["SHA-256", style.sha256]);
  const close = press("mix-remove", "×", () => (box.hidden = true));
  close.setAttribute("aria-label", "Close the verdict");
  const head = make("h3", "", style.name || "This file");
  box.dataset.fits = String(style.fits !== false);
  box.replaceChildren(close, head, make("p", "", style.reason || style.description || ""), terms(facts));
  box.hidden = false;
}

/** @param {[number, number]} bounds */
const range = ([low, high]) => (low === high ? String(low) : `${low} to ${high}`);

/** @param {string} words */
function tell(words) {
  part("say").textContent = words;
}

/** @param {string} event @param {object} data @param {string} words */
function ask(event, data, words) {
  asked += 1;
  tell(words);
  part("found").replaceChildren();
  trigger(event, { ...data, number: asked });
}

/** @param {File | undefined} file */
function askFile(file) {
  if (!file) return;
  if (!file.name.endsWith(".safetensors")) {
    return tell(`${file.name} is not taken: only .safetensors files are, for others can run code.`);
  }
  tell(tooLarge(file) || `Sending ${file.name} …`);
  if (!tooLarge(file)) sendFile(file, (sent) => ask("inspect", { file: sent }, `Reading ${file.name} …`), tell);
}

/** @param {string} words */
function askHub(words) {
  if (!words) return;
  if (/^https?:\/\/|^[\w.-]+\/[\w.-]+/.test(words)) ask("inspect", { repo_id: words }, `Asking the Hub for ${words} …`);
  else ask("search", { words }, `Searching the Hub for ${words} …`);
}

function answered() {
  /** @type {{ answer: StylesAnswer }} */
  const { answer } = props;
  if (!answer || answer.number !== asked) return;
  tell(answer.error || "");
  if (answer.error) return;
  if (answer.event === "search") {
    part("found").replaceChildren(...answer.found.map(hit));
    if (!answer.found.length) tell("The Hub knows no style for this model by these words.");
    return;
  }
  if (answer.event === "export") return save(answer.file, answer.details);
  const style = answer.style;
  judge(style);
  if (!style.id) return;
  if (!known.has(style.id)) {
    known.set(style.id, style);
    part("cards").append(card(style));
  }
  if (!row(style.id)) toggle(style.id);
  part("file").value = part("words").value = "";
}

/** @param {SentFile} file @param {Exported} details */
function save(file, details) {
  download(file.url, file.orig_name);
  const lost = details.error ? `, ${(100 * details.error).toPrecision(2)} % of the change lost` : ", exact";
  tell(`Saved: rank ${details.rank}${lost}.`);
}

/** @param {HubModel} model */
function hit(model) {
  const item = make("li");
  const facts = [plural(model.downloads ?? 0, "download"), model.licence].filter(Boolean).join(" · ");
  item.append(
    press("link", model.id, () => askHub(model.id)),
    make("span", "hint", facts),
  );
  return item;
}

/** @param {StyleUse} use */
const sizeOf = (use) => Math.max(Math.abs(use.weight), Math.abs(use.text_weight ?? use.weight));

function warn() {
  const total = published().reduce((sum, use) => sum + sizeOf(use), 0);
  const words = `The weights add up to ${total.toFixed(2)}; above ${props.burns_above} pictures tend to burn. `;
  part("burn").hidden = total <= props.burns_above;
  part("burn").replaceChildren(
    words,
    press("link", "Scale them to 1", () => even(total)),
  );
  part("keep").hidden = !published().length;
}

// What normalize_adapters does to a request, with the sliders showing it.
/** @param {number} total */
function even(total) {
  for (const use of mix.filter((use) => !use.muted)) {
    use.weight = twoPlaces(use.weight / total);
    if (use.text_weight !== undefined) use.text_weight = twoPlaces(use.text_weight / total);
  }
  publish();
  part("mix").replaceChildren();
  show();
}

function show() {
  for (const button of findAll(part("cards"), ".card")) {
    button.setAttribute("aria-pressed", String(row(button.dataset.style) !== undefined));
  }
  const rows = findAll(part("mix"), ".mix-row");
  for (const line of rows) if (!row(line.dataset.style)) line.remove();
  for (const use of mix) {
    const style = known.get(use.id);
    if (style && !rows.some((line) => line.dataset.style === style.id)) part("mix").append(mixRow(style, use));
  }
  part("hint").textContent = mix.length
    ? "Pull a slider below zero to push a style away."
    : known.size
      ? "Put one or more on. They mix."
      : "No styles are installed here; add one below.";
  warn();
}

function restored() {
  if (JSON.stringify(props.value || []) === JSON.stringify(published())) return;
  mix = copied();
  part("mix").replaceChildren();
  show();
}

part("file").addEventListener("change", () => askFile(part("file").files?.[0]));
part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  askHub(part("words").value.trim());
});
part("own").addEventListener("dragover", (event) => event.preventDefault());
part("own").addEventListener("drop", (event) => {
  event.preventDefault();
  askFile(event.dataTransfer?.files[0]);
});
part("keep").append(
  press("link", "Save this mix as one adapter file", () => ask("export", { adapters: published() }, "Putting the mix together …")),
);
part("cards").append(...props.styles.map(card));
watch("value", restored);
watch("answer", answered);
show();

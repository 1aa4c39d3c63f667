const MORE = { text_weight: null, start: 0, end: 1, blocks: {} };
const FAMILIES = { sdxl: "SDXL", sd15: "Stable Diffusion 1.5", flux: "Flux", sd3: "Stable Diffusion 3" };
const BLOCKS = { down: "Down blocks", mid: "Middle block", up: "Up blocks" };
const known = new Map(props.styles.map((style) => [style.id, style]));
// The rows of the mix; a muted one stays on the page and out of the value.
let mix = (props.value || []).map((use) => ({ ...use }));
let asked = 0;

const twoPlaces = (number) => Number(number.toFixed(2));
const row = (id) => mix.find((use) => use.id === id);
const published = () => mix.filter((use) => !use.muted).map(({ muted, ...use }) => use);

function publish() {
  props.value = published();
  warn();
}

function change(id, values) {
  const use = Object.assign(row(id), values);
  for (const [name, usual] of Object.entries(MORE)) {
    if (JSON.stringify(use[name]) === JSON.stringify(usual)) delete use[name];
  }
  publish();
}

function toggle(id) {
  if (row(id)) mix = mix.filter((use) => use.id !== id);
  else mix.push({ id, weight: 1 });
  publish();
  show();
}

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

function mixRow(style) {
  const line = make("div", "mix-row");
  line.dataset.style = style.id;
  const use = row(style.id);
  const on = make("input", "mix-on");
  Object.assign(on, { type: "checkbox", checked: !use.muted });
  on.setAttribute("aria-label", `${style.name} is on`);
  on.addEventListener("change", () => {
    row(style.id).muted = !on.checked;
    line.classList.toggle("muted", !on.checked);
    publish();
  });
  const weight = slider(style.name, use.weight, { min: -2, max: 2 }, (weight) => {
    change(style.id, { weight });
    if (row(style.id).text_weight === undefined) set(more.querySelector(".mix-words"), weight);
  }, "mix-main");
  weight.querySelector("input").id = `weight-${style.id}`;
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

function details(style, use) {
  const box = make("div", "mix-more");
  box.hidden = true;
  const { id } = style;
  if (style.triggers.length) box.append(triggers(style));
  const text = slider("Text strength", use.text_weight ?? use.weight, { min: -2, max: 2 }, (value) => change(id, { text_weight: value }), "mix-words");
  text.title = "Weight on the text encoders, where the file has layers for them; follows the weight above until you move it";
  const start = slider("From", use.start ?? 0, { min: 0, max: 0.95 }, (value) => {
    change(id, { start: value, end: Math.max(row(id).end ?? 1, twoPlaces(value + 0.05)) });
    set(end, row(id).end ?? 1);
  });
  const end = slider("Until", use.end ?? 1, { min: 0.05, max: 1 }, (value) => {
    change(id, { end: value, start: Math.min(row(id).start ?? 0, twoPlaces(value - 0.05)) });
    set(start, row(id).start ?? 0);
  });
  start.title = end.title = "The share of the steps between which the style is on";
  const blocks = Object.entries(BLOCKS).map(([name, label]) =>
    slider(label, use.blocks?.[name] ?? 1, { min: -2, max: 2 }, (value) => {
      const { [name]: before, ...others } = row(id).blocks ?? {};
      change(id, { blocks: value === 1 ? others : { ...others, [name]: value } });
    }),
  );
  box.append(text, start, end, ...blocks, press("link", "What this file is", () => judge(style)));
  return box;
}

function set(line, value) {
  line.querySelector("input").value = value;
  line.querySelector("output").textContent = signed(value);
}

function triggers(style) {
  const line = make("p", "triggers");
  line.append(make("span", "slide-name", "Say"));
  for (const word of style.triggers) {
    const chip = press("chip", `+ ${word}`, () => say(word));
    chip.setAttribute("aria-label", `Put "${word}" into the prompt`);
    line.append(chip);
  }
  return line;
}

function say(word) {
  const area = document.querySelector("#prompt textarea");
  if (!area) return;
  if (!area.value.toLowerCase().includes(word.toLowerCase())) {
    area.value = area.value.trim() ? `${area.value.trimEnd()}, ${word}` : word;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  area.focus();
}

// What an adapter file is, in words: the answer of /inspect_adapter, or for a shared style what /adapters says.
function judge(style) {
  const box = part("verdict");
  const percent = (share) => `${(100 * share).toPrecision(2)} %`;
  const facts = [["Rank", style.rank], ["Parameters", style.parameters?.toLocaleString("en")]];
  if (style.share) facts[1][1] += `, ${percent(style.share)} of the base`;
  if (style.matched !== undefined) {
    const all = style.matched + style.unmatched;
    facts.unshift(["Layers", `${style.matched} of ${all} fit` + (style.ignored ? `, ${style.ignored} ignored` : "")]);
    facts.push(["Made for", `${FAMILIES[style.family] || "an unknown model"}: ${style.family_known_by}`]);
    for (const [name, group] of Object.entries(style.groups || {})) {
      const kinds = Object.entries(group.kinds).map(([kind, count]) => `${count} ${kind}`).join(", ");
      facts.push([name, `${kinds}; rank ${range(group.rank)}, alpha ${range(group.alpha)}`]);
    }
    if (style.base !== "unknown") facts.push(["Trained on", style.base]);
    if (style.unmatched) facts.push(["Without a place", style.unmatched_examples.join(", ")]);
    if (style.notes?.length) facts.push(["Notes", style.notes.join(" ")]);
    if (style.tags?.length) facts.push(["Trained with words", style.tags.join(", ")]);
  }
  facts.push(["Source", style.source], ["Licence", style.licence], ["SHA-256", style.sha256]);
  const list = make("dl");
  for (const [name, value] of facts) if (value) list.append(make("dt", "", name), make("dd", "", String(value)));
  const close = press("mix-remove", "×", () => (box.hidden = true));
  close.setAttribute("aria-label", "Close the verdict");
  const head = make("h3", "", style.name || "This file");
  box.dataset.fits = String(style.fits !== false);
  box.replaceChildren(close, head, make("p", "", style.reason || style.description || ""), list);
  box.hidden = false;
}

const range = ([low, high]) => (low === high ? String(low) : `${low} to ${high}`);

function ask(event, data, words) {
  asked += 1;
  part("say").textContent = words;
  part("found").replaceChildren();
  trigger(event, { ...data, number: asked });
}

async function askFile(file) {
  if (!file) return;
  if (!file.name.endsWith(".safetensors")) {
    part("say").textContent = `${file.name} is not taken: only .safetensors files are, for others can run code.`;
    return;
  }
  if (file.size > props.most_bytes) {
    part("say").textContent = `${file.name} is too large: up to ${Math.floor(props.most_bytes / 2 ** 20)} MB are taken.`;
    return;
  }
  part("say").textContent = `Sending ${file.name} …`;
  try {
    const sent = await upload(file);
    ask("inspect", { file: { ...sent, orig_name: file.name, meta: { _type: "gradio.FileData" } } }, `Reading ${file.name} …`);
  } catch {
    part("say").textContent = `${file.name} did not arrive; please try again.`;
  }
}

function askHub(words) {
  if (!words) return;
  if (/^https?:\/\/|^[\w.-]+\/[\w.-]+/.test(words)) ask("inspect", { repo_id: words }, `Asking the Hub for ${words} …`);
  else ask("search", { words }, `Searching the Hub for ${words} …`);
}

function answered() {
  const { answer } = props;
  if (!answer || answer.number !== asked) return;
  part("say").textContent = answer.error || "";
  if (answer.error) return;
  if (answer.event === "search") {
    part("found").replaceChildren(...answer.found.map(hit));
    if (!answer.found.length) part("say").textContent = "The Hub knows no style for this model by these words.";
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

function save(file, details) {
  const link = make("a");
  Object.assign(link, { href: file.url, download: file.orig_name });
  link.click();
  const lost = details.error ? `, ${(100 * details.error).toPrecision(2)} % of the change lost` : ", exact";
  part("say").textContent = `Saved: rank ${details.rank}${lost}.`;
}

function hit(model) {
  const item = make("li");
  const facts = [plural(model.downloads ?? 0, "download"), model.licence].filter(Boolean).join(" · ");
  item.append(press("link", model.id, () => askHub(model.id)), make("span", "hint", facts));
  return item;
}

const sizeOf = (use) => Math.max(Math.abs(use.weight), Math.abs(use.text_weight ?? use.weight));

function warn() {
  const total = published().reduce((sum, use) => sum + sizeOf(use), 0);
  const words = `The weights add up to ${total.toFixed(2)}; above ${props.burns_above} pictures tend to burn. `;
  part("burn").hidden = total <= props.burns_above;
  part("burn").replaceChildren(words, press("link", "Scale them to 1", () => even(total)));
  part("keep").hidden = !published().length;
}

// What normalize_adapters does to a request, with the sliders showing it.
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
  for (const button of part("cards").children) {
    button.setAttribute("aria-pressed", String(row(button.dataset.style) !== undefined));
  }
  const rows = part("mix");
  for (const line of [...rows.children]) if (!row(line.dataset.style)) line.remove();
  for (const { id } of mix) {
    if (known.has(id) && ![...rows.children].some((line) => line.dataset.style === id)) rows.append(mixRow(known.get(id)));
  }
  part("hint").textContent = mix.length
    ? "Pull a slider below zero to push a style away."
    : known.size ? "Put one or more on. They mix." : "No styles are installed here; add one below.";
  warn();
}

function restored() {
  if (JSON.stringify(props.value || []) === JSON.stringify(published())) return;
  mix = (props.value || []).map((use) => ({ ...use }));
  part("mix").replaceChildren();
  show();
}

part("file").addEventListener("change", (event) => askFile(event.target.files[0]));
part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  askHub(part("words").value.trim());
});
part("own").addEventListener("dragover", (event) => event.preventDefault());
part("own").addEventListener("drop", (event) => {
  event.preventDefault();
  askFile(event.dataTransfer.files[0]);
});
part("keep").append(
  press("link", "Save this mix as one adapter file", () => ask("export", { adapters: published() }, "Putting the mix together …")),
);
part("cards").append(...props.styles.map(card));
watch("value", restored);
watch("answer", answered);
show();

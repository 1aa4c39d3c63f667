// @ts-check
const known = new Map(given.styles.map((style) => [style.id, style]));
// What this session brought and its visitor keeps now has another id.
/** @type {Map<string, string>} */
const became = new Map();
// The rows of the mix; a muted one stays on the page and out of the value.
let mix = copied();
// Of those that were taken off, as they were: a click on the card brings them back so.
/** @type {Map<string, StyleUse>} */
const before = new Map();
let asked = 0;
let noticed = "";
// How long a large file may take to come.
const LONGEST = 600000;
// Who waits for a style of the Hub is told in words what went wrong, or "".
let brought = (/** @type {string} */ _words) => {};

/** @returns {StyleUse[]} */
function copied() {
  return (props.value || []).map((/** @type {StyleUse} */ use) => ({ ...use, id: became.get(use.id) ?? use.id }));
}

/** @param {string | undefined} id */
const row = (id) => mix.find((use) => use.id === id);
const published = () => mix.filter((use) => !use.muted).map(({ muted, ...use }) => use);

function publish() {
  props.value = published();
  warn();
}

/** @param {string} id */
function toggle(id) {
  const style = known.get(id);
  if (style?.kind === "embedding") {
    const word = style.words?.[0] ?? "";
    mention(word);
    return tell(`“${word}” stands in the prompt: ${style.name} is a word.`);
  }
  const use = row(id);
  if (use) {
    before.set(id, use);
    mix = mix.filter((other) => other !== use);
  } else {
    mix.push(before.get(id) ?? { id, weight: 1 });
    shelf.used(id);
  }
  publish();
  show();
}

/** @param {string} words */
function tell(words) {
  part("say").textContent = words;
}

/** @param {string} event @param {object} data @param {string} words */
function ask(event, data, words) {
  brought("Something else was asked for before it had come; try again.");
  asked += 1;
  tell(words);
  part("found").replaceChildren();
  trigger(event, { ...data, number: asked });
}

/** @param {File | undefined} file */
function askFile(file) {
  if (!file) return;
  part("own").open = true;
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
  if (answer?.event === "mine") return heard(answer);
  if (!answer || answer.number !== asked) return;
  tell(answer.error || "");
  if (answer.error) return brought(answer.error);
  if (answer.event === "search") {
    part("found").replaceChildren(...answer.found.map(hit));
    if (!answer.found.length) tell("The Hub knows no style for this model by these words.");
    return;
  }
  if (answer.event === "export") return save(answer.file, answer.details);
  if (answer.event === "refresh") return refreshed(answer.styles);
  const { style } = answer;
  verdict.judge(style);
  if (!style.id) return brought(style.reason ?? "It does not fit this model.");
  if (!known.has(style.id)) {
    known.set(style.id, style);
    shelf.lay();
  }
  // Its visitor may keep it since another day.
  took([...known.values()].filter((each) => each.source === "kept"));
  const id = became.get(style.id) ?? style.id;
  if (!row(id)) toggle(id);
  part("file").value = part("words").value = "";
  brought("");
}

/** @param {Style[]} styles */
function refreshed(styles) {
  const fresh = styles.filter((style) => !known.has(style.id)).length;
  const there = new Set(styles.map((style) => style.id));
  for (const [id, { source }] of known) if (!there.has(id) && source !== "kept") known.delete(id);
  for (const style of styles) known.set(style.id, { ...known.get(style.id), ...style });
  mix = mix.filter((use) => known.has(use.id));
  shelf.lay();
  publish();
  show();
  tell(fresh ? `${plural(fresh, "new style")}.` : "No new styles.");
  // Of one's own there may be some from another tab.
  if (given.keeps) list();
}

// What this browser keeps now.
/** @param {Style[]} kept */
function took(kept) {
  const names = () => JSON.stringify(mix.map(({ id }) => [id, known.get(id)?.name]));
  const was = names();
  const changes = takeIn(known, kept);
  for (const [from, to] of changes.became) {
    became.set(from, to);
    shelf.moved(from, to);
    for (const use of [...mix, ...before.values()]) if (use.id === from) use.id = to;
    const use = before.get(from);
    if (use) before.set(to, use);
  }
  mix = mix.filter((use) => !changes.gone.has(use.id));
  if (kept.length || changes.gone.size) shelf.lay();
  if (names() !== was) {
    part("mix").replaceChildren();
    publish();
  }
  show();
  verdict.again();
}

async function list() {
  const { error, kept, notice = "" } = await askKept("list");
  if (kept) took(kept);
  if (error || notice !== noticed) tell(error || notice);
  noticed = notice;
}

/** @param {Style} style @param {Kept} what @param {object} data @param {string} words @param {string} done */
async function change(style, what, data, words, done) {
  tell(words);
  const { error, kept } = await askKept(what, { id: style.id, ...data });
  if (kept) took(kept);
  tell(error ?? done);
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

// As in lora/adapter.py: a model paints in few steps with all of what makes it.
/** @param {StyleUse} use */
const isStyle = (use) => !known.get(use.id)?.few_steps;

function warn() {
  const total = published()
    .filter(isStyle)
    .reduce((sum, use) => sum + sizeOf(use), 0);
  const words = `The weights add up to ${total.toFixed(2)}; above ${given.burns_above} pictures tend to burn. `;
  part("burn").hidden = total <= given.burns_above;
  part("burn").replaceChildren(
    words,
    press("link", "Scale them to 1", () => even(total)),
  );
  part("save").hidden = !published().length;
  showMixes();
}

// What normalize_adapters does to a request, with the sliders showing it.
/** @param {number} total */
function even(total) {
  const scaled = (/** @type {number} */ weight) => Number((weight / total).toFixed(2));
  for (const use of mix.filter((use) => !use.muted && isStyle(use))) {
    use.weight = scaled(use.weight);
    if (use.text_weight !== undefined) use.text_weight = scaled(use.text_weight);
  }
  publish();
  part("mix").replaceChildren();
  show();
}

function show() {
  shelf.mark();
  const rows = findAll(part("mix"), ".mix-row");
  for (const line of rows) if (!row(line.dataset.style)) line.remove();
  for (const use of mix) {
    const style = known.get(use.id);
    if (style && !rows.some((line) => line.dataset.style === style.id)) {
      part("mix").append(mixRow(style, use, { changed: publish, judge: verdict.open, remove: () => toggle(style.id) }));
    }
  }
  part("hint").textContent = mix.length
    ? "Pull a slider below zero to push a style away."
    : known.size
      ? "Put one or more on. They mix."
      : "No styles are installed here; add one below.";
  warn();
}

/** @param {StyleUse[]} uses */
function take(uses) {
  mix = uses.filter((use) => known.has(use.id) && known.get(use.id)?.kind !== "embedding").map((use) => ({ ...use }));
  part("mix").replaceChildren();
  publish();
  show();
}

function restored() {
  if (JSON.stringify(props.value || []) === JSON.stringify(published())) return;
  mix = copied();
  part("mix").replaceChildren();
  if (mix.some((use, i) => use.id !== props.value[i].id)) publish();
  show();
}

const verdict = verdictPanel(part("verdict"), {
  acts: (style) => (canBeKept(style) ? ownActs(style, (...how) => change(style, ...how)) : []),
  now: (id) => known.get(became.get(id) ?? id),
  closed: ({ id }) => (findAll(part("cards"), ".card").find((card) => card.dataset.style === id) ?? part("cards")).focus(),
});
const shelf = styleShelf({ known, isOn: (id) => row(id) !== undefined, toggle, manage: verdict.open });
const showMixes = named({
  box: part("mixes"),
  key: "mixes",
  keep: "Keep this mix",
  current: () => (mix.length ? mix : undefined),
  take,
});
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
// Dropped anywhere on the page.
window.addEventListener("atelier:style-file", (event) => askFile(/** @type {CustomEvent<File>} */ (event).detail));
part("refresh").addEventListener("click", () => ask("refresh", {}, "Looking for new styles …"));
part("save").append(
  press("link", "Save this mix as one adapter file", () => ask("export", { adapters: published() }, "Putting the mix together …")),
);
atelier.styles = known;
atelier.wear = async (id) => {
  if (!known.has(id) && given.keeps) await list();
  if (!known.has(id)) return "The style is not there any more.";
  if (row(id)) toggle(id);
  before.delete(id);
  toggle(id);
  return "";
};
atelier.bring = (repo_id) =>
  new Promise((done) => {
    ask("inspect", { repo_id }, `Asking the Hub for ${repo_id} …`);
    brought = done;
    setTimeout(done, LONGEST, "The connection was lost; please try again.");
  });
atelier.dress = async (id, item) => {
  const { error, kept } = await askKept("preview", { id, kept: item.id, picture: item.picture });
  if (kept) took(kept);
  return error ?? "";
};
if (given.keeps) window.addEventListener("atelier:styles-kept", list);
watch("value", restored);
watch("answer", answered);
shelf.lay();
show();
if (given.keeps) list();

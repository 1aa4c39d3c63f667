// @ts-check
/** @type {Map<number, (answer: HistoryAnswer) => void>} */
const asking = new Map();
let asked = 0;
let newest = 0;
let last = "";
let count = 0;
/** @type {KeptPicture[]} */
let shown = [];
/** @type {KeptPicture[]} */
let pair = [];

/** @param {string} url */
const address = (url) => url.replace(/^\//, "");
/** @param {{ id: string, picture: number }} item */
const keyOf = (item) => `${item.id}/${item.picture}`;
/** @param {number} created */
const when = (created) => new Date(1000 * created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/** @param {string} event @param {object} data @param {(answer: HistoryAnswer) => void} run */
function ask(event, data, run) {
  asked += 1;
  asking.set(asked, run);
  trigger(event, { ...data, number: asked, owner: atelier.owner() });
}

function answered() {
  /** @type {{ answer: HistoryAnswer }} */
  const { answer } = props;
  const run = asking.get(answer?.number);
  if (!run) return;
  asking.delete(answer.number);
  if (answer.error) notify(part("notice"), answer.error);
  else run(answer);
}

// A set is what one click on Paint made; here each of its pictures stands for itself.
/** @param {PictureSet} set @returns {KeptPicture[]} */
const flat = (set) =>
  set.pictures.map((picture) => ({
    ...picture,
    id: set.id,
    created: set.created,
    details: set.details,
    prompt: set.details.prompts?.[picture.picture] ?? set.details.prompt ?? "",
  }));

/** @param {boolean} more */
function load(more) {
  const search = part("search").value.trim();
  newest += 1;
  const ticket = newest;
  ask("list", { search, before: more ? last : "" }, (answer) => {
    // Of several searches the last one counts.
    if (ticket !== newest) return;
    notify(part("notice"), answer.notice);
    ({ count } = answer);
    if (!more) {
      shown = [];
      part("all").replaceChildren();
    }
    last = answer.sets.at(-1)?.id ?? last;
    const items = answer.sets.flatMap(flat);
    shown.push(...items);
    part("all").append(...items.map(card));
    part("more").hidden = answer.sets.length < props.page_size;
    tell(search);
  });
}

/** @param {string} search */
function tell(search) {
  part("count").textContent = search ? `${plural(shown.length, "picture")} shown of ${count}` : plural(count, "picture");
  part("zip").hidden = !count;
  part("empty").hidden = shown.length > 0;
  part("empty").textContent = search ? "No prompt has all these words." : "What you paint is kept here, for this browser only.";
}

/** @param {KeptPicture} item */
function card(item) {
  const box = make("article", "kept");
  box.dataset.key = keyOf(item);
  const open = press("kept-picture", undefined, () => closer(item));
  open.setAttribute("aria-label", `Look closer: ${item.prompt}`);
  const image = make("img");
  Object.assign(image, { src: address(item.thumbnail), alt: item.prompt, loading: "lazy", decoding: "async" });
  open.append(image);
  const compare = press("kept-compare", "Compare", () => choose(item));
  compare.setAttribute("aria-pressed", String(pair.some((other) => keyOf(other) === keyOf(item))));
  const again = press("link", "Reuse", () => reuse(item, "all"));
  const acts = make("div", "kept-acts");
  acts.append(again, compare);
  box.append(open, make("p", "kept-prompt", item.prompt), acts);
  return box;
}

/** @param {KeptPicture} item @param {string} what */
const reuse = (item, what) => {
  part("dialog").close();
  ask("reuse", { id: item.id, picture: item.picture, what }, () => {});
};

/** @param {Axis} axis */
const inWords = ({ title, labels }) => `${title}: ${labels.join(", ")}`;

/** @param {KeptPicture} item */
function closer(item) {
  const { details } = item;
  const image = make("img");
  Object.assign(image, { src: address(item.url), alt: item.prompt });
  const axes = Object.values(details.comparison || {}).flatMap((axis) => (axis ? inWords(axis) : []));
  /** @type {[string, unknown][]} */
  const facts = [
    ["Painted", when(item.created)],
    ["Seed", item.seed],
    ["Steps", `${details.steps} · ${details.scheduler}`],
    ["Size", `${details.hires?.width ?? details.width} × ${details.hires?.height ?? details.height}`],
    ["Styles", (details.adapters || []).map((use) => `${use.name} ${signed(use.weight)}`).join(", ")],
    ["Left out", details.negative_prompts?.[item.picture] || details.negative_prompt],
    ["Compared", axes.join(" × ")],
  ];
  const save = make("a", "chip", "Download");
  Object.assign(save, { href: address(item.url), download: `atelier-${item.seed}.png` });
  const acts = make("div", "closer-acts");
  acts.append(
    press("chip", "Reuse all", () => reuse(item, "all")),
    press("chip", "Use the prompt", () => reuse(item, "prompt")),
    press("chip", "Use the seed", () => reuse(item, "seed")),
    save,
    twice("Delete", "Delete for good?", () => forget(item)),
  );
  const close = press("mix-remove", "×", () => part("dialog").close());
  close.setAttribute("aria-label", "Close");
  const words = make("div", "closer-words");
  words.append(make("p", "closer-prompt", item.prompt), terms(facts), acts);
  part("dialog").replaceChildren(image, words, close);
  part("dialog").showModal();
}

// What cannot be undone asks to be clicked twice.
/** @param {string} label @param {string} sure @param {() => void} run */
function twice(label, sure, run) {
  let armed = false;
  const button = press("chip closer-delete", label, () => {
    if (armed) return run();
    armed = true;
    button.textContent = sure;
    setTimeout(() => {
      armed = false;
      button.textContent = label;
    }, 5000);
  });
  return button;
}

/** @param {KeptPicture} item */
function forget(item) {
  ask("forget", { id: item.id, picture: item.picture }, (answer) => {
    part("dialog").close();
    ({ count } = answer);
    shown = shown.filter((other) => keyOf(other) !== keyOf(item));
    for (const box of findAll(part("all"), `[data-key="${keyOf(item)}"]`)) box.remove();
    if (pair.some((other) => keyOf(other) === keyOf(item))) choose(item);
    tell(part("search").value.trim());
  });
}

// Of more than two the last two are compared.
/** @param {KeptPicture} item */
function choose(item) {
  const without = pair.filter((other) => keyOf(other) !== keyOf(item));
  pair = without.length < pair.length ? without : [...pair, item].slice(-2);
  for (const box of findAll(part("all"), ".kept")) {
    const on = pair.some((other) => keyOf(other) === box.dataset.key);
    box.querySelector(".kept-compare")?.setAttribute("aria-pressed", String(on));
  }
  part("versus").hidden = !pair.length;
  part("frame").hidden = pair.length < 2;
  if (pair.length < 2) {
    part("caption").textContent = "Choose another picture to compare it with.";
    return;
  }
  const [left, right] = pair;
  // The picture on top is the left one; it is cut off at the line.
  Object.assign(part("under"), { src: address(right.url), alt: right.prompt });
  Object.assign(part("over"), { src: address(left.url), alt: left.prompt });
  /** @param {KeptPicture} it */
  const name = (it) => `${it.prompt || "without words"} · seed ${it.seed}`;
  part("caption").textContent = `${name(left)} | ${name(right)}`;
  slide();
  part("versus").scrollIntoView({ block: "nearest" });
}

const slide = () => part("frame").style.setProperty("--at", `${part("slide").value}%`);

part("slide").addEventListener("input", slide);
/** @type {number | undefined} */
let typing;
part("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => load(false), 250);
});
part("more").addEventListener("click", () => load(true));
part("zip").addEventListener("submit", () => (part("owner").value = atelier.owner()));
part("dialog").addEventListener("click", (event) => event.target === part("dialog") && part("dialog").close());
watch("answer", answered);
// The tab may be opened any time: what was painted meanwhile is to be seen, and further down there is more.
let away = true;
new IntersectionObserver(([entry]) => {
  if (away && entry.isIntersecting) load(false);
  away = !entry.boundingClientRect.width;
}).observe(findAll(element, ".history-bar")[0]);
new IntersectionObserver(([entry]) => entry.isIntersecting && !part("more").hidden && load(true)).observe(part("more"));

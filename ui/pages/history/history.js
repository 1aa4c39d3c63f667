const PAGE = 24;
let asked = 0, asking = new Map(), last = "", shown = [], pair = [], count = 0;

const address = (url) => url.replace(/^\//, "");
const keyOf = (item) => `${item.id}/${item.picture}`;
const when = (created) => new Date(1000 * created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

function ask(event, data, run) {
  asked += 1;
  asking.set(asked, run);
  trigger(event, { ...data, number: asked, owner: atelier.owner() });
}

function answered() {
  const { answer } = props, run = asking.get(answer?.number);
  if (!run) return;
  asking.delete(answer.number);
  if (answer.error) notice(answer.error);
  else run(answer);
}

function notice(words) {
  part("notice").textContent = words || "";
  part("notice").hidden = !words;
}

// A set is what one click on Paint made; here each of its pictures stands for itself.
const flat = (set) => set.pictures.map((picture) => ({
  ...picture, id: set.id, created: set.created, details: set.details,
  prompt: set.details.prompts?.[picture.picture] ?? set.details.prompt ?? "",
}));

let newest = 0;
function load(more) {
  const search = part("search").value.trim();
  const ticket = (newest += 1);
  ask("list", { search, before: more ? last : "" }, (answer) => {
    // Of several searches the last one counts.
    if (ticket !== newest) return;
    notice(answer.notice);
    ({ count } = answer);
    if (!more) {
      shown = [];
      part("all").replaceChildren();
    }
    last = answer.sets.at(-1)?.id ?? last;
    const items = answer.sets.flatMap(flat);
    shown.push(...items);
    part("all").append(...items.map(card));
    part("more").hidden = answer.sets.length < PAGE;
    tell(search);
  });
}

function tell(search) {
  part("count").textContent = search ? `${plural(shown.length, "picture")} shown of ${count}` : plural(count, "picture");
  part("zip").hidden = !count;
  part("empty").hidden = shown.length > 0;
  part("empty").textContent = search
    ? "No prompt has all these words."
    : "What you paint is kept here, for this browser only.";
}

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

const reuse = (item, what) => {
  part("dialog").close();
  ask("reuse", { id: item.id, picture: item.picture, what }, () => {});
};

const inWords = ({ title, labels }) => `${title}: ${labels.join(", ")}`;

function closer(item) {
  const { details } = item, image = make("img"), list = make("dl");
  Object.assign(image, { src: address(item.url), alt: item.prompt });
  const facts = [
    ["Painted", when(item.created)], ["Seed", item.seed], ["Steps", `${details.steps} · ${details.scheduler}`],
    ["Size", `${details.hires?.width ?? details.width} × ${details.hires?.height ?? details.height}`],
    ["Styles", (details.adapters || []).map((use) => `${use.name} ${signed(use.weight)}`).join(", ")],
    ["Left out", details.negative_prompts?.[item.picture] || details.negative_prompt],
    ["Compared", Object.values(details.comparison || {}).filter(Boolean).map(inWords).join(" × ")],
  ];
  for (const [name, value] of facts) if (value) list.append(make("dt", "", name), make("dd", "", String(value)));
  const save = make("a", "chip", "Download");
  Object.assign(save, { href: address(item.url), download: `atelier-${item.seed}.png` });
  const acts = make("div", "closer-acts");
  acts.append(
    press("chip", "Reuse all", () => reuse(item, "all")), press("chip", "Use the prompt", () => reuse(item, "prompt")),
    press("chip", "Use the seed", () => reuse(item, "seed")), save, twice("Delete", "Delete for good?", () => forget(item)),
  );
  const close = press("mix-remove", "×", () => part("dialog").close());
  close.setAttribute("aria-label", "Close");
  const words = make("div", "closer-words");
  words.append(make("p", "closer-prompt", item.prompt), list, acts);
  part("dialog").replaceChildren(image, words, close);
  part("dialog").showModal();
}

// What cannot be undone asks to be clicked twice.
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

function forget(item) {
  ask("forget", { id: item.id, picture: item.picture }, (answer) => {
    part("dialog").close();
    ({ count } = answer);
    shown = shown.filter((other) => keyOf(other) !== keyOf(item));
    part("all").querySelector(`[data-key="${keyOf(item)}"]`)?.remove();
    if (pair.some((other) => keyOf(other) === keyOf(item))) choose(item);
    tell(part("search").value.trim());
  });
}

// Of more than two the last two are compared.
function choose(item) {
  const without = pair.filter((other) => keyOf(other) !== keyOf(item));
  pair = without.length < pair.length ? without : [...pair, item].slice(-2);
  for (const box of part("all").children) {
    const on = pair.some((other) => keyOf(other) === box.dataset.key);
    box.querySelector(".kept-compare").setAttribute("aria-pressed", String(on));
  }
  part("versus").hidden = !pair.length;
  part("frame").hidden = pair.length < 2;
  if (pair.length < 2) return void (part("caption").textContent = "Choose another picture to compare it with.");
  const [left, right] = pair;
  // The picture on top is the left one; it is cut off at the line.
  Object.assign(part("under"), { src: address(right.url), alt: right.prompt });
  Object.assign(part("over"), { src: address(left.url), alt: left.prompt });
  const name = (it) => `${it.prompt || "without words"} · seed ${it.seed}`;
  part("caption").textContent = `${name(left)} | ${name(right)}`;
  slide();
  part("versus").scrollIntoView({ block: "nearest" });
}

const slide = () => part("frame").style.setProperty("--at", `${part("slide").value}%`);

part("slide").addEventListener("input", slide);
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
}).observe(element.querySelector(".history-bar"));
new IntersectionObserver(([entry]) => entry.isIntersecting && !part("more").hidden && load(true)).observe(part("more"));

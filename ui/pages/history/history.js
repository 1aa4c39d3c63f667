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
/** @type {Set<KeptPicture>} */
const chosen = new Set();
let selecting = false;

/** @param {string} url */
const address = (url) => url.replace(/^\//, "");
/** @param {string} words */
const tell = (words) => notify(part("notice"), words);

/** @param {object} data @param {(answer: HistoryAnswer) => void} run */
function ask(data, run) {
  asked += 1;
  asking.set(asked, run);
  trigger("list", { ...data, number: asked, owner: atelier.owner() });
}

function answered() {
  /** @type {{ answer: HistoryAnswer }} */
  const { answer } = props;
  const run = asking.get(answer?.number);
  if (!run) return;
  asking.delete(answer.number);
  if (answer.error) tell(answer.error);
  else run(answer);
}

// A set is what one click on Paint made; here each of its pictures stands for itself.
/** @param {PictureSet} set @returns {KeptPicture[]} */
const flat = (set) =>
  set.pictures.map((picture) => ({
    ...picture,
    url: address(picture.url),
    thumbnail: address(picture.thumbnail),
    id: set.id,
    created: set.created,
    details: set.details,
    prompt: set.details.prompts?.[picture.picture] ?? set.details.prompt ?? "",
  }));

const onlyFavourites = () => part("favourites").getAttribute("aria-pressed") === "true";

// What is looked for. Days are those of this clock.
function wanted() {
  /** @param {"since" | "until"} name @param {string} time */
  const moment = (name, time) => part(name).value && new Date(`${part(name).value}T${time}`).toISOString();
  const times = { since: moment("since", "00:00:00"), until: moment("until", "23:59:59.999") };
  return { search: part("search").value.trim(), favourites: onlyFavourites(), ...times };
}

/** @param {boolean} more */
function load(more) {
  const which = wanted();
  newest += 1;
  const ticket = newest;
  ask({ ...which, before: more ? last : "" }, (answer) => {
    // Of several searches the last one counts.
    if (ticket !== newest) return;
    tell(answer.notice ?? "");
    ({ count } = answer);
    if (!more) {
      shown = [];
      chosen.clear();
      part("all").replaceChildren();
    }
    last = answer.sets.at(-1)?.id ?? last;
    const items = answer.sets.flatMap(flat);
    shown.push(...items);
    part("all").append(...items.map(card));
    part("more").hidden = answer.sets.length < given.page_size;
    sayCount();
  });
}

function sayCount() {
  const { search, favourites, since, until } = wanted();
  const some = search || favourites || since || until;
  part("count").textContent = some ? `${plural(shown.length, "picture")} shown of ${count}` : plural(count, "picture");
  part("zip").hidden = !count || selecting;
  part("save").textContent = favourites ? "Download favourites" : "Download all";
  part("select").hidden = !shown.length && !selecting;
  part("empty").hidden = shown.length > 0;
  part("empty").textContent = some ? "No picture was painted with all of this." : "What you paint is kept here, for this browser only.";
  showChosen();
}

/** @param {KeptPicture} item */
function card(item) {
  const box = make("article", "kept");
  box.dataset.key = keyOf(item);
  const open = press("kept-picture", undefined, () =>
    selecting ? select(item, !chosen.has(item)) : atelier.view(shown, shown.indexOf(item)),
  );
  open.setAttribute("aria-label", `Look closer: ${item.prompt}`);
  const image = make("img");
  Object.assign(image, { src: item.thumbnail, alt: item.prompt, loading: "lazy", decoding: "async" });
  open.append(image);
  const check = make("input", "kept-select");
  check.type = "checkbox";
  check.setAttribute("aria-label", `Select: ${item.prompt}`);
  check.addEventListener("change", () => select(item, check.checked));
  const compare = press("kept-compare", "Compare", () => choose(item));
  compare.setAttribute("aria-pressed", String(pair.some((other) => keyOf(other) === keyOf(item))));
  const again = press("link", "Restore", async () => tell(await atelier.act(item, "restore")));
  const acts = make("div", "kept-acts");
  acts.append(again, compare, heart("bare", item, tell));
  box.append(check, open, make("p", "kept-prompt", item.prompt), acts);
  return box;
}

/** @param {KeptPicture} item @param {boolean} on */
function select(item, on) {
  if (on) chosen.add(item);
  else chosen.delete(item);
  showChosen();
}

// What can be done with those that are selected, and which they are.
function showChosen() {
  for (const item of shown) {
    const [box] = findAll(part("all"), `[data-key="${keyOf(item)}"]`);
    box?.classList.toggle("chosen", chosen.has(item));
    const check = box?.querySelector("input");
    if (check) check.checked = chosen.has(item);
  }
  part("all").classList.toggle("selecting", selecting);
  part("chosen").hidden = !selecting;
  for (const button of findAll(part("chosen"), "button[data-some]")) button.toggleAttribute("disabled", !chosen.size);
  findAll(part("chosen"), "p")[0].textContent = `${chosen.size} selected`;
}

function selectMode() {
  selecting = !selecting;
  part("select").setAttribute("aria-pressed", String(selecting));
  chosen.clear();
  sayCount();
}

/** @param {Act} what */
async function withChosen(what) {
  tell(await atelier.act([...chosen], what));
}

/** @param {Event | undefined} event @param {KeptPicture[]} [items] */
function archive(event, items) {
  const form = part("zip");
  form.querySelector("[name=pictures]")?.remove();
  if (items) {
    const field = make("input");
    Object.assign(field, { type: "hidden", name: "pictures", value: items.map(keyOf).join(" ") });
    form.append(field);
  }
  const values = {
    owner: atelier.owner(),
    zone: String(-new Date().getTimezoneOffset()),
    favourites: !items && onlyFavourites() ? "on" : "",
  };
  for (const [name, value] of Object.entries(values)) Object.assign(form.querySelector(`[name=${name}]`) ?? {}, { value });
  // Sent by itself it says nothing to whoever listens for that.
  if (!event) form.submit();
}

// What has been done with pictures, here or elsewhere on the page.
/** @param {CustomEvent<Marked>} event */
function marked({ detail: { what, on, keys, count: left } }) {
  count = left;
  if (what === "favourite") {
    for (const item of shown) if (keys.includes(keyOf(item))) item.favourite = on;
    return;
  }
  const gone = new Set(findAll(part("all"), ".kept").filter((box) => keys.includes(box.dataset.key ?? "")));
  shown = shown.filter((item) => item.id !== undefined && !keys.includes(keyOf(item)));
  for (const item of [...chosen]) if (!shown.includes(item)) chosen.delete(item);
  for (const box of gone) box.remove();
  if (pair.some((item) => !shown.includes(item))) {
    pair = pair.filter((item) => shown.includes(item));
    showPair();
  }
  sayCount();
}

// Of more than two the last two are compared.
/** @param {KeptPicture} item */
function choose(item) {
  const without = pair.filter((other) => keyOf(other) !== keyOf(item));
  pair = without.length < pair.length ? without : [...pair, item].slice(-2);
  showPair();
}

function showPair() {
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
  Object.assign(part("under"), { src: right.url, alt: right.prompt });
  Object.assign(part("over"), { src: left.url, alt: left.prompt });
  /** @param {KeptPicture} it */
  const name = (it) => `${it.prompt || "without words"} · seed ${it.seed}`;
  part("caption").textContent = `${name(left)} | ${name(right)}`;
  slide();
  part("versus").scrollIntoView({ block: "nearest" });
}

const slide = () => part("frame").style.setProperty("--at", `${part("slide").value}%`);

const some = [
  press("chip", "Download selected", () => archive(undefined, [...chosen])),
  press("chip", "Favourite", () => withChosen("favourite")),
  twice("chip delete", "Delete selected", "Delete for good?", () => withChosen("delete")),
];
for (const button of some) button.dataset.some = "";
const every = press("chip", "Select all shown", () => {
  for (const item of shown) chosen.add(item);
  showChosen();
});
part("chosen").append(make("p", "hint"), every, ...some);

part("slide").addEventListener("input", slide);
/** @type {number | undefined} */
let typing;
part("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => load(false), 250);
});
for (const name of /** @type {const} */ (["since", "until"])) part(name).addEventListener("change", () => load(false));
part("favourites").addEventListener("click", () => {
  part("favourites").setAttribute("aria-pressed", String(!onlyFavourites()));
  load(false);
});
part("select").addEventListener("click", selectMode);
part("more").addEventListener("click", () => load(true));
part("zip").addEventListener("submit", archive);
window.addEventListener("atelier:marked", marked);
watch("answer", answered);
// The tab may be opened any time: what was painted meanwhile is to be seen, and further down there is more.
let away = true;
new IntersectionObserver(([entry]) => {
  if (away && entry.isIntersecting && !selecting) load(false);
  away = !entry.boundingClientRect.width;
}).observe(findAll(element, ".history-bar")[0]);
new IntersectionObserver(([entry]) => entry.isIntersecting && !part("more").hidden && load(true)).observe(part("more"));

// @ts-check
const OWN_PICTURES = "style-pictures";
/** @type {Record<string, [string, (style: Style) => boolean]>} */
const FILTERS = {
  all: ["All", () => true],
  favourites: ["Favourites", (style) => favourites.has(style.id)],
  mine: ["Mine", (style) => isOwn(style)],
  "built-in": ["Built-in", (style) => style.source === "built-in"],
  folder: ["Folder", (style) => style.source === "folder"],
  hub: ["Hub", (style) => Boolean(style.source?.includes("@"))],
};
/** @param {string} a @param {string} b */
const byName = (a, b) => a.localeCompare(b, undefined, { numeric: true });
/** @type {Record<string, [string, (a: Style, b: Style) => number]>} */
const ORDERS = {
  name: ["By name", (a, b) => byName(a.name, b.name)],
  newest: ["Newest first", (a, b) => (b.added ?? 0) - (a.added ?? 0) || byName(a.name, b.name)],
  used: ["Most used first", (a, b) => (uses[b.id] ?? 0) - (uses[a.id] ?? 0) || byName(a.name, b.name)],
};
const shared = new Set(given.styles.map((style) => style.id));
/** @type {typeof globalThis.isOwn} */
const isOwn = (style) => !shared.has(style.id) && !["built-in", "folder"].includes(style.source ?? "");
// What belongs to a speed tier is no style; it has a row while it is on.
/** @param {Style} style */
const isTool = (style) => style.source === "built-in" && Boolean(style.few_steps);
const favourites = new Set(/** @type {string[]} */ (atelier.recall("favourite-styles") ?? []));
/** @type {Record<string, number>} */
const uses = atelier.recall("style-uses") ?? {};

/** @param {HTMLSelectElement} select @param {Record<string, [string, unknown]>} options @param {string} chosen */
function offer(select, options, chosen) {
  for (const [value, [words]] of Object.entries(options)) {
    const option = make("option", "", words);
    option.value = value;
    select.append(option);
  }
  select.value = chosen in options ? chosen : Object.keys(options)[0];
}

/** @param {Style} style @param {(id: string) => void} toggle @param {(style: Style) => void} manage */
function card(style, toggle, manage) {
  const box = make("div", "card-box");
  const button = press("card", undefined, () => toggle(style.id));
  button.dataset.style = style.id;
  const picture = make("span", "card-picture");
  const own = atelier.recall(OWN_PICTURES)?.[style.id];
  const small = typeof own === "string" && own.startsWith("data:image/") ? own : undefined;
  const preview = style.preview?.replace(/^\//, "");
  // What is kept has its owner's choice with it.
  const source = style.source === "kept" ? (preview ?? small) : (small ?? preview);
  if (source) {
    const image = make("img");
    Object.assign(image, { src: source, alt: "", loading: "lazy" });
    picture.append(image);
  } else {
    picture.append(make("span", "card-initial", style.name.slice(0, 1).toUpperCase()));
  }
  button.append(picture, make("span", "card-name", style.name));
  const words = style.kind === "embedding" ? `a word: ${style.words?.join(", ")}` : style.triggers.join(", ");
  if (words) button.append(make("span", "card-trigger", words));
  if (style.description) button.title = style.description;
  const heart = press("card-heart", "♥", () => {
    favourites[favourites.has(style.id) ? "delete" : "add"](style.id);
    atelier.remember("favourite-styles", [...favourites]);
    heart.setAttribute("aria-pressed", String(favourites.has(style.id)));
  });
  heart.setAttribute("aria-label", `${style.name} is a favourite`);
  heart.setAttribute("aria-pressed", String(favourites.has(style.id)));
  box.append(button, heart);
  if (canBeKept(style)) {
    const more = press("card-more", "⋯", () => manage(style));
    more.setAttribute("aria-label", `Manage ${style.name}`);
    more.title = style.source === "kept" ? "Name, picture, download, delete" : "Keep it";
    box.append(more);
    box.classList.add("yours");
  }
  return box;
}

// What is known of a style by its id, when another takes its place.
/** @param {string} from @param {string} to */
function moved(from, to) {
  if (favourites.delete(from)) atelier.remember("favourite-styles", [...favourites.add(to)]);
  const { [from]: own, ...others } = atelier.recall(OWN_PICTURES) ?? {};
  if (own) atelier.remember(OWN_PICTURES, { ...others, [to]: own });
  if (uses[from]) uses[to] = uses[from];
}

// The cards: found by words, by where they come from, in an order of one's choice.
/** @type {typeof globalThis.styleShelf} */
const styleShelf = ({ known, isOn, toggle, manage }) => {
  const [search, filter, order] = [part("search"), part("filter"), part("order")];
  offer(filter, FILTERS, "all");
  offer(order, ORDERS, atelier.recall("style-order") ?? "name");

  const lay = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/);
    const found = [...known.values()].filter((style) => {
      const text = [style.name, style.id, ...style.triggers, style.description].join(" ").toLowerCase();
      return !isTool(style) && FILTERS[filter.value][1](style) && words.every((word) => text.includes(word));
    });
    found.sort(ORDERS[order.value][1]);
    part("cards").replaceChildren(...found.map((style) => card(style, toggle, manage)));
    notify(part("none"), found.length || !known.size ? "" : "No style here is like that.");
    mark();
  };
  const mark = () => {
    for (const button of findAll(part("cards"), ".card")) button.setAttribute("aria-pressed", String(isOn(button.dataset.style)));
  };
  search.addEventListener("input", lay);
  filter.addEventListener("change", lay);
  order.addEventListener("change", () => {
    atelier.remember("style-order", order.value);
    lay();
  });
  window.addEventListener("atelier:style-pictures", lay);
  return {
    lay,
    mark,
    moved,
    used: (id) => {
      uses[id] = (uses[id] ?? 0) + 1;
      atelier.remember("style-uses", uses);
    },
  };
};

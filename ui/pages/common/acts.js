// @ts-check
// Pictures that are finished, wherever they are shown: the viewer opens them, and does what is asked for.
/** @type {typeof globalThis.keyOf} */
const keyOf = (item) => `${item.id}/${item.picture}`;

// A name that every system takes.
/** @type {typeof globalThis.pictureName} */
const pictureName = ({ name, prompt, seed }) => {
  if (name) return name;
  const words = prompt.replace(/[\p{C}\p{Z}<>:"/\\|?*]+/gu, " ").trim();
  return `${[...words].slice(0, 50).join("").trim() || "picture"}${seed === null ? "" : `, ${seed}`}.png`;
};

// What cannot be undone asks to be clicked twice.
/** @type {typeof globalThis.twice} */
const twice = (className, label, sure, run) => {
  let armed = false;
  const button = press(className, label, () => {
    if (armed) return run();
    armed = true;
    button.textContent = sure;
    setTimeout(() => {
      armed = false;
      button.textContent = label;
    }, 5000);
  });
  return button;
};

/** @type {typeof globalThis.heart} */
const heart = (className, item, fail) => {
  const button = press(`heart ${className}`, "Favourite", async () => fail(await atelier.act(item, "favourite")));
  button.dataset.heart = keyOf(item);
  // Without the sign, which is drawn before it.
  button.setAttribute("aria-label", "Favourite");
  button.setAttribute("aria-pressed", String(Boolean(item.favourite)));
  return button;
};

/** @param {PictureItem[]} items */
const left = (items) => items.filter((item) => !item.gone);

/** @type {typeof globalThis.lookCloser} */
const lookCloser = (cell, items, i) => {
  const words = items[i].about ?? items[i].prompt;
  if (items[i].gone) return cell.replaceChildren(make("p", "gone", "Deleted"));
  const image = picture(cell, items[i].url, words, true);
  let open = image.closest("button");
  if (!open) {
    open = press("look", undefined, () => {});
    open.append(image);
    cell.replaceChildren(open);
  }
  open.onclick = () => atelier.view(left(items), left(items).indexOf(items[i]));
  open.setAttribute("aria-label", `Look closer: ${words}`);
};

/** @type {Map<string, PictureItem>} */
const made = new Map();

/** @type {typeof globalThis.painted} */
const painted = (value) => {
  const list = value.images.map((file, i) => ({
    url: file.url,
    prompt: value.prompts?.[i] ?? value.prompt,
    seed: value.seeds[i] ?? null,
    details: value,
    ...(value.kept ? { id: value.kept, picture: file.picture ?? i, favourite: Boolean(file.favourite) } : {}),
  }));
  // The same objects while it is the same picture: what has been done with it stays known.
  /** @param {PictureItem} item */
  const name = (item) => `${keyOf(item)} ${item.url}`;
  const known = new Map(list.map((item) => [name(item), made.get(name(item)) ?? item]));
  made.clear();
  for (const [key, item] of known) made.set(key, item);
  return [...known.values()];
};

/** @param {PictureItem} item @param {PictureItem[]} items @param {(words: string) => void} say */
const mostUsed = (item, items, say) => {
  /** @param {string} label @param {Act} what */
  const act = (label, what) => press("chip", label, async () => say(await atelier.act(item, what)));
  return [
    act("Change a part", "mask"),
    act("Start from this", "start"),
    act("Enlarge", "enlarge"),
    act("Vary", "vary"),
    ...(item.id === undefined ? [] : [heart("chip", item, say)]),
    act("Download", "download"),
    press("chip", "More …", () => atelier.view(left(items), left(items).indexOf(item))),
  ];
};

let chosenItem = 0;
let drawActs = () => {};

// What is done most, for one picture of those that are shown.
/** @type {typeof globalThis.showActs} */
const showActs = (place, items, cells, say) => {
  const key = JSON.stringify(items.map((item) => [item.url, item.id]));
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  say("");
  chosenItem = Math.min(chosenItem, Math.max(0, items.length - 1));
  drawActs = () => {
    const picks = items.map((_, i) => {
      const pick = press("pick", String(i + 1), () => {
        chosenItem = i;
        drawActs();
      });
      pick.setAttribute("aria-pressed", String(i === chosenItem));
      pick.setAttribute("aria-label", `Picture ${i + 1} of ${items.length}`);
      return pick;
    });
    for (const [i, cell] of cells.entries()) cell.classList.toggle("chosen", items.length > 1 && i === chosenItem);
    const at = findAll(place, "button").indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const chosen = items[chosenItem];
    place.replaceChildren(...(picks.length > 1 ? picks : []), ...(chosen && !chosen.gone ? mostUsed(chosen, items, say) : []));
    place.hidden = !items.length;
    if (at >= 0) findAll(place, "button")[at]?.focus();
  };
  drawActs();
};

window.addEventListener("atelier:marked", ({ detail: { what, on, keys } }) => {
  const ours = [...made.entries()].filter(([key]) => keys.some((each) => key.startsWith(`${each} `)));
  for (const [, item] of ours) Object.assign(item, what === "delete" ? { gone: true, id: undefined } : { favourite: on });
  const cells = findAll(element, ".cell");
  const items = [...made.values()];
  if (what !== "delete" || !ours.length) return;
  for (const [i, cell] of cells.entries()) if (items[i]) lookCloser(cell, items, i);
  drawActs();
});

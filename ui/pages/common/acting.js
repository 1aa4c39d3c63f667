// @ts-check
// What can be done with a picture, for all scripts of the page.
const LATE = 60000;
const MOST_DRESSED = 40;
const THUMB = 96;
/** @type {Map<number, (answer: ActAnswer) => void>} */
const waiting = new Map();
let sent = 0;

/** @param {string} event @param {object} data @returns {Promise<ActAnswer>} */
const ask = (event, data) =>
  new Promise((done) => {
    sent += 1;
    const number = sent;
    waiting.set(number, done);
    setTimeout(() => waiting.delete(number) && done({ number, error: "The connection was lost; please try again." }), LATE);
    trigger(event, { ...data, number, owner: atelier.owner() });
  });

watch("answer", () => {
  /** @type {{ answer: ActAnswer | null }} */
  const { answer } = props;
  const done = answer && waiting.get(answer.number);
  if (!done) return;
  waiting.delete(answer.number);
  done(answer);
});

/** @param {PictureItem} item */
async function content(item) {
  const answer = await fetch(item.url);
  if (!answer.ok) throw new Error("The picture is not there any more.");
  return answer.blob();
}

// One that the history has not is sent: it says itself how it was made.
/** @param {PictureItem} item @returns {Promise<SentFile>} */
async function fileOf(item) {
  const blob = await content(item);
  const file = new File([blob], "picture.png", { type: blob.type });
  if (tooLarge(file)) throw new Error(tooLarge(file));
  return new Promise((done, fail) => sendFile(file, done, (words) => fail(new Error(words))));
}

/** @param {string} url */
async function loaded(url) {
  const image = make("img");
  image.src = url;
  await image.decode();
  return image;
}

/** @param {PictureItem} item @param {Act} what */
async function change(item, what) {
  const source = item.id === undefined ? { file: await fileOf(item) } : { id: item.id, picture: item.picture };
  const image = what === "start" ? await loaded(item.url) : undefined;
  const answer = await ask("act", { what, ...source, width: image?.naturalWidth, height: image?.naturalHeight });
  return answer.error ?? "";
}

/** @param {PictureItem[]} items @param {"favourite" | "delete"} what */
async function mark(items, what) {
  const ours = items.filter((item) => item.id !== undefined);
  const on = !ours.every((item) => item.favourite);
  const answer = await ask("mark", { what, on, pictures: ours.map((item) => [item.id, item.picture]) });
  if (answer.error) return answer.error;
  const keys = ours.map(keyOf);
  for (const item of ours) {
    item.favourite = what === "favourite" && on;
    if (what === "delete") Object.assign(item, { id: undefined, gone: true });
  }
  for (const button of findAll(document, "[data-heart]"))
    if (keys.includes(button.dataset.heart ?? "")) button.setAttribute("aria-pressed", String(on && what === "favourite"));
  window.dispatchEvent(new CustomEvent("atelier:marked", { detail: { what, on, keys, count: answer.count ?? 0 } }));
  return "";
}

// From here, since a server that says a name is heard before us.
/** @param {PictureItem} item */
async function save(item) {
  const url = URL.createObjectURL(await content(item));
  download(url, pictureName(item));
  setTimeout(() => URL.revokeObjectURL(url), LATE);
  return "";
}

// It becomes the picture of the styles that it was painted with: of those that are kept on the server, of the others as
// a small copy, which this browser keeps.
/** @param {PictureItem} item */
async function dress(item) {
  const uses = item.details?.adapters ?? [];
  const styles = [...(atelier.styles?.values() ?? [])].filter((style) => item.id !== undefined && style.source === "kept");
  /** @param {{ sha256?: string }} use */
  const kept = (use) => styles.find((style) => style.sha256 === use.sha256);
  for (const { id } of uses.flatMap((use) => kept(use) ?? [])) {
    const wrong = await atelier.dress(id, item);
    if (wrong) return wrong;
  }
  const others = uses.filter((use) => !kept(use));
  return others.length ? dressHere(item, others) : "";
}

/** @param {PictureItem} item @param {{ id: string }[]} uses */
async function dressHere(item, uses) {
  const image = await loaded(item.url);
  const side = Math.min(image.naturalWidth, image.naturalHeight);
  const canvas = make("canvas");
  Object.assign(canvas, { width: THUMB, height: THUMB });
  const [left, top] = [(image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2];
  canvas.getContext("2d")?.drawImage(image, left, top, side, side, 0, 0, THUMB, THUMB);
  const small = canvas.toDataURL("image/webp", 0.8);
  const pictures = new Map(Object.entries(atelier.recall("style-pictures") ?? {}));
  for (const { id } of uses) {
    pictures.delete(id);
    pictures.set(id, small);
  }
  try {
    localStorage.setItem("atelier-style-pictures", JSON.stringify(Object.fromEntries([...pictures].slice(-MOST_DRESSED))));
  } catch {
    return "This browser keeps nothing for this page.";
  }
  window.dispatchEvent(new Event("atelier:style-pictures"));
  return "";
}

// Where the picture begins the next one the brush opens on it.
/** @param {PictureItem} item */
async function brush(item) {
  const words = await change(item, "start");
  if (!words) window.dispatchEvent(new Event("atelier:mask"));
  return words;
}

atelier.act = async (given, what) => {
  const items = [given].flat();
  try {
    if (what === "favourite" || what === "delete") return await mark(items, what);
    const alone = { download: save, style: dress, mask: brush }[/** @type {string} */ (what)];
    return await (alone ?? change)(items[0], what);
  } catch (error) {
    return error instanceof Error && /\.$/.test(error.message) ? error.message : "The picture could not be fetched; please try again.";
  }
};

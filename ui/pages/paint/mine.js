// @ts-check
// The styles that this browser keeps: what is asked of the server about them, and what can be done with one.
// A large file takes its time to be copied.
const LATE = 300000;
/** @type {Map<number, (answer: KeptAnswer) => void>} */
const waiting = new Map();
let questions = 0;

/** @type {typeof globalThis.heard} */
const heard = (answer) => {
  waiting.get(answer.number)?.(answer);
  waiting.delete(answer.number);
};

/** @type {typeof globalThis.askKept} */
const askKept = (what, data = {}) =>
  new Promise((done) => {
    questions += 1;
    const number = questions;
    waiting.set(number, done);
    setTimeout(() => heard({ number, error: "The connection was lost; please try again." }), LATE);
    trigger("mine", { ...data, what, number, owner: atelier.owner() });
  });

/** @type {typeof globalThis.canBeKept} */
const canBeKept = (style) => given.keeps && Boolean(style.id) && isOwn(style);

/** @type {typeof globalThis.takeIn} */
const takeIn = (known, kept) => {
  const others = [...known.values()];
  const gone = new Set(others.flatMap((style) => (style.source === "kept" ? style.id : [])));
  /** @type {[string, string][]} */
  const became = [];
  for (const style of kept) {
    gone.delete(style.id);
    const brought = others.find((each) => each.source !== "kept" && isOwn(each) && each.sha256 === style.sha256);
    if (brought) became.push([brought.id, style.id]);
    known.set(style.id, { ...(brought ?? known.get(style.id)), ...style });
  }
  for (const id of [...gone, ...became.map(([from]) => from)]) known.delete(id);
  return { gone, became };
};

/** @param {string} label @param {string} url */
function fileLink(label, url) {
  const link = make("a", "chip", label);
  Object.assign(link, { href: url.replace(/^\//, ""), download: "" });
  return link;
}

/** @param {Style} style @param {(name: string) => void} run */
function nameForm(style, run) {
  const form = make("form", "mine-name");
  const field = make("input", "name-field");
  Object.assign(field, { type: "text", value: style.name, maxLength: 120, required: true, autocomplete: "off" });
  field.setAttribute("aria-label", `Name of ${style.name}`);
  const save = make("button", "chip", "Rename");
  save.type = "submit";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(field.value.trim());
  });
  form.append(field, save);
  return form;
}

// The newest pictures of the history, of which one becomes the style's.
/** @param {HTMLElement} box @param {(picture: { kept: string, picture: number }) => void} run */
async function offerPictures(box, run) {
  box.textContent = "Looking for your pictures …";
  box.hidden = false;
  const { error, pictures = [] } = await askKept("pictures");
  box.textContent = error || (pictures.length ? "" : "Paint something first; here you can choose it then.");
  for (const [i, { id, picture, thumbnail }] of pictures.entries()) {
    const pick = press("mine-picture", undefined, () => run({ kept: id, picture }));
    pick.setAttribute("aria-label", `Picture ${i + 1} of ${pictures.length}`);
    const image = make("img");
    Object.assign(image, { src: thumbnail.replace(/^\//, ""), alt: "", loading: "lazy" });
    pick.append(image);
    box.append(pick);
  }
  box.querySelector("button")?.focus();
}

/** @type {typeof globalThis.ownActs} */
const ownActs = (style, change) => {
  const acts = make("div", "mine");
  const { name } = style;
  if (style.source !== "kept") {
    const keep = press("mine-keep", "Keep this style", () => change("keep", {}, `Keeping ${name} …`, `${name} is kept for this browser.`));
    acts.append(keep, make("span", "hint", "Otherwise it is gone when you leave the page."));
    return [acts];
  }
  const strip = make("div", "mine-pictures hint");
  strip.hidden = true;
  strip.dataset.walk = "";
  const choose = press("chip", "Choose its picture", () => {
    if (!strip.hidden) strip.hidden = true;
    else offerPictures(strip, (data) => change("preview", data, "Making it small …", `${name} has another picture.`));
  });
  acts.append(
    nameForm(style, (wanted) => change("rename", { name: wanted }, "Renaming it …", `It is called ${wanted} now.`)),
    choose,
    fileLink("Download", style.file ?? ""),
    ...(style.config ? [fileLink("adapter_config.json", style.config)] : []),
    twice("chip delete", "Delete", "Delete for good?", () => change("forget", {}, `Deleting ${name} …`, `${name} is deleted.`)),
    strip,
  );
  return [acts];
};

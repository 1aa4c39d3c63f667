// @ts-check
/** @type {Handed[]} */
let sheet = [];
/** @type {SentFile[]} */
let files = [];
/** @type {SentFile[]} */
let fresh = [];
/** @type {Set<string>} */
const removed = new Set();
/** @type {Map<string, string>} */
const captions = new Map();
let asked = 0;
/** @type {number | undefined} */
let late;

function publish() {
  clearTimeout(late);
  props.value = { files, left_out: [...removed], captions: Object.fromEntries(captions) };
}

const left = () => sheet.filter((each) => !removed.has(each.name));

/** @param {string} words */
const say = (words) => notify(part("say"), words);

function count() {
  const there = left().length;
  part("form").hidden = !there;
  if (!there) part("hint").textContent = "";
  else if (there < given.least) part("hint").textContent = `${plural(given.least - there, "picture")} more at least.`;
  else if (there > given.most) part("hint").textContent = `${there}, but ${given.most} are taken at most.`;
  else part("hint").textContent = `${plural(there, "picture")}. What is shaded is cut off.`;
}

/** @param {Handed} each */
function figure(each) {
  const item = make("li", "contact-item");
  const view = make("div", "contact-view");
  view.style.aspectRatio = `${each.width} / ${each.height}`;
  const image = make("img");
  Object.assign(image, { src: each.thumb, alt: each.name, title: `${each.name}, ${each.width} × ${each.height}` });
  const box = make("span", "contact-crop");
  const [x0, y0, x1, y1] = each.box.map((share) => 100 * share);
  Object.assign(box.style, { left: `${x0}%`, top: `${y0}%`, width: `${x1 - x0}%`, height: `${y1 - y0}%` });
  view.append(image, box);
  const caption = make("input", "contact-caption");
  Object.assign(caption, { type: "text", value: captions.get(each.name) ?? each.caption, maxLength: given.max_characters });
  Object.assign(caption, { placeholder: "what is to be seen", autocomplete: "off" });
  caption.setAttribute("aria-label", `What is to be seen on ${each.name}`);
  caption.addEventListener("input", () => {
    captions.set(each.name, caption.value);
    clearTimeout(late);
    late = setTimeout(publish, 300);
  });
  caption.addEventListener("change", publish);
  const remove = press("mix-remove", "×", () => {
    removed.add(each.name);
    captions.delete(each.name);
    item.remove();
    publish();
    count();
  });
  remove.setAttribute("aria-label", `Remove ${each.name}`);
  item.append(view, caption, remove);
  return item;
}

function lay() {
  part("list").replaceChildren(...left().map(figure));
  count();
}

/** @param {File} file @returns {Promise<SentFile>} */
const sent = (file) => new Promise((done, fail) => sendFile(file, done, (words) => fail(new Error(words))));

/** @param {File[]} chosen */
async function take(chosen) {
  if (!chosen.length) return;
  const large = chosen.map(tooLarge).find(Boolean);
  if (large) return say(large);
  say("");
  fresh = [];
  try {
    for (const [i, file] of chosen.entries()) {
      part("hint").textContent = `Sending ${i + 1} of ${chosen.length} …`;
      fresh.push(await sent(file));
    }
  } catch (error) {
    count();
    return say(error instanceof Error ? error.message : "");
  }
  part("hint").textContent = "Looking at them …";
  asked += 1;
  trigger("look", { number: asked, files: [...files, ...fresh], fresh });
}

function answered() {
  /** @type {{ answer: SheetAnswer | null }} */
  const { answer } = props;
  if (!answer || answer.number !== asked) return;
  say(answer.error ?? "");
  if (answer.error) return count();
  files = [...files, ...fresh];
  fresh = [];
  const known = new Set(sheet.map((each) => each.name));
  // What was removed and is handed in again is there again.
  for (const each of answer.pictures) if (!known.has(each.name)) removed.delete(each.name);
  sheet = answer.pictures;
  lay();
  publish();
}

part("file").addEventListener("change", async () => {
  await take([...(part("file").files ?? [])]);
  part("file").value = "";
});
const drop = /** @type {HTMLElement} */ (element.querySelector(".drop"));
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    // The page takes a picture that is dropped elsewhere for one that tells how it was made.
    event.stopPropagation();
    drop.classList.toggle("over", name === "dragover");
  });
}
drop.addEventListener("drop", (event) => take([...(event.dataTransfer?.files ?? [])]));
part("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = part("words").value.trim();
  for (const each of left()) captions.set(each.name, words);
  lay();
  publish();
});
part("clear").addEventListener("click", () => {
  sheet = [];
  files = [];
  removed.clear();
  captions.clear();
  lay();
  publish();
});
watch("answer", answered);
count();

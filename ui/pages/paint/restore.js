// @ts-check
let asked = 0;

/** @type {File | undefined} */
let last;

/** @param {string} words @param {string[]} notes @param {HTMLElement[]} more */
function tell(words, notes = [], more = []) {
  const list = make("ul");
  list.append(...notes.map((note) => make("li", "", note)));
  const close = press("mix-remove", "×", () => tell(""));
  close.setAttribute("aria-label", "Close this notice");
  part("say").replaceChildren(make("p", "", words), ...(notes.length ? [list] : []), ...more, close);
  part("say").hidden = !words;
}

/** @param {File} file */
function read(file) {
  if (tooLarge(file)) return tell(tooLarge(file));
  last = file;
  asked += 1;
  const number = asked;
  tell(`Reading ${file.name} …`);
  sendFile(file, (sent) => trigger("read", { number, file: sent }), tell);
}

// Where pictures and styles have a place of their own they go there.
/** @param {Event} event */
const elsewhere = (event) => inside(event, "#start, .own, input, textarea, [contenteditable]");
/** @param {DataTransfer | null} data */
const pictureOf = (data) => [...(data?.files || [])].find((file) => /^image\/(png|jpeg|webp)$/.test(file.type));
/** @param {DragEvent} event */
const withFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");

function answered() {
  /** @type {{ answer: RestoreAnswer | null }} */
  const { answer } = props;
  if (!answer || (answer.number && answer.number !== asked)) return;
  // One can still paint over it.
  const start = press("link", "Start from it", () => {
    tell("");
    window.dispatchEvent(new CustomEvent("atelier:start", { detail: last }));
  });
  if (answer.error) return tell(answer.error, [], answer.plain ? [start] : []);
  const done = answer.notes.length ? `${answer.done}, but not all of it:` : `${answer.done}.`;
  tell(done, [...answer.notes, ...(answer.marks || [])]);
}

document.addEventListener("dragover", (event) => {
  if (!withFiles(event) || elsewhere(event)) return;
  event.preventDefault();
  document.documentElement.dataset.drop = "on";
});
document.addEventListener("dragleave", (event) => event.relatedTarget || delete document.documentElement.dataset.drop);
document.addEventListener("drop", (event) => {
  delete document.documentElement.dataset.drop;
  if (!withFiles(event) || elsewhere(event)) return;
  event.preventDefault();
  const file = pictureOf(event.dataTransfer);
  const style = [...(event.dataTransfer?.files || [])].find(({ name }) => name.endsWith(".safetensors"));
  if (style) window.dispatchEvent(new CustomEvent("atelier:style-file", { detail: style }));
  else if (file) read(file);
  else tell("Only PNG, JPEG and WebP pictures say how they were made, and styles are .safetensors files.");
});
document.addEventListener("paste", (event) => {
  const file = pictureOf(event.clipboardData);
  if (!file || inside(event, "#start")) return;
  event.preventDefault();
  read(file);
});
part("file").addEventListener("change", () => {
  const file = part("file").files?.[0];
  if (file) read(file);
  part("file").value = "";
});
watch("answer", answered);

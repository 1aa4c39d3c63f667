// @ts-check
let asked = 0;

/** @param {string} words @param {string[]} notes */
function tell(words, notes = []) {
  const list = make("ul");
  list.append(...notes.map((note) => make("li", "", note)));
  const close = press("mix-remove", "×", () => tell(""));
  close.setAttribute("aria-label", "Close this notice");
  part("say").replaceChildren(make("p", "", words), ...(notes.length ? [list] : []), close);
  part("say").hidden = !words;
}

/** @param {File} file */
function read(file) {
  if (tooLarge(file)) return tell(tooLarge(file));
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
  if (answer.error) return tell(answer.error);
  tell(answer.notes.length ? `${answer.done}, but not all of it:` : `${answer.done}.`, answer.notes);
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
  if (file) read(file);
  else tell("Only PNG, JPEG and WebP pictures say how they were made.");
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

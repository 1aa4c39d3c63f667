let asked = 0;

function say(words, notes = []) {
  const list = make("ul");
  list.append(...notes.map((note) => make("li", "", note)));
  const close = press("mix-remove", "×", () => say(""));
  close.setAttribute("aria-label", "Close this notice");
  part("say").replaceChildren(make("p", "", words), ...(notes.length ? [list] : []), close);
  part("say").hidden = !words;
}

async function read(file) {
  if (file.size > props.most_bytes) return say(`${file.name} is too large: up to ${Math.floor(props.most_bytes / 2 ** 20)} MB are taken.`);
  asked += 1;
  const number = asked;
  say(`Reading ${file.name} …`);
  try {
    const sent = await upload(file);
    trigger("read", { number, file: { ...sent, orig_name: file.name, meta: { _type: "gradio.FileData" } } });
  } catch {
    say(`${file.name} did not arrive; please try again.`);
  }
}

// Where pictures and styles have a place of their own they go there.
const elsewhere = (event) => event.target.closest?.("#start, .own, input, textarea, [contenteditable]");
const pictureOf = (data) => [...(data?.files || [])].find((file) => /^image\/(png|jpeg|webp)$/.test(file.type));
const withFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");

function answered() {
  const { answer } = props;
  if (!answer || (answer.number && answer.number !== asked)) return;
  if (answer.error) return say(answer.error);
  say(answer.notes.length ? `${answer.done}, but not all of it:` : `${answer.done}.`, answer.notes);
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
  else say("Only PNG, JPEG and WebP pictures say how they were made.");
});
document.addEventListener("paste", (event) => {
  const file = pictureOf(event.clipboardData);
  if (!file || event.target.closest?.("#start")) return;
  event.preventDefault();
  read(file);
});
part("file").addEventListener("change", (event) => {
  if (event.target.files[0]) read(event.target.files[0]);
  event.target.value = "";
});
watch("answer", answered);

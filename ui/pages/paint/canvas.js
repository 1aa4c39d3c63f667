// @ts-check
// The picture that one starts from, and the brush for what of it is to change.
const MOST_SIDE = 1536;
const SOON = 100;
const mask = brushOn(part("mask"));
let erasing = false;
let shown = "";
/** @type {[number, number]} */
let keyed = [0, 0];

/** @param {SentFile | null} cover */
const tell = (cover) => window.dispatchEvent(new CustomEvent("atelier:masked", { detail: cover }));

/** @param {File | undefined} file */
function take(file) {
  if (!file) return;
  const words = /^image\/(png|jpeg|webp)$/.test(file.type) ? tooLarge(file) : `${file.name} is no PNG, JPEG or WebP picture.`;
  notify(part("say"), words || `Sending ${file.name} …`);
  if (words) return;
  sendFile(
    file,
    (sent) => {
      notify(part("say"), "");
      props.value = sent;
      show();
    },
    (failed) => notify(part("say"), failed),
  );
}

function show() {
  /** @type {SentFile | null} */
  const image = props.value;
  part("ask").hidden = Boolean(image);
  part("have").hidden = !image;
  if (!image || image.path === shown) return;
  shown = image.path;
  unmask();
  part("thumb").src = part("large").src = image.url ?? `gradio_api/file=${image.path}`;
}

function unmask() {
  part("clear").hidden = true;
  const { width, height } = part("cover");
  part("cover").getContext("2d")?.clearRect(0, 0, width, height);
  mask.wipe();
  tell(null);
}

// The mask is as large as the picture, so both are cut alike.
part("large").addEventListener("load", () => {
  const { naturalWidth, naturalHeight } = part("large");
  const scale = Math.min(1, MOST_SIDE / Math.max(naturalWidth, naturalHeight));
  mask.size(Math.round(naturalWidth * scale), Math.round(naturalHeight * scale));
  keyed = [part("mask").width / 2, part("mask").height / 2];
});

// What the sheet sets of the settings outside of it.
/** @type {[HTMLInputElement, string][]} */
const LINKED = [
  [part("feather"), "#mask-blur"],
  [part("amount"), "#strength"],
];
/** @param {string} id @returns {HTMLInputElement | null} */
const outside = (id) => document.querySelector(`${id} input[type=number]`);

function open() {
  for (const [here, there] of LINKED) here.value = outside(there)?.value ?? here.value;
  part("wish").value = promptArea()?.value ?? "";
  part("dialog").showModal();
  part("mask").focus();
}

/** @param {boolean} paint */
async function close(paint) {
  const area = promptArea();
  if (area && area.value !== part("wish").value) write(area, part("wish").value);
  part("dialog").close();
  if (mask.empty()) unmask();
  else await keep();
  if (paint) document.getElementById("paint")?.click();
}

const keep = async () => {
  part("clear").hidden = false;
  const over = part("cover");
  Object.assign(over, { width: part("mask").width, height: part("mask").height });
  over.getContext("2d")?.drawImage(part("mask"), 0, 0);
  await sendFile(await mask.file(), tell, (words) => notify(part("say"), words));
};

/** @param {PointerEvent} event @returns {[number, number]} */
function spot(event) {
  const box = part("mask").getBoundingClientRect();
  const scale = part("mask").width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

// Of the picture's longer side, in hundredths.
const width = () => (Number(part("width").value) / 100) * Math.max(part("mask").width, part("mask").height);

/** @param {[number, number]} point */
function cursor([x, y]) {
  const box = part("mask").getBoundingClientRect();
  const place = part("frame").getBoundingClientRect();
  const scale = box.width / part("mask").width;
  const across = width() * scale;
  Object.assign(part("cursor").style, {
    width: `${across}px`,
    height: `${across}px`,
    left: `${box.left - place.left + x * scale - across / 2}px`,
    top: `${box.top - place.top + y * scale - across / 2}px`,
  });
}

part("mask").addEventListener("pointerdown", (event) => {
  event.preventDefault();
  part("mask").focus();
  part("mask").setPointerCapture(event.pointerId);
  mask.begin(spot(event), width(), erasing);
});
part("mask").addEventListener("pointermove", (event) => {
  for (const each of event.getCoalescedEvents?.() ?? [event]) mask.move(spot(each));
  cursor(spot(event));
});
for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) part("mask").addEventListener(name, mask.end);

/** @type {Record<string, [number, number]>} */
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
part("mask").addEventListener("keydown", (event) => {
  const way = WAYS[event.key];
  if (!way && event.key !== " ") return;
  event.preventDefault();
  event.stopPropagation();
  const painting = event.key === " " || event.shiftKey;
  if (painting) mask.begin(keyed, width(), erasing);
  if (way) {
    const within = (/** @type {number} */ at, /** @type {number} */ most) => Math.min(most, Math.max(0, at));
    const step = width() / 2;
    keyed = [within(keyed[0] + way[0] * step, part("mask").width), within(keyed[1] + way[1] * step, part("mask").height)];
    mask.move(keyed);
  }
  mask.end();
  cursor(keyed);
});

/** @param {boolean} on */
function erase(on) {
  erasing = on;
  part("brush").setAttribute("aria-pressed", String(!on));
  part("eraser").setAttribute("aria-pressed", String(on));
}

part("brush").addEventListener("click", () => erase(false));
part("eraser").addEventListener("click", () => erase(true));
part("undo").addEventListener("click", mask.undo);
part("invert").addEventListener("click", mask.invert);
part("wipe").addEventListener("click", mask.wipe);
for (const [here, there] of LINKED) {
  here.addEventListener("change", () => {
    const field = outside(there);
    if (field) write(field, here.value);
  });
}
part("open").addEventListener("click", open);
part("clear").addEventListener("click", unmask);
part("remove").addEventListener("click", () => {
  shown = "";
  unmask();
  props.value = null;
  show();
});
part("done").addEventListener("click", () => close(false));
part("paint").addEventListener("click", () => close(true));
// Escape, too: what has been brushed counts.
part("dialog").addEventListener("cancel", (event) => {
  event.preventDefault();
  close(false);
});
part("dialog").addEventListener("keydown", (event) => {
  const painting = event.key === "Enter" && (event.ctrlKey || event.metaKey);
  event.stopPropagation();
  if (!painting) return;
  event.preventDefault();
  close(true);
});
part("file").addEventListener("change", () => {
  take(part("file").files?.[0]);
  part("file").value = "";
});
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer?.files[0]);
});
window.addEventListener("atelier:start", (event) => take(/** @type {CustomEvent<File>} */ (event).detail));
// From an action under a picture, which comes a moment later.
window.addEventListener("atelier:mask", () =>
  setTimeout(() => {
    if (part("large").complete && part("large").naturalWidth) open();
    else part("large").addEventListener("load", open, { once: true });
  }, SOON),
);
// By what was restored, or another picture.
window.addEventListener("atelier:unmasked", () => part("clear").hidden || unmask());
watch("value", show);
show();

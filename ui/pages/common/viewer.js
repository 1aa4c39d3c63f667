// @ts-check
// Pictures of this page, one at a time: large, with all that is known of it and what can be done with it.
/** @type {PictureItem[]} */
let items = [];
let at = 0;

const item = () => items[at];
/** @param {number} by */
const turnBy = (by) => {
  const next = at + by;
  if (next < 0 || next >= items.length) return;
  at = next;
  show();
};
const zoom = zoomable(part("frame"), part("large"), zoomed, turnBy);

/** @param {number} percent @param {boolean} fits */
function zoomed(percent, fits) {
  findAll(part("zoom"), "output")[0].textContent = `${percent} %`;
  for (const [i, button] of findAll(part("zoom"), ".viewer-fit").entries()) {
    button.setAttribute("aria-pressed", String(i ? !fits && percent === 100 : fits));
  }
}

/** @param {Axis} axis */
const inWords = ({ title, labels }) => `${title}: ${labels.join(", ")}`;
/** @param {Details["adapters"][0]} use */
const styled = (use) => {
  const text = use.text_weight === undefined || use.text_weight === use.weight ? "" : `, text ${signed(use.text_weight)}`;
  const while_ = (use.start ?? 0) > 0 || (use.end ?? 1) < 1 ? `, from ${use.start ?? 0} to ${use.end ?? 1}` : "";
  return `${use.name} ${signed(use.weight)}${text}${while_}`;
};
/** @param {number} created */
const when = (created) => new Date(1000 * created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// Fields of a request as the server names them, where they do something.
/** @param {Details} details @returns {[string, unknown][]} */
const further = (details) =>
  given.told
    .filter(({ name, neutral }) => details[name] !== neutral && details[name] !== undefined)
    .map(({ name, label }) => [label, details[name] === true ? "yes" : details[name]]);

/** @param {PictureItem} shown @returns {[string, unknown][]} */
function facts({ details, seed, created, picture: number }) {
  if (!details) return [["Seed", seed === null ? "" : String(seed)]];
  const { hires } = details;
  const axes = Object.values(details.comparison || {});
  return [
    ["Painted", created && when(created)],
    ["Seed", seed === null ? "" : String(seed)],
    ["Steps", details.steps],
    ["Scheduler", details.scheduler],
    ["Size", `${hires?.width ?? details.width} × ${hires?.height ?? details.height}`],
    ["Second pass", hires && `${hires.strength} of ${hires.steps} steps from ${details.width} × ${details.height}`],
    ["Styles", details.adapters.map(styled).join("; ")],
    ["Left out", details.negative_prompts?.[number ?? 0] || details.negative_prompt],
    ["Compared", axes.flatMap((axis) => (axis ? inWords(axis) : [])).join(" × ")],
    ...further(details),
    ["Model", details.profile],
    ["Took", details.timings && `${details.timings.total.toFixed(1)} s`],
  ];
}

/** @param {string} words */
const tell = (words, wrong = true) => {
  notify(part("notice"), wrong ? words : "");
  notify(part("say"), wrong ? "" : words);
};

/** @param {Act} what @param {string} [done] */
async function run(what, done) {
  tell("…", false);
  const words = await atelier.act(item(), what);
  if (words || done !== undefined) return tell(words || done || "", Boolean(words));
  part("dialog").close();
}

async function remove() {
  const words = await atelier.act(item(), "delete");
  if (words) return tell(words);
  items.splice(at, 1);
  if (!items.length) return part("dialog").close();
  at = Math.min(at, items.length - 1);
  show();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(item().prompt);
    tell("The prompt is copied.", false);
  } catch {
    // Without a secure connection a browser gives no clipboard.
    getSelection()?.selectAllChildren(part("title"));
    tell("The prompt is selected; copy it with Ctrl or ⌘ + C.", false);
  }
}

/** @param {PictureItem} shown */
function acts(shown) {
  /** @param {string} label @param {Act} what @param {string} title @param {string} [done] */
  const act = (label, what, title, done) => {
    const button = press("chip", label, () => run(what, done));
    button.title = title;
    return button;
  };
  const styles = (shown.details?.adapters ?? []).map((use) => use.name);
  const dressed = `${styles.join(" and ")} ${styles.length > 1 ? "have" : "has"} this picture now, in this browser.`;
  return [
    act("Restore all", "restore", "Set the page as it was when this was painted"),
    act("Change a part", "mask", "Brush over what is to be painted anew"),
    act("Start from this", "start", "The next picture is painted over this one"),
    act("Enlarge", "enlarge", "Paint it again, larger"),
    act("Vary", "vary", "Paint one that is a little different"),
    ...(shown.id === undefined ? [] : [heart("chip", shown, tell)]),
    act("Download", "download", pictureName(shown), ""),
    act("Use the prompt", "prompt", "Set the prompt only"),
    act("Use the seed", "seed", "Set the seed only"),
    act("Compare settings", "compare", "Restore all, and go to the page where settings are compared"),
    ...(styles.length ? [act("Use as the picture of its style", "style", styles.join(", "), dressed)] : []),
    press("chip", "Copy the prompt", copy),
    ...(shown.id === undefined ? [] : [twice("chip delete", "Delete", "Delete for good?", remove)]),
  ];
}

function show() {
  const shown = item();
  tell("");
  part("frame").classList.add("coming");
  Object.assign(part("large"), { src: shown.url, alt: shown.prompt });
  part("before").disabled = at === 0;
  part("after").disabled = at === items.length - 1;
  part("before").hidden = part("after").hidden = items.length === 1;
  const place = items.length > 1 ? `Picture ${at + 1} of ${items.length}` : "";
  part("count").textContent = [place, shown.about].filter(Boolean).join(" · ");
  part("title").textContent = shown.prompt;
  part("title").hidden = !shown.prompt;
  part("acts").replaceChildren(...acts(shown));
  part("facts").replaceChildren(terms(facts(shown)));
  part("panel").scrollTop = 0;
  // So that the next one is there at once.
  if (items[at + 1]) make("img").src = items[at + 1].url;
}

async function fullScreen() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await part("view").requestFullscreen();
}

/** @param {string} key @returns {(() => void) | undefined} */
const bound = (key) =>
  ({
    ArrowLeft: () => turnBy(-1),
    ArrowRight: () => turnBy(1),
    "+": () => zoom.by(1.25),
    "=": () => zoom.by(1.25),
    "-": () => zoom.by(0.8),
    0: zoom.fit,
    1: zoom.actual,
    f: fullScreen,
  })[key];
/** @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

/** @param {KeyboardEvent} event */
function keys(event) {
  if (!part("dialog").open) return;
  // The page behind has keys of its own.
  event.stopPropagation();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const run = event.shiftKey && event.key in MOVES ? () => zoom.move(...MOVES[event.key]) : bound(event.key);
  if (!run) return;
  event.preventDefault();
  run();
}

/** @param {string} className @param {string} text @param {string} label @param {() => void} run */
function control(className, text, label, run) {
  const button = press(className, text, run);
  button.setAttribute("aria-label", label);
  button.title = label;
  return button;
}

part("zoom").append(
  control("", "−", "Smaller (-)", () => zoom.by(0.8)),
  make("output"),
  control("", "+", "Larger (+)", () => zoom.by(1.25)),
  control("viewer-fit", "Fit", "Fit (0)", zoom.fit),
  control("viewer-fit", "1:1", "Pixel by pixel (1)", zoom.actual),
  ...(document.fullscreenEnabled ? [control("viewer-full", "", "Full screen (F)", fullScreen)] : []),
);
part("large").addEventListener("load", () => part("frame").classList.remove("coming"));
part("large").addEventListener("error", () => tell("This picture is not there any more."));
part("before").addEventListener("click", () => turnBy(-1));
part("after").addEventListener("click", () => turnBy(1));
part("close").addEventListener("click", () => part("dialog").close());
part("dialog").addEventListener("click", (event) => event.target === part("dialog") && part("dialog").close());
document.addEventListener("keydown", keys, true);

atelier.view = (list, index = 0) => {
  items = [...list];
  at = index;
  show();
  if (!part("dialog").open) part("dialog").showModal();
};

// @ts-check
// The step of the sample that is chosen; undefined is the newest.
/** @type {number | undefined} */
let chosen;
let asked = 0;
let drawn = "";
/** @type {Set<string>} */
const told = new Set();

/** @param {string} event @param {object} data */
function ask(event, data = {}) {
  asked += 1;
  trigger(event, { ...data, number: asked, owner: atelier.owner() });
}

/** @param {string} url */
const here = (url) => url.replace(/^\//, "");

/** @param {TrainView} value @param {Sample} sample */
function cell(value, sample) {
  const button = press("sample", undefined, () => {
    chosen = sample.step;
    draw(/** @type {TrainJob} */ (props.value));
  });
  button.dataset.step = String(sample.step);
  for (const [percent, words] of [
    ["100", "weight 1"],
    ["50", "weight 0.5"],
  ]) {
    const url = sample.pictures[percent];
    const image = make("img");
    const about = sample.step ? `${value.prompt}, after ${plural(sample.step, "step")}, ${words}` : `${value.prompt}, without the style`;
    if (url) Object.assign(image, { src: here(url), alt: about, loading: "lazy" });
    button.append(url ? image : make("span", "sample-none"));
  }
  button.append(make("span", "sample-step", sample.step ? String(sample.step) : "without"));
  return button;
}

// What can be done with the sample that is chosen.
/** @param {TrainView} value @param {Sample | undefined} sample */
function actsOf(value, sample) {
  if (!sample?.step) return [];
  const acts = [];
  const { kept } = sample;
  if (kept) {
    const wear = () => {
      trigger("paint", {});
      atelier.wear(kept);
    };
    acts.push(make("span", "hint", "Kept under Mine."), press("chip", "Paint with it", wear));
  } else if (sample.file) acts.push(press("chip", "Keep this one", () => ask("keep", { step: sample.step })));
  if (sample.file) {
    const link = make("a", "chip", "Download");
    Object.assign(link, { href: here(sample.file), download: `${value.name}.safetensors` });
    acts.push(link);
  }
  return acts;
}

/** @param {TrainView} value */
function strip(value) {
  const samples = value.samples;
  const sample = samples.find((each) => each.step === chosen) ?? samples.at(-1);
  const key = JSON.stringify([value.id, samples, sample?.step]);
  if (key === drawn) return;
  drawn = key;
  const old = new Map(findAll(part("strip"), ".sample").map((each) => [`${value.id} ${each.dataset.step}`, each]));
  const cells = samples.map((each) => {
    const button = old.get(`${part("strip").dataset.of} ${each.step}`) ?? cell(value, each);
    button.setAttribute("aria-pressed", String(each === sample));
    return button;
  });
  const end = part("strip").scrollLeft + part("strip").clientWidth > part("strip").scrollWidth - 20;
  part("strip").dataset.of = value.id;
  part("strip").replaceChildren(...cells);
  if (end) part("strip").scrollLeft = part("strip").scrollWidth;
  const words = `“${value.prompt}”, seed ${value.seed}: above at weight 1, below at 0.5, by the steps that it had learnt.`;
  part("caption").textContent = samples.length ? words : "";
  part("chosen").replaceChildren(...actsOf(value, sample));
  for (const { kept } of samples) {
    if (!kept || told.has(kept)) continue;
    told.add(kept);
    window.dispatchEvent(new CustomEvent("atelier:styles-kept"));
  }
}

/** @param {[number, number][]} losses */
function curve(losses) {
  part("frame").hidden = losses.length < 2;
  if (losses.length < 2) return;
  const [first, last] = [losses[0][0], losses[losses.length - 1][0]];
  const top = Math.max(...losses.map(([, loss]) => loss));
  const low = Math.min(...losses.map(([, loss]) => loss));
  const points = losses.map(([step, loss]) => {
    const y = top === low ? 45 : 85 - (80 * (loss - low)) / (top - low);
    return `${(300 * (step - first)) / (last - first)},${y}`;
  });
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  part("plot").replaceChildren(line);
  const now = losses[losses.length - 1][1];
  part("facts").textContent = `Loss, running average: ${now.toFixed(3)} now, between ${low.toFixed(3)} and ${top.toFixed(3)}.`;
}

// Drawn anew only where what can be done is another: whoever is about to press a button finds it where it was.
/** @param {TrainJob} value @param {boolean} running */
function acts(value, running) {
  const place = part("acts");
  const key = `${value.status === "empty"} ${running} ${"id" in value && value.stopping} ${"id" in value && value.step < value.steps}`;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!("id" in value)) return place.replaceChildren();
  const away = twice("chip", running ? "Cancel" : "Throw away", "Press again: nothing is kept of it", () => ask("cancel"));
  if (running) {
    const stop = press("chip", value.stopping ? "Stopping …" : "Stop and keep", () => ask("stop"));
    stop.disabled = value.stopping;
    return place.replaceChildren(stop, away);
  }
  if (value.step < value.steps)
    return place.replaceChildren(
      press("chip", "Go on", () => ask("more")),
      away,
    );
  const number = make("input", "name-field");
  Object.assign(number, { type: "number", min: "1", value: String(given.most) });
  number.setAttribute("aria-label", "How many steps more");
  place.replaceChildren(
    press("chip", "Go on for more steps", () => ask("more", { steps: Number(number.value) })),
    number,
    away,
  );
}

/** @param {TrainJob} value @param {boolean} running */
function draw(value, running = atelier.runs(value)) {
  acts(value, running);
  if ("id" in value) {
    strip(value);
    curve(value.losses);
    return;
  }
  drawn = "";
  for (const name of /** @type {const} */ (["strip", "chosen", "caption"])) part(name).replaceChildren();
  part("frame").hidden = true;
}

function answered() {
  /** @type {{ answer: TrainAnswer | null }} */
  const { answer } = props;
  if (!answer || answer.number !== asked) return;
  if (answer.view) props.value = answer.view;
  notify(part("notice"), answer.error);
  show();
}

/** @param {TrainView} value */
const rest = (value) => `${roughly(value.seconds_left)} left`;
const show = showJob({
  kind: "train",
  notice: () => part("notice"),
  sentences: {
    empty: () => "Here the style is seen emerging, picture by picture.",
    waiting: (value) => (value.place ? `Step ${value.step} of ${value.steps}. In the queue: ${turn(value.place)}.` : "It begins …"),
    training: (value) => `Step ${value.step} of ${value.steps}, ${rest(value)}`,
    sampling: (value) => `Step ${value.step} of ${value.steps}, ${rest(value)}. Painting a sample.`,
    stopped: (value) => `Stopped after ${plural(value.step, "step")}.`,
    done: (value) => `Learnt from ${plural(value.pictures, "picture")} in ${roughly(value.seconds)}.`,
    failed: () => "It ended early.",
  },
  share: (value) => ("id" in value ? value.step / value.steps : 0),
  draw,
});
watch("answer", answered);

// @ts-check
/** @typedef {CompareJob & Grid} Planned */
let drawn = "";

// The frame of labels and empty cells, once per comparison.
/** @param {Grid} value */
function frame(value) {
  const key = JSON.stringify([value.x, value.y, value.z, value.width, value.height]);
  if (key === drawn) return;
  drawn = key;
  const grid = part("grid");
  grid.style.setProperty("--columns", String(value.columns));
  grid.style.setProperty("--aspect", `${value.width} / ${value.height}`);
  grid.dataset.rows = value.y ? "named" : "";
  const nodes = [];
  for (let page = 0; page < (value.pages ?? 1); page++) {
    if (value.z) nodes.push(make("h3", "board-page", `${value.z.title}: ${value.z.labels[page]}`));
    const corner = make("div", "board-corner");
    if (value.y) corner.append(make("span", "", `${value.y.title} ↓`));
    corner.append(make("span", "", `${value.x.title} →`));
    nodes.push(corner, ...value.x.labels.map((label) => make("div", "board-x", label)));
    for (let row = 0; row < value.rows; row++) {
      nodes.push(make("div", "board-y", value.y ? value.y.labels[row] : ""));
      for (let column = 0; column < value.columns; column++) nodes.push(make("div", "board-cell"));
    }
  }
  grid.replaceChildren(...nodes);
}

/** @param {Grid} value @param {number} i */
function about(value, i) {
  const named = (/** @type {Axis | null | undefined} */ axis, /** @type {number} */ at) =>
    axis ? [`${axis.title} ${axis.labels[at]}`] : [];
  const row = Math.floor(i / value.columns);
  return [...named(value.x, i % value.columns), ...named(value.y, row % value.rows), ...named(value.z, Math.floor(row / value.rows))].join(
    ", ",
  );
}

/** @param {Planned} value @returns {PictureItem[]} */
const finished = (value) =>
  value.painted.map(({ url }, i) => {
    const told = value.told[i];
    const details = "steps" in told ? told : undefined;
    return { url, prompt: details?.prompts?.[0] ?? told.prompt, seed: Number(told.seed), about: about(value, i), details };
  });

/** @param {Planned} value */
function fill(value) {
  frame(value);
  const cells = part("grid").querySelectorAll(".board-cell");
  const items = finished(value);
  for (const i of items.keys()) lookCloser(cells[i], items, i);
  for (const cell of cells) cell.classList.remove("now");
  if (value.status !== "painting") return;
  cells[value.cell].classList.add("now");
  if (value.preview) picture(cells[value.cell], value.preview, "Preview", false);
}

/** @param {{ cell: number, cells: number }} value */
const at = (value) => `Picture ${value.cell + 1} of ${value.cells}`;

// What has been planned has a grid from then on, however it ends.
/** @param {CompareJob} value @returns {value is Planned} */
const isPlanned = (value) => value.painted !== undefined;

/** @param {CompareJob} value */
function keep(value) {
  if (value.status !== "done") return part("keep").replaceChildren();
  const link = make("a", "link", "Download all on one sheet");
  Object.assign(link, { href: value.sheet.url, download: value.sheet.orig_name });
  part("keep").replaceChildren(link);
}

/** @param {CompareJob} value */
function draw(value) {
  if (value.status === "sent") {
    drawn = "";
    part("grid").replaceChildren();
  }
  if (isPlanned(value)) fill(value);
  keep(value);
}

/** @param {CompareJob} value */
const stopped = (value) => `Stopped.${isPlanned(value) && value.painted.length ? " What is finished is kept." : ""}`;

showJob({
  kind: "compare",
  notice: () => part("notice"),
  sentences: {
    empty: () => "Every picture of a comparison is the one that these settings paint alone.",
    waiting: (value) => `${stalled(value)}${at(value)}, in the queue: ${turn(value.place)}.`,
    painting: (value) => `${again(value)}${at(value)}, step ${value.step} of ${value.steps}`,
    cell: (value) => `${at(value)} is done.`,
    cancelled: stopped,
    done: (value) => `${plural(value.cells, "picture")}. Click one to look closer.`,
  },
  share: (value) => {
    const begun = value.status === "painting" ? value.step / value.steps : 0;
    return isPlanned(value) ? (value.painted.length + begun) / value.cells : 0;
  },
  draw,
});

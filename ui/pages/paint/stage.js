// @ts-check
/** @param {number} s */
const seconds = (s) => (s < 10 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`);

/** @param {number} count */
function cells(count) {
  const frame = part("frame");
  frame.dataset.count = String(count);
  const all = [...frame.querySelectorAll(".cell")];
  for (const cell of all.slice(count)) cell.remove();
  for (let i = all.length; i < count; i++) frame.append(make("div", "cell"));
  return [...frame.querySelectorAll(".cell")];
}

/** @param {string} name @param {Node} shown */
function fact(name, shown) {
  const item = make("li");
  item.append(make("span", "fact-name", name), " ", shown);
  return item;
}

/** @param {Painted} value */
function facts(value) {
  const seed = press("fact-value", value.seeds.join(", "), () => trigger("reuse"));
  seed.title = "Use this seed for the next picture";
  // After a second pass the file is as large as that made it.
  const { width, height } = value.hires ?? value;
  const known = [
    ["Painted in", seconds(value.timings.total)],
    ["Steps", `${value.steps} · ${value.scheduler}`],
    ["Size", `${width} × ${height}`],
    ...(value.hires
      ? [["Second pass", `${value.hires.strength} of ${value.hires.steps} steps from ${value.width} × ${value.height}`]]
      : []),
    ...value.adapters.map((adapter) => [adapter.name, signed(adapter.weight)]),
  ];
  const list = [fact("Seed", seed), ...known.map(([name, words]) => fact(name, make("span", "fact-value", words)))];
  const { images } = value;
  const label = images.length === 1 ? "Download" : `Download ${images.length}`;
  const save = make("li", "fact-save");
  save.append(
    press("fact-value", label, () => {
      for (const [i, file] of images.entries()) download(file.url, `atelier-${value.seeds[i]}.png`);
    }),
  );
  list.push(save);
  return list;
}

function bringIntoView() {
  const { top, bottom } = part("frame").getBoundingClientRect();
  if (top >= 0 && bottom <= window.innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  part("frame").scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

// What was painted last: it is there until the next one can be seen, and again where that one is not finished.
/** @type {Painted | undefined} */
let last;

/** @param {Painted} value */
const prompts = (value) => value.prompts ?? [value.prompt];

/** @param {Painted} value */
function finished(value) {
  part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);
  for (const [i, cell] of cells(value.images.length).entries()) picture(cell, value.images[i].url, prompts(value)[i] ?? value.prompt, true);
}

/** @param {PaintJob} value @param {boolean} running */
function draw(value, running) {
  if (value.status === "done") last = value;
  // Until the first preview nothing of the next picture can be seen.
  const stale = running && last !== undefined && !(value.status === "painting" && value.preview);
  part("frame").classList.toggle("stale", stale);
  if (value.width && !stale) part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);
  if (value.status === "painting" && !stale) {
    const cell = cells(value.images)[value.image];
    if (value.preview) picture(cell, value.preview, "Preview", false);
  } else if (!running) {
    if (last) finished(last);
    else cells(0);
  }
  part("lesson").hidden = running || element.querySelector(".cell") !== null;
  const shown = running ? undefined : last;
  // The words that were drawn, where there were variants.
  part("title").textContent = shown ? [...new Set(prompts(shown))].join(" · ") : "";
  part("facts").replaceChildren(...(shown ? facts(shown) : []));
  if (value.status === "sent") bringIntoView();
}

showJob({
  kind: "atelier",
  notice: () => document.querySelector("#notice"),
  sentences: {
    waiting: (value) => `In the queue: ${turn(value.place)}, in about ${seconds(value.expected_seconds)}.`,
    painting: (value) => {
      const which = value.images > 1 ? `Picture ${value.image + 1} of ${value.images}, step` : "Step";
      return value.step ? `${which} ${value.step} of ${value.steps}` : "Mixing the colours …";
    },
    cancelled: () => "Stopped. Nothing was kept.",
  },
  share: (value) => (value.status === "painting" ? (value.image * value.steps + value.step) / (value.images * value.steps) : 0),
  draw,
});

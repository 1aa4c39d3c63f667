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
  const known = [
    ["Painted in", seconds(value.timings.total)],
    ["Steps", `${value.steps} · ${value.scheduler}`],
    ["Size", `${value.width} × ${value.height}`],
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

/** @param {PaintJob} value @param {boolean} running */
function draw(value, running) {
  if (value.width) part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);
  if (value.status === "painting") {
    const cell = cells(value.images)[value.image];
    if (value.preview) picture(cell, value.preview, "Preview", false);
  } else if (value.status === "done") {
    for (const [i, cell] of cells(value.images.length).entries()) picture(cell, value.images[i].url, value.prompt, true);
  } else if (value.status === "sent" || value.status === "empty" || value.status === "cancelled") {
    cells(0);
  }
  part("lesson").hidden = running || value.status === "done" || element.querySelector(".cell") !== null;
  part("title").textContent = value.status === "done" ? value.prompt : "";
  part("facts").replaceChildren(...(value.status === "done" ? facts(value) : []));
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

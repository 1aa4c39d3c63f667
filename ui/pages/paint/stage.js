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
  const seed = press("fact-value", value.seeds.join(", "), () => {
    props.value = { ...props.value, seed: value.seeds[0] };
    trigger("reuse");
  });
  seed.title = "Lock this seed: the next pictures have it too";
  // After a second pass the file is as large as that made it.
  const { width, height } = value.hires ?? value;
  const known = [
    ...(value.timings ? [["Painted in", seconds(value.timings.total)]] : []),
    ["Steps", `${value.steps} · ${value.scheduler}`],
    ["Size", `${width} × ${height}`],
    ...(value.hires
      ? [["Second pass", `${value.hires.strength} of ${value.hires.steps} steps from ${value.width} × ${value.height}`]]
      : []),
    ...value.adapters.map((adapter) => [adapter.name, signed(adapter.weight)]),
  ];
  const list = [fact("Seed", seed), ...known.map(([name, words]) => fact(name, make("span", "fact-value", words)))];
  const { length } = value.images;
  if (length > 1) {
    const save = make("li", "fact-save");
    save.append(
      press("fact-value", `Download all ${length}`, () => {
        for (const item of painted(value)) atelier.act(item, "download");
      }),
    );
    list.push(save);
  }
  return list;
}

function bringIntoView() {
  const { top, bottom } = part("frame").getBoundingClientRect();
  if (top >= 0 && bottom <= window.innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  part("frame").scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

/** @param {Painted} value */
const prompts = (value) => value.prompts ?? [value.prompt];

/** @param {Painted} value */
function finished(value) {
  part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);
  for (const [i, cell] of cells(value.images.length).entries()) lookCloser(cell, painted(value), i);
}

/** @param {PaintJob & { status: "painting" }} value */
function begun(value) {
  const all = cells(value.images);
  const made = value.last ? painted(value.last) : [];
  for (const i of (value.finished ?? []).keys()) if (made[i]) lookCloser(all[i], made, i);
  if (value.preview) picture(all[value.image], value.preview, "Preview", false);
}

// In place of what is done with a finished picture.
/** @param {PaintJob & { status: "live" }} value */
function following(value) {
  const [cell] = cells(1);
  picture(cell, value.picture, value.prompt, true);
  const place = part("acts");
  if (place.dataset.key === "live") return;
  place.dataset.key = "live";
  place.replaceChildren(press("chip", "Keep this picture", () => trigger("keep")));
  place.hidden = false;
}

/** @param {PaintJob} value @param {boolean} running */
function draw(value, running) {
  // What was painted last is there until the next can be seen, and again where that one comes to nothing.
  const live = value.status === "live" ? value : undefined;
  const last = value.status === "done" ? value : value.last;
  atelier.seed = (live ?? last)?.seeds[0] ?? atelier.seed;
  const visible = value.status === "painting" && (value.preview || value.finished?.length);
  const stale = running && last !== undefined && !visible;
  part("frame").classList.toggle("stale", stale);
  if (value.width && !stale) part("frame").style.setProperty("--aspect", `${value.width} / ${value.height}`);
  if (live) following(live);
  else if (value.status === "painting" && !stale) begun(value);
  else if (last) finished(last);
  else if (!running) cells(0);
  part("lesson").hidden = running || element.querySelector(".cell") !== null;
  const shown = running ? undefined : (live ?? last);
  // The words that were drawn, where there were variants.
  part("title").textContent = shown ? [...new Set(prompts(shown))].join(" · ") : "";
  part("facts").replaceChildren(...(shown ? facts(shown) : []));
  const acted = last && !live && (stale || !running || value.finished?.length) ? painted(last) : [];
  if (!live) showActs(part("acts"), acted, findAll(element, ".cell"), (words) => notify(part("wrong"), words));
  showStrip(part("strip"), value.others ?? []);
  if (value.status === "sent") bringIntoView();
}

/** @param {PaintJob} value */
const which = (value) => (value.runs !== undefined ? `Run ${value.run ?? 1}${value.runs ? ` of ${value.runs}` : ""}: ` : "");

/** @param {PaintJob} value */
const stopped = (value) =>
  `Stopped. ${value.finished?.length ? `${plural(value.finished.length, "finished picture")} kept.` : "Nothing was finished."}`;

const showAll = showJob({
  kind: "atelier",
  notice: () => document.querySelector("#notice"),
  sentences: {
    waiting: (value) =>
      stalled(value) + `${which(value)}in the queue: ${turn(value.place)}, in about ${seconds(value.expected_seconds)}.`.replace(/^i/, "I"),
    painting: (value) => {
      const step = value.images > 1 ? `Picture ${value.image + 1} of ${value.images}, step` : "Step";
      return again(value) + which(value) + (value.step ? `${step} ${value.step} of ${value.steps}` : "Mixing the colours …");
    },
    cancelled: stopped,
    live: () => "Live: it follows what you change, and is not kept.",
  },
  share: (value) => (value.status === "painting" ? (value.image * value.steps + value.step) / (value.images * value.steps) : 0),
  draw,
});

window.addEventListener("atelier:live", (event) => {
  const value = props.value ?? {};
  if (atelier.runs(value)) return;
  const last = value.status === "done" ? value : value.last;
  props.value = { .../** @type {CustomEvent} */ (event).detail, last, others: value.others };
  showAll();
});

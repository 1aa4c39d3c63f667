// @ts-check
/** @param {Brief} job */
const state = (job) => {
  const run = job.runs !== undefined ? ` · ${job.run ?? 1} of ${job.runs || "many"}` : "";
  if (job.status === "failed") return job.message ?? "It failed.";
  if (job.status !== "waiting") return `sent${run}`;
  return `${turn(job.place ?? 1)}, in about ${roughly(job.expected_seconds ?? 0)}${run}`;
};

// One's own jobs behind the one that is shown, each with what can be done about it.
/** @type {typeof globalThis.showStrip} */
const showStrip = (list, jobs) => {
  /** @param {string} event @param {string} job */
  const ask = (event, job) => {
    props.value = { ...props.value, asked: job };
    trigger(event);
  };
  const waiting = jobs.filter((job) => job.status !== "failed");
  const rows = jobs.map((job) => {
    const row = make("li");
    row.dataset.status = job.status;
    const words = make("span", "strip-words");
    words.append(make("b", "", job.title || "A picture"), " ", make("span", "strip-state", state(job)));
    row.append(words);
    if (waiting.indexOf(job) > 0) row.append(press("link", "Paint next", () => ask("sooner", job.job)));
    const away = press("mix-remove", "×", () => ask("cancel", job.job));
    away.setAttribute("aria-label", `${job.status === "failed" ? "Forget" : "Cancel"}: ${job.title}`);
    row.append(away);
    return row;
  });
  // What has the focus is not drawn anew under it, unless there is news.
  const key = JSON.stringify(jobs);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const at = [...list.querySelectorAll("button")].indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  list.replaceChildren(...rows);
  list.hidden = !jobs.length;
  if (at >= 0) list.querySelectorAll("button")[Math.min(at, list.querySelectorAll("button").length - 1)]?.focus();
};

// @ts-check
// What helps while a prompt is written: suggestions for styles (<), wildcards (__) and templates (/), weights by keys.
const MOST = 8;
const STEP = 0.1;
const BOUNDS = { min: 0.1, max: 2 };

/** @typedef {{ words: string, about: string, insert: string, template?: PromptTemplate }} Suggestion */
/** @type {Suggestion[]} */
let offered = [];
let at = 0;
let from = 0;

/** @param {string} typed @returns {Suggestion[]} */
const styles = (typed) =>
  [...(atelier.styles?.values() ?? [])]
    .map(({ id, name, triggers, kind, words }) => ({
      words: name,
      about: triggers.join(", "),
      insert: kind === "embedding" ? (words?.[0] ?? name) : `<lora:${id}:1>`,
    }))
    .filter(({ words, insert }) => `${words} ${insert}`.toLowerCase().includes(typed));
/** @param {string} typed @returns {Suggestion[]} */
const wildcards = (typed) =>
  Object.entries(given.wildcards)
    .map(([name, examples]) => ({ words: `__${name}__`, about: examples, insert: `__${name}__` }))
    .filter(({ words }) => words.toLowerCase().includes(typed));
/** @param {string} typed @returns {Suggestion[]} */
const templates = (typed) =>
  given.templates
    .map((template) => ({ words: template.name, about: template.prompt.replace("{prompt}", "…"), insert: "", template }))
    .filter(({ words }) => words.toLowerCase().includes(typed));

// What is being written before the caret, and of what kind it is. A name has letters, digits, dots, dashes, spaces.
/** @type {[RegExp, (typed: string) => Suggestion[]][]} */
const KINDS = [
  [/<(?:lora:)?([^<>:]{0,40})$/, styles],
  [/__(\w{0,40})$/, wildcards],
  [/(?:^|\s)\/([\p{L} -]{0,30})$/u, templates],
];

function look() {
  const area = promptArea();
  offered = [];
  if (area && area === document.activeElement && area.selectionStart === area.selectionEnd) {
    const text = area.value.slice(0, area.selectionStart);
    for (const [pattern, find] of KINDS) {
      const found = pattern.exec(text);
      if (!found) continue;
      // A space before the slash is not of it.
      from = found.index + (/^\s/.test(found[0]) ? 1 : 0);
      const typed = found[1].toLowerCase();
      const first = (/** @type {Suggestion} */ { words }) => Number(!words.toLowerCase().startsWith(typed));
      offered = find(typed)
        .sort((a, b) => first(a) - first(b))
        .slice(0, MOST);
      break;
    }
  }
  at = 0;
  show();
}

function show() {
  const area = promptArea();
  const list = part("list");
  list.hidden = !offered.length;
  list.replaceChildren(
    ...offered.map(({ words, about }, i) => {
      const item = make("li", "", words);
      Object.assign(item, { id: `completion-${i}`, role: "option" });
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(i === at));
      if (about) item.append(make("span", "hint", about));
      // Before the field loses the focus.
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        take(i);
      });
      return item;
    }),
  );
  if (!area) return;
  area.setAttribute("aria-controls", "completion");
  area.setAttribute("aria-autocomplete", "list");
  if (offered.length) area.setAttribute("aria-activedescendant", `completion-${at}`);
  else area.removeAttribute("aria-activedescendant");
}

/** @param {number} i */
function take(i) {
  const area = promptArea();
  const chosen = offered[i];
  if (!area || !chosen) return;
  const end = area.selectionStart;
  // What closes it may be there already.
  const after = area.value.slice(end).replace(chosen.insert.startsWith("__") ? /^_{1,2}/ : /^[^<>\s]*>/, "");
  const before = area.value.slice(0, from) + chosen.insert;
  write(area, chosen.template ? `${before.trimEnd()}${after}` : before + after);
  area.selectionStart = area.selectionEnd = before.length;
  offered = [];
  show();
  if (chosen.template && !unwrapped(given.templates).on.includes(chosen.template)) wrap(given.templates, chosen.template);
}

// (word:1.1): of what is selected, or else of the word under the caret, a tenth up or down.
/** @param {HTMLTextAreaElement} area @param {number} by */
function weigh(area, by) {
  const text = area.value;
  let [start, end] = [area.selectionStart, area.selectionEnd];
  if (start === end) {
    while (start > 0 && /[^\s,()[\]:<>]/.test(text[start - 1])) start -= 1;
    while (end < text.length && /[^\s,()[\]:<>]/.test(text[end])) end += 1;
  } else {
    while (start < end && /\s/.test(text[start])) start += 1;
    while (end > start && /\s/.test(text[end - 1])) end -= 1;
  }
  if (start === end) return;
  const inner = text.slice(start, end);
  const weighed = /^:(\d+(?:\.\d+)?)\)/.exec(text.slice(end));
  const within = weighed !== null && text[start - 1] === "(";
  const weight = Math.min(BOUNDS.max, Math.max(BOUNDS.min, (within ? Number(weighed[1]) : 1) + by));
  const [outer, rest] = within ? [start - 1, end + weighed[0].length] : [start, end];
  const plain = Math.abs(weight - 1) < STEP / 2;
  const made = plain ? inner : `(${inner}:${Number(weight.toFixed(2))})`;
  write(area, text.slice(0, outer) + made + text.slice(rest));
  area.selectionStart = outer + (plain ? 0 : 1);
  area.selectionEnd = area.selectionStart + inner.length;
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const area = promptArea();
  if (!area || event.target !== area) return;
  const arrow = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (arrow && (event.ctrlKey || event.metaKey)) weigh(area, -arrow * STEP);
  else if (!offered.length) return;
  else if (arrow) at = (at + arrow + offered.length) % offered.length;
  else if (event.key === "Escape") offered = [];
  else if ((event.key === "Enter" && !event.ctrlKey && !event.metaKey) || event.key === "Tab") return stop(event, () => take(at));
  else return;
  stop(event, show);
}

/** @param {KeyboardEvent} event @param {() => void} run */
function stop(event, run) {
  event.preventDefault();
  event.stopPropagation();
  run();
}

// Before gradio and the page's own keys.
document.addEventListener("keydown", pressed, true);
document.addEventListener("input", (event) => inside(event, "#prompt") && look());
document.addEventListener("click", (event) => inside(event, "#prompt") && look());
document.addEventListener("focusout", (event) => {
  if (!inside(event, "#prompt") || !offered.length) return;
  offered = [];
  show();
});

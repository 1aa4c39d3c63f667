// @ts-check
const { columns, templates } = props;
/** @param {PromptTemplate} template */
const around = (template) => template.prompt.split("{prompt}");

/** @param {PromptTemplate} template @param {string} text */
function wraps(template, text) {
  const [before, after] = around(template);
  return text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length;
}

// The templates around the prompt, from the outside in, and what they stand around. Whoever edits their words makes
// them their own.
function unwrapped() {
  let words = promptArea()?.value ?? "";
  /** @type {PromptTemplate[]} */
  const on = [];
  for (;;) {
    const fitting = templates.filter((template) => !on.includes(template) && wraps(template, words));
    // Of two that fit the longer one says more.
    const outer = fitting.sort((a, b) => b.prompt.length - a.prompt.length)[0];
    if (!outer) return { on, words };
    const [before, after] = around(outer);
    words = words.slice(before.length, words.length - after.length);
    on.push(outer);
  }
}

/** @param {PromptTemplate} template */
function toggle(template) {
  const prompt = promptArea();
  if (!prompt) return;
  const { on, words } = unwrapped();
  const others = on.filter((other) => other !== template);
  const adding = others.length === on.length;
  const kept = adding ? [template, ...others] : others;
  const inner = adding ? words.trim() : words;
  write(
    prompt,
    kept.reduceRight((text, outer) => around(outer).join(text), inner),
  );
  // What to leave out may not be on the page just now: gradio keeps its value.
  props.value = { negative: template.negative, on: adding, others: others.map((other) => other.negative).join(",") };
  trigger("pick");
  show();
}

const rows = Math.ceil(templates.length / columns);
const buttons = templates.map((template, i) => {
  const button = press("prompt-template", undefined, () => toggle(template));
  const picture = make("span", "prompt-template-picture");
  picture.style.backgroundPosition = `${(100 * (i % columns)) / (columns - 1)}% ${(100 * Math.floor(i / columns)) / (rows - 1)}%`;
  picture.style.backgroundSize = `${100 * columns}% auto`;
  picture.style.backgroundImage = "url(templates.webp)";
  button.append(picture, make("span", "prompt-template-name", template.name));
  button.title = template.prompt.replace("{prompt}", "…");
  return button;
});

function show() {
  const { on } = unwrapped();
  for (const [i, template] of templates.entries()) buttons[i].setAttribute("aria-pressed", String(on.includes(template)));
}

part("search").addEventListener("input", () => {
  const words = part("search").value.trim().toLowerCase();
  for (const [i, template] of templates.entries()) {
    buttons[i].hidden = !`${template.name} ${template.prompt}`.toLowerCase().includes(words);
  }
});
document.addEventListener("input", (event) => inside(event, "#prompt") && show());
part("templates").append(...buttons);
show();

// @ts-check
/** @param {PromptTemplate} template */
const around = (template) => template.prompt.split("{prompt}");

/** @param {PromptTemplate} template @param {string} text */
function wraps(template, text) {
  const [before, after] = around(template);
  return text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length;
}

// The templates around the prompt, from the outside in, and what they stand around. Whoever edits their words makes
// them their own.
/** @type {typeof globalThis.unwrapped} */
const unwrapped = (templates) => {
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
};

// Put a template around the prompt, or take it off again.
/** @type {typeof globalThis.wrap} */
const wrap = (templates, template) => {
  const prompt = promptArea();
  if (!prompt) return;
  const { on, words } = unwrapped(templates);
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
};

// @ts-check
const { columns, templates } = props;
/** @param {PromptTemplate} template */
const around = (template) => template.prompt.split("{prompt}");

// A template is on while its words stand around the prompt; whoever edits them makes them their own.
/** @param {PromptTemplate} template */
function isOn(template) {
  const [before, after] = around(template);
  const text = promptArea()?.value ?? "";
  return text.startsWith(before) && text.endsWith(after) && text.length >= before.length + after.length;
}

/** @param {PromptTemplate} template */
function toggle(template) {
  const prompt = promptArea();
  if (!prompt) return;
  const [before, after] = around(template);
  const on = !isOn(template);
  write(prompt, on ? before + prompt.value.trim() + after : prompt.value.slice(before.length, prompt.value.length - after.length));
  // What to leave out may not be on the page just now: gradio keeps its value.
  props.value = { negative: template.negative, on };
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
  for (const [i, template] of templates.entries()) buttons[i].setAttribute("aria-pressed", String(isOn(template)));
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
